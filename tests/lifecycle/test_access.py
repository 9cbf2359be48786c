"""Tokens and users on every engine: made, recognised, refused, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from jobwarden.domain.access import Role
from jobwarden.domain.orders import By
from jobwarden.errors import AccessRefused, NameTaken, TokenNotFound, UserNotFound
from jobwarden.lifecycle import access
from jobwarden.store.database import Database, after
from jobwarden.store.schema import tokens, users

BY = By("ann")
LONG = "correct horse battery"


def test_a_token_from_making_to_revoking(database: Database) -> None:
    with database.write() as t:
        line, secret = access.create_token(t, "ci", "operator", BY, timedelta(days=90))
        assert secret.startswith("jw_")
        assert line.last_used_at is None
        stored = t.execute(sa.select(tokens)).one()
        assert secret not in str(stored)
        assert access.authenticate(t, "jw_wrong") is None
        assert access.authenticate(t, stored.hash) is None
        principal = access.authenticate(t, secret)
        assert principal is not None
        assert (principal.actor, principal.role) == ("token:ci", Role.OPERATOR)
    with database.write() as t:
        access.touch(t, secret)
    with database.write() as t:
        first = access.tokens(t)[0].last_used_at
        access.touch(t, secret)
        assert access.tokens(t)[0].last_used_at == first is not None
        assert access.revoke_token(t, line.id, BY).revoked_by == "ann"
        assert access.authenticate(t, secret) is None
        access.revoke_token(t, "ci", BY)


def test_an_expired_token_is_worth_nothing(database: Database) -> None:
    with database.write() as t:
        _, secret = access.create_token(t, "ci", "viewer", BY, timedelta(hours=1))
        t.execute(sa.update(tokens).values(expires_at=after(-1)))
        assert access.authenticate(t, secret) is None


def test_what_cannot_be_is_refused_in_a_sentence(database: Database) -> None:
    with database.write() as t:
        access.create_token(t, "ci", "viewer", BY, None)
        with pytest.raises(NameTaken, match="choose another name"):
            access.create_token(t, "ci", "viewer", BY, None)
        with pytest.raises(AccessRefused, match="no role 'king'"):
            access.create_token(t, "x", "king", BY, None)
        with pytest.raises(AccessRefused, match="expire"):
            access.create_token(t, "x", "viewer", BY, timedelta(0))
        with pytest.raises(AccessRefused, match="printable"):
            access.create_token(t, " x", "viewer", BY, None)
        with pytest.raises(TokenNotFound):
            access.revoke_token(t, "other", BY)
        with pytest.raises(UserNotFound):
            access.disable_user(t, "other", BY)
        with pytest.raises(AccessRefused, match="from 12"):
            access.create_user(t, "ben", "short", "viewer", BY)
        assert access.users(t) == []


def test_a_user_from_making_to_disabling(database: Database) -> None:
    with database.write() as t:
        access.create_user(t, "ben", LONG, "viewer", BY)
        with pytest.raises(NameTaken):
            access.create_user(t, "ben", LONG, "viewer", BY)
        assert LONG not in str(t.execute(sa.select(users)).one())
        assert access.check_password(t, "ben", LONG + "x") is None
        assert access.check_password(t, "nobody", LONG) is None
        access.set_role(t, "ben", "admin", BY)
        principal = access.check_password(t, "ben", LONG)
        assert principal is not None
        assert (principal.actor, principal.role) == ("user:ben", Role.ADMIN)
        access.set_password(t, "ben", LONG + "!", BY)
        assert access.check_password(t, "ben", LONG) is None
        access.disable_user(t, "ben", BY)
        assert access.check_password(t, "ben", LONG + "!") is None
        access.enable_user(t, "ben", BY)
        assert access.check_password(t, "ben", LONG + "!") is not None


def test_a_password_hashed_by_older_parameters_is_hashed_anew(database: Database) -> None:
    argon2 = pytest.importorskip("argon2")
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=64).hash(LONG)
    with database.write() as t:
        access.create_user(t, "ben", LONG, "viewer", BY)
        t.execute(sa.update(users).values(password=weak))
        assert access.check_password(t, "ben", LONG) is not None
        assert t.execute(sa.select(users.c.password)).scalar_one() != weak
        assert access.check_password(t, "ben", LONG) is not None
