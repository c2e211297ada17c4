"""`nntk-bound`: both halves hold, (E18) fails below its assumption, and planted faults are noticed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from nntk_proofs_checks import Effort, Finding, nntk_bound
from nntk_proofs_checks.certify import conclude, settle, unit_interval
from nntk_reference import Ball, Verdict, formulas, hessian, jacobian, outputs, residual_hessian
from tests.proofs_checks.problems import DATA, problem

GRID = unit_interval(8)


def test_nntk_bound_holds_in_both_halves_and_both_controls_are_refuted() -> None:
    assert nntk_bound._limit_check(GRID, Effort.QUICK).verdict is Verdict.HOLDS
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.HOLDS
    assert nntk_bound._limit_control(GRID, Effort.QUICK).verdict is Verdict.REFUTED
    assert nntk_bound._finite_control(GRID, Effort.QUICK).verdict is Verdict.REFUTED


def test_it_says_something_of_data_without_targets() -> None:
    found = nntk_bound.check(DATA["zero targets"], Effort.QUICK)
    assert found.applies
    assert found.verdict is Verdict.HOLDS


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


def test_beyond_its_assumption_comes_after_what_of_it_is_broken() -> None:
    found = settle(partial(nntk_bound._beyond, GRID, 0))
    assert len(found) == 2 + 2 * 8 + 1  # what is broken, the equality for 8 points from both sides, the bound on λ₁
    assert [(c.what.partition(" ")[0], c.relation, c.verdict) for c in found[:2]] == [
        ("γ_N", "<", Verdict.HOLDS),
        ("λ_min(D)", "<", Verdict.HOLDS),
    ]
    assert [(c.relation, c.verdict) for c in found[-1:]] == [("≤", Verdict.REFUTED)]


@pytest.mark.parametrize("factor", ["1.01", "1.5", "400"])
def test_e18_holds_above_its_assumption(factor: str) -> None:
    comparisons = settle(partial(nntk_bound._finite_comparisons, GRID, 3, arb(factor)))
    assert conclude(comparisons, 1, "").verdict is Verdict.HOLDS


@pytest.mark.parametrize("data", ["line", "plane", "far apart", "large targets", "small targets", "zero targets"])
@pytest.mark.parametrize("sign", [1, -1])
def test_e18_is_nearly_attained_on_either_side(sign: int, data: str) -> None:
    """To half a percent, so a bound that is that much too tight is refuted."""
    _, lower, upper, *_ = settle(partial(nntk_bound._attained_comparisons, DATA[data], sign))
    near = lower if sign == 1 else upper
    assert near.verdict is Verdict.HOLDS
    assert 0 < near.margin() < 0.006


@pytest.mark.parametrize("factor", ["0.95", "1.05"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_residual_hessian_5_percent_off_is_refuted(side: int, factor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In either bound by itself, whether that makes it too tight or wider than need be."""
    original = nntk_bound._bounds

    def changed(b: arb, damping: arb, size: arb) -> tuple[arb, ...]:
        return tuple(original(b, damping, size * arb(factor) if k == side else size)[k] for k in (0, 1))

    monkeypatch.setattr(nntk_bound, "_bounds", changed)
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is Verdict.REFUTED


def test_what_is_nearly_attained_is_so_by_half_a_percent() -> None:
    """The 0.99 is not less than it has to be: 0.996 is too much for it to be refuted."""
    for size, verdict in (("0.994", Verdict.HOLDS), ("0.996", Verdict.REFUTED)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(nntk_bound, "_SHORT", arb(size))
            for sign in (1, -1):
                first, *_ = settle(partial(nntk_bound._attained_comparisons, GRID, sign))
                assert first.verdict is verdict


@pytest.mark.parametrize("factor", ["1.0001", "0.9999"])
def test_the_bound_on_gamma_is_resolved_to_a_ten_thousandth(factor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slack beyond that, in place of 2⁻²⁰, would not refute it."""
    original = nntk_bound._largest_gamma
    monkeypatch.setattr(nntk_bound, "_largest_gamma", lambda *args: original(*args) * arb(factor))
    assert nntk_bound._limit_check(GRID, Effort.QUICK).verdict is Verdict.REFUTED


REPLACED = {
    "0": lambda solved: 0 * solved,
    "a thousandfold": lambda solved: 1000 * solved,
    "noise": lambda solved: Ball(64).array(np.random.default_rng(0).standard_normal(solved.shape)),
}


@pytest.mark.control
@pytest.mark.parametrize("what", REPLACED)
@pytest.mark.parametrize("half", ["limit", "finite"])
def test_a_kernel_that_is_wrong_refutes_the_check_and_not_the_control(
    half: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is refuted because γ or D breaks the assumption, and says so where the kernel is at fault."""
    original = nntk_bound.symmetric_solve

    def replaced(*args: Any) -> Any:
        solved, *rest = original(*args)
        return REPLACED[what](solved), *rest

    monkeypatch.setattr(nntk_bound, "symmetric_solve", replaced)
    assert getattr(nntk_bound, f"_{half}_check")(GRID, Effort.QUICK).verdict is Verdict.REFUTED
    control = getattr(nntk_bound, f"_{half}_control")(GRID, Effort.QUICK)
    assert control.verdict is not Verdict.REFUTED
    assert control.verdict is Verdict.HOLDS or "not for the reason stated" in control.why


@pytest.mark.control
@pytest.mark.parametrize("data", ["plane", "two points", "far apart", "large targets", "zero targets"])
def test_the_controls_are_refuted_on_the_data_they_are_given(data: str) -> None:
    for part in (nntk_bound._limit_control, nntk_bound._finite_control):
        found, on_grid = (part(p, Effort.QUICK) for p in (DATA[data], GRID))
        assert found.verdict is Verdict.REFUTED, found.why
        assert (found.number == on_grid.number) is (data.endswith("targets") and part is nntk_bound._limit_control)


@pytest.mark.control
def test_the_controls_hold_where_nothing_is_broken() -> None:
    same = partial(nntk_bound._limit_comparisons, GRID.X, "tanh", "the data", right_for=GRID.X)
    assert conclude(settle(same), 1, "").verdict is Verdict.HOLDS
    *kept, decisive = settle(partial(nntk_bound._beyond, GRID, 0))
    assert conclude(kept, 1, "").verdict is Verdict.HOLDS  # that γ_N < s̄, that D is indefinite, and the rest of the code
    assert decisive.verdict is Verdict.REFUTED
    assert decisive.limit > 0  # so it says something about 𝓑: bounds below 0 are exceeded by any positive semidefinite matrix
    assert nntk_bound._refuted_alone(kept, kept, "").verdict is Verdict.HOLDS
    assert nntk_bound._refuted_alone([decisive], [decisive], "").verdict is Verdict.UNDECIDED


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


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda S: S / 2, Verdict.HOLDS),
        (lambda S: -S, Verdict.REFUTED),
        (lambda S: S[:, ::-1, ::-1], Verdict.REFUTED),
    ],
    ids=["half", "sign", "reversed"],
)
def test_e18_is_true_of_any_block_diagonal_symmetric_matrix(change, verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """So its size is noticed by other claims alone (`push-through`), its directions where (E18) is nearly attained."""
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: change(original(s, r)))
    assert nntk_bound._finite_check(GRID, Effort.QUICK).verdict is verdict
    drawn = settle(partial(nntk_bound._finite_comparisons, GRID, 0, arb(2)))
    assert conclude(drawn, 1, "").verdict is Verdict.HOLDS


# ------------------------------------------------------------------------------------------------------ what is tried and told


def _numbers(values: Any) -> np.ndarray:
    return np.array([float(v.mid()) for v in np.asarray(values, dtype=object).reshape(-1)])


def test_a_small_network_is_what_its_definitions_say() -> None:
    data = DATA["plane"]
    net, X, y = nntk_bound._drawn(data, 1)
    chosen = [round(k * (len(data.X) - 1) / 7) for k in range(8)]
    assert (net.width, net.dim, net.beta) == (12, 2, 0.75)
    assert X.tolist() == data.X[chosen].tolist()
    assert y.tolist() == data.y[chosen].tolist()
    assert net.theta.tolist() != nntk_bound._drawn(data, 0)[0].theta.tolist()
    assert net.theta.tolist() != nntk_bound._drawn(replace(data, seed=1), 1)[0].theta.tolist()
    small = nntk_bound._small(net, X, y, Ball(96))
    J, H = jacobian(net, X).reshape(8, -1), hessian(net, X, y)
    S = residual_hessian(net, X, y)
    np.testing.assert_allclose(_numbers(small.J), J.reshape(-1), rtol=1e-12)
    np.testing.assert_allclose(_numbers(small.hessian), H.reshape(-1), atol=1e-12)
    np.testing.assert_allclose(_numbers(small.gauss_newton), (J.T @ J / 8).reshape(-1), atol=1e-12)
    np.testing.assert_allclose(_numbers(small.base), np.linalg.eigvalsh(J @ J.T / 8)[::-1], atol=1e-12)
    values = np.linalg.eigvalsh(S)
    assert float(small.lowest) == pytest.approx(values.min(), rel=1e-9)
    assert float(small.size) == pytest.approx(np.abs(values).max(), rel=1e-9)
    damping = arb("0.3")
    for A, dense in ((small.hessian, H), (small.gauss_newton, J.T @ J / 8)):
        found = nntk_bound._nntk_eigenvalues(small, A, damping, Ball(96))
        wanted = np.linalg.eigvalsh(J @ np.linalg.solve(dense + 0.3 * np.eye(len(dense)), J.T) / 8)[::-1]
        np.testing.assert_allclose(_numbers(found), wanted, atol=1e-12)


def test_the_norm_is_the_larger_of_both_ends() -> None:
    blocks = [np.array([arb(3), arb(0), arb(-1)]), np.array([arb(1), arb(0), arb(-2)])]
    assert nntk_bound._norm(blocks) == 3
    assert nntk_bound._norm([-block[::-1] for block in blocks]) == 3
    assert nntk_bound._norm([blocks[1]]) == 2


def test_the_damping_is_a_little_more_than_the_factor() -> None:
    with ctx.workprec(96):
        small = nntk_bound._small(*nntk_bound._drawn(GRID, 0), Ball(96))
        for factor in (arb(2), arb(32)):
            damping = nntk_bound._damping(small, factor)
            assert 0 < damping / (factor * small.size) - 1 < 1e-15
    assert nntk_bound._damping(replace(small, size=arb(0)), arb(2)) > 0


@pytest.mark.parametrize(("targets", "size"), [([1.0, -4.0, 2.0], 4.0), ([0.0, 0.0, 0.0], 1.0), ([0.0, 1e-7, 0.0], 1.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_equal_neurons_have_a_residual_of_the_largest_targets_size(targets: list[float], size: float, sign: int) -> None:
    data = problem([[0.5], [-2.0], [1.0]], targets)
    net, X, y = nntk_bound._aligned(data, sign)
    assert X.tolist() == data.X[[int(np.abs(targets).argmax())]].tolist()
    assert (outputs(net, X) - y).tolist() == pytest.approx([size])
    assert np.ptp(net.theta, axis=0).tolist() == [0, 0, 0]
    assert net.theta[0, 1] == 0
    assert np.sign(net.c[0]) == sign
    J, S = jacobian(net, X)[0, 0], residual_hessian(net, X, y)[0]
    values = np.linalg.eigvalsh(S)
    along = S @ J / np.linalg.norm(J)
    extreme = values[-1] if sign > 0 else values[0]
    assert np.linalg.norm(along - extreme * J / np.linalg.norm(J)) < 1e-9 * abs(extreme)
    assert abs(extreme) == pytest.approx((1 - 2 * 0.05**2) * np.abs(values).max(), rel=1e-4)


def test_every_network_at_every_factor_and_both_that_attain_it_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def finite(problem: Any, seed: int, factor: arb, bits: int) -> list[Any]:
        seen.append((seed, float(factor)))
        return original(problem, seed, factor, bits)

    original, attained = nntk_bound._finite_comparisons, nntk_bound._attained_comparisons
    monkeypatch.setattr(nntk_bound, "_finite_comparisons", finite)
    monkeypatch.setattr(
        nntk_bound, "_attained_comparisons", lambda problem, sign, bits: (seen.append(sign), attained(problem, sign, bits))[1]
    )
    found = nntk_bound._finite_check(GRID, Effort.QUICK)
    assert list(dict.fromkeys(seen)) == [(0, 2.0), (0, 32.0), (1, 2.0), (1, 32.0), 1, -1]
    assert (found.verdict, found.cases) == (Verdict.HOLDS, 6)


@pytest.mark.control
def test_the_control_is_of_the_same_network_as_what_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    finite, beyond = nntk_bound._finite_comparisons, nntk_bound._beyond

    def sound(data: Any, seed: int, factor: arb, bits: int) -> list[Any]:
        asked.append((len(data.X), seed, float(factor)))
        return finite(data, seed, factor, bits)

    def broken(data: Any, seed: int, bits: int) -> list[Any]:
        asked.append((len(data.X), seed))
        return beyond(data, seed, bits)

    monkeypatch.setattr(nntk_bound, "_finite_comparisons", sound)
    monkeypatch.setattr(nntk_bound, "_beyond", broken)
    nntk_bound._finite_control(unit_interval(20), Effort.QUICK)
    assert set(asked) == {(8, 0), (8, 0, 2.0)}
