"""Controls of claims measured on ensembles: refuted for their reason, and not by a quantity that is 0 or noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, ensemble, linearization, vanishing_updates
from nntk_proofs_checks.claim import Finding, for_its_reason
from nntk_proofs_checks.ensemble import BETAS, Run
from nntk_reference import Verdict
from tests.proofs_checks.problems import line

CONTROLS: dict[str, Callable[[], Finding]] = {
    "linearization": lambda: CLAIMS["linearization"].control(line(), Effort.QUICK),
    "limit-equation": lambda: CLAIMS["limit-equation"].control(line(), Effort.QUICK),
    "sharp-rate": lambda: CLAIMS["sharp-rate"].control(line(), Effort.QUICK),
    "vanishing-updates": lambda: CLAIMS["vanishing-updates"].control(line(), Effort.QUICK),
}


def _made_of(number: Callable[[np.random.Generator, Any], Any]) -> Callable[..., Run]:
    """In place of training: runs whose numbers are all these."""

    def train(problem: Any, setup: Any, width: int, index: int, gamma: float) -> Run:
        rng, M = np.random.default_rng([width, index]), len(problem.y)

        def numbers(*shape: int) -> np.ndarray:
            return np.asarray(number(rng, shape), dtype=float)

        steps = setup.steps
        path = [numbers(steps + 1, M) for _ in range(2)]
        return Run(path[0], path[1], numbers(M, M), numbers(steps), float(numbers(1)[0]), float(numbers(1)[0]))

    return train


REPLACED = {
    "0": _made_of(lambda rng, shape: np.zeros(shape)),
    "noise": _made_of(lambda rng, shape: np.abs(rng.standard_normal(shape)) + 0.1),
}


@pytest.fixture
def forgotten() -> Iterator[None]:
    ensemble.cache_clear()
    yield
    ensemble.cache_clear()


@pytest.mark.control
@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("what", REPLACED)
@pytest.mark.parametrize("name", CONTROLS)
def test_a_quantity_that_is_nothing_refutes_no_control(name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "_train", REPLACED[what])
    found = CONTROLS[name]()
    assert found.verdict is Verdict.UNDECIDED, found.why


@pytest.mark.control
def test_a_control_in_which_nothing_is_broken_is_not_refuted() -> None:
    """The broken half of each control, with the assumption put back."""
    problem = ensemble.textbook(line())
    updates = vanishing_updates._exponents(problem, BETAS[-1:], Effort.QUICK, max(BETAS) - 1)
    rates, _, _ = linearization._measure(problem, BETAS[-1:], Effort.QUICK, max(BETAS) - 1)
    assert updates.verdict is Verdict.HOLDS
    assert all(rate.verdict is Verdict.HOLDS for rate in rates)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_what_holds_instead_lets_a_refutation_count(verdict: Verdict) -> None:
    def finding(verdict: Verdict) -> Finding:
        return Finding(verdict, 1.0, "≲", 0.0, 3, "why")

    counted = for_its_reason(finding(Verdict.REFUTED), finding(verdict))
    assert counted.verdict is (Verdict.REFUTED if verdict is Verdict.HOLDS else Verdict.UNDECIDED)
    assert for_its_reason(finding(verdict), finding(Verdict.HOLDS)).verdict is verdict
