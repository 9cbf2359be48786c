"""Settings: where they come from, which one wins, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobwarden.config import Settings
from jobwarden.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_source_wins_over_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().poll_idle == 2.0
    (folder / "pyproject.toml").write_text(
        "[tool.jobwarden]\npoll_idle = 3\nprefetch = 3\nmax_attempts = 3\nnudge = false"
    )
    assert Settings().poll_idle == 3.0
    (folder / "jobwarden.toml").write_text("poll_idle = 4\nprefetch = 4\nmax_attempts = 4")
    assert Settings().poll_idle == 4.0
    monkeypatch.setenv("JOBWARDEN_POLL_IDLE", "5")
    monkeypatch.setenv("JOBWARDEN_PREFETCH", "5")
    assert Settings().poll_idle == 5.0
    settings = Settings(poll_idle=6)
    assert (settings.poll_idle, settings.prefetch, settings.max_attempts, settings.nudge) == (6.0, 5, 4, False)


def test_files_are_found_from_a_folder_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "jobwarden.toml").write_text("capacity = 7")
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    assert Settings().capacity == 7


def test_lists_are_written_with_commas_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWARDEN_LANES", "hot, default")
    assert Settings().lanes == ("hot", "default")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().capacity = 3


def test_settings_travel_as_json_data() -> None:
    settings = Settings(lanes=["a", "b"], runtime_dir="/tmp/x", orphan_children="kill")
    assert Settings(**settings.dump()) == settings


def test_every_setting_is_described_and_times_name_their_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name
        if name.endswith(("interval", "timeout", "poll_min", "poll_idle")):
            assert "econds" in (field.description or ""), name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"capacity": 0}, "capacity = 0 .* greater than or equal to 1"),
        ({"poll_idle": "soon"}, "poll_idle = 'soon' .* valid number"),
        ({"poll_idle": 0.01}, "poll_idle = 0.01 .* not be below poll_min"),
        ({"table_prefix": "my_jobwarden_"}, "table_prefix = 'my_jobwarden_' .* only the default"),
        ({"table_prefix": "a-b"}, "table_prefix = 'a-b' .* letters, digits and _"),
        ({"lanes": []}, "lanes = .* at least 1"),
        ({"claim_driver": "fast"}, "claim_driver = 'fast' .*'auto', 'locking' or 'racing'"),
        ({"poll_idel": 1}, "no such setting; write poll_idle"),
        ({"colour": 1}, "no such setting; the settings are .*capacity"),
        ({"databse_url": "postgresql://me:hush@host/db"}, r"me:\*\*\*@host"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Settings(**given)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_misspelt_variable_is_refused_and_a_foreign_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWARDEN_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("JOBWARDEN_APP", "app:jw")
    Settings()
    monkeypatch.setenv("JOBWARDEN_DATABSE_URL", "sqlite:///x.db")
    with pytest.raises(ConfigurationError, match=r"in environment.*write database_url"):
        Settings()


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "jobwarden.toml").write_text("capacity = = 3")
    with pytest.raises(ConfigurationError, match=r"jobwarden\.toml cannot be read"):
        Settings()
