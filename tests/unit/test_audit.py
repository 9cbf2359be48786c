"""The audit chain as such: whatever is changed, taken out, swapped or cut off is found, where it is."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.audit import Action, Break, Entry, Head, Walk, canonical, hash_of

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        previous = entries[-1].hash if entries else Head().hash
        after = canonical({"state": "canceled", "n": seq})
        at = BEGIN + timedelta(seconds=seq)
        row = Entry(seq, at, "ann", None, "job.cancel", "job", f"j{seq}", None, None, after, previous, "")
        entries.append(replace(row, hash=hash_of(asdict(row))))
    return entries


def found(entries: list[Entry], head: Head) -> Break | None:
    walk = Walk()
    walk.along(entries)
    return walk.arrive(head)


def head_of(entries: list[Entry]) -> Head:
    return Head(entries[-1].seq, entries[-1].hash) if entries else Head()


@given(st.integers(0, 12))
def test_a_chain_that_nobody_touched_holds(length: int) -> None:
    entries = chain(length)
    assert found(entries, head_of(entries)) is None


@given(st.integers(1, 12), st.data())
def test_any_changed_column_is_found_in_its_row(length: int, data: st.DataObject) -> None:
    entries = chain(length)
    at = data.draw(st.integers(0, length - 1))
    texts = ("actor", "address", "action", "kind", "target", "reason", "before", "after", "previous", "hash")
    column = data.draw(st.sampled_from(("seq", "at", *texts)))
    other: Any = {"seq": 99, "at": BEGIN}.get(column) or data.draw(st.text(min_size=1, max_size=5))
    head = head_of(entries)
    entries[at] = replace(entries[at], **{column: other})
    broken = found(entries, head)
    assert broken is not None
    assert broken.seq == (99 if column == "seq" else at + 1)


@given(st.integers(1, 12), st.data())
def test_any_missing_row_and_any_cut_is_found(length: int, data: st.DataObject) -> None:
    entries = chain(length)
    begin = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(begin + 1, length))
    assert found(entries[:begin] + entries[end:], head_of(entries)) is not None


@given(st.integers(2, 12), st.data())
def test_any_two_rows_that_changed_places_are_found(length: int, data: st.DataObject) -> None:
    entries = chain(length)
    one, other = sorted(data.draw(st.lists(st.integers(0, length - 1), min_size=2, max_size=2, unique=True)))
    head = head_of(entries)
    entries[one], entries[other] = entries[other], entries[one]
    assert found(entries, head) is not None
    renumbered = [replace(entry, seq=seq) for seq, entry in enumerate(entries, 1)]
    assert found(renumbered, head) is not None


def test_an_action_knows_its_kind() -> None:
    assert Action.SCHEDULE_PUT.kind == "schedule"
