"""Settings: everything that can be configured, read once from its sources and checked once, then passed along.

Keyword arguments win over ``JOBWARDEN_*`` in the environment, then ``jobwarden.toml``, then ``[tool.jobwarden]`` in
``pyproject.toml``, then the defaults. Settings never change, and nobody else reads the environment for them.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from jobwarden.errors import ConfigurationError

ENV_PREFIX = "JOBWARDEN_"
#: Environment names of the engine's own that are no settings.
RESERVED_ENV = frozenset({"JOBWARDEN_APP", "JOBWARDEN_NONCE", "JOBWARDEN_SEAT"})
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: Parts of the names of what not everybody should see.
REDACTED = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "authorization",
    "cookie",
    "credential",
    "private_key",
)

#: An entry of ``retain``: what is kept (a job's last state or ``*``, in one lane or all; workers; runs), and how long.
RETAIN = re.compile(
    r"(?:(?:(?P<lane>.+):)?(?P<state>succeeded|failed|canceled|stopped|\*)|(?P<what>workers|runs))"
    r"=(?P<span>never|[1-9]\d{0,5}[mhdw])"
)
#: A port, or a host and a port.
LISTEN = re.compile(r"(?:(?P<host>[^:\[\]\s]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})")
RETAIN_EXAMPLE = "failed=90d, imports:succeeded=12h, workers=1w or runs=never"
RETAINED = ("succeeded=30d", "canceled=30d", "failed=90d", "stopped=90d", "workers=7d", "runs=90d")


class ClaimDriver(StrEnum):
    """How queued jobs are taken: by locked rows that others skip, or by a guarded update that one of many wins."""

    AUTO = "auto"
    LOCKING = "locking"
    RACING = "racing"


class LogFormat(StrEnum):
    """How daemons write their log: lines for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class OrphanChildren(StrEnum):
    """What becomes of verified children whose supervisor is gone: watched to their end, or ended."""

    ADOPT = "adopt"
    KILL = "kill"


class Synchronous(StrEnum):
    """How hard SQLite waits for the disk at a commit: FULL survives a power cut, NORMAL may lose the last commits."""

    FULL = "FULL"
    NORMAL = "NORMAL"
    EXTRA = "EXTRA"
    OFF = "OFF"


def default_capacity() -> int:
    """Twice the processors this process may use, at least 4: jobs wait for input and output most of the time."""
    affinity = getattr(os, "sched_getaffinity", None)
    return 2 * max(2, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _kept(entry: str) -> str:
    if not RETAIN.fullmatch(entry):
        raise ValueError(f"{entry!r} is none of its entries, which are like {RETAIN_EXAMPLE}")
    return entry


def _address(text: str) -> str:
    if not LISTEN.fullmatch(text):
        raise ValueError("it must be a port, or a host and a port, like 9484 or 0.0.0.0:9484")
    return text


Kept = Annotated[tuple[Annotated[str, AfterValidator(_kept)], ...], BeforeValidator(_split)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], BeforeValidator(_split)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pause = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """All settings, checked and immutable. Times are in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False, hide_input_in_errors=True)

    database_url: str = Field(
        "sqlite:///jobwarden.db",
        repr=False,
        description="Where the database is: sqlite:///file.db, postgresql://user@host/name or mysql://user@host/name.",
    )
    table_prefix: str = Field(
        "jobwarden_", max_length=20, description="What every table's and index's name begins with; fixed once migrated."
    )
    schema_name: str | None = Field(
        None, description="The PostgreSQL schema of the tables; unset: the connection's search path decides."
    )
    runtime_dir: Path | None = Field(
        None,
        description="Folder for outcome files and spools, best in memory; unset: $XDG_RUNTIME_DIR/jobwarden, "
        "/run/jobwarden, /dev/shm or the temporary folder, the first that can be used.",
    )
    lanes: Names = Field(
        ("default", "scheduled"), min_length=1, description="Lanes a worker serves, in order; commas in the env."
    )
    capacity: Count = Field(
        default_factory=default_capacity, description="Attempts a worker runs at once; default: twice the processors."
    )
    claim_driver: ClaimDriver = Field(
        ClaimDriver.AUTO, description="How jobs are claimed: auto (by what the database can), locking or racing."
    )
    poll_min: Pause = Field(
        0.02, description="Shortest time in seconds between two looks for jobs, after one that found some."
    )
    poll_idle: Pause = Field(2.0, description="Longest time in seconds between two looks for jobs when there are none.")
    beat_interval: Pause = Field(2.0, description="Seconds between a daemon's heartbeats and ownership queries.")
    missed_beats: int = Field(5, ge=2, description="Heartbeats missed in a row before a daemon is declared dead.")
    death_budget: Pause = Field(
        120.0,
        description="Seconds of silence of a whole host after which its attempts are taken from it unseen; while a "
        "daemon there answers, processes are looked at instead.",
    )
    self_fence_ttl: Pause = Field(
        90.0,
        description="Seconds without reaching the database after which a host ends its own attempts, so that nobody "
        "runs them twice; must end well before death_budget.",
    )
    late_after: Pause = Field(
        60.0, description="Seconds after which an occurrence of a schedule that nobody has looked at counts as missed."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="How daemons write their own log: text, or json (one object a line)."
    )
    log_flush_interval: Pause = Field(0.25, description="Seconds between commits of the lines that running jobs wrote.")
    results_max_bytes: int = Field(65536, ge=2, description="Largest result that is kept, in bytes of JSON.")
    max_attempts: Count = Field(4, description="Attempts an idempotent job gets if its declaration does not say.")
    statement_timeout: Pause = Field(30.0, description="Seconds until a database statement is given up.")
    connect_timeout: Pause = Field(10.0, description="Seconds until a connection attempt to the database is given up.")
    pgbouncer: bool = Field(
        False, description="PgBouncer in transaction mode is between: no prepared statements, no notifications."
    )
    notify: bool = Field(True, description="Wake workers by PostgreSQL notifications; polling goes on as a fallback.")
    nudge: bool = Field(True, description="Wake workers on the same host by a local socket.")
    zygote_recycle: int = Field(50000, ge=0, description="Forks after which the zygote is replaced; 0: never.")
    pool_recycle: int = Field(1000, ge=0, description="Attempts after which a pool seat is replaced; 0: never.")
    prefetch: int = Field(32, ge=1, description="Idempotent pool attempts that one seat may hold at once.")
    drain_timeout: Seconds = Field(
        0.0, description="Seconds a draining worker waits for its attempts before it ends them; 0: as long as they run."
    )
    unkillable_after: Pause = Field(
        60.0, description="Seconds after SIGKILL until an attempt whose processes still live is shown as unkillable."
    )
    open_files: int | None = Field(
        None,
        ge=64,
        description="Open files that each attempt's process may have (soft limit); unset: as many as the worker was "
        "started with.",
    )
    orphan_children: OrphanChildren = Field(
        OrphanChildren.ADOPT, description="What becomes of children whose supervisor died: adopt or kill."
    )
    local_reaper: bool = Field(
        True, description="Start a local reaper beside each worker; off where one runs on the host as its own service."
    )
    sqlite_synchronous: Synchronous = Field(
        Synchronous.FULL,
        description="SQLite's wait for the disk: FULL, NORMAL (a power cut may cost the last commits).",
    )
    redact: Names = Field(
        REDACTED,
        description="Keys whose values are masked for roles below redact_below: parts of a key, or globs for a whole "
        "one; commas in the env.",
    )
    redact_below: Literal["viewer", "operator", "admin"] = Field(
        "admin", description="The role from which on values are seen unmasked: viewer, operator or admin."
    )
    retain: Kept = Field(
        RETAINED,
        description="How long what is over is kept, as entries over the default ones: STATE=SPAN or LANE:STATE=SPAN "
        "for jobs (* is every state), workers=SPAN, runs=SPAN; a span is like 90m, 12h, 30d, 2w or never; commas in "
        "the env.",
    )
    prune_every: Seconds = Field(
        3600.0, description="Seconds between two passes in which the leader removes what need not be kept; 0: never."
    )
    metrics_listen: Annotated[str, AfterValidator(_address)] | None = Field(
        None,
        description="Where a daemon serves metrics for Prometheus: a port on this machine, or HOST:PORT; unset: "
        "nowhere (`serve` has them too).",
    )
    promote: Names = Field((), description="Parameters whose text becomes a tag of the same name, for every job.")

    def __init__(self, **options: Any) -> None:
        merged = _merged(options)
        try:
            super().__init__(**{name: value for name, (value, _) in merged.items()})
        except ValidationError as error:
            _refuse(error, merged)

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        for name in ("table_prefix", "schema_name"):
            value = getattr(self, name)
            if value is not None and not _IDENTIFIER.match(value):
                raise ConfigurationError(
                    name=name, value=value, rule="it goes into SQL as a name", way_out="use letters, digits and _ only"
                )
        if self.table_prefix != "jobwarden_" and "jobwarden_" in self.table_prefix:
            raise ConfigurationError(
                name="table_prefix",
                value=self.table_prefix,
                rule="only the default may contain jobwarden_",
                way_out="shorten it",
            )
        slack = self.beat_interval + 2
        if self.self_fence_ttl + slack > self.death_budget:
            raise ConfigurationError(
                name="self_fence_ttl",
                value=self.self_fence_ttl,
                rule=f"a host must have ended its attempts before others take them: it needs {slack:g} s before "
                f"death_budget ({self.death_budget:g})",
                way_out="lower it, or raise death_budget",
            )
        if self.self_fence_ttl < self.silence:
            raise ConfigurationError(
                name="self_fence_ttl",
                value=self.self_fence_ttl,
                rule=f"it must not be below the {self.silence:g} s of missed_beats times beat_interval",
                way_out="change one of the three",
            )
        if self.poll_min > self.poll_idle:
            raise ConfigurationError(
                name="poll_idle",
                value=self.poll_idle,
                rule=f"it must not be below poll_min ({self.poll_min:g})",
                way_out="change one of the two",
            )
        return self

    @property
    def silence(self) -> float:
        """Seconds without a heartbeat after which a daemon counts as silent, and a lease that it holds runs out."""
        return self.beat_interval * self.missed_beats

    def dump(self) -> dict[str, Any]:
        """The settings as JSON data; ``Settings(**data)`` gives them back."""
        return self.model_dump(mode="json")


# -- sources ----------------------------------------------------------------------------------------------------------


def _merged(options: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """The value of each setting that some source gives, with the source's name for messages."""
    merged: dict[str, tuple[Any, str]] = {}
    for source, given in (*_files(), ("environment", _environment()), ("keyword", dict(options))):
        for name, value in given.items():
            if name not in Settings.model_fields:
                _refuse_unknown(name, value, source)
            merged[name] = (value, source)
    return merged


def _environment() -> dict[str, str]:
    found = {}
    for variable, value in os.environ.items():
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or variable in RESERVED_ENV:
            continue
        # A name that resembles no setting may be somebody else's: Kubernetes sets JOBWARDEN_PORT for a service.
        if name in Settings.model_fields or _nearest(name):
            found[name] = value
    return found


def _files() -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables of the configuration files, weakest first, from the nearest folder upwards that has any."""
    for folder in (here := Path.cwd(), *here.parents):
        own, project = folder / "jobwarden.toml", folder / "pyproject.toml"
        if own.is_file() or project.is_file():
            yield str(project), _table(_read(project).get("tool", {}).get("jobwarden", {}), project)
            yield str(own), _read(own)
            return


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The settings file {path} cannot be read ({error}): correct it or take it away."
        ) from error


def _table(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(name="tool.jobwarden", value=value, rule="it is no table", way_out=f"see {path}")
    return value


# -- refusals ---------------------------------------------------------------------------------------------------------


def _nearest(name: str) -> str | None:
    found = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.75)
    return found[0] if found else None


def _refuse_unknown(name: str, value: Any, source: str) -> NoReturn:
    near = _nearest(name)
    way_out = f"write {near}" if near else f"the settings are {', '.join(sorted(Settings.model_fields))}"
    raise ConfigurationError(name=name, value=_shown(name, value), rule=_unknown(source), way_out=way_out)


def _unknown(source: str) -> str:
    return f"there is no such setting (in {source})" if source != "keyword" else "there is no such setting"


def _refuse(error: ValidationError, merged: Mapping[str, tuple[Any, str]]) -> NoReturn:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    value, source = merged[name]
    rule = first["msg"][:1].lower() + first["msg"][1:]
    rule += f" (in {source})" if source != "keyword" else ""
    way_out = f"it means: {Settings.model_fields[name].description}"
    raise ConfigurationError(name=name, value=_shown(name, value), rule=rule, way_out=way_out.rstrip(".")) from None


def _shown(name: str, value: Any) -> Any:
    """The value as a message may show it: a URL without its password."""
    if not isinstance(value, str) or "url" not in name:
        return value
    password = urlsplit(value).password if "@" in value else None
    return value.replace(f":{password}@", ":***@") if password else value
