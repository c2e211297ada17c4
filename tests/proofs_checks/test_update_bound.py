"""(E17) holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nntk_proofs_checks import Effort, Finding, update_bound
from nntk_proofs_checks.ensemble import draw_network
from nntk_proofs_checks.wide import states
from nntk_reference import Ball, Verdict, formulas
from tests.proofs_checks.problems import DATA


def check(data: str = "line") -> Finding:
    return update_bound.update_bound_findings(DATA[data], Effort.QUICK)


@pytest.mark.parametrize("data", DATA)
def test_holds_and_control_is_refuted(data: str) -> None:
    finding, control = check(data), update_bound.control(DATA[data], Effort.QUICK)
    assert finding.verdict is Verdict.HOLDS, finding.why
    assert finding.number is not None
    assert 0.9 < finding.number <= 1  # sharp: a large γ and one data point attain it to a few percent
    assert control.verdict is Verdict.REFUTED, control.why
    assert control.number is not None
    assert control.number > 1
    assert "positive definite, D is not" in control.why


@pytest.mark.slow
@pytest.mark.parametrize("effort", [Effort.DEFAULT, Effort.FULL])
def test_holds_at_greater_effort(effort: Effort) -> None:
    assert update_bound.update_bound_findings(DATA["line"], effort).verdict is Verdict.HOLDS


def test_verdict_of_proved_ends() -> None:
    """Where float64 cannot tell, nobody is told that it holds."""
    ratio = update_bound._Ratio("test", 0.5, float("inf"))
    assert update_bound._judged([ratio], 1).verdict is Verdict.UNDECIDED
    assert update_bound._judged([update_bound._Ratio("test", 1.1, 1.2)], 1).verdict is Verdict.REFUTED
    assert update_bound._judged([update_bound._Ratio("test", 0.9, float("nan"))], 1).verdict is Verdict.UNDECIDED


def test_indefinite_blocks_are_undecided_in_float64() -> None:
    data = DATA["line"]
    ratio = update_bound._ratio(draw_network(data, 0.75, 64, 0), data.X, data.y, 1e-3, 1.0, "test")
    assert update_bound._judged([ratio], 64).verdict is Verdict.UNDECIDED


def test_error_bounds_contain_the_errors() -> None:
    """The float64 residual against balls."""
    data = DATA["plane"]
    net = draw_network(data, 0.6, 300, 0)
    r = sum(formulas.outputs(s) for _, s in states(net, data.X)) - data.y
    error = update_bound._errors(net, data.X, r, data.y)
    exact = Ball(128).evaluate(lambda ar: formulas.outputs(formulas.state(ar, net, data.X)) - ar.array(data.y))
    worst = max(abs(float(a - b)) for a, b in zip(exact, r, strict=True))
    assert worst <= error.residual < 1e-10


# ------------------------------------------------------------------------------------------------------------- planted faults


def _multiplied(original: Any, factor: float) -> Any:
    def step(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        return replace(found, update=found.update * factor)

    return step


@pytest.mark.parametrize("name", ["newton_step", "reference_step"])
def test_update_that_is_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(update_bound, name, _multiplied(getattr(update_bound, name), 3))
    assert check().verdict is Verdict.REFUTED


def test_ignored_step_size_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = update_bound.reference_step
    monkeypatch.setattr(update_bound, "reference_step", lambda *a, alpha, **k: original(*a, alpha=1.0, **k))
    assert check().verdict is Verdict.REFUTED


def test_update_that_is_a_little_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is attained to within a percent, so five percent are too much."""
    monkeypatch.setattr(update_bound, "newton_step", _multiplied(update_bound.newton_step, 1.05))
    assert check().verdict is Verdict.REFUTED


def test_large_residual_of_the_solver_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    original = update_bound.newton_step
    monkeypatch.setattr(update_bound, "newton_step", lambda *a, **k: replace(original(*a, **k), residual=1e-3))
    assert check().verdict is Verdict.UNDECIDED


def test_gamma_below_the_condition_is_not_called_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_bound, "_least_gamma", lambda *a: 1e-3)
    monkeypatch.setattr(update_bound, "_kernel", lambda *a: 1e-3)
    assert check().verdict is not Verdict.HOLDS
