"""Everything that can be seen and done from outside, each by somebody: here roles are checked, whatever the way in.

A method that can be called names the role that it needs (`gate.needs`); a test goes through them all. What people
change goes through the same verbs as the application's own code, with their name and address for the ledger.
"""

from __future__ import annotations

from jobwarden.app import JobWarden
from jobwarden.service.access import Access
from jobwarden.service.batches import Batches
from jobwarden.service.fleet import Fleet
from jobwarden.service.jobs import Jobs
from jobwarden.service.schedules import Schedules

__all__ = ["Service"]


class Service:
    """One application's database, part by part."""

    def __init__(self, app: JobWarden) -> None:
        self.app = app
        self.jobs, self.batches = Jobs(app), Batches(app)
        self.schedules, self.fleet, self.access = Schedules(app), Fleet(app), Access(app)

    @property
    def parts(self) -> tuple[Jobs, Batches, Schedules, Fleet, Access]:
        """All parts."""
        return self.jobs, self.batches, self.schedules, self.fleet, self.access
