"""The halves of `nntk-bound`, the limit parts of `exponential` and `one-step`: grids, figures, and faults they must notice."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from flint import arb, ctx

from nntk_proofs_checks import Effort, Finding, Problem, certify, exponential, nntk_bound, one_step
from nntk_proofs_checks.certify import Comparison, conclude, proved_spectrum, settle, unit_interval
from nntk_reference import InitialLaw, Verdict, formulas
from nntk_reference.arithmetic import NotProved

GRID = unit_interval(8)


@pytest.fixture
def fresh():
    certify._cached_spectrum.cache_clear()
    yield
    certify._cached_spectrum.cache_clear()


# ------------------------------------------------------------------------------------------------------------------- precision


def test_settle_stops_at_the_first_precision_that_decides() -> None:
    seen = []

    def attempt(bits: int) -> list[Comparison]:
        seen.append((bits, ctx.prec))
        if bits < 100:
            raise NotProved("not yet")
        return [Comparison("x", arb(1, 2.0 ** (150 - bits)), "<", arb(2))]

    before = ctx.prec
    assert settle(attempt)[0].verdict is Verdict.HOLDS
    assert [bits for bits, _ in seen] == [64, 96, 128, 192]
    assert all(prec == bits + 64 for bits, prec in seen)
    assert ctx.prec == before
    seen.clear()
    settle(attempt, 192)
    assert [bits for bits, _ in seen] == [192]


def test_settle_hands_out_what_stays_undecided() -> None:
    assert settle(lambda bits: [Comparison("x", arb(1, 2), "<", arb(2))])[0].verdict is Verdict.UNDECIDED

    def never(bits: int) -> list[Comparison]:
        raise NotProved("no sign")

    with pytest.raises(NotProved, match="no sign"):
        settle(never)


def test_a_spectrum_without_signs_is_cached_and_refused(fresh: None) -> None:
    X = unit_interval(20).X
    for _ in range(2):
        with ctx.workprec(128), pytest.raises(NotProved, match="no proved sign at 64 bits"):
            certify.limit_spectrum_at(X, "sin", 64)
    assert certify._cached_spectrum.cache_info().misses == 1
    assert proved_spectrum(X, "sin").smallest > 0


# ------------------------------------------------------------------------------------------------------------------ nntk-bound


def test_nntk_bound_holds_in_both_halves_and_both_controls_are_refuted() -> None:
    assert nntk_bound._limit_check(GRID, Effort.QUICK).verdict is Verdict.HOLDS
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.HOLDS
    assert nntk_bound._limit_control(GRID, Effort.QUICK).verdict is Verdict.REFUTED
    assert nntk_bound._finite_control(GRID, Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.parametrize("half", ["_limit_control", "_finite_control"])
def test_the_control_of_nntk_bound_needs_both_halves(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk_bound, half, lambda p, e: Finding(Verdict.HOLDS, 0.0, "≤", 1.0, 1, "it holds after all"))
    control = nntk_bound.control(GRID, Effort.QUICK)
    assert control.verdict is Verdict.HOLDS
    assert "it holds after all" in control.why


@pytest.mark.parametrize("factor", ["0.03", "0.25", "0.9"])
def test_e18_fails_below_its_assumption(factor: str) -> None:
    comparisons = settle(partial(nntk_bound._finite_comparisons, GRID, 3, arb(factor)))
    assert conclude(comparisons, 1, "").verdict is Verdict.REFUTED


@pytest.mark.parametrize("factor", ["1.01", "1.5", "400"])
def test_e18_holds_above_its_assumption(factor: str) -> None:
    comparisons = settle(partial(nntk_bound._finite_comparisons, GRID, 3, arb(factor)))
    assert conclude(comparisons, 1, "").verdict is Verdict.HOLDS


def _scaled(name: str, factor: object):
    original = getattr(formulas, name)
    return lambda *arguments: original(*arguments) * factor


FINITE_FAULTS = {
    "JJᵀ/M off by 1e-4": ("ntk", arb("1.0001")),
    "JJᵀ without 1/M": ("ntk", 8),
    "JᵀJ/M off by 1e-4": ("gauss_newton_matrix", arb("1.0001")),
    "JᵀJ without 1/M": ("gauss_newton_matrix", 8),
    "H twice as large": ("hessian", 2),
    "wrong sign of H": ("hessian", -1),
}


@pytest.mark.parametrize("fault", FINITE_FAULTS)
def test_finite_width_notices(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, factor = FINITE_FAULTS[fault]
    monkeypatch.setattr(formulas, name, _scaled(name, factor))
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.REFUTED


def test_finite_width_notices_that_the_hessian_is_not_the_one_whose_residual_part_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H with 50 S in the place of S: the sandwich of width 2 s̄ is left."""
    original = formulas.hessian
    monkeypatch.setattr(
        formulas,
        "hessian",
        lambda s, r: original(s, r) + 49 * (original(s, r) - formulas.gauss_newton_matrix(s)),
    )
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.parametrize("change", [lambda S: S / 2, lambda S: S[:, ::-1, ::-1]])
def test_e18_is_true_of_any_block_diagonal_symmetric_matrix(change, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no consistent fault in S itself is noticed here: `push-through` and `indefinite` are there for that."""
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: change(original(s, r)))
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.HOLDS


# --------------------------------------------------------------------------------------------------- faults of the limit kernel


def _plant(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits):
        limit = original(X, activation, bits=bits)
        unit = original(X, activation, bits=bits, law=InitialLaw("rademacher")).kernel  # E[c²] = 1
        kernel = {
            "without 1/M": lambda K: K * len(K),
            "E[c²] = 1": lambda K: unit,
            "σ' dropped": lambda K: (3 * K - unit) / 2,
            "noise of 1e-12": lambda K: K + arb("1e-12") * np.eye(len(K), dtype=int),
        }[fault](limit.kernel)
        return type(limit)(kernel, limit.error, limit.proved, limit.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)


@pytest.mark.parametrize("fault", ["without 1/M", "E[c²] = 1", "σ' dropped", "noise of 1e-12"])
@pytest.mark.parametrize("check", [nntk_bound._limit_check, exponential._limit_check, one_step._limit_check])
def test_claims_relative_to_the_kernel_hold_for_any_kernel(
    check, fault: str, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """A known limit: these three take λ_min from the kernel they are given, so a wrong kernel is not theirs to notice."""
    _plant(monkeypatch, fault)
    assert check(unit_interval(5), Effort.QUICK).verdict is Verdict.HOLDS


def test_an_indefinite_kernel_is_undecided(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits):
        limit = original(X, activation, bits=bits)
        shift = arb("1e-3") * np.eye(len(X), dtype=int)
        return type(limit)(limit.kernel - shift, limit.error, limit.proved, limit.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)
    monkeypatch.setattr(certify, "_LADDER", (64, 128))
    with pytest.raises(NotProved, match="no proof within 128 bits"):
        one_step._limit_check(unit_interval(4), Effort.QUICK)


# ----------------------------------------------------------------------------------------------------------- grids and figures


@pytest.mark.parametrize("check", [nntk_bound._limit_check, exponential._limit_check, one_step._limit_check])
def test_greater_effort_adds_grids(check, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (nntk_bound, exponential, one_step):
        monkeypatch.setattr(module, "GRIDS", {Effort.QUICK: (), Effort.DEFAULT: (3, 5)})
        monkeypatch.setattr(module, "ACTIVATIONS", dict.fromkeys(Effort, ("erf",)))
    quick, default = check(unit_interval(4), Effort.QUICK), check(unit_interval(4), Effort.DEFAULT)
    assert quick.verdict is default.verdict is Verdict.HOLDS
    assert default.cases == 3 * quick.cases


def test_grids_are_nested() -> None:
    for sizes in certify.GRIDS.values():
        for few, many in pairwise(sizes):
            step = (many - 1) // (few - 1)
            assert np.array_equal(unit_interval(many).X[::step], unit_interval(few).X)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_figures_are_of_the_data(count: int) -> None:
    problem = unit_interval(count)
    bound = nntk_bound.check(problem, Effort.QUICK).panels
    rates = exponential._limit_check(problem, Effort.QUICK).panels
    left = one_step._limit_check(problem, Effort.QUICK).panels
    assert [len(p) for p in (bound, rates, left)] == [2, 2, 1]
    values = [float(v.mid()) for v in proved_spectrum(problem.X, "tanh").eigenvalues]
    gamma = values[-1] * (1 - 0.9) / 0.9

    inside, outside, rho = bound[0].series
    assert inside.y == pytest.approx([v / (gamma + v) for v in values], rel=1e-4)
    assert inside.y[-1] == pytest.approx(0.9, rel=1e-6)
    assert outside.y[-1] < rho.y[-1] == 0.9
    value, lower, upper = bound[1].series
    assert all(a <= b <= c for a, b, c in zip(lower.y, value.y, upper.y, strict=True))

    newton, descent, _ = rates[0].series
    assert newton.y == pytest.approx([gamma / (gamma + v) for v in values], rel=1e-4)
    assert descent.x[0] == 2
    assert descent.y == pytest.approx([1 - v / values[0] for v in values[1:]], rel=1e-6)
    error, limit = rates[1].series
    assert all(a <= b for a, b in zip(error.y, limit.y, strict=True))
    assert error.y[0] > error.y[-1] > 0

    data, worst, line = left[0].series
    assert all(a <= b <= c for a, b, c in zip(data.y, worst.y, line.y, strict=True))
    assert left[0].log == "xy"


def test_gradient_descent_is_drawn_with_the_control() -> None:
    (panel,) = exponential._limit_control(GRID, Effort.QUICK).panels
    error, limit = panel.series
    assert error.y[-1] > 1e3 * limit.y[-1]


def test_error_bars_contain_the_points() -> None:
    series = certify.curve("x", [1, 2], [arb(1, 0.25), arb("1e-60", "1e-70")])
    assert series.low[0] <= 0.75
    assert series.high[0] >= 1.25
    assert series.low[1] < series.high[1]
    assert certify.curve("x", [1], [arb(1)], style="dashed").low == ()


def test_unmet_assumptions_reach_every_limit_check() -> None:
    twice = Problem(np.array([[0.0], [0.0]]), np.ones(2), "test")
    for check in (nntk_bound.check, exponential._limit_check, exponential._limit_control, one_step._limit_check):
        assert not check(twice, Effort.QUICK).applies
