"""When two errors count as the same."""

from __future__ import annotations

import pytest

from jobwarden.domain.errorprint import pattern, print_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("order 1234 has 2 lines", "order # has # lines"),
        ("took 12.5 s at 10:42:01", "took # s at #"),
        ("no 01a22028-db42-7769-a21e-c5acf3aede08 here", "no # here"),
        ("<Shop object at 0x7f92677>", "<Shop object at #>"),
        ("digest d41d8cd98f00b204e9800998ecf8427e differs", "digest # differs"),
        ("a decade of facade", "a decade of facade"),
        ("the key 'store' is missing", "the key 'store' is missing"),
    ],
)
def test_what_varies_is_left_out(text: str, words: str) -> None:
    assert pattern(text) == words


def test_class_and_words_make_the_kind() -> None:
    one, other = {"class": "OSError", "message": "port 1"}, {"class": "OSError", "message": "port 65000"}
    assert print_of(one) == print_of(other)
    assert print_of({**one, "class": "ValueError"}).print != print_of(one).print
    assert print_of({**one, "message": "host 1"}).print != print_of(one).print
    assert len(print_of({"class": "X" * 999, "message": "\ud800" + "y" * 9999}).words) == 500
    assert print_of({}).words == ""
