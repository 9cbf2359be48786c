"""A stage for each test, shared where a test leaves nothing on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.process import seats
from tests.runner.stage import Stage
from tests.support.servers import fast_folder


def make_stage(app: str = "tests.runner.jobs:jw") -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-stage-", dir=fast_folder()))
    stage = Stage(folder, app)
    try:
        yield stage
    finally:
        stage.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A ready zygote, shared by the tests of a module."""
    for made in make_stage():
        made.wait_event(seats.ZygoteReady)
        yield made


@pytest.fixture
def own_stage() -> Iterator[Stage]:
    """A ready zygote of the test's own, to be killed and left."""
    for made in make_stage():
        made.wait_event(seats.ZygoteReady)
        yield made
