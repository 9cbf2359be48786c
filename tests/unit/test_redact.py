"""Redaction and the throttle: no value under a matching key survives; failures are counted within a window."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.redact import MASK, Redactor
from jobwarden.domain.throttle import Throttle

SECRET = "s3cr3tVALUE"
keys = st.sampled_from(["password", "DB_PASSWORD", "api-key", "X-Auth-Token", "plain", "name", "Authorization"])
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8))
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))


def planted(value: Any, redactor: Redactor, hidden: bool = False) -> Any:
    """The same with the secret for every leaf under a matching key."""
    if isinstance(value, dict):
        return {key: planted(held, redactor, hidden or redactor.hides(key)) for key, held in value.items()}
    if isinstance(value, list):
        return [planted(held, redactor, hidden) for held in value]
    return SECRET if hidden else value


@given(values)
def test_no_value_under_a_matching_key_survives(value: Any) -> None:
    redactor = Redactor()
    given = planted(value, redactor)
    before = json.dumps(given)
    assert SECRET not in json.dumps(redactor.data(given))
    assert json.dumps(given) == before
    assert SECRET not in redactor.text(json.dumps(given))
    assert SECRET not in redactor.text(json.dumps(given, indent=1))


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"DB_PASSWORD: {SECRET}, user: ann",
        f'{{"token": "{SECRET}"}}',
        f"'api_key': '{SECRET}'",
        f"url=https://x/?a=b&access_token={SECRET}&c=d",
        f"a=b=c=password={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"sent Bearer {SECRET} away",
        f"Cookie: a=b; session={SECRET}",
        f'said "{{\\"secret\\": \\"{SECRET}\\"}}"',
        f"secret={{'a': ['x', '{SECRET}']}}",
        f'password="two words {SECRET}"',
    ],
)
def test_texts(text: str) -> None:
    masked = Redactor().text(text)
    assert SECRET not in masked
    assert MASK in masked


@given(st.text(alphabet="ab =:\"'\\{}[]\npassword,;", max_size=60))
def test_never_raises(text: str) -> None:
    assert isinstance(Redactor().text(text), str)


def test_what_is_innocent_stays() -> None:
    text = "store=42 took 3.5 s: done, see https://example.org/a?b=c"
    assert Redactor().text(text) == text
    assert Redactor(["db_*"]).data({"DB_HOST": 1, "my_db_host": 2}) == {"DB_HOST": MASK, "my_db_host": 2}


@pytest.mark.parametrize("piece", ["a=", "password=", "password={", '"', "x", "token: ", "Bearer "])
def test_time_is_linear(piece: str) -> None:
    begin = time.perf_counter()
    Redactor().text(piece * 20_000)
    assert time.perf_counter() - begin < 3


def test_the_throttle_counts_within_its_window_and_forgets() -> None:
    throttle = Throttle(2, 10)
    throttle.failed(0.0, "ann", "10.0.0.1")
    assert throttle.wait(1.0, "ann") == 0
    throttle.failed(1.0, "ann")
    assert throttle.wait(2.0, "ann", "10.0.0.1") == 8
    assert throttle.wait(10.0, "ann") == 0
    throttle.succeeded("ann")
    assert throttle.wait(2.0, "ann") == 0
    for number in range(10_100):
        throttle.failed(3.0, str(number))
    assert len(throttle) == 10_000
