"""Who asks: a client on this machine, a bearer of a token, or whoever the application says.

Without any token or user only loopback clients are served; with one, credentials are asked of everybody. What a page
in a browser could send on somebody's behalf is refused by what it cannot forge: the Host header must name this
machine, and what changes anything must come as JSON or with a header of its own, which another site's page cannot
send without asking first.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.throttle import Throttle
from jobwarden.service.access import Access

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_NAME = 200
OWN_HEADER = "X-JobWarden"
SESSION_COOKIE = "jobwarden_session"
Told = Principal | Role | bool | str | None


class Doorkeeper:
    """Recognises who asks; ``auth`` is the application's own word, and replaces everything else.

    Who guesses at tokens is made to wait: at most ten wrong ones from an address in a minute.
    """

    def __init__(self, desk: Access, auth: Callable[..., Any] | None = None) -> None:
        self._desk, self._auth = desk, auth
        self._throttle = Throttle(most=10, window=60.0)

    async def __call__(self, request: Request, proven: bool = False) -> Principal:
        """Who it is; ``proven``: the request is known to come from a page of ours. Raises 401 or 403."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if self._auth is None and scheme.lower() == "bearer":
            return await self._bearer(secret.strip(), _address(request))
        found = await self._without_token(request)
        if not proven:
            _refuse_pages(request)
        return found

    async def _without_token(self, request: Request) -> Principal:
        """Who it is by the application's word, by a session, or by being on this machine."""
        if self._auth is not None:
            return await self._told(self._auth, request)
        if (session := request.cookies.get(SESSION_COOKIE)) is not None:
            found = await run_in_threadpool(self._desk.recognise, session, _address(request))
            if found is not None:
                return found
        if await run_in_threadpool(self._desk.is_configured):
            raise _unknown("A token is needed: Authorization: Bearer TOKEN.")
        return self._local(request)

    async def asks_users(self) -> bool:
        """Whether people can log in here."""
        return self._auth is None and await run_in_threadpool(self._desk.has_users)

    async def log_in(self, request: Request, name: str, password: str) -> str | None:
        """A session's secret for who has this name and password; None for whoever has not. Raises 429."""
        address, now = _address(request), time.monotonic()
        keys = (f"address:{address}", f"user:{name[:_LONGEST_NAME]}")
        if (seconds := self._throttle.wait(now, *keys)) > 0:
            detail = f"Too many wrong passwords: wait {math.ceil(seconds)} seconds."
            raise HTTPException(429, detail, {"Retry-After": str(math.ceil(seconds))})
        secret = await run_in_threadpool(self._desk.log_in, name, password, address)
        if secret is None:
            self._throttle.failed(now, *keys)
        else:
            self._throttle.succeeded(*keys)
        return secret

    async def log_out(self, request: Request) -> None:
        """End the session that the request has."""
        if (session := request.cookies.get(SESSION_COOKIE)) is not None:
            await run_in_threadpool(self._desk.log_out, session, _address(request))

    async def _bearer(self, secret: str, address: str | None) -> Principal:
        key, now = f"address:{address}", time.monotonic()
        if (seconds := self._throttle.wait(now, key)) > 0:
            detail = "Too many wrong tokens came from this address: wait."
            raise HTTPException(429, detail, {"Retry-After": str(math.ceil(seconds))})
        found = await run_in_threadpool(self._desk.recognise, secret, address)
        if found is None:
            self._throttle.failed(now, key)
            raise _unknown("The token is not known, expired or revoked.")
        self._throttle.succeeded(key)
        return found

    async def _told(self, auth: Callable[..., Any], request: Request) -> Principal:
        """What the application says: a `Principal`, a role, or whether at all."""
        told = auth(request) if inspect.iscoroutinefunction(auth) else await run_in_threadpool(auth, request)
        if inspect.isawaitable(told):
            told = await told
        if isinstance(told, Principal):
            return told
        if told is None or told is False:
            raise HTTPException(403, "The application does not let you in.")
        role = Role.ADMIN if told is True else Role(told)
        return Principal("api", role, _address(request))

    def _local(self, request: Request) -> Principal:
        address = _address(request)
        if not _is_loopback(address):
            raise HTTPException(
                401,
                "Only clients on this machine are served: no token and no user is set up.",
                {"WWW-Authenticate": "Bearer"},
            )
        if _host(request) not in _LOCAL:
            raise HTTPException(403, "The Host header does not name this machine: ask by localhost or 127.0.0.1.")
        return Principal("api:loopback", Role.ADMIN, address)


def trusted_header(
    name: str = "X-Remote-User",
    *,
    role: str = "viewer",
    role_header: str | None = None,
    proxies: Iterable[str] = ("127.0.0.1", "::1"),
) -> Callable[[Request], Principal | None]:
    """An ``auth=`` that believes what a proxy says of who asks, which has asked them itself.

    The user is in the header ``name``, the role in ``role_header`` where that is set and sent, else it is ``role``.
    Only what comes from ``proxies`` (addresses or networks) is believed; everybody else is nobody. The proxy must take
    both headers out of what clients send. Raises `ValueError` for what is no role, address or network.
    """
    usual, networks = Role(role), [ipaddress.ip_network(each) for each in proxies]

    def told(request: Request) -> Principal | None:
        address, user = _address(request), request.headers.get(name, "").strip()
        if not user or len(user) > _LONGEST_NAME or not _is_within(address, networks):
            return None
        wanted = request.headers.get(role_header) if role_header else None
        if wanted is not None and wanted not in set(Role):
            return None
        return Principal(user, usual if wanted is None else Role(wanted), address)

    return told


def _is_within(address: str | None, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        return address is not None and any(ipaddress.ip_address(address) in network for network in networks)
    except ValueError:
        return False


def _refuse_pages(request: Request) -> None:
    """Refuse what a page of another site could send with somebody's cookies, or from somebody's machine."""
    if request.method not in _SAFE and not _comes_from_a_program(request):
        raise HTTPException(403, f"What changes anything must be sent as JSON, or with the header {OWN_HEADER}.")


def _unknown(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _host(request: Request) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname
    except ValueError:
        return None


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


def _is_loopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _comes_from_a_program(request: Request) -> bool:
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or OWN_HEADER in request.headers
