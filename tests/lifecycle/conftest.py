"""Who claims in a test."""

from __future__ import annotations

import pytest

from tests.lifecycle.claimants import Claimant


@pytest.fixture
def claimant() -> Claimant:
    """One worker as the verbs see it."""
    return Claimant()
