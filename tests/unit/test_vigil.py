"""For how long somebody is known to be silent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobwarden.daemons.vigil import Vigil


def test_silence_is_counted_from_the_first_look_that_saw_the_mark() -> None:
    vigil = Vigil(gap=3)
    assert vigil.silent("a") == 0
    for now in (10.0, 12.0, 14.0):
        vigil.look({"a": 1}, now)
    assert vigil.silent("a") == 4
    vigil.look({"a": 2}, 16.0)
    assert vigil.silent("a") == 0, "it beat"


def test_a_gap_in_the_watching_proves_nothing() -> None:
    vigil = Vigil(gap=3)
    vigil.look({"a": 1}, 10.0)
    vigil.look({"a": 1}, 1000.0)
    assert vigil.silent("a") == 0, "it was the one who looks that slept"
    vigil.look({"a": 1}, 1002.0)
    assert vigil.silent("a") == 2


def test_an_outage_begins_the_vigil_anew() -> None:
    vigil = Vigil(gap=3)
    for now in (10.0, 12.0):
        vigil.look({"a": 1}, now)
    vigil.begin_anew()
    assert vigil.silent("a") == 0
    vigil.look({"a": 1}, 13.0)
    assert vigil.silent("a") == 0


def test_who_is_new_or_away_meanwhile_is_not_silent() -> None:
    vigil = Vigil(gap=3)
    vigil.look({"a": 1}, 10.0)
    vigil.look({}, 12.0)
    vigil.look({"a": 1, "b": 1}, 14.0)
    assert (vigil.silent("a"), vigil.silent("b")) == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 2)), max_size=40))
def test_nobody_is_held_silent_for_longer_than_was_watched(looks: list[tuple[float, int]]) -> None:
    vigil, now, unbroken = Vigil(gap=2), 0.0, 0.0
    for n, (pause, mark) in enumerate(looks):
        now += pause
        unbroken = unbroken + pause if n and pause <= 2 else 0.0
        vigil.look({"a": mark}, now)
        assert 0 <= vigil.silent("a") <= unbroken + 1e-6
