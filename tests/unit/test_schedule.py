"""What a person writes of a schedule, as a definition; and what is refused, with the rule and the way out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from jobwarden import Backoff, JobWarden
from jobwarden.domain.occurrences import Missed, Overlap
from jobwarden.errors import DefinitionError, ScheduleRefused, UnknownJob
from jobwarden.schedule import as_json, definitions_of

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def jw() -> JobWarden:
    jw = JobWarden(database_url="sqlite:///nowhere.db")

    @jw.job(name="bill", idempotent=False, max_attempts=2, backoff=Backoff(base=7), tags={"team": "core"})
    def bill(month: int) -> None: ...

    jw.command("clean", ["rm", "-r", "cache"], timeout=30)
    return jw


def test_everything_that_is_written_is_in_the_definition_and_survives_the_way_to_another_process(
    jw: JobWarden,
) -> None:
    call = jw.bind("bill", {"month": 3}, priority=5, label="the bills", grace=3)
    made = jw.schedule(
        "bills",
        "0 4 1 * *",
        call,
        timezone="Europe/Oslo",
        missed="coalesce",
        overlap="queue",
        catch_up_window=3600,
        max_catch_up=4,
        parked_counts=True,
        jitter=timedelta(seconds=30),
        starts_at=MOMENT,
        ends_at=MOMENT + timedelta(days=900),
        exclude=[date(2030, 5, 17)],
        lane="night",
        enabled=False,
    )
    assert (made.job, made.params, made.lane, made.priority) == ("bill", '{"month":3}', "night", 5)
    assert (made.idempotent, made.max_attempts, made.enabled) == (False, 2, False)
    assert made.tags == {"team": "core"}
    assert (made.options["name"], made.options["grace_sec"]) == ("the bills", 3.0)
    assert '"base": 7' in made.options["backoff"]
    assert (made.rules.missed, made.rules.overlap) == (Missed.COALESCE, Overlap.QUEUE)
    assert (made.rules.window, made.rules.most, made.rules.parked_counts) == (timedelta(hours=1), 4, True)
    assert (made.timing.zone, made.timing.jitter) == ("Europe/Oslo", timedelta(seconds=30))
    assert made.timing.excluded == {date(2030, 5, 17)}
    once = jw.schedule_once("digest", MOMENT, jw.bind("bill", {"month": 1}))
    steady = jw.schedule_command("cleaning", None, "clean", every=timedelta(minutes=5))
    assert (once.timing.run_at, steady.timing.every) == (MOMENT, timedelta(minutes=5))
    assert (steady.job, steady.options["timeout_sec"]) == ("clean", 30.0)
    declared = list(jw.schedules.declared.values())
    assert declared == [made, once, steady]
    assert definitions_of(as_json(declared)) == declared


@pytest.mark.parametrize(
    ("when", "given", "words"),
    [
        ("nonsense", {}, "'nonsense' cannot be read"),
        (None, {}, "it has 0 of cron pattern"),
        ("@daily", {"every": 60}, "it has 2 of cron pattern"),
        (None, {"every": 0.5}, "no timedelta of a second or more"),
        (datetime(2030, 1, 1), {}, "no datetime with an offset"),  # noqa: DTZ001
        ("@daily", {"timezone": "Mars/Base"}, "'Mars/Base' is not known"),
        ("@daily", {"missed": "sometimes"}, "give one of run_latest, run_all, coalesce, skip"),
        ("@daily", {"overlap": "maybe"}, "give one of skip, queue, allow"),
        ("@daily", {"max_catch_up": 0}, "max_catch_up=0 cannot be"),
        ("@daily", {"catch_up_window": -1}, "catch_up_window=-1 cannot be"),
        ("@daily", {"jitter": 90_000}, "is not from 0 to a day"),
        ("@daily", {"exclude": ["2030-05-17"]}, "exclude has what is no date"),
        ("@daily", {"lane": ""}, "lane='' cannot be"),
        ("@daily", {"time_zone": "UTC"}, "did you mean timezone?"),
    ],
)
def test_what_cannot_be_is_refused(jw: JobWarden, when: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        jw.schedule("x", when, jw.bind("bill", {"month": 1}), **given)
    assert words in str(refused.value)
    assert "'x'" in str(refused.value)
    assert not jw.schedules.declared


def test_calls_and_names_that_cannot_be_are_refused(jw: JobWarden) -> None:
    call = jw.bind("bill", {"month": 1})
    other = JobWarden(database_url="sqlite:///nowhere.db").command("alien", ["true"])
    refused: list[tuple[Any, Any, str]] = [
        ("", call, "no text of 1 to 200 characters"),
        ("x", None, "is no bound call"),
        ("x", jw.bind("bill", {"month": 1}, delay=5), "leave delay out"),
        ("x", jw.bind("bill", {"month": 1}, idempotency_key="k"), "leave idempotency_key out"),
        ("x", other.bind(), "is one of another application"),
    ]
    for name, given, words in refused:
        with pytest.raises(ScheduleRefused, match=words):
            jw.schedule(name, "@daily", given)
    jw.schedule("x", "@daily", call)
    with pytest.raises(ScheduleRefused, match="declared twice"):
        jw.schedule("x", "@hourly", call)
    with pytest.raises(UnknownJob):
        jw.schedule_command("y", "@daily", "nobody")


@pytest.mark.parametrize("argv", ["rm -r cache", [], ["a", 1], ["a\0b"]])
def test_what_is_no_argument_vector_is_no_command(jw: JobWarden, argv: Any) -> None:
    with pytest.raises(DefinitionError, match="no argument vector"):
        jw.command("x", argv)
