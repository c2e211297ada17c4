"""`positive-definite` holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import Certificate, bounds, step, stream, sufficient_gamma
from nntk_accelerated import activations as accelerated_activations
from nntk_proofs_checks import Effort, Finding, Problem, positive_definite, run
from nntk_proofs_checks.ensemble import draw_network, to_torch
from nntk_reference import Verdict
from tests.proofs_checks.problems import DATA, SCALES, SHAPES, passed


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One narrow network, small ones of six neurons, and two steps: a planted fault shows there, too."""
    monkeypatch.setattr(positive_definite, "_WIDTHS", {Effort.QUICK: (2**8,)})
    monkeypatch.setattr(positive_definite, "_STEPS", {Effort.QUICK: 2})
    monkeypatch.setattr(positive_definite, "_PARAMETERS", {Effort.QUICK: 18})


@pytest.mark.parametrize("data", [*SHAPES, *SCALES])
def test_holds_and_control_is_refuted(data: str) -> None:
    result = passed(positive_definite.CLAIM, DATA[data])
    assert result.finding.number is not None
    assert result.finding.number > 0
    assert result.control.number is not None
    assert result.control.number >= 1
    margins, needed = result.finding.panels
    assert len(margins.series) == 4
    assert any(s.style == "dashed" for s in needed.series)


@pytest.mark.usefixtures("short")
def test_another_seed_draws_other_networks() -> None:
    line = DATA["line"]
    findings = [positive_definite.check(Problem(line.X, line.y, "test", seed), Effort.QUICK) for seed in (0, 0, 1)]
    assert findings[0].number == findings[1].number != findings[2].number
    assert all(f.verdict is Verdict.HOLDS for f in findings)


@pytest.mark.usefixtures("short")
def test_many_dimensions_leave_out_the_balls_and_say_so() -> None:
    rng = np.random.default_rng(0)
    finding = positive_definite.check(Problem(rng.standard_normal((6, 40)), rng.standard_normal(6), "test"), Effort.QUICK)
    assert finding.verdict is Verdict.HOLDS
    assert "40 dimensions" in finding.why


def test_bound_from_the_definitions_is_the_accelerated_one() -> None:
    data = DATA["plane"]
    net = draw_network(data, 0.75, 12, 0)
    fast = sufficient_gamma(to_torch(net), torch.tensor(data.X), torch.tensor(data.y))
    assert positive_definite._bound(net, data.X, data.y) == pytest.approx(fast, rel=1e-12)


def test_failing_condition_restarts_with_a_larger_gamma() -> None:
    def state(sufficient: float) -> positive_definite._State:
        return positive_definite._State(sufficient, Verdict.HOLDS, 0.1, 0, "")

    def train(gamma: float) -> tuple[positive_definite._State, ...]:
        return state(1.0), state(3.0 if gamma < 3 else 2.0)

    found = positive_definite._beyond("test", 1.0, train)
    assert (found.gamma, found.restarts) == (3.75, 1)
    growing = positive_definite._beyond("test", 1.0, lambda gamma: (state(2 * gamma),))
    assert positive_definite._finding([growing]).verdict is Verdict.UNDECIDED


def test_a_refutation_without_negative_eigenvalues_has_no_number() -> None:
    def finding(negative: int) -> Finding:
        state = positive_definite._State(1.0, Verdict.REFUTED, 0.0, negative, "another damping")
        return positive_definite._finding([positive_definite._Run("test", 2.0, (state,))])

    assert finding(3).number == 3
    assert finding(0).verdict is Verdict.REFUTED
    assert finding(0).number is None
    assert finding(0).limit is None


# ------------------------------------------------------------------------------------------------------------- planted faults


def _check() -> Verdict:
    return run(positive_definite.CLAIM, DATA["line"], Effort.QUICK).finding.verdict


@pytest.mark.usefixtures("short")
def test_wrong_sign_of_the_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = accelerated_activations.ACTIVATIONS["tanh"]

    def jets(z: torch.Tensor, order: int) -> tuple[torch.Tensor, ...]:
        values = entry.jets(z, order)
        return (*values[:2], -values[2]) if order == 2 else values

    monkeypatch.setitem(accelerated_activations.ACTIVATIONS, "tanh", replace(entry, jets=jets))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_dropped_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = stream.residual_blocks
    monkeypatch.setattr(stream, "residual_blocks", lambda task, r: 0 * original(task, r))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_damping_that_ignores_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "damping_of", lambda net, gamma, scaling="width": float(gamma))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", [0.3, 0.9])
def test_bound_that_is_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    original = bounds.rho_bound
    monkeypatch.setattr(bounds, "rho_bound", lambda *a: factor * original(*a))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_certificate_that_always_agrees_fails_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    def certify(*args: Any, **kwargs: Any) -> Certificate:
        return Certificate("positive definite", 0, 0, 1.0, "planted")

    monkeypatch.setattr(step, "certify", certify)
    result = run(positive_definite.CLAIM, DATA["line"], Effort.QUICK)
    assert result.control.verdict is Verdict.HOLDS
    assert not result.passed


@pytest.mark.usefixtures("short")
def test_certificate_that_never_proves_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "certify", lambda *a, **k: Certificate("undecided", None, 0, 0.0, "planted"))
    assert _check() is Verdict.UNDECIDED
