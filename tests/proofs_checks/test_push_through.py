"""`push-through` notices wrong blocks, Jacobians and Gram matrices."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from flint import fmpq

from nntk_accelerated import step
from nntk_proofs_checks import CLAIMS, Effort, push_through, run, steps_over_balls
from nntk_proofs_checks.steps_over_balls import Held
from nntk_reference import Verdict, formulas
from tests.proofs_checks.problems import line, passed


def _negate_curvature(S, s):
    S[:, 1:, 1:] = -S[:, 1:, 1:]
    return S


def _drop_mixed(S, s):
    S[:, 0, 1:] = S[:, 1:, 0] = 0 * S[:, 0, 1:]
    return S


BLOCK_FAULTS = {
    "wrong sign of σ''": _negate_curvature,
    "missing 1/M": lambda S, s: S * len(s.inputs),
    "scale applied twice": lambda S, s: S * s.scale,
    "no mixed derivatives": _drop_mixed,
    "half the residual term": lambda S, s: S / 2,
}


@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_push_through_notices_wrong_blocks(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: BLOCK_FAULTS[fault](original(s, r), s))
    finding = run(CLAIMS["push-through"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why
    assert "(E4)" in finding.why


@pytest.mark.parametrize("fault", ["missing c", "transposed", "without 1/M"])
def test_push_through_notices_a_wrong_jacobian_or_gram_matrix(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jacobian, gram = formulas.jacobian, formulas.gauss_newton_matrix
    if fault == "missing c":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s._replace(c=s.c * 0 + 1)))
    elif fault == "transposed":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s)[:, ::-1])
    else:
        monkeypatch.setattr(formulas, "gauss_newton_matrix", lambda s: gram(s) * len(s.inputs))
    assert run(CLAIMS["push-through"], line(), Effort.QUICK).finding.verdict is Verdict.REFUTED


# -------------------------------------------------------------------------------------------- the accelerated step, over balls


@pytest.fixture
def one_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_DIMENSIONS", {Effort.QUICK: (1,)})


NOT_ENTERED: dict[str, dict[str, Any]] = {
    "compiled loops": {"_WIDE": 255},
    "border": {"_NEAR": 1e-2},
    "lanes": {"_threads": lambda count: nullcontext()},
    "mixed": {"newton_step": lambda *args, precision, **options: step.newton_step(*args, **options)},
}


@pytest.mark.usefixtures("one_dimension")
@pytest.mark.parametrize("path", NOT_ENTERED)
def test_a_path_that_is_not_entered_leaves_the_claim_undecided(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """255² is below the gate of the compiled loops, a hundredth of γ_N is beyond the border; one thread has one lane."""
    before = torch.get_num_threads()
    for name, value in NOT_ENTERED[path].items():
        monkeypatch.setattr(steps_over_balls if name == "newton_step" else push_through, name, value)
    try:
        torch.set_num_threads(1)
        found = push_through._paths(line(), Effort.QUICK)
    finally:
        torch.set_num_threads(before)
    assert found.verdict is Verdict.UNDECIDED
    assert found.why.endswith(f"; not entered: {path}")


@pytest.mark.usefixtures("one_dimension")
def test_without_numba_there_are_no_compiled_loops_to_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through.importlib.util, "find_spec", lambda name: None)
    found = push_through._paths(line(), Effort.QUICK)
    assert found.verdict is Verdict.HOLDS
    assert "compiled loops" not in found.why


# --------------------------------------------------------------------------------------------------- the claim and its control


def test_holds_and_control_is_refuted() -> None:
    result = passed(push_through.CLAIM, line())
    assert result.finding.number == 0
    assert result.finding.cases == 2 + 60 + 28 + 48
    assert result.control.cases == 60
    assert result.control.number > 0


@pytest.mark.parametrize("gap", [(0, 0), (0, 1), (1, 0)])
def test_either_identity_decides(gap: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """For the claim and for the control alike."""
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: (fmpq(gap[0]), gap[1], 60, 5))
    verdict = Verdict.HOLDS if gap == (0, 0) else Verdict.REFUTED
    assert push_through._identities(Effort.QUICK).verdict is verdict
    control = push_through.control(line(), Effort.QUICK)
    assert control.verdict is verdict
    assert control.number == sum(gap)


def test_identities_without_an_indefinite_matrix_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: (fmpq(0), 0, 60, 0))
    assert push_through._identities(Effort.QUICK).verdict is Verdict.UNDECIDED


@pytest.mark.control
def test_the_control_is_not_refuted_where_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """S = 0, so that nothing is dropped; and the check's own systems."""
    broken = push_through._over_rationals
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: broken(effort, drop_residual=False))
    assert push_through.control(line(), Effort.QUICK).verdict is Verdict.HOLDS
    monkeypatch.undo()
    blocks = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: 0 * blocks(s, r))
    assert push_through.control(line(), Effort.QUICK).verdict is Verdict.HOLDS


def test_no_step_is_looked_at_after_refuted_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    refuted = Held(wrong=1).finding()
    monkeypatch.setattr(push_through, "_identities", lambda effort: refuted)
    monkeypatch.setattr(push_through, "_steps", None)
    assert push_through.check(line(), Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.usefixtures("one_dimension")
def test_no_damping_at_the_border_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_block_values", lambda net, X, y: np.zeros(18))
    found = push_through._paths(line(), Effort.QUICK)
    assert found.verdict is Verdict.UNDECIDED
    assert f"{12 + 6} undecided (no block" in found.why


def test_the_compiled_loops_are_tried_in_one_dimension_which_has_its_own_and_in_two() -> None:
    for effort, least in ((Effort.QUICK, {1, 2}), (Effort.DEFAULT, {1, 2})):
        assert {case.X.shape[1] for case in push_through._wide(line(), effort)} == least


def test_the_largest_gap_of_all_systems_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = itertools.cycle([(fmpq(1), 5), (fmpq(3), 2), None, (fmpq(2), 7), (fmpq(0), 0)])
    monkeypatch.setattr(push_through, "_gaps", lambda system, drop_residual: next(gaps))
    monkeypatch.setitem(push_through._DRAWS, Effort.QUICK, 8)
    worst, worst_inertia, cases, indefinite = push_through._over_rationals(Effort.QUICK, drop_residual=False)
    assert (worst, worst_inertia, cases) == (3, 7, 8)
    assert 0 < indefinite < 8
