"""What a running attempt asks of the database, over a connection of its own that is opened when first asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from jobwarden.errors import JobWardenError
from jobwarden.store.database import Database, Options
from jobwarden.store.schema import batches, dependencies, jobs


class DatabaseInquiry:
    """Answers a context's questions; one for each attempt that asks."""

    def __init__(self, settings: Options) -> None:
        self._database = Database(settings)

    def batch(self, batch_id: str) -> Mapping[str, Any] | None:
        """The batch's row as it stands: name, state and counts."""
        with self._database.read() as transaction:
            row = transaction.execute(select(batches).where(batches.c.id == batch_id)).mappings().one_or_none()
            return dict(row) if row is not None else None

    def upstream(self, job_id: str, key: str) -> Any:
        """The result of the dependency with that key; raises LookupError if the job does not depend on it."""
        found = (
            select(jobs.c.result)
            .select_from(dependencies.join(jobs, jobs.c.id == dependencies.c.depends_on_job_id))
            .where(dependencies.c.job_id == job_id, jobs.c.batch_key == key)
        )
        with self._database.read() as transaction:
            row = transaction.execute(found).one_or_none()
        if row is None:
            raise LookupError(f"this job does not depend on a batch member with the key {key!r}")
        return row.result

    def complete(self, connection: Any, claim: Mapping[str, Any], result: Any) -> None:
        """Settle the attempt as succeeded inside the caller's transaction."""
        raise JobWardenError("complete_in(connection) is not available yet: return the result from the handler instead")
