"""Tokens and users: made, changed, listed, and recognised. Each change is one row of the audit, in its transaction.

A secret is never stored: of a token its SHA-256 (it has 256 bits of chance, so that a quick hash is enough), of a
password its argon2. A token is found by its hash, so that how long that takes tells nothing about the secret.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.audit import Action
from jobwarden.domain.orders import By
from jobwarden.errors import AccessRefused, ConfigurationError, NameTaken, TokenNotFound, UserNotFound
from jobwarden.store import access as store
from jobwarden.store.audit import record_act
from jobwarden.store.database import Transaction, now
from jobwarden.store.ids import new_id
from jobwarden.store.schema import tokens as token_table
from jobwarden.store.schema import users as user_table

PREFIX = "jw_"
SHORTEST = 12
SESSION = "session:"
SESSION_LASTS = timedelta(hours=12)
_LONGEST_NAME, _LONGEST_PASSWORD = 190, 1024
_LONGEST_LIFE = timedelta(days=36525)


@dataclass(frozen=True, slots=True)
class TokenLine:
    """One token, without its secret."""

    id: str
    name: str
    role: Role
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


@dataclass(frozen=True, slots=True)
class UserLine:
    """One user of the console, without the password."""

    id: str
    name: str
    role: Role
    created_by: str | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None


# -- tokens -----------------------------------------------------------------------------------------------------------


def create_token(
    transaction: Transaction, name: str, role: Role | str, by: By, expires_in: timedelta | None
) -> tuple[TokenLine, str]:
    """Make a token; gives it with its secret, which is nowhere to be found afterwards.

    Raises `AccessRefused` for a name, role or expiry that cannot be, and `NameTaken`.
    """
    given = {"id": new_id(), "name": _name("token", name), "role": _role("token", name, role).value}
    if name.startswith(SESSION):
        raise AccessRefused(kind="token", name=name, rule=f"names that begin with {SESSION} are the console's")
    if expires_in is not None and not timedelta(0) < expires_in <= _LONGEST_LIFE:
        raise AccessRefused(kind="token", name=name, rule="it must expire within a hundred years from now, not before")
    expires = transaction.now() + expires_in if expires_in is not None else None
    secret = PREFIX + secrets.token_urlsafe(32)
    _add(transaction, "token", {**given, "hash": _hash(secret), "created_by": by.actor, "expires_at": expires})
    line = _token_line(store.named(transaction, token_table, name))
    after = {"id": line.id, "role": line.role.value, "expires_at": expires and expires.isoformat()}
    record_act(transaction, Action.TOKEN_CREATE, name, by, None, after)
    return line, secret


def revoke_token(transaction: Transaction, name_or_id: str, by: By) -> TokenLine:
    """Let a token be worth nothing from now on; one that is revoked stays so. Raises `TokenNotFound`."""
    row = store.named(transaction, token_table, name_or_id)
    if row is None and (whole := _whole(name_or_id)) is not None:
        row = store.token_by_id(transaction, whole)
    if row is None:
        raise TokenNotFound(name=name_or_id)
    if row.revoked_at is None:
        store.change(transaction, token_table, row.id, {"revoked_at": now(), "revoked_by": by.actor})
        before, after = {"id": row.id, "role": row.role, "revoked": False}, {"id": row.id, "revoked": True}
        record_act(transaction, Action.TOKEN_REVOKE, row.name, by, before, after)
    return _token_line(store.named(transaction, token_table, row.name))


def tokens(transaction: Transaction) -> list[TokenLine]:
    """Every token, by name; sessions of the console are none."""
    return [_token_line(row) for row in store.listed(transaction, token_table) if not row.name.startswith(SESSION)]


def is_configured(transaction: Transaction) -> bool:
    """Whether there is any token or user, so that nobody is to be let in without credentials."""
    return store.anybody(transaction)


def authenticate(transaction: Transaction, secret: str) -> Principal | None:
    """Who has this secret; None if nobody has, or if the token is expired or revoked. Only reads."""
    row = store.live_token(transaction, _hash(secret)) if secret.startswith(PREFIX) else None
    if row is None:
        return None
    if row.name.startswith(SESSION):
        return _of_session(transaction, row)
    return Principal(f"token:{row.name}", Role(row.role))


def touch(transaction: Transaction, secret: str) -> None:
    """Write down that a token was used, at most once a minute; in a transaction of its own."""
    store.touch_token(transaction, _hash(secret))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _token_line(row: Any) -> TokenLine:
    moments = (row.created_at, row.expires_at, row.last_used_at, row.revoked_at)
    return TokenLine(row.id, row.name, Role(row.role), row.created_by, *moments, row.revoked_by)


# -- users ------------------------------------------------------------------------------------------------------------


def create_user(transaction: Transaction, name: str, password: str, role: Role | str, by: By) -> UserLine:
    """Make a user. Raises `AccessRefused` for a name, password or role that cannot be, and `NameTaken`."""
    given = {"id": new_id(), "name": _name("user", name), "role": _role("user", name, role).value}
    _add(transaction, "user", {**given, "password": _made(name, password), "created_by": by.actor})
    record_act(transaction, Action.USER_CREATE, name, by, None, {"role": given["role"], "disabled": False})
    return _user_line(_user(transaction, name))


def set_password(transaction: Transaction, name: str, password: str, by: By) -> UserLine:
    """Give a user another password. Raises `UserNotFound`, or `AccessRefused` for one that is too short."""
    made, state = _made(name, password), _user(transaction, name)
    at = transaction.now().isoformat()
    before, after = {"password_since": state.updated_at.isoformat()}, {"password_since": at}
    return _changed(transaction, name, {"password": made}, (Action.USER_PASSWORD, by, before, after))


def disable_user(transaction: Transaction, name: str, by: By) -> UserLine:
    """Let a user not come in; one that is disabled stays so. Raises `UserNotFound`."""
    row = _user(transaction, name)
    if row.disabled_at is not None:
        return _user_line(row)
    told = (Action.USER_DISABLE, by, {"disabled": False}, {"disabled": True})
    return _changed(transaction, name, {"disabled_at": now()}, told)


def enable_user(transaction: Transaction, name: str, by: By) -> UserLine:
    """Let a user come in again. Raises `UserNotFound`."""
    row = _user(transaction, name)
    if row.disabled_at is None:
        return _user_line(row)
    told = (Action.USER_ENABLE, by, {"disabled": True}, {"disabled": False})
    return _changed(transaction, name, {"disabled_at": None}, told)


def set_role(transaction: Transaction, name: str, role: Role | str, by: By) -> UserLine:
    """Give a user another role. Raises `UserNotFound`, or `AccessRefused` for a role that there is not."""
    wanted, row = _role("user", name, role), _user(transaction, name)
    if row.role == wanted:
        return _user_line(row)
    told = (Action.USER_ROLE, by, {"role": row.role}, {"role": wanted.value})
    return _changed(transaction, name, {"role": wanted.value}, told)


def has_users(transaction: Transaction) -> bool:
    """Whether there is a user who is not disabled."""
    return any(row.disabled_at is None for row in store.listed(transaction, user_table))


def users(transaction: Transaction) -> list[UserLine]:
    """Every user, by name."""
    return [_user_line(row) for row in store.listed(transaction, user_table)]


def check_password(transaction: Transaction, name: str, password: str) -> Principal | None:
    """Who has this name and password; None for a wrong one, for nobody and for who is disabled, after the same time.

    A password that was hashed by older parameters is hashed anew, so the transaction must be one that may write.
    """
    argon = _argon()
    row = store.named(transaction, user_table, name, lock=False) if _fits(name) else None
    given = password if len(password) <= _LONGEST_PASSWORD else ""
    right = argon.fits(row.password if row is not None else argon.nobodys, given)
    if row is None or not right or row.disabled_at is not None:
        return None
    if argon.hasher.check_needs_rehash(row.password):
        store.change(transaction, user_table, row.id, {"password": argon.hasher.hash(password)})
    return Principal(f"user:{row.name}", Role(row.role))


class _Argon:
    """The hasher, and the hash that nobody's password is compared with."""

    def __init__(self, module: Any) -> None:
        self.hasher = module.PasswordHasher()
        self.nobodys: str = self.hasher.hash(secrets.token_urlsafe(32))
        self._wrong = (module.exceptions.VerificationError, module.exceptions.InvalidHashError, UnicodeError)

    def fits(self, made: str, password: str) -> bool:
        try:
            return bool(self.hasher.verify(made, password))
        except self._wrong:
            return False


@cache
def _argon() -> _Argon:
    try:
        import argon2  # noqa: PLC0415 - only who has a console needs it
    except ImportError as error:
        rule = f"passwords need argon2-cffi, which is not installed ({error})"
        way_out = "pip install 'jobwarden[web]'"
        raise ConfigurationError(f"Users cannot be used: {rule}; {way_out}.") from error
    return _Argon(argon2)


def _made(name: str, password: str) -> str:
    if not SHORTEST <= len(password) <= _LONGEST_PASSWORD:
        rule = f"the password must have from {SHORTEST} to {_LONGEST_PASSWORD} characters"
        raise AccessRefused(kind="user", name=name, rule=rule)
    try:
        return str(_argon().hasher.hash(password))
    except UnicodeError:
        raise AccessRefused(kind="user", name=name, rule="the password must be a text in Unicode") from None


def _user(transaction: Transaction, name: str) -> Any:
    row = store.named(transaction, user_table, name) if _fits(name) else None
    if row is None:
        raise UserNotFound(name=name)
    return row


def _changed(
    transaction: Transaction,
    name: str,
    given: dict[str, Any],
    told: tuple[Action, By, dict[str, Any], dict[str, Any]],
) -> UserLine:
    action, by, before, after = told
    store.change(transaction, user_table, _user(transaction, name).id, given)
    record_act(transaction, action, name, by, before, after)
    return _user_line(_user(transaction, name))


def _user_line(row: Any) -> UserLine:
    return UserLine(row.id, row.name, Role(row.role), row.created_by, row.created_at, row.updated_at, row.disabled_at)


# -- sessions of the console: tokens that a user gets by a password, and that end with any change of the user ----------


def log_in(transaction: Transaction, name: str, password: str, address: str | None) -> tuple[Principal, str] | None:
    """A session for who has this name and password, with its secret; None for whoever has not."""
    who = check_password(transaction, name, password)
    if who is None:
        return None
    store.forget_expired(transaction, SESSION)
    session, secret = new_id(), PREFIX + secrets.token_urlsafe(32)
    expires = transaction.now() + SESSION_LASTS
    given = {"id": session, "name": f"{SESSION}{session}", "role": who.role.value, "created_by": name}
    store.add(transaction, token_table, {**given, "hash": _hash(secret), "expires_at": expires})
    by = By(who.actor, address=address)
    record_act(transaction, Action.USER_LOGIN, name, by, None, {"session": session, "expires_at": expires.isoformat()})
    return who, secret


def log_out(transaction: Transaction, secret: str, address: str | None) -> None:
    """End a session; fine if there is none."""
    row = store.live_token(transaction, _hash(secret))
    if row is None or not row.name.startswith(SESSION):
        return
    store.change(transaction, token_table, row.id, {"revoked_at": now(), "revoked_by": row.created_by})
    by = By(f"user:{row.created_by}", address=address)
    record_act(transaction, Action.USER_LOGOUT, row.created_by, by, {"session": row.id}, None)


def _of_session(transaction: Transaction, row: Any) -> Principal | None:
    user = store.named(transaction, user_table, row.created_by, lock=False)
    if user is None or user.disabled_at is not None or user.updated_at > row.created_at:
        return None
    return Principal(f"user:{user.name}", Role(user.role))


# -- both -------------------------------------------------------------------------------------------------------------


def _add(transaction: Transaction, kind: str, row: dict[str, Any]) -> None:
    table = token_table if kind == "token" else user_table
    if store.named(transaction, table, row["name"], lock=False) is not None:
        raise NameTaken(kind=kind, name=row["name"])
    try:
        with transaction.connection.begin_nested():
            store.add(transaction, table, row)
    except IntegrityError:
        raise NameTaken(kind=kind, name=row["name"]) from None


def _name(kind: str, name: str) -> str:
    if not _fits(name):
        rule = f"its name must have from 1 to {_LONGEST_NAME} printable characters, without space at its ends"
        raise AccessRefused(kind=kind, name=name, rule=rule)
    return name


def _fits(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()


def _role(kind: str, name: str, role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        rule = f"there is no role {role!r}, only {', '.join(Role)}"
        raise AccessRefused(kind=kind, name=name, rule=rule) from None


def _whole(token_id: str) -> str | None:
    try:
        return str(UUID(token_id))
    except (ValueError, AttributeError, TypeError):
        return None
