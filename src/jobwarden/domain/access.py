"""Who may do what: three roles, each of which may do all that the one before it may.

The check sits in the service layer, in front of every way in; daemons and the application's own code act as themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobwarden.errors import RoleRequired


class Role(StrEnum):
    """What somebody may do, from least to most."""

    VIEWER = "viewer"  # read
    OPERATOR = "operator"  # act on jobs, batches, lanes and workers; run a schedule now
    ADMIN = "admin"  # define schedules, retention and access; see what others see redacted

    @property
    def rank(self) -> int:
        """How much it may: more than all of lower rank."""
        return list(Role).index(self)

    def covers(self, needed: Role) -> bool:
        """Whether it may do what needs that role."""
        return self.rank >= needed.rank


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was recognised: a name for the ledger, a role, and the address that they came from."""

    actor: str
    role: Role
    address: str | None = None

    def require(self, needed: Role, what: str) -> None:
        """Raise `RoleRequired` unless this may be done; ``what`` says it in words, like "cancel jobs"."""
        if not self.role.covers(needed):
            raise RoleRequired(actor=self.actor, role=self.role.value, needed=needed.value, what=what)
