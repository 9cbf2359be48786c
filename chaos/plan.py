"""The plan: every fault of a campaign, drawn from a seed before anything starts, so that a seed replays the same ones.

A fault names its target by host, role and rank (a number in [0, 1) that picks one of those alive at that moment), and
waits for a pause since the fault before it. Pure.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

#: How many lease lengths a process is frozen for, at least and at most; drawn so that short ones are the more frequent.
FREEZES = (0.5, 20.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``what`` happens to ``role`` on ``host``; ``seconds`` is how long it lasts, ``mode`` which way."""

    number: int
    pause: float
    what: str
    host: int = 0
    role: str = ""
    rank: float = 0.0
    seconds: float = 0.0
    mode: str = ""

    def __str__(self) -> str:
        parts = [self.what, self.mode, self.role, f"on host {self.host + 1}" if self.role or self.host else ""]
        lasts = f"for {self.seconds:.1f} s" if self.seconds else ""
        return " ".join(part for part in (*parts, lasts) if part)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a plan is measured in, all in seconds: the lease, the fence's and the death budget, the mean pause."""

    lease: float
    fence: float
    budget: float
    pause: float


_KILLS = {"child": 22, "seat": 8, "zygote": 6, "supervisor": 10, "local reaper": 7, "global reaper": 4}
_FREEZES = {"child": 6, "seat": 2, "zygote": 4, "supervisor": 7, "local reaper": 5, "global reaper": 3}
_DEPLOYS = {"term": 3, "hup": 2}
_HOST = {"kill host": 2, "kill init": 1, "wipe": 1}
_DATABASE = {"restart fast": 1, "restart immediate": 1, "terminate": 3, "read only": 1, "outage": 1, "hang": 1}
_NETWORK = {"cut both": 1.0, "cut in": 0.5, "cut out": 0.5}


def draw(seed: int, count: int, hosts: int, networked: bool, scale: Scale) -> list[Fault]:
    """The faults of this seed; ``networked`` is whether there are a server and a network to be hurt."""
    rng = random.Random(seed)
    menu = _menu(networked)
    return [_fault(rng, number, hosts, menu, scale) for number in range(1, count + 1)]


def save(faults: Sequence[Fault]) -> list[dict[str, object]]:
    """The plan as JSON data."""
    return [asdict(fault) for fault in faults]


def load(path: Path) -> list[Fault]:
    """The plan in a file: a list of faults, or a report that has one."""
    data = json.loads(path.read_text())
    return [Fault(**fault) for fault in (data["plan"] if isinstance(data, dict) else data)]


def _menu(networked: bool) -> dict[tuple[str, str], float]:
    menu: dict[tuple[str, str], float] = {("kill", role): weight for role, weight in _KILLS.items()}
    menu |= {("freeze", role): weight for role, weight in _FREEZES.items()}
    menu |= {(what, "supervisor"): weight for what, weight in _DEPLOYS.items()}
    menu |= {(what, ""): weight for what, weight in _HOST.items()}
    if networked:
        menu |= {(what, ""): weight for what, weight in (*_DATABASE.items(), *_NETWORK.items())}
    else:
        menu[("lock", "")] = 3
    return menu


def _fault(rng: random.Random, number: int, hosts: int, menu: Mapping[tuple[str, str], float], scale: Scale) -> Fault:
    what, role = rng.choices(list(menu), list(menu.values()))[0]
    host, rank, chance = rng.randrange(hosts), rng.random(), rng.random()
    pause = scale.pause * rng.uniform(0.2, 1.8)
    what, _, mode = what.partition(" ") if what.startswith(("restart", "cut")) else (what, "", "")
    return Fault(
        number, round(pause, 3), what, host, role, round(rank, 4), round(_seconds(what, chance, scale), 2), mode
    )


def _seconds(what: str, chance: float, scale: Scale) -> float:
    """How long it lasts: outages stay short of the fence or go well past it, cuts always go past the budget."""
    match what:
        case "freeze":
            least, most = FREEZES
            return scale.lease * least * math.exp(chance * math.log(most / least))
        case "cut":
            return scale.budget * (1.3 + chance)
        case "read only" | "lock":
            return scale.fence * (0.1 + 0.3 * chance)
        case "outage" | "hang":
            return scale.fence * (0.4 * chance if chance < 0.7 else 1.2 + chance)
        case _:
            return 0.0
