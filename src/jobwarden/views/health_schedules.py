"""What is wrong with schedules: one that is due and that nobody looks at, and one that cannot be evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import or_, select

from jobwarden.domain.findings import Finding
from jobwarden.domain.occurrences import LATE_AFTER
from jobwarden.store.database import Transaction, age
from jobwarden.store.schema import schedules

_MOST = 1000
_late = age(schedules.c.next_due_at)
_wrong = (
    select(schedules.c.id, schedules.c.name, schedules.c.last_error, schedules.c.failures, _late.label("late"))
    .where(schedules.c.enabled, or_(schedules.c.failures > 0, _late > LATE_AFTER))
    .order_by(schedules.c.next_due_at)
    .limit(_MOST)
)


def of_schedules(transaction: Transaction) -> Iterator[Finding]:
    """Schedules that do not fire although they should."""
    for row in transaction.execute(_wrong):
        if row.failures:
            yield Finding("schedule_broken", str(row.id), f"{row.name} cannot be evaluated: {row.last_error}")
        else:
            detail = f"{row.name} has been due for {row.late:.0f} s and no scheduler looked: run `jobwarden schedule`"
            yield Finding("schedule_unattended", str(row.id), detail)
