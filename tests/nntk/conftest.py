"""What several of the tests of the command line run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from typer.testing import CliRunner, Result

import nntk_proofs_checks
from nntk.cli import app
from nntk_proofs_checks import Claim
from tests.nntk.claims import claim


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`nntk verify` with these arguments, on claims in place of the registry's."""

    def run(*args: str, claims: Iterable[Claim] = (claim("push-through"), claim("one-step"))) -> Result:
        monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in claims})
        return CliRunner().invoke(app, ["verify", *args], env={"NO_COLOR": "1", "COLUMNS": "80"})

    return run
