"""The accelerated Newton and Gauss-Newton steps against the reference's dense matrices and against balls.

A step is judged by its residual, which no ill-conditioned entry spoils. With A, g, J and r of the reference the tests ask for

    ‖AΔ + αg‖ ≤ k·eps (‖A‖‖Δ‖ + α‖g‖ + αB‖r‖/M) + eps (a‖Δ‖ + αb),      B ≥ ‖J‖_F the package's bound of it.

The first term is what the package promises (it refines until k = 32, and refuses above k = 1024). The second, with a and b from
`comparison.truth`, bounds to first order how far A and g as computed, here or there, lie from the exact ones: nobody can be
asked for less. No constant in it is fitted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import assume, example, given
from hypothesis import strategies as st

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import (
    ACTIVATIONS,
    AcceleratedError,
    InputError,
    NewtonStep,
    RefinementError,
    ShallowNet,
    SingularSystemError,
    gauss_newton_step,
    newton_step,
    outputs,
    stream,
)
from nntk_accelerated.bounds import jacobian_bound
from nntk_accelerated.instance import instance
from nntk_reference import Multiprecision, Network
from tests.accelerated.comparison import (
    HARSH,
    PRECISE,
    Case,
    Example,
    Truth,
    adversarial,
    ball_inertia,
    ball_matrix,
    ball_residual,
    exact,
    harsh,
    norm,
    rounded,
    seeded,
    spectral_norm_upper,
    truth,
)
from tests.tolerances import EPS, THRESHOLD, TINY

NAMES = sorted(ACTIVATIONS)
IN_THEORY = [name for name, entry in reference.ACTIVATIONS.items() if entry.in_theory]
STEPS = {"newton": newton_step, "gauss-newton": gauss_newton_step}
REFERENCE = {"newton": reference.newton_step, "gauss-newton": reference.gauss_newton_step}
MODES = {
    # name: dtype of the net, precision asked for, the working and the product's dtype
    "float64": ("float64", None, "float64", "float64"),
    "mixed": ("float64", "mixed", "float64", "float32"),
    "float32": ("float32", None, "float32", "float32"),
    "float32 net in float64": ("float32", "float64", "float64", "float64"),
    "float32 net, mixed": ("float32", "mixed", "float64", "float32"),
}
TARGET, LIMIT = 32.0, 1024.0

either_step = pytest.mark.parametrize("kind", STEPS)
every_mode = pytest.mark.parametrize("mode", MODES)


def take(
    case: Case, gamma: float, *, kind: str = "newton", mode: str = "float64", device: str = "cpu", **options: Any
) -> NewtonStep:
    dtype, precision, _, _ = MODES[mode]
    return STEPS[kind](*case.torch(dtype, device), gamma, precision=precision, **options)


def array(step: NewtonStep) -> np.ndarray:
    return step.update.double().cpu().numpy()


def bound_of_jacobian(case: Case) -> float:
    net, X, y = case.torch()
    return jacobian_bound(instance(net, X, y))


def tolerance(case: Case, t: Truth, step: NewtonStep, alpha: float, eps: float, factor: float) -> float:
    """The bound of ‖AΔ + αg‖ in the module's docstring."""
    length = norm(array(step))
    floor = alpha * bound_of_jacobian(case) * norm(t.r) / len(case.X)
    promised = factor * eps * (t.norm * length + alpha * norm(t.g) + floor)
    # where numbers lie below the normal range, errors are absolute: one for each entry of r, times J/M
    tiny = TINY["float64" if eps < 1e-10 else "float32"] * (1 + bound_of_jacobian(case)) * len(t.A)
    return promised + eps * (t.A_error * length + alpha * t.g_error) + tiny


def check(
    case: Case,
    gamma: float,
    step: NewtonStep,
    *,
    kind: str = "newton",
    mode: str = "float64",
    alpha: float = 1.0,
    factor: float = LIMIT,
) -> Truth:
    """All that a step says of itself, against the reference in float64."""
    told = f"{case.told}, {gamma=}, {kind=}, {mode=}, {alpha=}"
    eps = EPS[MODES[mode][2]]
    t = truth(case, step.damping, curvature=kind == "newton")
    update = array(step)
    assert update.shape == (case.net.width, case.net.dim + 2), told
    assert np.isfinite(update).all(), told
    found = norm(t.A @ update.reshape(-1) + alpha * t.g)
    limit = tolerance(case, t, step, alpha, eps, factor)
    assert found <= limit, f"residual {found:.3e} above {limit:.3e}: {told}"

    # `.residual` bounds the true one but for rounding: the errors of A and g, and those of its own computation,
    # `own`, for which a measured norm gets what the threshold of LAPACK's tests allows.
    length = norm(update)
    assert 0 <= step.residual < math.inf, told
    own = THRESHOLD * eps * (t.norm * length + alpha * norm(t.g))
    believed = step.residual * (t.norm * length + alpha * norm(t.g)) + limit_of_errors(t, length, alpha, eps, case) + own
    assert found <= believed, f"residual {found:.3e}, but reported {step.residual:.3e}, i.e. at most {believed:.3e}: {told}"

    # (E2): r is computed to g_error-like errors; the loss is a sum of M squares
    loss = float(reference.loss(case.net, case.X, case.y))
    errors = eps * t.r_error
    slack = (norm(t.r) + errors) * errors / len(case.X) + THRESHOLD * eps * len(case.X) * loss + TINY["float64"]
    assert abs(step.loss - loss) <= slack, f"loss {step.loss!r}, expected {loss!r}: {told}"
    gradient_slack = eps * t.g_error + THRESHOLD * eps * norm(t.g) + underflow(case, eps)
    assert abs(step.gradient_norm - norm(t.g)) <= gradient_slack, (
        f"‖g‖ = {step.gradient_norm!r}, expected {norm(t.g)!r}: {told}"
    )

    count = int((t.eigenvalues < 0).sum())
    if np.abs(t.eigenvalues).min() > t.doubtful(eps if step.certificate.negative is None else EPS["float64"]):
        assert step.negative_eigenvalues == count, f"{step.negative_eigenvalues} negative eigenvalues, expected {count}: {told}"
    return t


def limit_of_errors(t: Truth, length: float, alpha: float, eps: float, case: Case) -> float:
    return eps * (t.A_error * length + alpha * t.g_error) + underflow(case, eps)


def underflow(case: Case, eps: float) -> float:
    """Squares below the normal range are lost: norms of about the root of it."""
    tiny = TINY["float64" if eps < 1e-10 else "float32"]
    return (tiny * len(case.X) * case.net.parameters) ** 0.5 * (1 + bound_of_jacobian(case))


def kink_in_reach(case: Case, eps: float) -> bool:
    """Is some z of a relu so near to 0 that rounding decides on which side it is? Then no two computations need agree."""
    if case.net.activation != "relu":
        return False
    z = case.X @ case.net.w.T + case.net.eta
    size = np.abs(case.X) @ np.abs(case.net.w).T + np.abs(case.net.eta)
    return bool(((np.abs(z) <= (case.net.dim + 2) * eps * size) & (size > 0)).any())


def excused(case: Case, gamma: float, error: AcceleratedError, kind: str, mode: str) -> None:
    """A refusal has to have a reason: some eigenvalue that the M×M system must divide by is below its rounding errors.

    Those are the eigenvalues of A and the blocks' that are not bordered, 1e-4 of the blocks' size at least. An error of
    (M + p) THRESHOLD eps of ‖A‖, in the product's arithmetic, may not be corrected by refinement.
    """
    _, _, working, product = MODES[mode]
    damping = float(reference.regularization(gamma, case.net.width, case.net.beta))
    t = truth(case, damping, curvature=kind == "newton")
    S = reference.residual_hessian(case.net, case.X, case.y) if kind == "newton" else np.zeros(1)
    size = max(damping, norm(S) / case.net.width**0.5)
    least = min(float(np.abs(t.eigenvalues).min()), 1e-4 * size)
    lost = THRESHOLD * (len(case.X) + case.net.dim + 2) * EPS[product] * t.norm + EPS[working] * t.A_error
    assert least <= lost, (
        f"{type(error).__name__}: {error}; but {least:.2e} > {lost:.2e}: {case.told}, {gamma=}, {kind=}, {mode=}"
    )


def step_or_refusal(case: Case, gamma: float, *, kind: str, mode: str, **options: Any) -> NewtonStep | None:
    try:
        return take(case, gamma, kind=kind, mode=mode, **options)
    except (SingularSystemError, RefinementError) as error:
        excused(case, gamma, error, kind, mode)
        return None


# --------------------------------------------------------------------------------------------------------------- any small case

small = problems(max_width=6, max_dim=8, max_points=6, activations=NAMES, min_gamma=1e-10, max_gamma=1e6, extreme=False)
chunks = st.sampled_from([None, 1, 3, 7])
alphas = st.sampled_from([1.0, 0.5, 1e-3, 3.0])


@given(problem=small, kind=st.sampled_from(list(STEPS)), mode=st.sampled_from(list(MODES)), chunk=chunks, alpha=alphas)
def test_any_small_step_solves_its_system(problem: Example, kind: str, mode: str, chunk: int | None, alpha: float) -> None:
    net, X, y, gamma = problem
    dtype, _, working, _ = MODES[mode]
    case = rounded(net, X, y, dtype)
    assume(not kink_in_reach(case, EPS[working]))
    step = step_or_refusal(case, gamma, kind=kind, mode=mode, chunk=chunk, alpha=alpha)
    if step is not None:
        check(case, gamma, step, kind=kind, mode=mode, alpha=alpha)


@given(problem=problems(max_width=4, max_dim=3, max_points=4, activations=NAMES), mode=st.sampled_from(["float64", "mixed"]))
def test_extreme_cases_end_in_a_step_or_in_a_named_error(problem: Example, mode: str) -> None:
    net, X, y, gamma = problem
    case = rounded(net, X, y)
    try:
        step = take(case, gamma, mode=mode)
    except AcceleratedError:
        return
    told = f"{case.told}, {gamma=}, {mode=}"
    assert np.isfinite(array(step)).all(), told
    assert 0 <= step.residual < math.inf, told
    assert math.isfinite(step.loss), told
    assert math.isfinite(step.gradient_norm), told
    assert 0 <= step.negative_eigenvalues <= net.parameters, told


arbitrated = problems(max_width=3, max_dim=2, max_points=3, min_gamma=1e-6, extreme=False)


@given(problem=arbitrated, mode=st.sampled_from(list(MODES)), kind=st.sampled_from(list(STEPS)), alpha=alphas)
def test_the_residual_over_balls(problem: Example, mode: str, kind: str, alpha: float) -> None:
    # As above, but with A and g exact: only the package's own errors count, with nothing of the reference's in float64.
    net, X, y, gamma = problem
    dtype, _, working, _ = MODES[mode]
    case, eps = rounded(net, X, y, dtype), EPS[working]
    step = step_or_refusal(case, gamma, kind=kind, mode=mode, alpha=alpha)
    if step is None:
        return
    told = f"{case.told}, {gamma=}, {kind=}, {mode=}, {alpha=}"
    t = truth(case, step.damping, curvature=kind == "newton")
    found = ball_residual(case, step.damping, array(step), alpha, curvature=kind == "newton")
    limit = tolerance(case, t, step, alpha, eps, LIMIT)
    assert found <= limit, f"residual {found:.3e} above {limit:.3e}: {told}"
    length = norm(array(step))
    scale = t.norm * length + alpha * norm(t.g)
    believed = step.residual * scale + limit_of_errors(t, length, alpha, eps, case)
    assert found <= believed, f"residual {found:.3e}, reported {step.residual:.3e}, i.e. at most {believed:.3e}: {told}"


@pytest.mark.parametrize("seed", range(12))
@either_step
def test_the_step_is_the_references_to_forty_digits(kind: str, seed: int) -> None:
    # Forward error: A(Δ - Δ*) is the residual, so ‖Δ - Δ*‖ ≤ residual / min|λ(A)|, with Δ* settled at forty digits.
    case = seeded(seed, 1 + seed % 5, 1 + seed % 2, 1 + seed % 4, activation=IN_THEORY[seed % len(IN_THEORY)])
    gamma = [1.0, 0.1, 1e-3][seed % 3]
    step = take(case, gamma, kind=kind, alpha=0.5)
    t = check(case, gamma, step, kind=kind, alpha=0.5)
    best = REFERENCE[kind](case.net, case.X, case.y, gamma, alpha=0.5, arithmetic=Multiprecision(40))
    least = float(np.abs(t.eigenvalues).min())
    # the reference's damping is exact where ours is rounded: one more eps of it in A
    limit = (
        tolerance(case, t, step, 0.5, EPS["float64"], TARGET) + 4 * EPS["float64"] * step.damping * norm(array(step))
    ) / least
    found = norm(array(step) - best.update.astype(np.float64))
    assert found <= limit, f"{found:.2e} above {limit:.2e}: {case.told}, {gamma=}, {kind=}"
    assert step.negative_eigenvalues == best.negative_eigenvalues


# ----------------------------------------------------------------------------------------------------------------- larger cases


@given(
    seed=st.integers(0, 10**6),
    log_width=st.floats(0, math.log(400)),
    dim=st.integers(1, 8),
    count=st.integers(1, 60),
    name=st.sampled_from(NAMES),
    log_gamma=st.floats(-10, 6),
    mode=st.sampled_from(list(MODES)),
    kind=st.sampled_from(["newton", "newton", "gauss-newton"]),
    chunk=st.none() | st.integers(1, 400),
    alpha=alphas,
)
@example(
    seed=5,
    log_width=math.log(100),
    dim=1,
    count=60,
    name="tanh",
    log_gamma=-10,
    mode="float64",
    kind="newton",
    chunk=7,
    alpha=1.0,
)
@example(
    seed=6, log_width=math.log(40), dim=8, count=20, name="gelu", log_gamma=-2, mode="mixed", kind="newton", chunk=3, alpha=0.5
)
@example(
    seed=7, log_width=math.log(90), dim=3, count=40, name="sin", log_gamma=-1, mode="float32", kind="newton", chunk=1, alpha=1.0
)
def test_larger_steps_solve_their_systems(
    seed: int,
    log_width: float,
    dim: int,
    count: int,
    name: str,
    log_gamma: float,
    mode: str,
    kind: str,
    chunk: int | None,
    alpha: float,
) -> None:
    # widths of up to 400, but no more than 300 parameters: the dense eigenvalues are what takes the time
    width = min(round(math.exp(log_width)), 300 // (dim + 2))
    dtype, _, working, _ = MODES[mode]
    case, gamma = seeded(seed, width, dim, count, activation=name, dtype=dtype), 10.0**log_gamma
    assume(not kink_in_reach(case, EPS[working]))
    step = step_or_refusal(case, gamma, kind=kind, mode=mode, chunk=chunk, alpha=alpha)
    if step is not None:
        check(case, gamma, step, kind=kind, mode=mode, alpha=alpha)


@every_mode
@pytest.mark.parametrize(
    ("width", "dim", "count", "name", "gamma"),
    [
        (60, 1, 20, "tanh", 1.0),
        (60, 1, 20, "tanh", 1e-3),
        (25, 5, 12, "gelu", 1e-2),
        (150, 2, 5, "sin", 1e-2),
        (10, 1, 60, "softplus", 1.0),
        (300, 1, 16, "erf", 1e-1),
        (40, 4, 10, "logistic", 1e-3),
        (1, 8, 1, "tanh", 1e-2),
    ],
)
def test_generic_steps_reach_the_target(
    width: int, dim: int, count: int, name: str, gamma: float, mode: str, device: str
) -> None:
    # with generic data and a theory's activation refinement reaches its target of 32 eps, not only the limit of 1024
    case = seeded(width + dim + count, width, dim, count, activation=name, dtype=MODES[mode][0])
    step = take(case, gamma, mode=mode, device=device)
    check(case, gamma, step, mode=mode, factor=TARGET)


def test_both_definite_and_indefinite_cases_occur() -> None:
    definite = take(seeded(1, 60, 1, 20), 10.0)
    indefinite = take(seeded(1, 60, 1, 20), 1e-3)
    assert definite.negative_eigenvalues == 0
    assert definite.certificate.verdict == "positive definite"
    assert indefinite.negative_eigenvalues > 20
    assert indefinite.certificate.verdict == "indefinite"


@pytest.mark.slow
@every_mode
@pytest.mark.parametrize("seed", range(8))
def test_wide_steps_solve_their_systems(seed: int, mode: str) -> None:
    case = seeded(seed, 400, 1 + seed % 2, 60, activation=IN_THEORY[seed % len(IN_THEORY)], dtype=MODES[mode][0])
    gamma = 10.0 ** (seed % 5 - 3)
    check(case, gamma, take(case, gamma, mode=mode, chunk=[None, 37, 128][seed % 3]), mode=mode, factor=TARGET)


def test_a_wrong_step_is_seen() -> None:
    # the comparison itself: an update that is off by 1e-12 relative, or a residual reported too small, does not pass
    case = seeded(4, 30, 2, 10)
    step = take(case, 1.0)
    check(case, 1.0, step, factor=TARGET)
    fields = dict(vars(step))
    noise = (
        torch.from_numpy(np.random.default_rng(0).standard_normal(step.update.shape))
        * step.update.norm()
        / step.update.numel() ** 0.5
    )
    wrong = NewtonStep(**{**fields, "update": step.update + 1e-11 * noise})
    with pytest.raises(AssertionError, match="above"):
        check(case, 1.0, wrong, factor=TARGET)
    flattering = NewtonStep(**{**fields, "update": step.update + 1e-9 * noise, "residual": 0.0})
    with pytest.raises(AssertionError, match=r"above|reported"):
        check(case, 1.0, flattering, factor=1e9)
    for field, value in (
        ("loss", step.loss * (1 + 1e-11)),
        ("gradient_norm", step.gradient_norm * (1 + 1e-11)),
        ("negative_eigenvalues", 1),
    ):
        with pytest.raises(AssertionError):
            check(case, 1.0, NewtonStep(**{**fields, field: value}), factor=TARGET)


# ------------------------------------------------------------------------------------------------------------ the proved bound


def bounded_residual(seed: int, share: float = 1.0) -> tuple[float, bool, str]:
    """(residual_bound, does the exact residual exceed `residual`?, what is wrong with the bound times `share`) of one case."""
    rng = np.random.default_rng(seed)
    mode, kind = list(MODES)[seed % 5], "newton" if rng.random() < 0.8 else "gauss-newton"
    case = rounded(*adversarial(seed), MODES[mode][0])
    gamma, alpha = 10.0 ** rng.uniform(-8, 4), float(rng.choice([1.0, 0.5, 1e-3]))
    try:
        step = take(case, gamma, kind=kind, mode=mode, alpha=alpha, chunk=3)
    except AcceleratedError:
        return math.inf, False, ""
    told = f"{seed=}, {mode=}, {gamma=}, {kind=}, {alpha=}"
    return against_balls(case, step, alpha, told, kind == "newton", share)


def against_balls(
    case: Case, step: NewtonStep, alpha: float, told: str, curvature: bool = True, share: float = 1.0
) -> tuple[float, bool, str]:
    assert step.negative_eigenvalues_proved == (step.certificate.negative is not None)
    left = ball_residual(case, step.damping, array(step), alpha, curvature=curvature)
    with ctx.workprec(PRECISE.bits):
        gradient = reference.gradient(case.net, case.X, case.y, arithmetic=PRECISE).reshape(-1)
        size = arb(spectral_norm_upper(ball_matrix(case, step.damping, curvature=curvature))) * ball_norm(exact(array(step)))
        size += arb(alpha) * ball_norm(gradient)
        exact_residual = float((arb(left) / size).lower()) * (1 - 1e-12) if size > 0 else 0.0
    told = f"{exact_residual:.3e} above {step.residual_bound:.3e}: {told}"
    wrong = told if exact_residual > share * step.residual_bound else ""
    return step.residual_bound, exact_residual > step.residual, wrong


def ball_norm(values: np.ndarray) -> arb:
    return sum((v * v for v in values.reshape(-1)), arb(0)).sqrt()


def test_the_residual_bound_is_one_of_the_exact_residual() -> None:
    results = [bounded_residual(seed) for seed in range(100)]
    assert [wrong for _, _, wrong in results if wrong] == []
    bounds = np.array([bound for bound, _, _ in results])
    assert (bounds < 1e-3).sum() >= 60  # not vacuous
    assert sum(exceeded for _, exceeded, _ in results) >= 10  # and not what `residual` says


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_a_thousand_residual_bounds(block: int) -> None:
    assert [wrong for _, _, wrong in map(bounded_residual, range(1000 + 100 * block, 1100 + 100 * block)) if wrong] == []


def false_step(seed: int) -> tuple[bool, bool, str]:
    """(is the residual bounded?, is the inertia proved?, what is wrong with either) of one harsh case."""
    mode = list(MODES)[seed // len(HARSH) % len(MODES)]
    case, damping = harsh(seed, MODES[mode][0])
    try:
        step = take(case, damping, mode=mode, scaling="fixed", chunk=3)
    except AcceleratedError:
        return False, False, ""
    told = f"{HARSH[seed % len(HARSH)]}, {seed=}, {mode=}, {damping=}"
    bound, _, wrong = against_balls(case, step, 1.0, told)
    found = step.certificate
    if found.proved or found.negative is not None or found.at_least:
        counts = ball_inertia(case, damping)
        most = case.net.parameters - counts.positive
        if (
            (found.verdict == "positive definite" and counts.negative)
            or (found.verdict == "indefinite" and most == 0)
            or found.at_least > most
            or (found.negative is not None and not counts.negative <= found.negative <= most)
        ):
            wrong += f" {found}, but {counts}: {told}"
    return bound < math.inf, found.negative is not None, wrong


def test_no_harsh_step_says_what_is_false() -> None:
    results = [false_step(seed) for seed in range(30)]
    assert [wrong for _, _, wrong in results if wrong] == []
    assert sum(bounded for bounded, _, _ in results) >= 15
    assert sum(proved for _, proved, _ in results) >= 10


@pytest.mark.parametrize("seed", [1062, 1092, 1122])
def test_a_probe_beyond_the_range_makes_no_residual_of_zero(seed: int) -> None:
    """Float32, and |q|² > 3.4e38 for the probe q of ‖A‖: residual and bound were once divided by infinity, bad steps taken."""
    assert false_step(seed) == (False, False, "")
    case, damping = harsh(seed, "float32")
    try:
        step = take(case, damping, mode="float32", scaling="fixed", chunk=3)
    except RefinementError:
        return
    assert step.residual > 0


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_harsh_step_of_a_thousand_says_what_is_false(block: int) -> None:
    assert [wrong for _, _, wrong in map(false_step, range(1000 + 102 * block, 1102 + 102 * block)) if wrong] == []


def test_a_smaller_residual_bound_is_exceeded() -> None:
    assert [wrong for seed in range(40) for _, _, wrong in [bounded_residual(seed, 1e-2)] if wrong] != []


def test_where_the_residual_is_zero_as_computed_no_bound_is_known() -> None:
    case = seeded(1, 4, 1, 3)
    net, X, _ = case.torch()
    step = newton_step(net, X, outputs(net, X), 1.0)
    assert (step.residual, step.residual_bound) == (0.0, math.inf)


@pytest.mark.parametrize("width", [300, 20000])
def test_wide_networks_with_a_tiny_gamma_have_a_residual_bound(width: int) -> None:
    case = seeded(3, width, 1, 8)
    found = [take(case, gamma, mode=mode) for gamma in (1.0, 1e-6) for mode in ("float64", "mixed")]
    assert all(step.residual_bound < 1e-6 for step in found), [step.residual_bound for step in found]


# ------------------------------------------------------------------------------------------------------------- against autograd


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "sin"])
def test_the_hessian_that_is_inverted_is_autograds(name: str) -> None:
    # a second naive twin, which shares no formula with either package: torch.func.hessian of the loss itself
    case = seeded(11, 6, 2, 5, activation=name)
    net, X, y = case.torch()
    sizes = [net.width, net.width * net.dim, net.width]

    def loss(theta: torch.Tensor) -> torch.Tensor:
        c, w, eta = theta.split(sizes)
        parameters = {"c": c, "w": w.view(net.width, net.dim), "eta": eta}
        return (torch.func.functional_call(net, parameters, (X,)) - y).square().sum() / (2 * len(y))

    theta = torch.cat([net.c.detach(), net.w.detach().reshape(-1), net.eta.detach()])
    # reverse over reverse: forward mode would load torch.jit, which warns of its deprecation
    H, g = torch.func.jacrev(torch.func.grad(loss))(theta), torch.func.grad(loss)(theta)
    step = take(case, 0.3)
    u = step.update
    flat = torch.cat([u[:, 0], u[:, 1:-1].reshape(-1), u[:, -1]])
    A = H + step.damping * torch.eye(len(theta), dtype=H.dtype)
    t = truth(case, step.damping)
    left = float((A @ flat + g).norm())
    # autograd's A and g err by no more than what `truth` allows a computation, once for each side
    assert left <= 2 * tolerance(case, t, step, 1.0, EPS["float64"], TARGET), f"{left:.2e}: {case.told}"
    assert abs(step.gradient_norm - float(g.norm())) <= 2 * EPS["float64"] * t.g_error


# ------------------------------------------------------------------------------------------------------------------ the damping


@given(
    width=st.integers(1, 300),
    beta=st.floats(0.5, 1.0, exclude_min=True, exclude_max=True),
    gamma=st.floats(1e-10, 1e6),
)
def test_damping_is_the_references_regularization(width: int, beta: float, gamma: float) -> None:
    net = Network(np.ones(width), np.ones((width, 1)), np.zeros(width), beta, "tanh")
    case = rounded(net, np.ones((1, 1)), np.ones(1), told=f"{width=}, {beta=}")
    step = take(case, gamma)
    expected = float(reference.regularization(gamma, width, beta, arithmetic=Multiprecision(30)))
    # N^(1-2β): an error eps/2 of the exponent, |1-2β| ≤ 1, times log N; the power's and the product's own
    assert abs(step.damping - expected) <= EPS["float64"] * (math.log(width) + 4) * expected
    assert take(case, gamma, scaling="fixed").damping == gamma


@pytest.mark.parametrize("mode", ["float64", "float32"])
def test_fixed_scaling_with_the_scaled_gamma_is_the_same_step(mode: str) -> None:
    case = seeded(21, 37, 2, 9, dtype=MODES[mode][0])
    scaled = take(case, 0.5, mode=mode)
    fixed = take(case, scaled.damping, scaling="fixed", mode=mode)
    assert fixed.damping == scaled.damping
    assert torch.equal(fixed.update, scaled.update)
    check(case, scaled.damping, fixed, mode=mode, factor=TARGET)
    other = take(case, 0.5, scaling="fixed", mode=mode)
    assert other.damping == 0.5
    check(case, 0.5, other, mode=mode, factor=TARGET)


# ------------------------------------------------------------------------------------------------ what must not change anything


@either_step
@every_mode
def test_the_net_and_the_data_are_left_as_they_are(kind: str, mode: str) -> None:
    dtype, precision, _, _ = MODES[mode]
    net, X, y = seeded(31, 20, 2, 8, dtype=dtype).torch(dtype)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    X_before, y_before = X.clone(), y.clone()
    STEPS[kind](net, X, y, 0.1, precision=precision)
    assert set(net.state_dict()) == set(before)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(X, X_before)
    assert torch.equal(y, y_before)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("gamma", [1e-3, 1.0])
def test_the_layout_of_the_data_does_not_matter(gamma: float, device: str) -> None:
    net, X, y = seeded(32, 20, 3, 8).torch(device=device)
    plain = newton_step(net, X, y, gamma)
    column_major = X.t().contiguous().t()
    strided = torch.stack([X, X + 1], 2)[:, :, 0]
    assert not column_major.is_contiguous()
    assert not strided.is_contiguous()
    wide_y = torch.stack([y, y + 1], 1)[:, 0]
    for A, b in ((column_major, y), (strided, y), (X, wide_y), (X.clone().requires_grad_(), y)):
        other = newton_step(net, A, b, gamma)
        assert torch.equal(other.update, plain.update)
        assert other.residual == plain.residual
        assert other.loss == plain.loss


def test_expanded_data_are_like_their_copies() -> None:
    net, X, y = seeded(33, 20, 3, 8).torch()
    X_all, y_all = X[:1].expand(8, -1), y[:1].expand(8)
    expanded, copied = newton_step(net, X_all, y_all, 0.5), newton_step(net, X_all.clone(), y_all.clone(), 0.5)
    assert torch.equal(expanded.update, copied.update)


@every_mode
@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 1000])
def test_equal_calls_give_equal_bits(chunk: int | None, mode: str) -> None:
    case = seeded(34, 16, 2, 12, dtype=MODES[mode][0])
    first, second = (take(case, 1e-2, mode=mode, chunk=chunk) for _ in range(2))
    assert torch.equal(first.update, second.update)
    told = {k: v for k, v in vars(first).items() if k not in ("update", "seconds")}
    assert told == {k: v for k, v in vars(second).items() if k not in ("update", "seconds")}


@every_mode
@pytest.mark.parametrize("gamma", [1e-3, 1.0])
def test_chunks_change_nothing_but_rounding(gamma: float, mode: str, device: str) -> None:
    case = seeded(35, 16, 2, 8, dtype=MODES[mode][0])
    one = take(case, gamma, mode=mode, device=device)
    eps = EPS[MODES[mode][2]]
    for chunk in (1, 3, 7, 15):
        other = take(case, gamma, mode=mode, chunk=chunk, device=device)
        t = check(case, gamma, other, mode=mode, factor=TARGET)
        # both residuals are within the tolerance, so the steps differ by twice that over min |λ|
        limit = 2 * tolerance(case, t, one, 1.0, eps, TARGET) / np.abs(t.eigenvalues).min()
        assert norm(array(other) - array(one)) <= limit
        assert other.negative_eigenvalues == one.negative_eigenvalues


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_follow_the_order_c_w_eta(dtype: str) -> None:
    # a net whose three groups must move by different amounts, and the step moves the parameters named
    case = seeded(36, 3, 2, 40, dtype=dtype)
    net, X, y = case.torch(dtype)
    step = newton_step(net, X, y, 100.0)
    assert step.update.dtype == net.c.dtype
    g = reference.gradient(case.net, case.X, case.y)
    # for large γ_N the step is -g/γ_N but for O(‖H‖/γ_N)
    H = reference.hessian(case.net, case.X, case.y)
    limit = 2 * np.linalg.norm(H, 2) / step.damping * np.linalg.norm(g) / step.damping
    assert np.linalg.norm(array(step) + g / step.damping) <= limit
    assert len({round(abs(v), 12) for v in g.reshape(-1)}) == g.size


def test_a_step_lowers_the_loss_of_the_net_it_is_added_to() -> None:
    net, X, y = seeded(37, 100, 2, 10).torch()
    step = newton_step(net, X, y, 1.0)
    moved = ShallowNet.from_arrays(
        net.c.detach() + step.update[:, 0],
        net.w.detach() + step.update[:, 1:-1],
        net.eta.detach() + step.update[:, -1],
        beta=net.beta,
        activation=net.activation,
    )
    assert step.certificate.verdict == "positive definite"
    assert newton_step(moved, X, y, 1.0).loss < step.loss


# ------------------------------------------------------------------------------------------------------------------ edge values


def test_no_residual_means_no_step(device: str) -> None:
    net, X, _ = seeded(41, 10, 2, 6).torch(device=device)
    with torch.no_grad():
        net.c.zero_()
    step = newton_step(net, X, torch.zeros(6, dtype=torch.float64, device=device), 1.0)
    assert not bool(step.update.any())
    assert step.residual == step.loss == step.gradient_norm == 0
    assert step.negative_eigenvalues == 0


# 2^-700 is far below what the square root of float64's range can square, 2^-140 below the normal numbers of float32
@pytest.mark.parametrize("exponent", [0, -40, -80, -140, -400, -700])
@pytest.mark.parametrize("mode", ["float64", "mixed"])
def test_tiny_residuals_are_solved_as_well_as_others(mode: str, exponent: int) -> None:
    # At c = 0, y → 2^-k y scales g and lets S vanish. Judged after scaling back: then nothing underflows here.
    start = seeded(3, 40, 2, 10)
    size = 2.0**exponent
    net = Network(np.zeros(40), start.net.w, start.net.eta, 0.75, "tanh")
    case, unscaled = rounded(net, start.X, start.y * size), rounded(net, start.X, start.y)
    step = take(case, 0.01, mode=mode)
    A = truth(case, step.damping).A
    scaled = truth(unscaled, step.damping)
    update = array(step).reshape(-1) / size
    found = norm(A @ update + scaled.g)
    weight = np.linalg.norm(A, 2) * norm(update) + norm(scaled.g)
    floor = bound_of_jacobian(unscaled) * norm(scaled.r) / 10
    limit = EPS["float64"] * (TARGET * (weight + floor) + scaled.A_error * norm(update) + scaled.g_error)
    assert found <= limit, f"relative residual {found / weight:.2e} with r of size 2^{exponent}, reported {step.residual:.2e}"
    assert step.residual * weight + limit >= found


@pytest.mark.parametrize("exponent", [0, -400, -700])
def test_the_gradient_norm_does_not_underflow_before_the_gradient(exponent: int) -> None:
    start = seeded(3, 40, 2, 10)
    size = 2.0**exponent
    net = Network(np.zeros(40), start.net.w, start.net.eta, 0.75, "tanh")
    step = take(rounded(net, start.X, start.y * size), 0.01)
    t = truth(rounded(net, start.X, start.y), step.damping)
    found, expected = step.gradient_norm / size, norm(t.g)
    assert abs(found - expected) <= EPS["float64"] * (t.g_error + THRESHOLD * expected), (found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gauss_newton_step_is_linear_in_the_residual_up_to_the_ends_of_the_range(dtype: str) -> None:
    """At c = 0 the step is a matrix times y, and times a power of two all is exact; 2^128 is no number of float32."""
    start = seeded(3, 12, 2, 6, dtype=dtype)
    net = Network(np.zeros(12), start.net.w, start.net.eta, 0.75, "tanh")
    y = start.y / np.abs(start.y).max() * 0.99
    plain = take(rounded(net, start.X, y, dtype), 1e3, kind="gauss-newton", mode=dtype)
    assert plain.update.any()
    y = rounded(net, start.X, y, dtype).y
    for exponent in (128, 127, 40, -1, -40):
        found = take(rounded(net, start.X, y * 2.0**exponent, dtype), 1e3, kind="gauss-newton", mode=dtype)
        assert np.array_equal(array(found) * 2.0**-exponent, array(plain))
        assert found.gradient_norm * 2.0**-exponent == plain.gradient_norm


@either_step
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", True])
def test_gamma_and_alpha_must_be_positive(kind: str, bad: Any) -> None:
    net, X, y = seeded(42, 3, 1, 3).torch()
    with pytest.raises(InputError, match="gamma"):
        STEPS[kind](net, X, y, bad)
    with pytest.raises(InputError, match="alpha"):
        STEPS[kind](net, X, y, 1.0, alpha=bad)


# ------------------------------------------------------------------------------------------------------- nearly singular blocks


def singular_damping(case: Case, which: int) -> float:
    """-λ for the which-th of the negative block eigenvalues of S, from the largest in size: D is singular there."""
    S = reference.residual_hessian(case.net, case.X, case.y)
    values = np.sort(np.linalg.eigvalsh(S).reshape(-1))
    return -float(values[which])


@pytest.mark.parametrize("relative", [0.0, 1e-3, 1e-5, -1e-5, 1e-8, 1e-12, -1e-16])
@pytest.mark.parametrize("mode", ["float64", "mixed", "float32"])
def test_a_nearly_singular_block_costs_no_accuracy(relative: float, mode: str, device: str) -> None:
    # damping = -λ(1 + relative) for an eigenvalue λ of some block: D⁻¹ is as large as 1/relative, while A, which has JᵀJ/M to
    # add in that direction, is nonsingular
    for seed, which, name in ((51, 0, "tanh"), (52, 3, "gelu"), (53, 17, "sin"), (54, 40, "softplus")):
        case = seeded(seed, 30, 2, 12, activation=name, dtype=MODES[mode][0])
        damping = singular_damping(case, which) * (1 + relative)
        step = take(case, damping, mode=mode, scaling="fixed", device=device)
        assert step.damping == damping
        t = check(case, damping, step, mode=mode, factor=TARGET)
        assert np.abs(t.eigenvalues).min() > t.doubtful(EPS["float64"]), "the case should not be singular as a whole"
        if abs(relative) <= 1e-5:
            assert step.border >= 1, f"{case.told}, {damping=!r}: the singular direction was not moved into the M×M system"


@pytest.mark.parametrize("copies", [2, 5, 12])
def test_several_singular_blocks_at_once(copies: int) -> None:
    # Neurons that differ only in the sign of (w, η), for an odd σ with c changed too, have blocks with the same eigenvalues:
    # z → -z, c → -c leaves cσ'' and σ' as they are. So one damping makes several blocks singular; their J V differ by signs,
    # but are dependent, so the copies are moved by a part in a thousand first and the damping hits them to that accuracy.
    base = seeded(55, 30, 2, 12, activation="tanh")
    S = reference.residual_hessian(base.net, base.X, base.y)
    worst = int(np.argmin(np.linalg.eigvalsh(S)[:, 0]))
    rng = np.random.default_rng(0)
    c, w, eta = base.net.c.copy(), base.net.w.copy(), base.net.eta.copy()
    others = [i for i in range(30) if i != worst][: copies - 1]
    for i in others:
        c[i], w[i], eta[i] = c[worst], w[worst] + 1e-5 * rng.standard_normal(2), eta[worst]
    case = rounded(
        Network(c, w, eta, 0.75, "tanh"), base.X, base.y, told=f"seeded(55, ...) with {copies} copies of neuron {worst}"
    )
    S = reference.residual_hessian(case.net, case.X, case.y)
    damping = -float(np.linalg.eigvalsh(S)[worst, 0])
    step = take(case, damping, scaling="fixed")
    # the copies' difference is an eigenvector of A, too, with a small eigenvalue: the system is near to singular
    check(case, damping, step, factor=LIMIT)
    assert step.border >= min(copies, 12)
    if step.certificate.negative is None:
        counts = ball_inertia(case, damping)
        assert counts.undecided == 0
        assert step.negative_eigenvalues == counts.negative


@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(IN_THEORY),
    width=st.integers(1, 8),
    dim=st.integers(1, 3),
    count=st.integers(1, 6),
    which=st.integers(0, 30),
    digits=st.integers(3, 17),
    sign=st.sampled_from([-1, 1]),
    mode=st.sampled_from(["float64", "mixed", "float32"]),
)
@example(seed=65537, name="tanh", width=6, dim=2, count=2, which=29, digits=3, sign=1, mode="float32")
def test_small_nets_at_the_singularity_of_a_block(
    seed: int, name: str, width: int, dim: int, count: int, which: int, digits: int, sign: int, mode: str
) -> None:
    case = seeded(seed, width, dim, count, activation=name, dtype=MODES[mode][0])
    damping = singular_damping(case, which % (width * (dim + 2))) * (1 + sign * 10.0**-digits)
    assume(damping > 1e-6)
    try:
        step = take(case, damping, mode=mode, scaling="fixed")
    except (SingularSystemError, RefinementError):
        # with more singular directions than data, or one that J does not see, A itself is singular;
        # and rounding errors of W grow by the inverse of a block's relative distance from singular, if it is not at the border
        t = truth(case, damping)
        working, product = MODES[mode][2:]
        grown = min(10.0**digits, 1 / stream._NEAR)
        lost = THRESHOLD * (count + dim + 2) * EPS[product] * t.norm * grown + EPS[working] * t.A_error
        least = float(np.abs(t.eigenvalues).min())
        assert least <= lost, f"min |λ| = {least:.2e} > {lost:.2e}: {case.told}, {damping=!r}, {mode=}"
        return
    check(case, damping, step, mode=mode)
    if step.certificate.negative is not None:
        counts = ball_inertia(case, damping)
        assert counts.undecided == 0
        assert step.negative_eigenvalues == counts.negative, f"{case.told}, {damping=!r}, {mode=}"


# ---------------------------------------------------------------------------------------------------------------- the instance


def test_the_depth_of_a_sum_counts_chunk_chunks_lanes_and_ranks() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        task = instance(*seeded(70, 10, 1, 4).torch(), chunk=3)
    finally:
        torch.set_num_threads(threads)
    assert task.depth == 3 + 4 + 2 + 1


@pytest.mark.parametrize("points", [1, 10, 100, 1000])
def test_the_temporaries_of_a_chunk_fit_the_working_set(points: int) -> None:
    """Or there are 128 neurons of it; as many as fit, and 2¹⁷ at most."""
    from nntk_accelerated.instance import _WORKING_SET

    width = 2**17 + 1
    net = ShallowNet(width, 1, beta=0.75, generator=torch.Generator().manual_seed(0))
    X = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    task = instance(net, X, X[:, 0])
    size = 8 * (points * 7 + 54)
    assert task.chunk == max(128, min(2**17, _WORKING_SET // size))


def test_blocks_that_are_not_solved_are_solved_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """JΔ as it should be, and Δ not: only ‖Jᵀv - DΔ‖ tells."""
    original, called = stream.solve, []

    def spoiled(task: Any, K: Any, v: Any, t: Any, update: torch.Tensor, **given: Any) -> stream.Pass:
        called.append(found := original(task, K, v, t, update, **given))
        update.mul_(1.001)
        return replace(found, local=found.local + 1e-3 * found.length)

    net, X, y = seeded(71, 8, 1, 4).torch()
    plain = newton_step(net, X, y, 0.5)
    monkeypatch.setattr(stream, "solve", spoiled)
    found = newton_step(net, X, y, 0.5)
    assert called
    torch.testing.assert_close(found.update, plain.update, rtol=1e-11, atol=1e-11)
