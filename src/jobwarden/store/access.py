"""Tokens and users as rows: of a token only the SHA-256, of a password only what argon2 made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, bindparam, delete, exists, insert, or_, select, update

from jobwarden.store.database import Id, Transaction, after, now
from jobwarden.store.schema import tokens, users

_TOUCH_AFTER = 60.0
_live = (
    select(tokens.c.id, tokens.c.name, tokens.c.role, tokens.c.created_by, tokens.c.created_at)
    .where(tokens.c.hash == bindparam("hash"), tokens.c.revoked_at.is_(None))
    .where(or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now()))
)
_touch = (
    update(tokens)
    .where(tokens.c.hash == bindparam("secret_hash"))
    .where(or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < after(-_TOUCH_AFTER)))
    .values(last_used_at=now())
)


def live_token(transaction: Transaction, secret_hash: str) -> Any:
    """The token with this hash that is neither expired nor revoked, or None."""
    return transaction.execute(_live, hash=secret_hash).one_or_none()


_anybody = select(
    or_(
        exists().where(tokens.c.revoked_at.is_(None)),
        exists().where(users.c.disabled_at.is_(None)),
    ).label("anybody")
)


def anybody(transaction: Transaction) -> bool:
    """Whether there is a token that was not revoked, expired or not, or a user who is not disabled."""
    return bool(transaction.execute(_anybody).scalar_one())


_forget = delete(tokens).where(
    tokens.c.name.like(bindparam("pattern")), or_(tokens.c.expires_at < now(), tokens.c.revoked_at.is_not(None))
)


def forget_expired(transaction: Transaction, prefix: str) -> None:
    """Remove the tokens whose names begin so and that are worth nothing any more."""
    transaction.execute(_forget, pattern=f"{prefix}%")


def touch_token(transaction: Transaction, secret_hash: str) -> None:
    """Write down that it was used, unless that was within the last minute."""
    transaction.execute(_touch, secret_hash=secret_hash)


def listed(transaction: Transaction, table: Table) -> list[Any]:
    """All rows of tokens or users, by name."""
    return list(transaction.execute(select(table).order_by(table.c.name)))


def named(transaction: Transaction, table: Table, name: str, lock: bool = True) -> Any:
    """The row with this name, or None."""
    query = select(table).where(table.c.name == bindparam("given"))
    return transaction.execute(query.with_for_update() if lock else query, given=name).one_or_none()


def token_by_id(transaction: Transaction, token_id: str) -> Any:
    """The token with this whole id, or None; held until the commit."""
    query = select(tokens).where(tokens.c.id == bindparam("given", type_=Id)).with_for_update()
    return transaction.execute(query, given=token_id).one_or_none()


def add(transaction: Transaction, table: Table, row: Mapping[str, Any]) -> None:
    """A new row, made now."""
    moments = {"created_at": now(), **({"updated_at": now()} if table is users else {})}
    transaction.execute(insert(table).values({**row, **moments}))


def change(transaction: Transaction, table: Table, row_id: str, given: Mapping[str, Any]) -> None:
    """Give a row other values."""
    moments = {"updated_at": now()} if table is users else {}
    transaction.execute(update(table).where(table.c.id == row_id).values({**given, **moments}))
