"""Options have one form, whatever form they were given in, and bad ones are refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobwarden.domain.claims import Isolation
from jobwarden.domain.recovery import Backoff, OnLost
from jobwarden.errors import InvalidOption
from jobwarden.options import Bound, Options, Terms, checked, checked_choices, promoted

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("option", "value", "form"),
    [
        ("timeout", timedelta(hours=2), 7200.0),
        ("timeout", None, None),
        ("grace", 0, 0.0),
        ("delay", timedelta(minutes=5), 300.0),
        ("memory", "2GiB", 2 * 1024**3),
        ("memory", "512M", 512 * 1024**2),
        ("memory", "1.5 GB", 1_500_000_000),
        ("memory", 1000, 1000),
        ("isolation", "pool", Isolation.POOL),
        ("on_lost", OnLost.PARK, OnLost.PARK),
        ("retry_on", OSError, (OSError,)),
        ("retry_on", [OSError, ValueError], (OSError, ValueError)),
        ("promote", "store", ("store",)),
        ("tags", {"a": "b"}, {"a": "b"}),
        ("available_at", MOMENT, MOMENT),
        ("priority", -5, -5),
    ],
)
def test_an_option_has_one_form(option: str, value: Any, form: Any) -> None:
    assert checked("j", {option: value}) == {option: form}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", True),
        ("timeout", float("nan")),
        ("timeout", "60"),
        ("grace", -1),
        ("delay", timedelta(seconds=-1)),
        ("memory", "2 pounds"),
        ("memory", 0),
        ("isolation", "thread"),
        ("on_lost", "ignore"),
        ("retry_on", "OSError"),
        ("retry_on", int),
        ("lane", ""),
        ("lane", "x" * 101),
        ("label", "a\0b"),
        ("priority", 1.5),
        ("priority", 40000),
        ("max_attempts", 0),
        ("backoff", 5),
        ("backoff", Backoff(factor=0.5)),
        ("available_at", MOMENT.replace(tzinfo=None)),
        ("available_at", "2026-01-01"),
        ("idempotent", 1),
        ("tags", ["a"]),
        ("tags", {"a": 1}),
        ("tags", {"a": ""}),
        ("tags", {"": "b"}),
        ("tags", {"a" * 65: "b"}),
        ("tags", {"a": "b" * 201}),
        ("idempotency_key", "k" * 201),
    ],
)
def test_a_bad_option_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"The option {option} = .* of 'j' cannot be used: it must be "):
        checked("j", {option: value})


def test_delay_and_available_at_exclude_each_other() -> None:
    with pytest.raises(InvalidOption, match="left out where available_at is given"):
        checked_choices("j", {"delay": 5, "available_at": MOMENT})


def test_a_calls_choices_win_over_the_declaration_and_tags_are_merged() -> None:
    options = Options(idempotent=True, lane="imports", timeout=60.0, tags={"team": "a", "kind": "x"})
    choices = checked_choices("j", {"lane": "hot", "label": "night", "tags": {"kind": "y"}, "timeout": None})
    draft = Bound("j", "{}", Terms(options, choices), {"store": "42", "kind": "promoted"}).draft("id")
    assert (draft.lane, draft.label, draft.timeout, draft.idempotent) == ("hot", "night", 60.0, True)
    assert draft.tags == {"team": "a", "kind": "y", "store": "42"}
    assert (draft.id, draft.job, draft.params) == ("id", "j", "{}")


def test_only_texts_within_the_limits_are_promoted() -> None:
    values = {"a": "x", "b": 1, "c": "", "d": "x" * 201, "e": None}
    assert promoted(["a", "b", "c", "d", "e", "gone"], values) == {"a": "x"}


def test_options_travel_as_json_data() -> None:
    data = Options(idempotent=True, retry_on=(OSError,), promote=("a",)).dump()
    assert (data["retry_on"], data["promote"], data["backoff"]["base"]) == (["builtins:OSError"], ["a"], 5.0)
