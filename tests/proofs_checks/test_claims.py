"""Every claim holds on sound data, its control is refuted, and planted faults are noticed."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, ctx

from nntk_proofs_checks import (
    CLAIMS,
    Claim,
    Effort,
    Evidence,
    Finding,
    Problem,
    certify,
    exponential,
    indefinite,
    nntk_bound,
    one_step,
    run,
)
from nntk_proofs_checks.certify import Comparison, conclude
from nntk_reference import InputError, Verdict, activations, formulas, linalg


def problem(X: np.ndarray, y: np.ndarray) -> Problem:
    return Problem(np.ascontiguousarray(X, dtype=float), np.asarray(y, dtype=float), "test")


def line(points: int = 8) -> Problem:
    x = np.linspace(0, 1, points)
    return problem(x[:, None], 2 * x + 0.4 * np.sin(5 * np.pi * x))


def plane(points: int = 12) -> Problem:
    X = np.random.default_rng(5).uniform(-1, 1, (points, 2))
    return problem(X, X[:, 0] * X[:, 1] + 0.3)


DATA = {"line": line(), "plane": plane(), "two points": line(2), "far apart": problem([[-4.0], [0.5], [6.0]], [1, -1, 2])}


def test_registry_holds_the_claims_of_the_report_in_order() -> None:
    assert list(CLAIMS) == [
        "push-through",
        "positive-definite",
        "indefinite",
        "vanishing-updates",
        "linearization",
        "limit-equation",
        "ntk-decay",
        "nntk-bound",
        "exponential",
        "one-step",
        "vanishing-gamma",
        "initial-fluctuations",
        "sharp-rate",
    ]
    for name, claim in CLAIMS.items():
        assert claim.id == name
        assert claim.statement
        assert claim.assumptions
        assert claim.control_reason


def _everywhere() -> list[object]:
    """Every claim on every data set; where that takes long, all but the first only if slow tests are asked for."""
    return [
        pytest.param(name, data, marks=[pytest.mark.slow] * (claim.evidence is Evidence.MEASURED and data != "line"))
        for name, claim in CLAIMS.items()
        for data in DATA
    ]


@pytest.mark.parametrize(("name", "data"), _everywhere())
def test_claim_holds_and_control_is_refuted(name: str, data: str) -> None:
    result = run(CLAIMS[name], DATA[data], Effort.QUICK)
    assert result.finding.verdict is Verdict.HOLDS, result.finding.why
    assert result.control.verdict is Verdict.REFUTED, result.control.why
    assert result.passed
    assert result.finding.cases > 0


@pytest.mark.slow
@pytest.mark.parametrize("effort", [Effort.DEFAULT, Effort.FULL])
@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_at_greater_effort(name: str, effort: Effort) -> None:
    assert run(CLAIMS[name], line(16), effort).passed


def _spectral() -> list[str]:
    return ["nntk-bound", "exponential", "one-step"]


DUPLICATES = problem([[0.0], [0.0], [1.0]], [1, 1, 2])
TOO_MANY = problem(np.arange(40.0)[:, None] / 40, np.ones(40))
ZERO_TARGETS = problem([[0.0], [1.0]], [0, 0])


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (name, data, reason)
        for name in ("ntk-decay", *_spectral())
        for data, reason in ((DUPLICATES, "duplicates"), (TOO_MANY, "40 points"))
    ]
    + [(name, ZERO_TARGETS, "targets are zero") for name in ("exponential", "one-step")],
)
def test_unmet_assumptions_are_undecided_and_said(name: str, data: Problem, reason: str) -> None:
    result = run(CLAIMS[name], data, Effort.QUICK)
    assert result.finding.verdict is Verdict.UNDECIDED
    assert not result.finding.applies
    assert reason in result.finding.why
    assert result.passed
    assert result.control.verdict is not Verdict.HOLDS
    assert not result.control.applies


@pytest.mark.parametrize("name", ["ntk-decay", "nntk-bound"])
def test_a_claim_about_the_kernel_needs_no_targets(name: str) -> None:
    assert run(CLAIMS[name], ZERO_TARGETS, Effort.QUICK).passed


def test_inputs_beyond_the_quadrature_are_undecided_and_said() -> None:
    finding = run(CLAIMS["one-step"], problem([[1e6], [2e6]], [1, 2]), Effort.QUICK).finding
    assert finding.verdict is Verdict.UNDECIDED
    assert not finding.applies
    assert finding.why.startswith("out of reach: ")
    assert "rescale" in finding.why


def test_a_failing_check_is_undecided_and_does_not_end_the_run() -> None:
    def refuses(problem: Problem, effort: Effort) -> Finding:
        raise InputError("X", "something else", "this")

    def is_broken(problem: Problem, effort: Effort) -> Finding:
        raise ZeroDivisionError("oops")

    claim = Claim("x", "s", "a", Evidence.EXACT, refuses, is_broken, "r")
    result = run(claim, line(), Effort.QUICK)
    assert result.finding.verdict is Verdict.UNDECIDED
    assert "expected something else, got this" in result.finding.why
    assert result.control.verdict is Verdict.UNDECIDED
    assert result.control.why == "internal error: ZeroDivisionError: oops"
    assert not result.passed


# ----------------------------------------------------------------------------------------------------------- planted faults


def _patched_blocks(monkeypatch: pytest.MonkeyPatch, change) -> None:
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: change(original(s, r), s))


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
    _patched_blocks(monkeypatch, BLOCK_FAULTS[fault])
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


def test_indefinite_notices_a_dropped_residual_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    _patched_blocks(monkeypatch, lambda S, s: 0 * S)
    finding = run(CLAIMS["indefinite"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED
    assert finding.number == 0


def test_indefinite_is_refuted_where_the_inertia_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    _patched_blocks(monkeypatch, lambda S, s: S + 100 * np.eye(S.shape[1], dtype=int))
    finding = run(CLAIMS["indefinite"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why


def test_the_control_of_indefinite_rests_on_the_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indefinite, "inertia", lambda A, ar: linalg.Inertia(0, 0, 0, len(A)))
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).control.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[2000.0], [2001.0], [2002.0]], [2e5, 2.03e5, 1.98e5]),
        ([[0.0], [0.5], [1.0]], [1e200, -2e200, 3e200]),
        ([[1e160], [2e160]], [1.0, 2.0]),
    ],
)
def test_indefinite_at_extreme_scales_has_no_internal_error(X: list[list[float]], y: list[float]) -> None:
    result = run(CLAIMS["indefinite"], problem(X, y), Effort.QUICK)
    assert result.finding.verdict is not Verdict.REFUTED
    assert "internal error" not in result.finding.why + result.control.why


@pytest.mark.parametrize("size", [1e-200, 1e6, 1e17, 1e200])
def test_controls_do_not_depend_on_the_size_of_the_targets(size: float) -> None:
    x = np.linspace(0, 1, 6)
    for name in _spectral():
        result = run(CLAIMS[name], problem(x[:, None], size * (1 + x * x)), Effort.QUICK)
        assert result.passed, (name, result.finding.why, result.control.why)


@pytest.mark.parametrize("y", [[1, 1], [1, -1]], ids=["largest mode", "smallest mode"])
def test_targets_in_a_single_mode(y: list[float]) -> None:
    """There bounds are attained, and gradient descent reaches the data in one step."""
    for name in _spectral():
        result = run(CLAIMS[name], problem([[-0.5], [0.5]], y), Effort.QUICK)
        assert result.passed, (name, result.finding.why, result.control.why)


def test_a_problem_is_checked_when_it_is_made() -> None:
    assert Problem(np.arange(3)[:, None], np.ones(3, dtype=np.float32), "x").X.dtype == np.float64
    with pytest.raises(InputError, match=r"y: expected shape \(2,\)"):
        Problem(np.ones((2, 1)), np.ones(3), "x")


def test_indefinite_needs_its_witness_or_its_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness on which H is not negative proves nothing, and the verdict says so."""
    monkeypatch.setattr(indefinite, "_witness", lambda J, S, active, count: np.eye(S.shape[0] * S.shape[1])[:, :count])
    monkeypatch.setattr(indefinite, "_MOST_PARAMETERS", dict.fromkeys(Effort, 0))
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).finding.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("name", _spectral())
def test_more_damping_than_asked_for_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"nntk-bound": nntk_bound, "exponential": exponential, "one-step": one_step}[name]
    original = linalg.symmetric_solve
    monkeypatch.setattr(module, "symmetric_solve", lambda ar, A, b: original(ar, formulas.add_diagonal(A, arb(10) ** -6), b))
    finding = run(CLAIMS[name], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why


def test_a_float64_kernel_cannot_be_taken_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding the kernel to float64 moves λ₁₆ = 1.66e-16: what is proved from it is not the truth."""
    original = certify.enclose_limit_ntk

    def rounded(X, activation, *, bits):
        limit = original(X, activation, bits=bits)
        kernel = np.array([arb(float(v)) for v in limit.kernel.flat], dtype=object).reshape(limit.kernel.shape)
        return type(limit)(kernel, limit.error * 0, limit.proved, limit.method)

    with ctx.workprec(192):
        certify._cached_spectrum.cache_clear()
        truth = certify.limit_spectrum_at(line(16).X, "tanh", 96).smallest
        certify._cached_spectrum.cache_clear()
        monkeypatch.setattr(certify, "enclose_limit_ntk", rounded)
        try:
            wrong = certify.limit_spectrum_at(line(16).X, "tanh", 96).smallest
        except certify.NotProved:
            wrong = None
        finally:
            certify._cached_spectrum.cache_clear()
    assert wrong is None or not wrong.overlaps(truth)


def test_wrong_derivative_in_an_activation_is_noticed_by_indefinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """σ' = 0 removes every negative direction: nothing is proved."""
    entry = activations.ACTIVATIONS["tanh"]
    flat = activations.Activation("tanh", lambda z, ar: (ar.tanh(z), 0 * z, 0 * z), entry.suprema)
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", flat)
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).finding.verdict is not Verdict.HOLDS


# -------------------------------------------------------------------------------------------------------------- comparisons


@pytest.mark.parametrize(
    ("number", "relation", "limit", "verdict"),
    [
        (arb(1), "<", arb(2), "holds"),
        (arb(2), "<", arb(2), "refuted"),
        (arb(2), "≤", arb(2), "holds"),
        (arb(3), "≤", arb(2), "refuted"),
        (arb(2, 0.5), "≤", arb(2), "undecided"),
        (arb(2, 0.5), ">", arb(1), "holds"),
        (arb(2, 0.5), ">", arb(3), "refuted"),
        (arb(2), ">", arb(2), "refuted"),
        (arb(2), "≥", arb(2), "holds"),
        (arb(1), "≥", arb(2), "refuted"),
        (arb("nan"), "≤", arb(2), "undecided"),
        (arb(1), "≥", arb("nan"), "undecided"),
    ],
)
def test_comparison(number: arb, relation: str, limit: arb, verdict: str) -> None:
    assert Comparison("x", number, relation, limit).verdict == Verdict(verdict)


def test_conclude_lets_the_worst_decide() -> None:
    good, close = Comparison("a", arb(1), "<", arb(10)), Comparison("b", arb(9), "<", arb(10))
    open_, bad = Comparison("c", arb(10, 1), "<", arb(10)), Comparison("d", arb(11), "<", arb(10))
    assert conclude([good, close], 2, "fine").number == 9
    assert conclude([good, close, open_], 3, "fine").verdict is Verdict.UNDECIDED
    assert conclude([good, open_, bad], 3, "fine").verdict is Verdict.REFUTED
    assert conclude([], 0, "fine").verdict is Verdict.UNDECIDED
    hidden = Comparison("e", arb(9.5), "<", arb(10), shown=False)
    assert conclude([good, close, hidden], 3, "fine").number == 9
    assert conclude([good, Comparison("f", arb(11), "<", arb(10), shown=False)], 2, "fine").verdict is Verdict.REFUTED


def test_flint_precision_is_restored() -> None:
    before = ctx.prec
    for name in ("push-through", "indefinite", "positive-definite", "ntk-decay", *_spectral()):
        run(CLAIMS[name], line(4), Effort.QUICK)
    assert ctx.prec == before
