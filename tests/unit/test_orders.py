"""Orders: what each verb does in each state, as the page says it, and what is refused before a database hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobwarden.domain.orders import TARGETS, VERDICTS, Order, Verb, Verdict
from jobwarden.domain.states import Actor, JobState
from jobwarden.domain.transitions import JOB
from jobwarden.errors import ForceRequired, InvalidOption, OnlyAsNew, WrongState

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "lifecycle.md"
REPEATS = (Verb.RETRY, Verb.RESTART, Verb.RERUN)


def test_the_page_says_what_each_verb_does_in_each_state() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and line.count("|") == 11]
    table = {
        cells[1].strip("` "): [cell.strip("` ") for cell in cells[2:-1]] for cells in (x.split("|") for x in lines)
    }
    said = {verb: dict(zip(JobState, cells, strict=True)) for verb, cells in table.items()}
    known: dict[str, dict[JobState, JobState]] = {verb.value: dict(targets) for verb, targets in TARGETS.items()}
    known |= {f"resolve --{word.replace('_', '-')}": {JobState.ORPHANED: end} for word, end in VERDICTS.items()}
    assert {verb: {s: str(targets.get(s, "")) for s in JobState} for verb, targets in known.items()} == said


def test_a_person_takes_only_edges_that_a_person_may_take() -> None:
    steps = [
        (s, t)
        for verb in (*TARGETS.values(), *({JobState.ORPHANED: v} for v in VERDICTS.values()))
        for s, t in verb.items()
    ]
    assert [(s, t) for s, t in steps if s is not t and Actor.OPERATOR not in JOB[s, t]] == []


@pytest.mark.parametrize("verb", REPEATS)
def test_w32_what_may_repeat_work_that_is_not_idempotent_needs_force(verb: Verb) -> None:
    [state, *_] = TARGETS[verb]
    refused = Order(verb).refusal("7", "shop:pay", state, idempotent=False)
    assert isinstance(refused, ForceRequired)
    assert (
        str(refused)
        == f"Job 7 (shop:pay) is not idempotent, and {verb} may repeat what it did: check first, then use --force."
    )
    assert Order(verb, force=True).refusal("7", "shop:pay", state, idempotent=False) is None
    assert Order(verb).refusal("7", "shop:pay", state, idempotent=True) is None


def test_force_is_no_way_around_a_state() -> None:
    assert isinstance(Order(Verb.RETRY, force=True).refusal("7", "x", JobState.RUNNING, True), WrongState)


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART])
@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELED])
def test_w41_what_is_final_is_told_how_it_can_be_run_again(verb: Verb, state: JobState) -> None:
    refused = Order(verb).refusal("7", "x", state, True)
    assert isinstance(refused, OnlyAsNew)
    assert f"Job 7 is {state}" in str(refused)
    assert "--as-new" in str(refused)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reason": "a\0b"}, "option reason = "),
        ({"reason": "a\ud800b"}, "option reason = "),
        ({"actor": "a" * 201}, "at most 200 characters"),
        ({"actor": "\0"}, "option actor = "),
        ({"attempts": 0}, "from 1 to 1000000"),
        ({"attempts": -1}, "option attempts = -1"),
        ({"attempts": True}, "option attempts = "),
        ({"attempts": 1.5}, "option attempts = "),
        ({"verb": Verb.RESOLVE, "reason": "seen"}, "ran, did_not_run, ran_partly, failed"),
        ({"verb": Verb.RESOLVE, "reason": "seen", "verdict": "maybe"}, "option verdict = 'maybe'"),
        ({"verb": Verb.RESOLVE, "verdict": Verdict.RAN}, "how it is known"),
        ({"verb": Verb.RESOLVE, "verdict": Verdict.RAN, "reason": "  "}, "how it is known"),
    ],
)
def test_what_could_not_be_written_down_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOption, match="The option ") as refused:
        Order(**{"verb": Verb.RETRY, **given})
    assert words in str(refused.value)
