"""Access: who is known, the tokens and users that there are, and what anybody changed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta

from jobwarden.app import JobWarden
from jobwarden.domain.access import Principal, Role
from jobwarden.lifecycle import access as verbs
from jobwarden.service.gate import Part, by, needs
from jobwarden.store import audit as store
from jobwarden.views import audit as views

OPERATOR, ADMIN = Role.OPERATOR, Role.ADMIN
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, and the secret that is shown this once."""

    token: verbs.TokenLine
    secret: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The audit's chain: how many rows it has, the hash of the last, and the first at which it breaks, if it does."""

    rows: int
    hash: str
    broken_at: int | None
    why: str | None


class Access(Part):
    """Recognises who asks; tokens, users, audit."""

    def __init__(self, app: JobWarden) -> None:
        super().__init__(app)
        self._touched: dict[str, float] = {}

    def is_configured(self) -> bool:
        """Whether there is any token or user: then nobody is let in without credentials."""
        return self._read(verbs.is_configured)

    def has_users(self) -> bool:
        """Whether there is any user who may come in."""
        return self._read(verbs.has_users)

    def recognise(self, secret: str, address: str | None) -> Principal | None:
        """Who has this token; None if nobody has."""
        found = self._read(lambda transaction: verbs.authenticate(transaction, secret))
        if found is None:
            return None
        self._touch(found.actor, secret)
        return replace(found, address=address)

    def log_in(self, name: str, password: str, address: str | None) -> str | None:
        """A session's secret for who has this name and password; None for whoever has not."""
        with self._database.answering(), self._database.write() as transaction:
            found = verbs.log_in(transaction, name, password, address)
        return None if found is None else found[1]

    def log_out(self, secret: str, address: str | None) -> None:
        """End a session."""
        self._write(lambda transaction: verbs.log_out(transaction, secret, address))

    def _touch(self, actor: str, secret: str) -> None:
        """Write down that it was used, once a minute: not each look at a page is a write."""
        now = time.monotonic()
        if now - self._touched.get(actor, -_MINUTE) >= _MINUTE:
            self._touched[actor] = now
            self._write(lambda transaction: verbs.touch(transaction, secret))

    @needs(ADMIN, "see tokens")
    def tokens(self, principal: Principal) -> list[verbs.TokenLine]:
        """Every token, without secrets."""
        return self._read(verbs.tokens)

    @needs(ADMIN, "make tokens")
    def create_token(
        self, principal: Principal, name: str, role: Role, expires_in: timedelta | None, reason: str | None
    ) -> Minted:
        """Make one. Raises `NameTaken` or `AccessRefused`."""
        with self._database.answering(), self._database.write() as transaction:
            line, secret = verbs.create_token(transaction, name, role, by(principal, reason), expires_in)
        return Minted(line, secret)

    @needs(ADMIN, "revoke tokens")
    def revoke_token(self, principal: Principal, name: str, reason: str | None) -> verbs.TokenLine:
        """Let it not be valid any more. Raises `TokenNotFound`."""
        return self._write(lambda transaction: verbs.revoke_token(transaction, name, by(principal, reason)))

    @needs(ADMIN, "see users")
    def users(self, principal: Principal) -> list[verbs.UserLine]:
        """Every user, without passwords."""
        return self._read(verbs.users)

    @needs(OPERATOR, "see the audit")
    def audit(self, principal: Principal, wanted: views.AuditFilter, before: int | None, limit: int) -> views.AuditPage:
        """What anybody changed, the newest first."""
        return self._read(lambda transaction: views.listed(transaction, wanted, before, limit))

    @needs(ADMIN, "verify the audit")
    def verify(self, principal: Principal) -> Chain:
        """Walk along the whole chain."""
        found = self._read(store.verify)
        broken = found.broken
        return Chain(found.head.seq, found.head.hash, broken.seq if broken else None, broken.why if broken else None)
