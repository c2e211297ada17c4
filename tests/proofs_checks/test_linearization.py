"""What `linearization` measures, and against which exponents it holds it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import Effort, linearization
from nntk_proofs_checks.ensemble import BETAS, WIDTHS, standardized, textbook
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Problems and setups that were asked for; features move by O(1) at β = 1 and beyond, and less than they may below."""
    seen: list[Any] = []

    def ensemble(problem: Any, setup: Any) -> list[list[Any]]:
        seen.append((problem, setup))
        power = 1.5 * min(setup.beta - 1, 0)
        return [
            [SimpleNamespace(taylor=N**power * (1 + 1e-3 * (k % 3)), drift=N**power * (1 + 1e-3 * (k % 2))) for k in range(n)]
            for N, n in zip(setup.widths, setup.counts, strict=True)
        ]

    monkeypatch.setattr(linearization, "ensemble", ensemble)
    return seen


def test_the_check_is_of_every_beta_on_the_data_as_they_are_standardized(asked: list[Any]) -> None:
    found = linearization.check(line(), Effort.QUICK)
    assert found.verdict is Verdict.HOLDS
    assert found.cases == 3 * 3 * 16
    assert [(setup.beta, setup.widths, setup.features, setup.steps) for _, setup in asked] == [
        (beta, WIDTHS[Effort.QUICK], True, 3) for beta in BETAS
    ]
    assert all(problem.y.tolist() == standardized(line()).y.tolist() for problem, _ in asked)
    assert not linearization.check(replace(line(), y=0 * line().y), Effort.QUICK).applies


@pytest.mark.control
def test_the_control_is_at_beta_1_and_needs_what_holds_below(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = linearization.control(line(), Effort.DEFAULT)
    assert found.verdict is Verdict.REFUTED
    assert [(setup.beta, setup.widths) for _, setup in asked] == [(beta, WIDTHS[Effort.QUICK]) for beta in (0.6, 1.0)]
    assert all(problem.y.tolist() == textbook(line()).y.tolist() for problem, _ in asked)
    held = []
    measure = linearization._measure
    monkeypatch.setattr(linearization, "_measure", lambda *args: (held.append(args[1:]), measure(*args))[1])
    linearization.control(line(), Effort.QUICK)
    assert held == [((0.6,), Effort.QUICK, None), ((1.0,), Effort.QUICK, pytest.approx(-0.1))]
