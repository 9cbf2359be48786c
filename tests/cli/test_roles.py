"""The daemons from the command line: what is refused before they begin."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli


@pytest.mark.any_engine
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("nowhere.invalid:9484", "nothing can be served there"),
        ("127.0.0.1:99999", "nothing can be served there"),
        ("127.0.0.1", "it must be a port, or a host and a port"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(cli: Cli, where: str, words: str) -> None:
    cli.env["JOBWARDEN_METRICS_LISTEN"] = where
    refused = cli("reap-global", code=1).err
    assert "metrics_listen" in refused
    assert words in refused
