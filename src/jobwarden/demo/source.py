"""The standard library as a census sees it: its parts, and what one file comes to. Standard library only."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ABROAD = frozenset({"site-packages", "dist-packages", "__pycache__"})
_CHUNK = 24
_INSIDE = ("body", "orelse", "finalbody", "handlers", "cases")
_BLOCKS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
    ast.ExceptHandler,
    ast.match_case,
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one job counts: a package, or some modules that stand alone. ``size`` is in bytes."""

    name: str
    modules: tuple[str, ...]
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Count:
    """What a file comes to; ``nesting`` is how many blocks lie in one another at most, ``line`` where."""

    lines: int
    functions: int
    classes: int
    nesting: int
    line: int


def library() -> Path:
    """Where the running Python's standard library is."""
    return Path(sysconfig.get_path("stdlib"))


def parts() -> list[Part]:
    """The whole library, the largest part first; modules that are no package stand in alphabetical chunks."""
    root = library()
    alone = sorted(path.stem for path in root.glob("*.py"))
    found = [_part(path.name, ()) for path in root.iterdir() if path.is_dir() and path.name not in _ABROAD]
    for begin in range(0, len(alone), _CHUNK):
        modules = tuple(alone[begin : begin + _CHUNK])
        found.append(_part(f"{modules[0]} … {modules[-1]}", modules))
    return sorted((part for part in found if part.files), key=lambda part: -part.size)


def files(package: str, modules: tuple[str, ...] = ()) -> list[Path]:
    """The source files of a part, in order."""
    if modules:
        return [library() / f"{module}.py" for module in modules]
    found = (library() / package).rglob("*.py")
    return sorted(path for path in found if not _ABROAD.intersection(path.parts))


def count(path: Path) -> Count:
    """What one file comes to; raises SyntaxError or ValueError for what is no Python."""
    text = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    functions = classes = deepest = line = 0
    for node, depth in _blocks(tree):
        functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(node, ast.ClassDef)
        if depth > deepest:
            deepest, line = depth, getattr(node, "lineno", 0)
    return Count(text.count(b"\n") + (text[-1:] not in (b"\n", b"")), functions, classes, deepest, line)


def _blocks(tree: ast.Module) -> Iterator[tuple[ast.AST, int]]:
    """Every block with the number of blocks around it, itself included; expressions are not entered."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        inside = [
            (child, depth + (not _beside(node, child)))
            for name in _INSIDE
            for child in getattr(node, name, ())
            if isinstance(child, _BLOCKS)
        ]
        waiting += inside
        yield from inside


def _beside(node: ast.AST, child: ast.AST) -> bool:
    """Whether a block that the tree has inside another stands beside it in the text: except, and elif."""
    if isinstance(child, ast.ExceptHandler):
        return True
    return isinstance(node, ast.If) and isinstance(child, ast.If) and child.col_offset == node.col_offset


def _part(name: str, modules: tuple[str, ...]) -> Part:
    found = files(name, modules)
    return Part(name, modules, len(found), sum(path.stat().st_size for path in found))
