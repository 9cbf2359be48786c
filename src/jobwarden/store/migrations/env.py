"""Alembic's environment: the caller has configured everything, so there is only the running left."""

from alembic import context

if context.is_offline_mode():
    context.run_migrations()
else:
    with context.begin_transaction():
        context.run_migrations()
