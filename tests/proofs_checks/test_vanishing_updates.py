"""What the measured half of `vanishing-updates` is of; the certified one is `update_bound`'s."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import Effort, Finding, vanishing_updates
from nntk_proofs_checks.ensemble import BETAS, WIDTHS, standardized, textbook
from nntk_reference import Verdict
from tests.proofs_checks.problems import line

SOUND = Finding(Verdict.HOLDS, 0.9, "≤", 1.0, 7, "planted")
BROKEN = replace(SOUND, verdict=Verdict.REFUTED, number=2.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Problems and setups that were asked for; first updates that follow the power of the statement, and none at β = 1."""
    seen: list[Any] = []

    def ensemble(problem: Any, setup: Any) -> list[list[Any]]:
        seen.append((problem, setup))
        return [
            [SimpleNamespace(updates=np.array([N ** (1.02 * (setup.beta - 1)) * (1 + 1e-4 * (k % 3)), 9.0])) for k in range(n)]
            for N, n in zip(setup.widths, setup.counts, strict=True)
        ]

    monkeypatch.setattr(vanishing_updates, "ensemble", ensemble)
    return seen


def test_the_check_is_of_every_beta_and_of_all_points_for_the_bound(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data, held = line(20), []
    monkeypatch.setattr(
        vanishing_updates.update_bound, "update_bound_findings", lambda problem, effort: (held.append(problem), SOUND)[1]
    )
    found = vanishing_updates.check(data, Effort.QUICK)
    assert found.verdict is Verdict.HOLDS
    assert found.cases == 3 * 3 * 16 + 7
    assert [(setup.beta, setup.widths, setup.steps) for _, setup in asked] == [
        (beta, WIDTHS[Effort.QUICK], 1) for beta in BETAS
    ]
    assert all(problem.y.tolist() == standardized(data).y.tolist() for problem, _ in asked)
    assert held[0].y.tolist() == standardized(data, 20).y.tolist()
    assert not vanishing_updates.check(replace(data, y=0 * data.y), Effort.QUICK).applies


@pytest.mark.control
@pytest.mark.parametrize("part", [BROKEN, SOUND])
def test_the_control_is_at_beta_1_and_of_the_bound_without_its_assumption(
    part: Finding, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, held = line(20), []
    monkeypatch.setattr(vanishing_updates.update_bound, "control", lambda problem, effort: (held.append(problem), part)[1])
    found = vanishing_updates.control(data, Effort.DEFAULT)
    assert found.verdict is part.verdict
    assert [(setup.beta, setup.widths) for _, setup in asked] == [(beta, WIDTHS[Effort.QUICK]) for beta in (0.6, 1.0)]
    assert all(problem.y.tolist() == textbook(data).y.tolist() for problem, _ in asked)
    assert held[0].y.tolist() == standardized(data, 20).y.tolist()


def test_updates_at_beta_1_are_held_against_the_slowest_of_the_rates(asked: list[Any]) -> None:
    found = vanishing_updates._exponents(line(), (1.0,), Effort.QUICK, -0.1)
    assert (found.verdict, found.cases) == (Verdict.REFUTED, 3 * 16)
    assert found.limit == pytest.approx(-0.1)
