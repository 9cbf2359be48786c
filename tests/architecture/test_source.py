"""Rules of the house that no linter has: sizes, words, clocks, engines' names."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "jobwarden"
MODULES = {str(path.relative_to(SRC)): path for path in sorted(SRC.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
TEXTS = [
    path
    for part in ("src", "tests", "docs", "bench", "examples", ".ci")
    for path in sorted((ROOT / part).rglob("*"))
    if path.is_file() and path.suffix not in {".pyc", ".png", ".db"}
] + [path for path in sorted(ROOT.iterdir()) if path.suffix in {".md", ".py", ".toml"}]

#: Words of a workplace, of a tracker, of an unfinished thought; spelled so that this file has none of them.
FORBIDDEN = re.compile(
    "|".join([r"(?<![\w.])/wor" + "k/", r"\bissu" + r"es?\b", "TO" + "DO", "FIX" + "ME", r"\bXX" + r"X\b"]),
    re.IGNORECASE,
)

ENGINES = re.compile("postgres|mariadb|mysql|sqlite|psycopg", re.IGNORECASE)
#: Who may name an engine in code, and why.
MAY_NAME_ENGINES = {
    "store/dialects/": "that is what they are",
    "store/migrations/": "a revision is written once, for each engine",
    "store/database.py": "chooses the dialect",
    "store/urls.py": "addresses name engines",
    "store/schema.py": "storage options and partial indexes",
    "binding.py": "refuses drivers' objects as params",
    "config.py": "addresses name engines",
    "lifecycle/join.py": "recognises the callers' own connections",
    "cli/checks": "the doctor tells people what to install",
    "cli/doctor.py": "as they do",
    "cli/init.py": "the starter's addresses",
}

CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today", "datetime.today"}
#: Who may ask the host's wall clock, and why.
MAY_READ_THE_CLOCK = {
    "cli/checks_database.py": "the doctor compares it with the database's",
    "store/ids.py": "only to keep new ids near each other in an index",
}

MAX_LINES = 400
MAX_FUNCTION = 40
P90_FUNCTION = 25
#: Tables and argument parsers may be long.
LONG = {"store/schema.py", "store/migrations/versions/0001_begin.py"}


def test_nothing_unfinished_and_nothing_of_a_workplace() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN.search(line)
    }
    assert found == {}


def test_no_engine_is_named_outside_its_dialect() -> None:
    names = [name for name in MODULES if not name.startswith(tuple(MAY_NAME_ENGINES))]
    found = {name: [word for word in _words(TREES[name]) if ENGINES.search(word)] for name in names}
    assert _offenders(found) == {}


def test_the_wall_clock_decides_nothing() -> None:
    found = {name: _attributes(TREES[name]) & CLOCKS for name in MODULES if name not in MAY_READ_THE_CLOCK}
    assert _offenders(found) == {}


def test_a_module_can_be_read_in_one_sitting() -> None:
    lengths = {name: sum(bool(line.strip()) for line in _lines(name)) for name in MODULES if name not in LONG}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_a_function_fits_on_a_screen() -> None:
    assert {place: length for place, length in _lengths() if length > MAX_FUNCTION} == {}


def test_nine_functions_of_ten_fit_on_half_a_screen() -> None:
    assert statistics.quantiles([length for _, length in _lengths()], n=10)[-1] <= P90_FUNCTION


def test_a_module_says_what_it_is_for() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def _offenders(found: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    return {name: words for name, words in found.items() if words}


def _lines(name: str) -> list[str]:
    return MODULES[name].read_text().splitlines()


def _attributes(tree: ast.Module) -> set[str]:
    """Every ``a.b`` in a module's code, the last two names of it."""
    spelled = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {".".join(words.split(".")[-2:]) for words in spelled}


def _lengths() -> list[tuple[str, int]]:
    return [found for name in MODULES if name not in LONG for found in _functions(name)]


def _functions(name: str) -> Iterator[tuple[str, int]]:
    """Functions with their length in lines, docstring not counted."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if ast.get_docstring(node) is not None else None
            spared = (doc.end_lineno or 0) - doc.lineno + 1 if doc is not None else 0
            yield f"{name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - spared


def _words(tree: ast.Module) -> Iterator[str]:
    """Every name and text in a module's code, docstrings left out."""
    said = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text not in said:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.ImportFrom(module=str(name)) | ast.arg(arg=name):
                yield name
