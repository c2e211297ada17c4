"""Fixtures of the claims' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nntk_proofs_checks import certify


@pytest.fixture
def fresh() -> Iterator[None]:
    """No spectrum of a planted fault outlives its test, and none from before hides the fault."""
    certify.cache_clear()
    yield
    certify.cache_clear()
