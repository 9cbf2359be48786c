"""`serve`, as a process of its own."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx2
import pytest

from tests.cli.conftest import Cli
from tests.support.web import Web


def test_it_serves_an_application_and_ends_when_it_is_told(database_url: str, tmp_path: Path) -> None:
    with Web(database_url, tmp_path) as web:
        made = httpx2.post(f"{web.address}/api/jobs", json={"job": "succeed", "params": {"value": 1}})
        assert made.status_code == 201
        told = httpx2.get(f"{web.address}/api/jobs/{made.json()['id']}").json()
        assert (told["state"], told["created_by"]) == ("queued", "api:loopback")
        assert httpx2.get(f"{web.address}/readyz").text == "ready\n"
        web.process.send_signal(signal.SIGTERM)
        assert web.process.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in web.log


@pytest.mark.any_engine
def test_an_address_that_others_can_reach_needs_somebody_who_is_known(cli: Cli) -> None:
    refused = cli("serve", "--host", "0.0.0.0", "--port", "0", code=1)
    assert "host = '0.0.0.0'" in refused.err
    assert "token create" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.any_engine
def test_with_a_token_it_may_listen_anywhere_and_asks_everybody_for_one(cli: Cli, database_url: str) -> None:
    secret = cli("token", "create", "ops", "--role", "viewer").out.strip()
    with Web(database_url, cli.folder, host="0.0.0.0") as web:
        local = web.address.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{local}/api/me").status_code == 401
        me = httpx2.get(f"{local}/api/me", headers={"Authorization": f"Bearer {secret}"})
        assert me.json() == {"actor": "token:ops", "role": "viewer"}


@pytest.mark.any_engine
def test_a_port_that_is_taken_is_named(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = cli("serve", "--port", port, code=1)
    assert f"127.0.0.1:{port}" in refused.err
    assert "in use" in refused.err
