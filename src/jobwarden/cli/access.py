"""Who may come in over the network, at the command line: `token` and `user`.

A secret is all that `token create` writes to standard output, so that it can be piped to where it belongs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from jobwarden.cli import output
from jobwarden.cli.opening import Opening, told
from jobwarden.cli.operate import actor
from jobwarden.cli.read import json_option
from jobwarden.domain.access import Role
from jobwarden.domain.orders import By
from jobwarden.lifecycle import access
from jobwarden.store.database import Transaction

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_role = click.Choice([role.value for role in Role])
_reason = click.option("--reason", help="Why, for the audit.")
_name = click.argument("name")
_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input, not the terminal.")


def _lasting(context: click.Context, option: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,6})([mhdw])", text)
    if found is None:
        raise click.BadParameter("give a number with m, h, d or w, like 90d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group()
def token() -> None:
    """Tokens, with which programs come in over the API.

    Each has a name and a role; its secret is shown once.
    """


@token.command("create")
@_name
@click.option("--role", type=_role, required=True, help="What it may do.")
@click.option("--expires", metavar="TIME", callback=_lasting, help="After which time it is worth nothing, like 90d.")
@_reason
@json_option
@click.pass_obj
def token_create(
    opening: Opening, name: str, role: str, expires: timedelta | None, reason: str | None, as_json: bool
) -> None:
    """Make a token; its secret goes to standard output."""
    line, secret = _write(opening, reason, lambda t, by: access.create_token(t, name, role, by, expires))
    if as_json:
        output.as_json({"token": line, "secret": secret})
        return
    click.echo(f"The token {name} has the role {role}. This is its secret; it is not shown again:", err=True)
    click.echo(secret)


@token.command("list")
@json_option
@click.pass_obj
def token_list(opening: Opening, as_json: bool) -> None:
    """List tokens, without their secrets."""
    found = opening.read(access.tokens)
    if as_json:
        output.as_json({"data": found})
        return
    headings = ("name", "role", "made by", "made", "expires", "last used", "revoked", "id")
    moments = [(line.created_at, line.expires_at, line.last_used_at, line.revoked_at) for line in found]
    shown = [[output.instant(moment) or "" for moment in each] for each in moments]
    output.table(headings, [[f.name, f.role, f.created_by or "", *m, f.id] for f, m in zip(found, shown, strict=True)])


@token.command("revoke")
@click.argument("name", metavar="NAME|ID")
@_reason
@json_option
@click.pass_obj
def token_revoke(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Let a token be worth nothing from now on."""
    line = _write(opening, reason, lambda t, by: access.revoke_token(t, name, by))
    _say(line, f"{line.name} is revoked", as_json)


@click.group()
def user() -> None:
    """Users, who come in with a password over the console.

    A password has 12 characters at least.
    """


@user.command("create")
@_name
@click.option("--role", type=_role, required=True, help="What this user may do.")
@_stdin
@_reason
@json_option
@click.pass_obj
def user_create(
    opening: Opening, name: str, role: str, password_stdin: bool, reason: str | None, as_json: bool
) -> None:
    """Make a user."""
    password = _password(password_stdin)
    line = _write(opening, reason, lambda t, by: access.create_user(t, name, password, role, by))
    _say(line, f"{name} may come in, as {role}", as_json)


@user.command("list")
@json_option
@click.pass_obj
def user_list(opening: Opening, as_json: bool) -> None:
    """List users."""
    found = opening.read(access.users)
    if as_json:
        output.as_json({"data": found})
        return
    rows: list[list[output.Cell]] = [
        [f.name, f.role, f.created_by or "", output.instant(f.created_at) or "", output.instant(f.disabled_at) or ""]
        for f in found
    ]
    output.table(("name", "role", "made by", "made", "disabled"), rows)


@user.command("password")
@_name
@_stdin
@_reason
@json_option
@click.pass_obj
def user_password(opening: Opening, name: str, password_stdin: bool, reason: str | None, as_json: bool) -> None:
    """Give a user another password."""
    password = _password(password_stdin)
    line = _write(opening, reason, lambda t, by: access.set_password(t, name, password, by))
    _say(line, f"{name} has another password", as_json)


@user.command("disable")
@_name
@_reason
@json_option
@click.pass_obj
def user_disable(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Let a user not come in any more."""
    _say(_write(opening, reason, lambda t, by: access.disable_user(t, name, by)), f"{name} is disabled", as_json)


@user.command("enable")
@_name
@_reason
@json_option
@click.pass_obj
def user_enable(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Let a user come in again."""
    _say(_write(opening, reason, lambda t, by: access.enable_user(t, name, by)), f"{name} is enabled", as_json)


@user.command("role")
@_name
@click.argument("role", type=_role)
@_reason
@json_option
@click.pass_obj
def user_role(opening: Opening, name: str, role: str, reason: str | None, as_json: bool) -> None:
    """Give a user another role."""
    _say(_write(opening, reason, lambda t, by: access.set_role(t, name, role, by)), f"{name} is {role} now", as_json)


def _write(opening: Opening, reason: str | None, work: Callable[[Transaction, By], Any]) -> Any:
    """Once, not repeated: who is told of a lost connection looks whether it happened."""
    database, by = opening.database(), By(actor(), reason)
    with told(database), database.write() as transaction:
        return work(transaction, by)


def _say(line: Any, words: str, as_json: bool) -> None:
    if as_json:
        output.as_json(line)
    else:
        click.echo(words)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


COMMANDS = (token, user)
