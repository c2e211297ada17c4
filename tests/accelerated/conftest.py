"""What the tests of the accelerated package share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device that the package runs on, the CPU first."""
    return str(request.param)
