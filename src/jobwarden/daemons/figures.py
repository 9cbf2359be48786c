"""What a daemon counts of its own work, for whoever watches the fleet; told with each beat and kept in its row.

Numbers only ever grow while the daemon lives, so that rates can be read from two looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobwarden.domain.history import SIZES


@dataclass(slots=True)
class Figures:
    """Commits and what they held; ``seconds`` were spent in them, ``conflicts`` had to be done again at once, and
    ``faults`` after a pause."""

    commits: int = 0
    seconds: float = 0.0
    written: int = 0
    conflicts: int = 0
    faults: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * (len(SIZES) + 1))

    def committed(self, written: int, seconds: float) -> None:
        """A transaction is committed: so many claims, starts, outcomes and lines, in so many seconds."""
        self.commits += 1
        self.seconds += seconds
        self.written += written
        self.sizes[next((n for n, bound in enumerate(SIZES) if written <= bound), len(SIZES))] += 1

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "commits": self.commits,
            "seconds": round(self.seconds, 3),
            "written": self.written,
            "conflicts": self.conflicts,
            "faults": self.faults,
            "sizes": list(self.sizes),
        }
