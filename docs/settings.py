"""Writes docs/reference/settings.md from the declarations of `Settings`; run it after changing them."""

from __future__ import annotations

from pathlib import Path

from jobwarden.config import Settings

PAGE = Path(__file__).parent / "reference" / "settings.md"
HEAD = """# Settings

Keyword arguments of `JobWarden(...)` win over `JOBWARDEN_<NAME>` in the environment, then `jobwarden.toml`, then
`[tool.jobwarden]` in `pyproject.toml`, then the default. This page is generated from the declarations.

| setting | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        f"| `{name}` | {_default(field)} | {field.description} |\n" for name, field in Settings.model_fields.items()
    )


def _default(field: object) -> str:
    default = getattr(field, "default", None)
    if getattr(field, "default_factory", None) is not None:
        return "by the machine"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`" if default else "none"
    return "unset" if default is None else f"`{getattr(default, 'value', default)}`"


if __name__ == "__main__":
    PAGE.write_text(page())
