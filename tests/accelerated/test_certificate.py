"""Certificates never prove what balls refute, and do prove what is true by more than rounding errors.

The truth is the reference's Hessian over balls of 256 bits, plus the damping as the exact float it is, and its proved inertia.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, arb_mat, ctx
from hypothesis import assume, given
from hypothesis import strategies as st

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import (
    AcceleratedError,
    Certificate,
    blocks,
    bounds,
    certificate,
    gauss_newton_step,
    inertia,
    newton_step,
    prepare,
)
from tests.accelerated.comparison import (
    MODES,
    PRECISE,
    Case,
    Example,
    ball_inertia,
    ball_matrix,
    exact,
    prepared,
    rounded,
    seeded,
    spectral_norm_upper,
    tensors,
)
from tests.accelerated.planted import EXACT, HALF, OFF, TINY, Planted, U, constant, flushed, planted
from tests.tolerances import EPS
from tests.weakened import Term, check_tight, every

IN_THEORY = [name for name, entry in reference.ACTIVATIONS.items() if entry.in_theory]
every_mode = pytest.mark.parametrize("mode", MODES)


def certified(case: Case, damping: float, mode: str = "float64", *, count: bool = True, device: str = "cpu") -> Certificate:
    task, r, S = prepared(case, mode, device=device)
    with torch.no_grad():
        return certificate.certify(task, S, damping, bounds.radii(task, r), count=count)


def wrong_claims(found: Certificate, counts: reference.Inertia, case: Case, damping: float) -> list[str]:
    """What a certificate says that the proved inertia does not confirm."""
    claims = {
        "positive definite": found.verdict != "positive definite" or counts.positive == case.net.parameters,
        "indefinite": found.verdict != "indefinite" or counts.negative >= 1,
        "negative": found.negative is None or (found.negative == counts.negative and counts.undecided == 0),
        "at_least": found.at_least <= counts.negative,
        "consistent": (found.verdict == "indefinite") == (found.at_least > 0)
        and (found.negative or found.at_least) >= found.at_least,
    }
    return [name for name, right in claims.items() if not right]


def agree(found: Certificate, case: Case, damping: float, mode: str) -> None:
    counts = ball_inertia(case, damping)
    wrong = wrong_claims(found, counts, case, damping)
    assert not wrong, f"{wrong}: {found}, but {counts}; {case.told}, {damping=!r}, {mode=}"


def smallest(case: Case) -> float:
    """λ_min(H) in float64."""
    return float(np.linalg.eigvalsh(reference.hessian(case.net, case.X, case.y))[0])


# ---------------------------------------------------------------------------------------------------------------- never wrong

small = problems(max_width=5, max_dim=2, max_points=5, activations=IN_THEORY, extreme=False)


@given(
    problem=small,
    mode=st.sampled_from(list(MODES)),
    digits=st.integers(1, 17),
    sign=st.sampled_from([-1, 0, 1]),
    count=st.booleans(),
)
def test_proofs_near_the_threshold_agree_with_balls(problem: Example, mode: str, digits: int, sign: int, count: bool) -> None:
    net, X, y, gamma = problem
    case = rounded(net, X, y, MODES[mode][0])
    least = smallest(case)
    damping = -least * (1 + sign * 10.0**-digits)
    if not damping > 1e-30:  # H is positive semidefinite, or H's sign is noise
        damping = gamma
    agree(certified(case, damping, mode, count=count), case, damping, mode)


@given(problem=small, mode=st.sampled_from(list(MODES)), share=st.floats(-0.2, 1.5))
def test_proofs_of_any_damping_agree_with_balls(problem: Example, mode: str, share: float) -> None:
    # dampings of either sign: `min_eigenvalue` certifies H - xI for positive x, too
    assume(share == 0 or abs(share) > 1e-60)  # balls of 77 digits do not see less beside H
    net, X, y, _ = problem
    case = rounded(net, X, y, MODES[mode][0])
    damping = share * float(np.abs(reference.hessian(case.net, case.X, case.y)).max())
    agree(certified(case, damping, mode), case, damping, mode)


@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(IN_THEORY),
    width=st.integers(1, 4),
    dim=st.integers(1, 2),
    count=st.integers(1, 6),
    digits=st.integers(1, 17),
    sign=st.sampled_from([-1, 1]),
    mode=st.sampled_from(list(MODES)),
)
def test_generic_proofs_and_steps_near_the_threshold_agree_with_balls(
    seed: int, name: str, width: int, dim: int, count: int, digits: int, sign: int, mode: str
) -> None:
    dtype, precision = MODES[mode]
    case = seeded(seed, width, dim, count, activation=name, dtype=dtype)
    damping = -smallest(case) * (1 + sign * 10.0**-digits)
    assume(damping > 1e-30)
    counts = ball_inertia(case, damping)
    try:
        step = newton_step(*case.torch(dtype), damping, scaling="fixed", precision=precision)
    except AcceleratedError:
        pass  # no step at an eigenvalue of H; what is refused and when is tests/accelerated/test_step.py's subject
    else:
        wrong = wrong_claims(step.certificate, counts, case, damping)
        assert not wrong, f"{wrong}: {step.certificate}, but {counts}; {case.told}, {damping=!r}, {mode=}"
        if step.certificate.negative is not None:
            assert step.negative_eigenvalues == counts.negative
    try:
        found = inertia(*case.torch(dtype), damping, scaling="fixed", precision=precision)
    except AcceleratedError:
        return
    assert found.negative + found.positive == case.net.parameters
    assert found.proved == (found.certificate.negative is not None)
    if found.proved:
        assert (found.negative, found.positive) == (counts.negative, counts.positive), f"{case.told}, {damping=!r}, {mode=}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_many_proofs_near_the_threshold_agree_with_balls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for mode in MODES:
        for name in IN_THEORY:
            width, dim, count = (int(rng.integers(1, most + 1)) for most in (6, 3, 6))
            case = seeded(int(rng.integers(10**6)), width, dim, count, activation=name, dtype=MODES[mode][0])
            for digits in range(1, 17):
                for sign in (-1, 1):
                    damping = -smallest(case) * (1 + sign * 10.0**-digits)
                    if damping > 1e-30:
                        agree(certified(case, damping, mode), case, damping, mode)


# --------------------------------------------------------------------------------------------------------------- not undecided

# Distances from the threshold, relative to |λ_min|, and the share of generic cases that has to be decided there. The bounds are
# some 1e2 eps of ‖S‖ and ‖J‖²/M, magnified in the M×M system by the condition of D, which differs from case to case: so all of
# them at 1e6 eps and more of the arithmetic, and most of them in between. In float32 1e6 eps is all of |λ_min|, and at 0.3 the
# same holds for most.
POWER = {
    "float64": {0.3: 1.0, 1e-3: 1.0, 1e-6: 1.0, 1e-9: 0.75},
    "mixed": {0.3: 0.5},
    "float32": {0.3: 0.5},
    "float32 net in float64": {0.3: 1.0, 1e-3: 1.0, 1e-6: 1.0, 1e-9: 0.75},
}


@pytest.mark.parametrize("sign", [-1, 1])
@every_mode
def test_generic_cases_are_decided(mode: str, sign: int, device: str) -> None:
    cases = []
    for seed, name in enumerate(IN_THEORY * 3):
        width, dim, count = 2 + seed % 5, 1 + seed % 3, 1 + seed % 6
        cases.append(seeded(100 + seed, width, dim, count, activation=name, dtype=MODES[mode][0]))
    for delta, share in POWER[mode].items():
        undecided = []
        for case in cases:
            least = smallest(case)
            assert least < 0, case.told
            damping = -least * (1 + sign * delta)
            found = certified(case, damping, mode, count=False, device=device)
            if found.verdict == "undecided":
                undecided.append((case.told, damping, found.reason))
            else:
                assert found.verdict == ("positive definite" if sign > 0 else "indefinite"), (case.told, damping, found)
        assert len(undecided) <= (1 - share) * len(cases), f"{len(undecided)} of {len(cases)} at {delta}: {undecided}"


def test_counts_are_proved_where_no_eigenvalue_is_near_zero() -> None:
    for seed, name in enumerate(IN_THEORY * 2):
        case = seeded(200 + seed, 20, 1 + seed % 3, 4, activation=name)
        values = np.linalg.eigvalsh(reference.hessian(case.net, case.X, case.y))
        damping = float(-(values[5] + values[6]) / 2)
        found = inertia(*case.torch(), damping, scaling="fixed")
        assert found.proved, (case.told, damping, found)
        assert found.negative == int((values < -damping).sum()) == 6
        assert found.certificate.negative == 6


def test_large_damping_is_proved_by_the_blocks_with_a_margin() -> None:
    case = seeded(7, 40, 2, 8)
    norm_S = float(np.abs(np.linalg.eigvalsh(reference.residual_hessian(case.net, case.X, case.y))).max())
    found = certified(case, 100 * norm_S)
    assert found.verdict == "positive definite"
    assert 0.9 < found.margin <= 1


@given(
    problem=problems(max_width=3, max_dim=2, max_points=3, min_gamma=1e-2, max_gamma=1e20, extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_the_margin_is_a_lower_bound(problem: Example, mode: str) -> None:
    # λ_min(A) ≥ margin·μ exactly: H + μ(1 - margin) I has no negative eigenvalue
    net, X, y, gamma = problem
    case = rounded(net, X, y, MODES[mode][0])
    found = certified(case, gamma, mode)
    assert 0 <= found.margin <= 1
    if found.margin > 0:
        assert found.verdict == "positive definite"
        with ctx.workprec(PRECISE.bits):
            counts = ball_inertia(case, arb(gamma) * (1 - arb(found.margin)))
        assert counts.negative == 0, f"λ_min(H + μI) < {found.margin!r} μ: {case.told}, μ = {gamma!r}, {mode=}"


@pytest.mark.parametrize("mode", ["float64", "float32"])
def test_wide_nets_agree_with_dense_eigenvalues(mode: str, device: str) -> None:
    wide_agreement(330, mode, device)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["float64", "mixed", "float32"])
def test_nets_of_a_thousand_neurons_agree_with_dense_eigenvalues(mode: str) -> None:
    wide_agreement(1000, mode, "cpu")


def wide_agreement(width: int, mode: str, device: str) -> None:
    case = seeded(8, width, 1, 12, dtype=MODES[mode][0])
    values = np.linalg.eigvalsh(reference.hessian(case.net, case.X, case.y))
    noise = 100 * len(values) * EPS["float64"] * float(np.abs(values).max())
    for damping in (-values[0] * 1.2, -values[0] * 0.8, -values[0] * 0.3):
        found = certified(case, float(damping), mode, device=device)
        assert np.abs(values + damping).min() > noise
        negative = int((values + damping < 0).sum())
        assert found.verdict == ("indefinite" if negative else "positive definite")
        assert found.negative in (None, negative)
        assert found.at_least <= negative
        if mode == "float64":
            assert found.negative == negative


@every_mode
def test_gauss_newton_is_always_positive_definite(mode: str) -> None:
    dtype, precision = MODES[mode]
    case = seeded(9, 30, 2, 10, dtype=dtype)
    step = gauss_newton_step(*case.torch(dtype), 1e-3, precision=precision)
    assert (step.certificate.verdict, step.certificate.negative, step.negative_eigenvalues) == ("positive definite", 0, 0)


def test_without_curvature_nothing_is_known_of_a_damping_that_is_not_positive() -> None:
    task, _, _ = prepared(seeded(9, 30, 2, 10), "float64")
    for shift in (0.0, -1.0):
        found = certificate.certify(task, None, shift, None)
        assert (found.verdict, found.negative, found.at_least, found.margin) == ("undecided", None, 0, 0.0)


@given(
    problem=problems(max_width=4, max_dim=2, max_points=4, activations=["relu", "square"], extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_activations_outside_the_theory_are_never_wrong_either(problem: Example, mode: str) -> None:
    # for relu σ' jumps: balls enclose it, and where a proof is given although z may lie at the jump the balls stay undecided
    net, X, y, gamma = problem
    case = rounded(net, X, y, MODES[mode][0])
    agree(certified(case, gamma, mode), case, gamma, mode)


@given(problem=problems(max_width=3, max_dim=2, max_points=3))
def test_extreme_numbers_give_no_wrong_proof(problem: Example) -> None:
    net, X, y, gamma = problem
    case = rounded(net, X, y)
    damping = float(reference.regularization(gamma, net.width, net.beta))
    assume(1e-290 < damping < 1e290)
    agree(certified(case, damping), case, damping, "float64")


# ----------------------------------------------------------------------------------------------------------- negative control


def test_with_smaller_error_bounds_the_certificate_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    # The search near the threshold is able to catch a wrong proof: with all bounds a millionth of what they are, it does.
    near = []
    for seed in range(12):
        case = seeded(300 + seed, 1 + seed % 3, 1, 1 + seed % 3, activation=IN_THEORY[seed % len(IN_THEORY)])
        least = smallest(case)
        for delta in (2e-16, -2e-16, 1e-15, -1e-15):
            damping = -least * (1 + delta)
            if damping > 1e-30:
                near.append((case, damping, ball_inertia(case, damping)))
    assert len(near) >= 20

    def claims() -> list[str]:
        return [
            claim for case, damping, counts in near for claim in wrong_claims(certified(case, damping), counts, case, damping)
        ]

    assert claims() == []
    shrunk = 1e-6
    radii, roundings = bounds.radii, bounds.roundings
    gram, eigenvalues = certificate._bounded_gram, certificate._bounded_eigenvalues

    def small_gram(*args: Any) -> tuple[torch.Tensor, float]:
        G, bound = gram(*args)
        return G, shrunk * bound

    def small_eigenvalues(*args: Any) -> tuple[torch.Tensor, float]:
        values, bound = eigenvalues(*args)
        return values, shrunk * bound

    with monkeypatch.context() as patch:
        patch.setattr(bounds, "radii", lambda task, r: bounds.Radii(shrunk * radii(task, r).values))
        for module in (bounds, certificate):
            patch.setattr(module, "roundings", lambda count, dtype: shrunk * roundings(count, dtype))
        patch.setattr(certificate, "_bounded_gram", small_gram)
        patch.setattr(certificate, "_bounded_eigenvalues", small_eigenvalues)
        assert claims() != []


# ------------------------------------------------------------------------------------------- the sum and its eigenvalues alone


def gram_ratio(case: Case, damping: float, mode: str, chunk: int | None, device: str = "cpu") -> float:
    """‖computed - exact‖₂ over its bound, for M I + J D⁻¹ Jᵀ; 0 where there is no bound."""
    task, r, S = prepared(case, mode, chunk=chunk, device=device)
    with torch.no_grad():
        G, bound = certificate._bounded_gram(task, S, damping, bounds.radii(task, r))
    if not math.isfinite(bound):
        return 0.0
    M = len(case.X)
    with ctx.workprec(PRECISE.bits):
        J = reference.jacobian(case.net, case.X, arithmetic=PRECISE)
        total = np.array([[arb(M * (i == j)) for j in range(M)] for i in range(M)], dtype=object)
        for i, block in enumerate(reference.residual_hessian(case.net, case.X, case.y, arithmetic=PRECISE)):
            D = block.copy()
            D[np.diag_indices(len(D))] += arb(damping)
            rows = J[:, i]
            total = total + rows @ np.array(arb_mat(D.tolist()).solve(arb_mat(rows.T.tolist())).tolist(), dtype=object)
        error = spectral_norm_upper(exact(G.cpu().numpy()) - total)
    return error / bound


@given(
    problem=problems(max_width=4, max_dim=2, max_points=4, activations=[*IN_THEORY, "square"], extreme=False),
    mode=st.sampled_from(list(MODES)),
    share=st.floats(0.05, 2),
    chunk=st.sampled_from([None, 1, 3]),
)
def test_the_gram_bound_covers_the_error(problem: Example, mode: str, share: float, chunk: int | None) -> None:
    net, X, y, gamma = problem
    case = rounded(net, X, y, MODES[mode][0])
    size = float(np.abs(np.linalg.eigvalsh(reference.residual_hessian(case.net, case.X, case.y))).max())
    damping = share * size if size > 1e-30 else gamma
    ratio = gram_ratio(case, damping, mode, chunk)
    assert ratio <= 1, f"error over bound {ratio}: {case.told}, {damping=!r}, {mode=}, {chunk=}"


@every_mode
def test_the_gram_bound_is_not_a_million_times_too_large(mode: str, device: str) -> None:
    ratios = []
    for seed, name in enumerate(IN_THEORY):
        case = seeded(600 + seed, 10, 2, 6, activation=name, dtype=MODES[mode][0])
        blocks = np.linalg.eigvalsh(reference.residual_hessian(case.net, case.X, case.y))
        ratios.append(gram_ratio(case, float(-blocks.min() * 0.6), mode, None, device))
    assert max(ratios) <= 1, ratios
    assert max(ratios) > 1e-5, ratios
    assert min(ratios) > 0, ratios


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 10),
    kind=st.sampled_from(["generic", "clustered", "graded", "multiple"]),
    exponent=st.integers(-60, 60),
)
def test_eigenvalues_lie_within_their_bound(seed: int, size: int, kind: str, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((size, size)))[0]
    spectrum = {
        "generic": rng.standard_normal(size),
        "clustered": 1 + 1e-13 * rng.standard_normal(size),
        "graded": 10.0 ** -np.arange(size) * rng.choice([-1, 1], size),
        "multiple": rng.choice([-1.0, 2.0], size),
    }[kind]
    A = Q @ np.diag(spectrum) @ Q.T * 2.0**exponent
    A = np.tril(A) + np.tril(A, -1).T
    values, bound = certificate._bounded_eigenvalues(torch.from_numpy(A), size)
    assert 0 < bound <= 1e-10 * 2.0**exponent * (1 + np.abs(spectrum).max()), (seed, size, kind, exponent, bound)
    with ctx.workprec(PRECISE.bits):
        enclosures = reference.eigenvalues(A, PRECISE)
        for value, ball in zip(sorted(values.tolist(), reverse=True), enclosures, strict=True):
            assert abs(ball - value) <= arb(bound), (
                f"{value!r} is off by {abs(ball - value)}, bound {bound}: {(seed, size, kind, exponent)}"
            )


def test_the_bound_of_eigenvalues_is_not_a_million_times_too_large() -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((12, 12))
    A = A + A.T
    values, bound = certificate._bounded_eigenvalues(torch.from_numpy(A), 12)
    with ctx.workprec(PRECISE.bits):
        exact_values = reference.eigenvalues(A, PRECISE)
        errors = [abs(ball - v) for v, ball in zip(sorted(values.tolist(), reverse=True), exact_values, strict=True)]
        assert 1e-5 < float(max(errors, key=float)) / bound <= 1


def test_eigenvalues_that_lapack_does_not_find_have_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(A: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("planted")

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    values, bound = certificate._bounded_eigenvalues(torch.eye(3, dtype=torch.float64), 3)
    assert bound == math.inf
    assert values.isnan().all()


def test_eigenvalues_of_a_matrix_that_is_not_finite_have_no_bound() -> None:
    W = torch.eye(3, dtype=torch.float64)
    W[1, 1] = math.nan
    _, bound = certificate._bounded_eigenvalues(W, 3)
    assert bound == math.inf


def test_the_balls_decide() -> None:
    # the judge itself: a matrix whose inertia is known
    case = seeded(700, 3, 1, 2)
    least = smallest(case)
    below, above = ball_inertia(case, -least * 0.99), ball_inertia(case, -least * 1.01)
    assert below.undecided == above.undecided == 0
    assert below.negative >= 1
    assert above.negative == 0
    assert reference.positive_definite(ball_matrix(case, -least * 1.01), PRECISE) == reference.Verdict.HOLDS


# ----------------------------------------------------------------------------- every term where it is the largest, and attained
#
# As in test_bounds.py: one neuron and one point, errors at the limit of the model. A false proof counts as an infinite ratio.


def stored(*, cη: Any = 0.0, cw: Any = 0.0, ηη: Any = 0.0, wη: Any = 0.0, ww: Any = 0.0) -> torch.Tensor:
    """The entries of S for p = 3, as `stream` stores them."""
    rows = np.broadcast_arrays(*(np.atleast_1d(v) for v in (cη, cw, ηη, wη, ww)))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def radius(*values: float) -> bounds.Radii:
    return bounds.Radii(torch.tensor(values, dtype=torch.float64))


def of(sigma: float, slope: float = 0.0, *, c: Any = (0.0,), error: float = 0.0, **given: Any) -> Planted:
    """A network of jets (σ, σ', 0), of which σ is off by `error`."""
    neurons = len(c)
    return planted(
        constant(sigma + error, slope, 0),
        (sigma, slope, 0, 0),
        c=c,
        w=((0.0,),) * neurons,
        eta=(0.0,) * neurons,
        **given,
    )


def false_blocks(S: torch.Tensor, shift: float, error: float, negative: int) -> Callable[[], float]:
    """Is an inertia proved of blocks of which some have `negative` negative eigenvalues?"""

    def ratio() -> float:
        n = S.shape[1]
        task = of(0, c=(0.0,) * n)
        found = certificate._block_inertia(task, S, shift, radius(*[error] * n))
        return 0.0 if found.open + found.negative // negative == n else math.inf

    return ratio


def doubtful_blocks() -> tuple[torch.Tensor, float]:
    """Blocks [[b + 1, a], [a, 1]] over (η, c) whose determinant is negative by two or three units."""
    rng = np.random.default_rng(0)
    b = rng.uniform(-0.5, 1, 20000).astype(np.float32).astype(float)
    a = np.sqrt((b + 1) * (1 + 2 * U)).astype(np.float32).astype(float)
    below = (b + 1) - a * a < 0  # exact: products of float32 numbers
    assert below.sum() > 5000
    return stored(cη=a[below], ηη=b[below], ww=1.0), 1.0


def gram_of(task: Planted, exact_gram: float, S: torch.Tensor, shift: float, error: float = 0.0) -> float:
    """|computed - exact| over the bound, for the 1×1 matrix M I + J D⁻¹ Jᵀ."""
    G, bound = certificate._bounded_gram(task, S, shift, radius(*[error] * task.local))
    return abs(float(G) - exact_gram) / bound


def gram_radius_case() -> float:
    # D over (c, η, w) = (1, 1000, 1000), and 0.9 for 1 in truth
    return gram_of(of(1), 1 + 1 / 0.9, stored(ηη=999.0, ww=999.0), 1.0, 0.1)


def gram_unit_case() -> float:
    task = of(EXACT, error=OFF)
    return gram_of(task, 1 + EXACT**2, stored(ηη=999.0, ww=999.0), 1.0)


def careful_eigh(D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, vectors = torch.linalg.eigh(D.double().permute(2, 0, 1))
    return values.t(), vectors.permute(1, 2, 0).contiguous()


def gram_shift_case() -> float:
    # (1, 1) is a direction of η, w with eigenvalue 1 in a block of size `big`, whose diagonal lost two halves of a unit
    big = 2.0**13
    half = big / 2
    S = stored(ηη=half * HALF, ww=half * HALF, wη=1 - half)
    shift = half * (1 + HALF)
    task = planted(constant(0, 1, 0), (0, 1, 0, 0), c=(1.0,), X=((1.0,),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "eigh", careful_eigh)
        return gram_of(task, 1 + 2 / (1 + half * 2 * HALF), S, shift)


def summed(size: float) -> tuple[Planted, torch.Tensor, float, float]:
    """(task, S, μ, Σ c²/D) of 1024 neurons with J_i = N^(-β) c_i along η, where D is 1, and 10 elsewhere."""
    c = (size, *[size * HALF**0.5] * 1023)
    task = of(0, 1, c=c)
    return task, stored(ηη=[-9.0] * 1024), 10.0, float((task.c.double() ** 2).sum()) * task.scale**2


def gram_sum_case() -> float:
    task, S, shift, total = summed(1.0)
    return gram_of(task, 1 + total, S, shift)


def gram_diagonal_case() -> float:
    task = of((0.99 * 2.0**-53) ** 0.5, dtype=torch.float64)
    G, bound = certificate._bounded_gram(task, stored().double(), 1.0, radius(0))
    assert float(G) == 1
    return 0.99 * 2.0**-53 / bound


def one(value: float) -> torch.Tensor:
    return torch.tensor([[[value]]], dtype=torch.float64)


def eigenvalue_case(A: float, value: float, Q: float) -> Callable[[], float]:
    """1×1: |A - λ| over its bound."""
    return lambda: abs(A - value) / float(certificate._eigenvalue_error(one(A), one(value)[0], one(Q)))


def block_error_case(D: float, value: float, C: float) -> Callable[[], float]:
    """1×1: |sgn(λ)/C² - D| over its bound."""

    def ratio() -> float:
        off = abs(Fraction(D) - 1 / Fraction(C) ** 2 * (1 if value > 0 else -1))
        return float(off) / float(certificate._block_error(one(D), one(value)[0], one(C)))

    return ratio


NEXT = 1 + 2.0**-52
"""The number after 1."""


def count_case(perturbation: float, task: Planted, S: torch.Tensor, shift: float, error: float = 0.0) -> float:
    return perturbation / certificate.count_below(task, S, shift, radius(*[error] * task.local)).error


def count_of_wrong_eigenvalues() -> float:
    """D = I, of which one eigenvalue is said to be 1/2."""

    def wrong(D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([0.5, 1.0, 1.0], dtype=D.dtype)[:, None], torch.eye(3, dtype=D.dtype)[:, :, None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "eigh", wrong)
        return count_case(0.5, of(0), stored(), 1.0)


def count_sum_case() -> float:
    task, S, shift, total = summed(1024.0)
    lost = float(total) * (1 - 1 / (1 + 1023 * HALF))
    return count_case(total * lost / (1 + lost), task, S, shift)


TIGHT = [
    Term(certificate, "_block_inertia", "S, part) + «error.values[part]»", false_blocks(stored(), 1.0, 1.05, 1)),
    Term(certificate, "_block_inertia", "«error.values[which]»", false_blocks(stored(ww=10.0), 1.0, 1.05, 1)),
    # roundings of so few operations do not all go one way, and only one pivot's error counts: half of it, here
    Term(certificate, "_block_inertia", "roundings(p + 9, task.dtype)", false_blocks(*doubtful_blocks(), 0.0, 1), 0.03),
    # nine entries are counted; in this case one of them is lost, twice, and the shift must stay above what is flushed
    Term(
        certificate,
        "_block_inertia",
        "2 * p * p * tiny",
        flushed(
            false_blocks(stored(cη=0.995 * 2.0**-119, cw=0.995 * 2.0**-119, ηη=2.0**-112, ww=2.0**-112), 1.9 * TINY, 0.0, 1)
        ),
        0.04,
    ),
    Term(certificate, "_eigen_counts", "Q) + «error»", false_blocks(stored(ww=-10.0), 1.0, 1.05, 2)),
    Term(certificate, "_bounded_gram", "«error.values[part]») * size", gram_radius_case),
    Term(certificate, "_bounded_gram", "«_diagonal_error(task, D)» + error", gram_shift_case),
    Term(certificate, "_diagonal_error", "roundings(3, task.dtype)", gram_shift_case),
    Term(certificate, "_bounded_gram", "(2 * j + e) * e", gram_unit_case),
    Term(certificate, "_bounded_gram", "rounding * C_size", gram_sum_case),
    Term(
        certificate,
        "_sum_rounding",
        "roundings(p * task.chunk + task.depth + task.local // task.block + 16, product)",
        gram_sum_case,
    ),
    Term(certificate, "_bounded_gram", "4 * torch.finfo(torch.float64).eps", gram_diagonal_case),
    Term(certificate, "_eigenvalue_error", "norms(A @ Q - Q * values[:, None])", eigenvalue_case(1.0, 0.5, 1.0)),
    Term(certificate, "_bound", "off / (1 - «defect»)", eigenvalue_case(1.0, 0.5, 0.6**0.5)),
    # A q and q λ are rounded to the same number
    Term(
        certificate, "_eigenvalue_error", "roundings(p + 1, torch.float64)", eigenvalue_case(2 - 2.0**-51, 2 - 2.0**-52, NEXT)
    ),
    Term(certificate, "_block_error", "norms(back @ D @ back.mT - values[:, None] * eye)", block_error_case(1.0, 0.5, 2**0.5)),
    Term(certificate, "_bound", "off / (1 - «defect»)", block_error_case(1.0, 0.3, 2**0.5)),
    Term(certificate, "_block_error", "roundings(2 * p + 4, torch.float64)", block_error_case(1 - 3 * 2.0**-53, 1.0, NEXT)),
    Term(certificate, "count_below", "+ «error.values[part]») * SLACK", lambda: count_case(0.5, of(0), stored(), 1.0, 0.5)),
    Term(
        certificate,
        "count_below",
        "(2 * j + e) * e",
        lambda: count_case(2 * EXACT * OFF, of(EXACT, error=OFF), stored(), 2.0**-20),
    ),
    Term(certificate, "count_below", "_diagonal_error(task, D)", lambda: count_case(HALF, of(0), stored(), 1 + HALF)),
    Term(certificate, "count_below", "_block_error(D, exact, rows)", count_of_wrong_eigenvalues),
    Term(certificate, "count_below", "«rounding» * (j + e)", count_sum_case),
]


@every(TIGHT)
def test_ten_times_smaller_the_bound_is_exceeded(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tight(monkeypatch, term)


# --------------------------------------------------------------------------------------------------------- at the ends of range


@pytest.mark.parametrize("size", [0.0, 5e-324, 3e-310, 1e-200, 1e200, 1e300])
@pytest.mark.parametrize("wrong", [0.0, 5e-324, 1e-310, 1e-200, 1e-100, 1e200])
def test_errors_of_eigenvalues_and_blocks_of_any_size_are_covered(size: float, wrong: float) -> None:
    """Squares of such numbers are lost, or none: A is `size`, its eigenvalue said to be `wrong` more."""
    value = size + wrong
    assert float(certificate._eigenvalue_error(one(size), one(value)[0], one(1.0))) >= abs(value - size)
    for C in (value**-0.5 if value else math.inf, 1.0):
        off = float(certificate._block_error(one(size), one(value)[0], one(C)))
        assert off >= (abs(1 / Fraction(C) ** 2 - Fraction(size)) if math.isfinite(C) else 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_has_an_infinite_error(bad: float) -> None:
    for A, value, Q in ((bad, 1.0, 1.0), (1.0, bad, 1.0), (1.0, 1.0, bad)):
        assert float(certificate._eigenvalue_error(one(A), one(value)[0], one(Q))) == math.inf
        assert float(certificate._block_error(one(A), one(value)[0], one(Q))) == math.inf


def test_no_false_proof_from_blocks_whose_inverse_has_no_square() -> None:
    """Positive definite, by exact arithmetic; |D⁻¹| is near 1e-175, and its square none."""
    net, X, y = reference.Network(np.array([1.3e84]), np.array([[0.31]]), np.array([0.41]), 0.75), [[1.13]], [-1.7e91]
    shift = 3.799787267389353e175
    with ctx.workprec(PRECISE.bits):
        A = reference.hessian(net, np.array(X), np.array(y), arithmetic=PRECISE).copy()
        A[np.diag_indices(len(A))] += arb(shift)
        assert reference.positive_definite(A, PRECISE) == reference.Verdict.HOLDS
    found = prepare(*tensors((net, np.array(X), np.array(y)), "float64")).certificate(shift, count=True)
    assert found.verdict != "indefinite"
    assert found.negative in (None, 0)


def test_a_count_is_exact_for_the_perturbation_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts put together, each with a number of its own: blocks, J, and ‖J‖²/M θ/(1-θ) for the M×M sum."""
    task, r, S = prepared(seeded(9, 7, 2, 5), "float64")
    assert S is not None
    length, off = 0.5 + torch.arange(task.local, dtype=torch.float64), 0.01 * torch.ones(task.local, dtype=torch.float64)
    seen = []
    radii = bounds.radii(task, r)
    error = replace(radii, values=0.25 + 0 * radii.values)
    monkeypatch.setattr(certificate, "_sum_rounding", lambda task: 1e-4)
    monkeypatch.setattr(certificate, "jacobian_norms", lambda task, part: (length[part], off[part]))
    monkeypatch.setattr(certificate, "_block_error", lambda D, exact, rows: torch.zeros(len(D), dtype=torch.float64))
    monkeypatch.setattr(certificate, "_diagonal_error", lambda task, D: torch.zeros(len(D), dtype=torch.float64))
    monkeypatch.setattr(certificate, "norms", lambda rows: 2 * torch.ones(len(rows), dtype=torch.float64))
    original = certificate._bounded_eigenvalues

    def eigenvalues(W: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, float]:
        seen.append(float(W.abs().max()))
        return original(W, *rest)[0], 0.125

    monkeypatch.setattr(certificate, "_bounded_eigenvalues", eigenvalues)
    found = certificate.count_below(task, S, 3.0, error)
    slack, M = certificate.SLACK, 5
    j, e = float(length.square().sum()) ** 0.5, float(off.square().sum()) ** 0.5
    total = float((1e-4 * (length + off).square() * 4).sum()) + 0.125 + 4 * 2.0**-52 * seen[0]
    theta = total / M * slack
    wanted = (0.25 * slack + ((2 * j + e) * e + (j + e) ** 2 * theta / (1 - theta)) / M) * slack
    assert 0.01 < theta < 0.5
    assert found.error == pytest.approx(wanted, rel=1e-12)
