"""One campaign from the first server to the report: run inside the sandbox, so that nothing of it can be left."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import journal, ledger, plan, report
from chaos.checker import check
from chaos.evidence import FOREVER, SECOND, Bounds, Clocks, Evidence, Hold, Injury, Leftover
from chaos.faults import Injector
from chaos.hosts import Host, lay_wires, nonce_of
from chaos.plan import Fault, Scale
from chaos.sandbox import MEMORY
from chaos.site import SITES, Site
from chaos.workload import Canary, Operator, Producer, Worker, unsettled
from jobwarden.cli import roles

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("src", "chaos", "tests/support", "tests/__init__.py")
_READ_CLOCKS, _SHOW, _LINGER = 1.0, 0.5, 6.0
#: Short enough that leases and budgets are lived through many times.
SETTINGS: dict[str, Any] = {
    "beat_interval": 0.4,
    "missed_beats": 5,
    "self_fence_ttl": 6.0,
    "death_budget": 11.0,
    "statement_timeout": 5.0,
    "connect_timeout": 2.0,
    "poll_idle": 1.0,
    "capacity": 8,
}
_STRIKES = 2.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for; ``seconds`` is how long the faults go on, spread evenly."""

    engine: str
    seed: int
    faults: int
    jobs: int
    hosts: int
    seconds: float
    supervisors: int
    replay: Path | None = None
    report: Path | None = None
    keep: Path | None = None


class Campaign:
    """One run."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._folder = Path(MEMORY) / "chaos"
        self._folder.mkdir()
        self._folder.chmod(0o755)
        self._journal = self._folder / "journal.jsonl"
        self._clocks, self._clocks_at = Clocks(), 0.0
        networked = SITES[wishes.engine].networked
        self._hosts_wanted = wishes.hosts if networked else 1
        lease = SETTINGS["beat_interval"] * SETTINGS["missed_beats"]
        pause = wishes.seconds / max(1, wishes.faults)
        self._scale = Scale(lease, SETTINGS["self_fence_ttl"], SETTINGS["death_budget"], pause)
        self.plan: list[Fault] = (
            plan.load(wishes.replay)
            if wishes.replay
            else plan.draw(wishes.seed, wishes.faults, self._hosts_wanted, networked, self._scale)
        )
        self._shown, self._busy = 0.0, 1.0
        self._line: list[str] = []

    def run(self) -> dict[str, Any]:
        """The campaign; its report as data."""
        self._freeze_code()
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # connections are lost here all the time
        os.environ[journal.PATH_VARIABLE] = str(self._journal)
        self._journal.touch()
        if SITES[self._wishes.engine].networked:
            lay_wires()
        with SITES[self._wishes.engine](self._folder) as site:
            return self._on(site)

    def _on(self, site: Site) -> dict[str, Any]:
        begun = time.monotonic()
        app = _application(site.near)
        server = str(app.database.server())
        producer = Producer(app, self._wishes.seed, self._wishes.jobs, self._wishes.jobs / (self._wishes.seconds * 0.9))
        operator = Operator(app, self._wishes.seed)
        canary = Canary(app)
        rounds = {"producer": producer.round, "operator": operator.round, "canary": canary.round}
        workers = [Worker(name, round) for name, round in rounds.items()]
        hosts = self._raise_hosts(site)
        injector = Injector(site, hosts, self._scale, lambda: self._tick(injector, producer))
        try:
            for worker in workers:
                worker.start()
            self._inflict(injector, producer)
            self._busy = time.monotonic() - begun
        finally:
            injector.finish()
            for worker in workers:
                worker.end()
        took = self._settle(injector, app, operator)
        leftovers = self._leftovers(hosts, injector)
        for host in hosts:
            host.stop()
        self._tick(injector, producer)
        evidence = self._gather(app, [*injector.injuries, *canary.injuries], hosts, leftovers, took)
        facts = report.Facts(
            engine=site.engine,
            seed=self._wishes.seed,
            hosts=len(hosts),
            settings=SETTINGS,
            seconds=round(time.monotonic() - begun, 1),
            server=server,
            faults=dict(injector.counts),
            signals=injector.signals,
            missed=injector.missed,
            operator={f"operator: {wish}": count for wish, count in operator.acted.items()},
            daemons=self._daemons(hosts),
            notes={
                "clock drift, s": round(self._clocks.drift, 4),
                "settled after, s": round(took, 1),
                "jobs per second": round(len(evidence.jobs) / self._busy, 1),
                "batches": len(evidence.graphs),
                "stalls of the machine": len(canary.injuries),
                "servers that died by themselves": injector.revived,
                "trouble of clients": sum(sum(worker.trouble.values()) for worker in workers),
            },
        )
        self._keep(site, hosts)
        return report.data(facts, self.plan, evidence, check(evidence))

    # -- making it -----------------------------------------------------------------------------------------------------

    def _freeze_code(self) -> None:
        """Run what is there now, whatever is edited meanwhile: hosts import a copy."""
        self._code = self._folder / "code"
        for name in _COPIED:
            source, target = ROOT / name, self._code / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "reports"))
            elif source.exists():
                shutil.copyfile(source, target)

    def _raise_hosts(self, site: Site) -> list[Host]:
        env = {
            "JOBWARDEN_DATABASE_URL": site.far,
            "PYTHONPATH": f"{self._code / 'src'}:{self._code}",
            "PYTHONUNBUFFERED": "1",
            journal.PATH_VARIABLE: str(self._journal),
            **{f"JOBWARDEN_{name.upper()}": str(value) for name, value in SETTINGS.items()},
        }
        hosts = [
            Host(ordinal, self._folder, _commands(self._wishes.supervisors), env, site.networked)
            for ordinal in range(self._hosts_wanted)
        ]
        for host in hosts:
            host.connect()
            host.start()
        return hosts

    # -- running it ----------------------------------------------------------------------------------------------------

    def _inflict(self, injector: Injector, producer: Producer) -> None:
        """Every fault in turn, then wait until the producer has enqueued all."""
        injector.wait(_STRIKES)
        for fault in self.plan:
            injector.inject(fault)
        limit = time.monotonic() + max(60.0, self._wishes.seconds)
        while not producer.done and time.monotonic() < limit:
            injector.wait(_SHOW)

    def _settle(self, injector: Injector, app: Any, operator: Operator) -> float:
        """Wait until every job is over or parked; how many seconds that took, or more than the bound."""
        begun = time.monotonic()
        while time.monotonic() - begun <= self._bound:
            injector.wait(_SHOW)
            try:
                operator.release_all()
                if unsettled(app) == 0:
                    return time.monotonic() - begun
            except Exception as error:
                self._say(f"the database cannot be asked yet: {error}")
        return time.monotonic() - begun

    @property
    def _bound(self) -> float:
        """Seconds for everything to settle: the death budget twice, the longest job and its limits, and the backlog."""
        return 2 * self._scale.budget + 60.0

    def _tick(self, injector: Injector, producer: Producer) -> None:
        now = time.monotonic()
        if now >= self._clocks_at:
            self._clocks_at = now + _READ_CLOCKS
            self._clocks.note(time.time_ns(), journal.boottime())
        if now >= self._shown:
            self._shown = now + _SHOW
            done = injector.injuries[-1].number if injector.injuries else 0
            self._say(
                f"{self._wishes.engine} seed {self._wishes.seed}: fault {done}/{len(self.plan)}, "
                f"{injector.signals} kills and stops, {producer.acknowledged}/{self._wishes.jobs} jobs"
            )

    def _say(self, words: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{words[:150]}", end="", file=sys.stderr, flush=True)

    # -- judging it ----------------------------------------------------------------------------------------------------

    def _leftovers(self, hosts: Sequence[Host], injector: Injector) -> list[Leftover]:
        """Processes that carry a nonce and are no idle seats, some seconds after everything was over."""
        injector.wait(_LINGER)
        return [
            Leftover(host.lives[-1].scope, proc.inner, proc.start_time, proc.nonce, proc.title)
            for host in hosts
            for proc in host.processes()
            if proc.nonce and proc.role != "seat" and nonce_of(proc.pid)
        ]

    def _gather(
        self, app: Any, injuries: list[Injury], hosts: Sequence[Host], leftovers: list[Leftover], took: float
    ) -> Evidence:
        lines = journal.read(self._journal)
        jobs, attempts, events, counters = ledger.load(app.database, self._clocks)
        graphs, edges = ledger.load_graphs(app.database)
        return Evidence(
            acknowledged=[id for line in lines if line.event == "enqueued" for id in line.more["ids"]],
            jobs=jobs,
            attempts=attempts,
            events=events,
            lines=[line for line in lines if line.job],
            injuries=injuries,
            lives=[life for host in hosts for life in host.lives],
            leftovers=leftovers,
            bounds=Bounds(self._scale.fence, self._scale.budget, self._bound, took, 0.05 + self._clocks.drift),
            counters=counters,
            graphs=graphs,
            edges=edges,
            planned={line.more["batch"]: line.more["nodes"] for line in lines if line.event == "batch"},
            holds=list(_holds(lines)),
            findings=[(found.id, f"{found.invariant} {found.id}: {found.detail}") for found in app.health(deep=True)],
        )

    def _daemons(self, hosts: Sequence[Host]) -> dict[str, int]:
        """How often a daemon ended with a code of its own, which no kill explains."""
        ends: Counter[str] = Counter()
        for host in hosts:
            path = host.folder / "keeper.jsonl"
            for text in path.read_text().splitlines() if path.exists() else ():
                fact = json.loads(text)
                if fact["event"] == "ended" and fact["code"] >= 0:
                    ends[f"{fact['name']} with code {fact['code']}"] += 1
        return dict(ends)

    def _keep(self, site: Site, hosts: Sequence[Host]) -> None:
        """Copy journal and logs out of the sandbox."""
        if self._wishes.keep is None:
            return
        self._wishes.keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._journal, self._wishes.keep)
        (self._wishes.keep / "server.log").write_text(site.log)
        for host in hosts:
            shutil.copytree(host.folder, self._wishes.keep / host.name, dirs_exist_ok=True)


def _holds(lines: Sequence[journal.Line]) -> Iterator[Hold]:
    """From the moment that a batch was held for certain to the one before anybody let it go on."""
    for number, line in enumerate(lines):
        if line.event == "held":
            batch = line.more["batch"]
            later = (after.at for after in lines[number:] if after.event == "released" and after.more["batch"] == batch)
            yield Hold(batch, line.at, next(later, FOREVER))


def _commands(supervisors: int) -> Mapping[str, Sequence[str]]:
    """The daemons of a host: some workers, and one that reaps for the whole fleet."""
    program = [sys.executable, "-m", "jobwarden.cli", "--debug", "-A", "chaos.app:jw"]
    commands = {f"work{number + 1}": [*program, "work"] for number in range(supervisors)}
    if "reap-global" in {command.name for command in roles.COMMANDS}:
        commands["reap-global"] = [*program, "reap-global"]
    return commands


def _application(url: str) -> Any:
    from chaos.app import build  # noqa: PLC0415

    return build(database_url=url, statement_timeout=5.0, connect_timeout=2.0)


__all__ = ["SECOND", "Campaign", "Wishes"]
