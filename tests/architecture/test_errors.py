"""The tree of errors: drawn as it is, each with a message, each raised by somebody."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from jobwarden import errors

SRC = Path(__file__).parents[2] / "src" / "jobwarden"
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.JobWardenError) and kind.__module__ == errors.__name__
}
LEAVES = {name for name, kind in CLASSES.items() if not kind.__subclasses__()}

#: Declared ahead of the code that will raise them. Take a name out when it is raised; the set ends empty.
NOT_RAISED_YET: set[str] = set()


def _made() -> set[str]:
    """The names of the errors that are made anywhere in the source."""
    made = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                made.add(ast.unparse(node.func).rpartition(".")[2])
    return made & set(CLASSES)


def test_every_error_is_raised_somewhere() -> None:
    assert LEAVES - _made() - NOT_RAISED_YET == set()


def test_the_list_of_errors_to_come_is_honest() -> None:
    assert NOT_RAISED_YET - set(CLASSES) == set(), "no such error"
    assert NOT_RAISED_YET & _made() == set(), "raised by now: take it out of the list"


def test_the_tree_is_drawn_as_it_is() -> None:
    drawing = inspect.getdoc(errors) or ""
    assert [name for name in CLASSES if name not in drawing] == []


def test_an_error_says_what_is_wrong_in_a_sentence() -> None:
    for name, kind in CLASSES.items():
        message = inspect.getdoc(kind) or ""
        assert message[:1].isupper() or message.startswith(("{", "using(")), name
        assert message.endswith("."), name
