"""What `linearization` measures, and against which exponents it holds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import Effort, linearization
from nntk_proofs_checks.ensemble import BETAS, WIDTHS
from nntk_reference import Verdict
from tests.proofs_checks.problems import line


@pytest.mark.parametrize(
    ("share", "verdict"), [(1.01, Verdict.HOLDS), (0.99, Verdict.REFUTED)], ids=["just steeper", "just flatter"]
)
@pytest.mark.parametrize("quantity", ["taylor", "drift"])
def test_each_exponent_is_held_against_its_rate_and_half_of_it(
    quantity: str, share: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that follow a power of N, to a ten thousandth."""
    rng = np.random.default_rng(0)

    def ensemble(problem: Any, setup: Any) -> list[list[Any]]:
        steep = {"taylor": 2.0, "drift": 2.0} | {quantity: share}
        return [
            [
                SimpleNamespace(
                    **{k: N ** (s * (setup.beta - 1)) * (1 + 1e-4 * rng.standard_normal()) for k, s in steep.items()}
                )
                for _ in range(setup.seeds)
            ]
            for N in setup.widths
        ]

    monkeypatch.setattr(linearization, "ensemble", ensemble)
    rates, cases, _ = linearization._measure(line(), BETAS, Effort.QUICK, None)
    assert cases == len(BETAS) * len(WIDTHS[Effort.QUICK]) * 16
    mine = [rate for rate in rates if rate.what.startswith({"taylor": "f - ", "drift": "𝓑"}[quantity])]
    assert [rate.verdict for rate in mine] == [verdict] * 3
    for rate, beta in zip(mine, BETAS, strict=True):
        assert rate.claimed == pytest.approx(beta - 1)
        assert rate.alternatives == (rate.claimed / 2,)
