"""`push-through` notices wrong blocks, Jacobians and Gram matrices."""

from __future__ import annotations

import math
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq

from nntk_accelerated import Certificate, RefinementError, ShallowNet, step
from nntk_proofs_checks import CLAIMS, Effort, push_through, run
from nntk_proofs_checks.ensemble import to_torch
from nntk_reference import Ball, Verdict, formulas, gradient, hessian, regularization
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


def _case(**changes: Any) -> push_through._Case:
    rng = np.random.default_rng(2)
    net, X, y = push_through._drawn(rng, "tanh", 6, 4, 1)
    return replace(push_through._Case(net, X, y, 0.1), **changes)


def test_repeated_inputs_give_the_same_system() -> None:
    """What is computed from distinct inputs, and the dense definition: products, slope and inertia, shifted as well."""
    rng = np.random.default_rng(0)
    net, X, _ = push_through._drawn(rng, "tanh", 5, 3, 2)
    X, y = X[[0, 1, 2, 1, 0, 0, 2, 1, 0]], 1 + rng.standard_normal(9)
    dense, blocks = (kind(net, X, y, 0.02) for kind in (push_through._Exact, push_through._ExactBlocks))
    v = Ball(192).array(rng.standard_normal(net.parameters))
    with ctx.workprec(192):
        for a, b in ((dense.slope, blocks.slope), (dense.times(v), blocks.times(v))):
            assert all(p.overlaps(q) and p.rad() < 1e-50 for p, q in zip(a, b, strict=True))
        for shift in (-0.3, -0.02, 0.0, 0.02, 0.3):
            assert dense.inertia(arb(shift)) == blocks.inertia(arb(shift))
    assert 0 < dense.inertia(arb(0)).negative < net.parameters


def test_the_limit_is_what_the_step_promises() -> None:
    def verdict(**found: Any) -> Verdict:
        return push_through._Held(**{"cases": 1, "indefinite": 1} | found).finding().verdict

    assert push_through._LIMIT == step._LIMIT == 1024
    assert verdict(units=1024.0) is Verdict.HOLDS
    assert verdict(units=1025.0) is verdict(units=math.nan) is verdict(wrong=1) is verdict(refused=1) is Verdict.REFUTED
    assert verdict(unknown=1) is verdict(indefinite=0) is Verdict.UNDECIDED
    assert push_through._Held(indefinite=1).finding(missing="border").verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize(("units", "verdict"), [(500, Verdict.HOLDS), (3000, Verdict.REFUTED)])
def test_an_error_is_measured_in_the_units_of_the_precision(
    precision: str, units: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update off by a relative error e has a backward error of at most e, and not far below along the largest mode."""
    case = _case(precision=precision, gamma=3.0)
    eps = torch.finfo(case.dtype).eps
    original = push_through.newton_step

    def longer(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        return replace(found, update=found.update * (1 + 2 * units * eps))

    monkeypatch.setattr(push_through, "newton_step", longer)
    held = push_through._Held(indefinite=1)
    push_through._hold(case, held)
    assert held.units == pytest.approx(units, rel=0.15)
    assert held.finding().verdict is verdict


@pytest.mark.parametrize("few_inputs", [False, True])
def test_what_a_step_says_of_its_inertia_is_held_against_the_proved_one(few_inputs: bool) -> None:
    case = _case(few_inputs=few_inputs)
    exact = (push_through._ExactBlocks if few_inputs else push_through._Exact)(case.net, case.X, case.y, case.gamma)
    found = push_through.newton_step(to_torch(case.net), torch.tensor(case.X), torch.tensor(case.y), case.gamma)
    n = exact.inertia(arb(0)).negative
    assert n > 1

    def contradicts(verdict: str, negative: int | None, at_least: int, count: int, room: float = 0.0) -> bool | None:
        said = Certificate(verdict, negative, at_least, 0.0, "")  # type: ignore[arg-type]
        changed = replace(found, certificate=said, negative_eigenvalues=count, negative_eigenvalues_proved=negative is not None)
        with ctx.workprec(192):
            return push_through._contradicts(changed, exact, arb(room))

    assert contradicts("indefinite", n, n, n) is False
    assert contradicts("indefinite", None, n, n) is False
    assert contradicts("undecided", None, 0, n) is False
    assert contradicts("indefinite", n + 1, 1, n + 1)
    assert contradicts("indefinite", n - 1, 1, n - 1)
    assert contradicts("indefinite", None, n + 1, n)
    assert contradicts("positive definite", None, 0, n)
    assert contradicts("indefinite", n, n, n + 1)
    assert contradicts("undecided", None, 0, n + 1)
    assert contradicts("undecided", None, 0, n - 1)
    assert contradicts("undecided", None, 0, 0, room=1e3) is False
    assert contradicts("undecided", None, 0, case.net.parameters, room=1e3) is False


@pytest.mark.parametrize(("condition", "refused"), [(5e3, 1), (2e4, 0)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_refused_step_counts_where_the_system_is_well_conditioned(
    condition: float, refused: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _case()
    H, slope = hessian(case.net, case.X, case.y), gradient(case.net, case.X, case.y).reshape(-1)
    smallest = np.linalg.eigvalsh(H)[0]
    size = np.linalg.norm(H @ slope - smallest * slope) / np.linalg.norm(slope)
    gamma = (-smallest + side * size / condition) / regularization(1.0, case.net.width, case.net.beta)

    def refuse(*args: Any, **options: Any) -> Any:
        raise RefinementError("planted")

    monkeypatch.setattr(push_through, "newton_step", refuse)
    held = push_through._Held(indefinite=1)
    assert push_through._hold(replace(case, gamma=gamma), held)[0] is None
    assert (held.refused, held.unknown) == (refused, 1 - refused)
    found = held.finding()
    assert found.verdict is (Verdict.REFUTED if refused else Verdict.UNDECIDED)
    assert "planted" in found.why


@pytest.fixture
def one_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_DIMENSIONS", {Effort.QUICK: (1,)})


NOT_ENTERED: dict[str, dict[str, Any]] = {
    "compiled loops": {"_WIDE": 511},
    "border": {"_NEAR": 1e-2},
    "lanes": {"_threads": lambda count: nullcontext()},
    "mixed": {"newton_step": lambda *args, precision, **options: step.newton_step(*args, **options)},
}


@pytest.mark.usefixtures("one_dimension")
@pytest.mark.parametrize("path", NOT_ENTERED)
def test_a_path_that_is_not_entered_leaves_the_claim_undecided(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """511² is below the gate of the compiled loops, a hundredth of γ_N is beyond the border; one thread has one lane."""
    before = torch.get_num_threads()
    for name, value in NOT_ENTERED[path].items():
        monkeypatch.setattr(push_through, name, value)
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


def test_a_watch_sees_threads_and_leaves_no_profile_behind() -> None:
    before = sys.getprofile(), threading.getprofile()
    case, threads = _case(), torch.get_num_threads()
    with push_through._threads(3):
        _, seen = push_through._hold(replace(case, chunk=2), push_through._Held())
    assert {"newton_step", "lane", "jets"} <= seen
    assert (sys.getprofile(), threading.getprofile(), torch.get_num_threads()) == (*before, threads)


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


def test_nothing_is_looked_at_after_a_refuted_part(monkeypatch: pytest.MonkeyPatch) -> None:
    refuted = push_through._Held(wrong=1).finding()
    monkeypatch.setattr(push_through, "_accelerated", lambda problem, effort: refuted)
    monkeypatch.setattr(push_through, "_paths", None)
    assert push_through.check(line(), Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.usefixtures("one_dimension")
def test_no_damping_at_the_border_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_block_values", lambda net, X, y: np.zeros(18))
    found = push_through._paths(line(), Effort.QUICK)
    assert found.verdict is Verdict.UNDECIDED
    assert f"{12 + 6} undecided (no block" in found.why


def test_a_step_is_taken_from_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShallowNet.move_
    monkeypatch.setattr(ShallowNet, "move_", lambda net, update: original(net, update * (1 + 1e-9)))
    for steps, verdict in ((1, Verdict.HOLDS), (2, Verdict.REFUTED)):
        held = push_through._Held(indefinite=1)
        push_through._hold(_case(steps=steps), held)
        assert held.finding().verdict is verdict
        assert held.cases == steps
