"""Inertia, λ_min(H), required damping and width against dense eigenvalues and, where something is called proved, balls."""

from __future__ import annotations

import math
from collections.abc import Callable

import flint
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import (
    ACTIVATIONS,
    AcceleratedError,
    InputError,
    MinEigenvalue,
    PreparedNetwork,
    ShallowNet,
    SingularSystemError,
    blocks,
    bounds,
    certificate,
    inertia,
    min_eigenvalue,
    outputs,
    prepare,
    required_gamma,
    required_width,
    spectrum,
    stream,
    sufficient_gamma,
)
from nntk_accelerated.instance import PRECISIONS as PRODUCTS
from nntk_accelerated.instance import Instance
from nntk_accelerated.scaling import damping_of
from tests.accelerated.comparison import HARSH, Parts, adversarial, harsh, random_case, tensors
from tests.jet_errors import terms
from tests.tolerances import EPS, THRESHOLD
from tests.weakened import Term, check_tight, every

Array = np.ndarray
BALL = reference.Ball(256)
FEW = settings(max_examples=max(settings().max_examples // 4, 10))


def largest_terms(case: Parts) -> tuple[float, float]:
    """(what ‖S_i‖, what ‖J‖²/M is a sum of)."""
    found = terms(*case)
    return float(found.blocks.max()), float((found.jacobian**2).sum()) / len(case[1])


def count_error(case: Parts, x: float, dtype: str = "float64") -> float:
    """How far from 0 an eigenvalue of H - xI is surely counted on its side; test_stream.py derives it."""
    net, X, y = case
    S, B = largest_terms(case)
    s = max(abs(x), float(np.sqrt((reference.residual_hessian(net, X, y) ** 2).sum() / net.width)))
    corner = float((reference.jacobian(net, X) ** 2).sum()) / len(X)
    amplified = corner**2 / (1e-4 * s) if s > 0 else math.inf
    return THRESHOLD * (net.parameters + len(X)) * EPS[dtype] * (S + abs(x) + B + amplified)


def exact_hessian(case: Parts) -> Array:
    return reference.hessian(*case, arithmetic=BALL)


def exact_inertia(H: Array, x: float) -> reference.Inertia:
    """Of H - xI, over balls."""
    A = H.copy()
    with flint.ctx.workprec(256):
        for i in range(len(A)):
            A[i, i] = A[i, i] - x
    return reference.inertia(A, BALL)


# ---------------------------------------------------------------------------------------------------------------------- inertia


def check_inertia(case: Parts, gamma: float, dtype: str = "float64", device: str = "cpu") -> bool:
    net, X, y = tensors(case, dtype, device)
    damping = damping_of(net, gamma)
    values = np.linalg.eigvalsh(reference.hessian(*case)) + damping
    tol = count_error(case, damping, dtype)
    try:
        found = inertia(net, X, y, gamma, chunk=3)
    except SingularSystemError:
        assert np.abs(values).min() <= tol
        return False
    assert found.negative + found.positive == len(values)
    assert found.proved == (found.certificate.negative is not None)
    if found.proved:  # then it is no matter of tolerances
        exact = exact_inertia(exact_hessian(case), -damping)
        assert exact.negative <= found.negative <= len(values) - exact.positive - exact.zero
    else:
        assert (values < -tol).sum() <= found.negative <= (values < tol).sum()
    return found.proved


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_inertia_from_indefinite_to_definite(name: str, device: str) -> None:
    case = random_case(1, 6, 2, 5, name)
    enough = sufficient_gamma(*tensors(case)) if name != "relu" else 1.0
    proved = [check_inertia(case, enough * share, device=device) for share in (1e-3, 0.1, 0.5, 1.001, 10)]
    assert all(proved) or name == "relu"  # whose slope jumps, so that nothing can be proved


@FEW
@given(problems(extreme=False, max_width=3, max_dim=2))
def test_inertia_of_special_networks(problem: tuple[reference.Network, Array, Array, float]) -> None:
    check_inertia(problem[:3], problem[3])


@pytest.mark.parametrize("offset", [1e-3, 1e-7, 1e-12, 1e-15, 0.0])
def test_inertia_beside_an_eigenvalue(offset: float) -> None:
    for seed in range(3):
        case = random_case(seed, 6, 2, 4)
        lowest = float(np.linalg.eigvalsh(reference.hessian(*case))[0])
        unit = 6**0.5  # N^(2β-1)
        for sign in (1, -1):
            proved = check_inertia(case, -lowest * (1 + sign * offset) * unit)
            assert proved or offset < 1e-6


@pytest.mark.parametrize("name", ["tanh", "softplus", "square"])
def test_inertia_in_float32(name: str, device: str) -> None:
    case = random_case(2, 6, 2, 4, name)
    enough = sufficient_gamma(*tensors(case))
    for share in (0.1, 0.5, 2):
        check_inertia(case, enough * share, "float32", device)


# ------------------------------------------------------------------------------------------------------------------------ λ_min


def check_min_eigenvalue(case: Parts, rtol: float = 1e-6, dtype: str = "float64", device: str = "cpu") -> MinEigenvalue:
    net, X, y = tensors(case, dtype, device)
    found = min_eigenvalue(net, X, y, rtol=rtol, chunk=3)
    H = reference.hessian(*case)
    exact = float(np.linalg.eigvalsh(H)[0])
    # LAPACK's own error, and what the counts may err by
    tol = THRESHOLD * len(H) * EPS["float64"] * float(np.linalg.norm(H, 2)) + count_error(case, exact, dtype)
    assert found.lower <= found.value <= found.upper
    assert float(found) == found.value
    assert found.lower - tol <= exact <= found.upper + tol
    if found.converged:
        assert found.upper - found.lower <= 2.01 * rtol * max(abs(found.lower), abs(found.upper)) + tol
    if found.proved:
        H_exact = exact_hessian(case)
        assert exact_inertia(H_exact, found.lower).negative == 0
        assert exact_inertia(H_exact, found.upper).positive < len(H)
    return found


@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_min_eigenvalue(name: str, rtol: float, device: str) -> None:
    found = check_min_eigenvalue(random_case(3, 6, 2, 5, name), rtol, device=device)
    assert found.converged
    assert found.value < 0
    assert found.proved or name == "relu" or rtol < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_min_eigenvalue_with_fewer_parameters_than_points(seed: int, device: str) -> None:
    """P < M: here H may be positive definite, as it is for y = f(X)."""
    net, X, y = random_case(seed, 1, 1, 15)
    check_min_eigenvalue((net, X, y), device=device)
    found = check_min_eigenvalue((net, X, reference.outputs(net, X) + 1e-9 * y), 1e-4, device=device)
    assert found.value > 0


def test_min_eigenvalue_at_the_minimum(device: str) -> None:
    """With r = 0, H = JᵀJ/M: singular with more parameters than points, and not with fewer."""
    net, X, _ = random_case(0, 3, 1, 20)
    silent = reference.Network(np.zeros(3), net.w, net.eta, net.beta)
    y = np.zeros(20)
    wide = min_eigenvalue(*tensors((silent, X[:4], y[:4]), device=device))
    assert wide.value == 0
    assert -1e-290 < wide.lower <= 0 <= wide.upper < 1e-290  # y = 0 and f(X) = 0 are exact but for underflow
    assert wide.proved
    check_min_eigenvalue((silent, X, y), device=device)


@pytest.mark.parametrize("N", [1, 2, 7])
def test_min_eigenvalue_at_one_point(N: int) -> None:
    for d in (1, 3):
        check_min_eigenvalue(random_case(N, N, d, 1), 1e-8)


@pytest.mark.parametrize("repeats", [2, 5])
def test_min_eigenvalue_with_repeated_neurons(repeats: int) -> None:
    net, X, y = random_case(1, 3, 2, 4)
    copies = reference.Network(*(np.repeat(a, repeats, axis=0) for a in (net.c, net.w, net.eta)), net.beta)
    check_min_eigenvalue((copies, X, y), 1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_min_eigenvalue_in_float32(seed: int, device: str) -> None:
    check_min_eigenvalue(random_case(seed, 6, 2, 4), 1e-3, "float32", device)


@FEW
@given(problems(extreme=False, max_width=3, max_dim=2, max_points=5))
def test_min_eigenvalue_of_special_networks(problem: tuple[reference.Network, Array, Array, float]) -> None:
    check_min_eigenvalue(problem[:3], 1e-5)


@pytest.mark.parametrize("rtol", [0.0, 1e-15, 1.0, -1.0, math.nan])
def test_min_eigenvalue_refuses_a_tolerance(rtol: float) -> None:
    with pytest.raises(InputError, match="rtol"):
        min_eigenvalue(*tensors(random_case(0, 2, 1, 2)), rtol=rtol)


# ------------------------------------------------------------------------------ λ_min of adversarial cases, and its count alone

PRECISIONS = {"float64": ("float64", None), "mixed": ("float64", "mixed"), "float32": ("float32", None)}


def false_interval(seed: int) -> tuple[bool, str]:
    """(is it claimed?, what is wrong) of λ_min's interval for one case."""
    case, mode = adversarial(seed), sorted(PRECISIONS)[seed % 3]
    dtype, precision = PRECISIONS[mode]
    rtol = 10.0 ** -np.random.default_rng(seed).integers(1, 12)
    try:
        found = min_eigenvalue(*tensors(case, dtype), rtol=rtol, precision=precision, chunk=3)
    except AcceleratedError:
        return False, ""
    if not (found.converged or found.proved):
        return False, ""
    if found.converged and found.upper - found.lower > 2 * rtol * max(abs(found.lower), abs(found.upper)):
        return True, f"{seed=}, {mode=}, too wide: {found}"
    H = exact_hessian(case)
    inside = exact_inertia(H, found.lower).negative == 0 and exact_inertia(H, found.upper).positive < len(H)
    return True, "" if inside else f"{seed=}, {mode=}, {rtol=}: {found}"


@pytest.mark.parametrize("start", range(3))
def test_no_interval_of_adversarial_cases_is_false(start: int) -> None:
    results = [false_interval(seed) for seed in range(start, 45, 3)]
    assert [wrong for _, wrong in results if wrong] == []
    assert sum(claimed for claimed, _ in results) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_no_interval_of_a_thousand_adversarial_cases_is_false(block: int) -> None:
    assert [wrong for _, wrong in map(false_interval, range(100 + 50 * block, 150 + 50 * block)) if wrong] == []


def false_harsh_interval(seed: int) -> tuple[bool, str]:
    """The same for a harsh case."""
    mode = sorted(PRECISIONS)[seed // len(HARSH) % 3]
    dtype, precision = PRECISIONS[mode]
    case, _ = harsh(seed, dtype)
    rtol = 10.0 ** -np.random.default_rng(seed).integers(1, 12)
    try:
        found = min_eigenvalue(*case.torch(dtype), rtol=rtol, precision=precision, chunk=3)
    except AcceleratedError:
        return False, ""
    if not (found.converged or found.proved):
        return False, ""
    H = exact_hessian((case.net, case.X, case.y))
    inside = exact_inertia(H, found.lower).negative == 0 and exact_inertia(H, found.upper).positive < len(H)
    return True, "" if inside else f"{HARSH[seed % len(HARSH)]}, {seed=}, {mode=}, {rtol=}: {found}"


def test_no_interval_of_harsh_cases_is_false() -> None:
    results = [false_harsh_interval(seed) for seed in range(18)]
    assert [wrong for _, wrong in results if wrong] == []
    assert sum(claimed for claimed, _ in results) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_interval_of_a_thousand_harsh_cases_is_false(block: int) -> None:
    assert [wrong for _, wrong in map(false_harsh_interval, range(1000 + 102 * block, 1102 + 102 * block)) if wrong] == []


@pytest.mark.parametrize("seed", [12, 16, 20, 26])
def test_ends_that_nothing_confirms_are_found_out(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the bisection's ends are believed, and its second stage is left to the product's dtype."""
    assert false_interval(seed) == (True, "")
    monkeypatch.setattr(spectrum, "_end", lambda at, smooth, error, start, room, outermost: start + room)
    monkeypatch.setattr(spectrum, "Precision", lambda working, product: PRODUCTS["mixed"])
    monkeypatch.setattr(spectrum, "jacobian_bound", lambda task: 0.0)
    assert false_interval(seed)[1] != ""


def count_errors(seed: int) -> tuple[int, list[str]]:
    """(counts with a bound, those that are not exact for H - x'I with any |x' - x| ≤ bound), near eigenvalues of H."""
    case, mode = adversarial(seed), sorted(PRECISIONS)[seed % 3]
    dtype, precision = PRECISIONS[mode]
    at = prepare(*tensors(case, dtype), precision=precision, chunk=2)
    H, rng = exact_hessian(case), np.random.default_rng(seed)
    values = np.linalg.eigvalsh(reference.hessian(*case))
    bounded, wrong = 0, []
    for value in values[[0, len(values) // 2]]:
        x = float(value * (1 + 10.0 ** rng.uniform(-16, -3) * rng.choice([-1, 1])))
        found = certificate.count_below(at.instance, at.S, -x, at.S_error)
        if not math.isfinite(found.error):
            continue
        bounded += 1
        below, above = exact_inertia(H, x - found.error), exact_inertia(H, x + found.error)
        if not below.negative <= found.negative <= len(H) - above.positive:
            wrong.append(f"{seed=}, {mode=}, {x=}: {found}")
    return bounded, wrong


def test_a_count_is_exact_within_its_error() -> None:
    results = [count_errors(seed) for seed in range(60)]
    assert [wrong for _, many in results for wrong in many] == []
    assert sum(bounded for bounded, _ in results) >= 40


def attained(seed: int, mode: str) -> float:
    """How far from λ_min(H) the count changes, in units of the error that it reports; 0 where that is infinite."""
    case, (dtype, precision) = adversarial(seed), PRECISIONS[mode]
    at, H = prepare(*tensors(case, dtype), precision=precision, chunk=2), exact_hessian(case)

    def counted(x: float) -> certificate.Count:
        return certificate.count_below(at.instance, at.S, -x, at.S_error)

    near = float(np.linalg.eigvalsh(reference.hessian(*case))[0])
    error = counted(near).error
    if not math.isfinite(error):
        return 0.0

    def change(has: Callable[[float], bool]) -> float:
        lower, upper = near - 2 * error, near + 2 * error
        for _ in range(18):  # to 1e-5 of the error
            middle = (lower + upper) / 2
            lower, upper = (lower, middle) if has(middle) else (middle, upper)
        return (lower + upper) / 2

    exact_change = change(lambda x: exact_inertia(H, x).negative > 0)
    return abs(change(lambda x: counted(x).negative > 0) - exact_change) / error


def test_the_error_of_the_count_is_attained_to_a_thousandth() -> None:
    ratios = [attained(seed, mode) for seed, mode in ((4, "float32"), (52, "float32"), (4, "float64"))]
    assert 1e-3 < max(ratios) <= 1, ratios


# --------------------------------------------------------------------------------------------------------------- required gamma


def rho(case: Parts) -> float:
    """maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ), from the definition of h as the norm of [[0, s x̃ᵀ], [s x̃, κ x̃x̃ᵀ]] (E15)."""
    net, X, y = case
    _, slope, curvature = reference.activation(net.activation).jets(X @ net.w.T + net.eta, reference.FLOAT64)
    r, q = np.abs(reference.outputs(net, X) - y), np.sqrt(1 + (X**2).sum(1))
    h = np.zeros_like(slope)
    for m in range(len(X)):
        for i in range(net.width):
            s, kappa = slope[m, i] * q[m], net.c[i] * curvature[m, i] * q[m] ** 2
            h[m, i] = np.abs(np.linalg.eigvalsh([[0.0, s], [s, kappa]])).max()
    return float((r @ h / len(X)).max())


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sufficient_gamma(name: str, dtype: str, device: str) -> None:
    case = random_case(4, 7, 2, 5, name)
    found = sufficient_gamma(*tensors(case, dtype, device))
    if name == "relu":  # its slope jumps where z's rounding error decides: no bound
        assert found == np.inf
        return
    exact = 7.0**-0.25 * rho(case)
    # the terms that r and the jets are summed from, against which they err, and the margin by which it is rounded up
    limit = THRESHOLD * (7 + 5 + 2) * EPS[dtype] * 7**0.5 * largest_terms(case)[0] + 2e-3 * EPS[dtype] ** 0.5 * exact
    assert exact <= found + (limit if dtype == "float32" else 0)
    assert found <= exact + limit
    values = np.linalg.eigvalsh(reference.hessian(*case)) + found * 7**-0.5
    assert values[0] > -limit


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_required_gamma_is_the_threshold(name: str, device: str) -> None:
    case = random_case(5, 7, 2, 5, name)
    net, X, y = tensors(case, device=device)
    found = required_gamma(net, X, y)
    assert 0 < found.lower < found.upper <= found.sufficient
    assert found.upper - found.lower <= 4e-6 * found.upper
    H, unit = reference.hessian(*case), 7**-0.5
    assert np.linalg.eigvalsh(H)[0] + found.lower * (1 - 1e-9) * unit < 0
    assert np.linalg.eigvalsh(H)[0] + found.upper * (1 + 1e-9) * unit > 0
    assert inertia(net, X, y, found.lower * (1 - 1e-6)).negative == 1
    assert inertia(net, X, y, found.upper * (1 + 1e-6)).negative == 0
    if found.proved:
        exact = exact_hessian(case)
        assert exact_inertia(exact, -damping_of(net, found.lower * (1 - 1e-12))).negative > 0
        assert exact_inertia(exact, -damping_of(net, found.upper * (1 + 1e-12))).negative == 0
    else:
        assert name == "relu"


def test_required_gamma_is_zero_where_the_hessian_is_definite() -> None:
    net, X, _ = random_case(0, 1, 1, 15)
    found = required_gamma(*tensors((net, X, reference.outputs(net, X) + 1e-9)))
    assert (found.lower, found.upper) == (0, 0)
    assert found.sufficient > 0


# --------------------------------------------------------------------------------------------------------------- required width


def factory(width: int) -> ShallowNet:
    return ShallowNet(width, 2, beta=0.75, generator=torch.Generator().manual_seed(width))


def test_required_width() -> None:
    rng = np.random.default_rng(0)
    X, y = torch.tensor(rng.standard_normal((4, 2))), torch.tensor(rng.standard_normal(4))
    found = required_width(factory, X, y, 0.3, largest=2**12)
    seen = dict(found.observed)
    assert [width for width, _ in found.observed] == sorted(seen)
    assert found.first is not None
    assert seen[found.first] == "positive definite"
    # E16's width from the widest net seen
    widest = factory(max(seen))
    sufficient = sufficient_gamma(widest, X, y) * widest.width**0.25  # ρ
    assert found.sufficient == pytest.approx((sufficient / 0.3) ** 4, rel=1e-6)
    for width, verdict in seen.items():
        negative = inertia(factory(width), X, y, 0.3).negative
        assert verdict == ("positive definite" if negative == 0 else "indefinite")
    assert all(seen[width] == "positive definite" for width in seen if width >= found.first)
    again = required_width(factory, X, y, 0.3, largest=2**12)
    assert again == found


def test_required_width_that_is_not_reached() -> None:
    X, y = torch.ones(3, 2, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    found = required_width(factory, X, y, 1e-6, largest=16)
    assert found.first is None
    assert found.sufficient > 16
    assert dict(found.observed)[16] == "indefinite"


def test_required_width_refuses_what_makes_no_network_of_that_width() -> None:
    X, y = torch.ones(3, 2, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    with pytest.raises(InputError, match="make"):
        required_width(lambda width: factory(width + 1), X, y, 1.0)
    with pytest.raises(InputError, match="make"):
        required_width(None, X, y, 1.0)  # type: ignore[arg-type]
    for largest in (0, True, 2.0):
        with pytest.raises(InputError, match="largest"):
            required_width(factory, X, y, 1.0, largest=largest)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ proofs must hold, or not be claimed


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_proved_of_relu_whose_residual_is_zero_but_for_rounding(seed: int) -> None:
    """y = f(X) as computed: the exact residual is not 0, and H is indefinite. A dead neuron's bound, 0 · ∞, is no proof."""
    net, X, _ = random_case(seed, 4, 2, 3, "relu")
    net = reference.Network(np.where(np.arange(4) == 0, 0.0, net.c), net.w, net.eta, net.beta, "relu")
    shallow, points, _ = tensors((net, X, np.zeros(3)))
    y = outputs(shallow, points)
    exact = exact_inertia(exact_hessian((net, X, y.numpy())), 0.0)
    found = min_eigenvalue(shallow, points, y)
    assert not (found.proved and found.lower == 0 and exact.negative > 0)
    assert not found.proved


# ----------------------------------------------------------------------------------- what is added outwards, where it is needed


def outward_case(which: str) -> Callable[[], float]:
    """λ_min is off by all of the radius from that of the computed S, and no end can be confirmed: (distance) / (widening)."""

    def ratio() -> float:
        case = random_case(3, 6, 2, 5)
        task = prepare(*tensors(case)).instance
        S = at_residual(task)
        doubt = 0.25
        planted = PreparedNetwork(task, S[0], S[1], bounds.Radii(torch.full((6,), doubt, dtype=torch.float64)))
        lower, upper, _, _ = spectrum._bracket(task, S[1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectrum, "_end", lambda *_: None)
            found = spectrum._min_eigenvalue(planted, 1e-6)
        assert not found.proved
        assert not found.converged
        return doubt / (lower - found.lower if which == "lower" else found.upper - upper)

    return ratio


def at_residual(task: Instance) -> tuple[torch.Tensor, torch.Tensor]:
    r = stream.outputs(task) - task.y
    return r, stream.residual_blocks(task, r)


def silent_case() -> float:
    """r = 0 as computed, and S off by its radius: so is λ_min of JᵀJ/M + S."""
    net, X, _ = random_case(0, 3, 1, 4)
    at = prepare(*tensors((reference.Network(np.zeros(3), net.w, net.eta, net.beta), X, np.zeros(4))))
    planted = PreparedNetwork(at.instance, at.residual, at.S, bounds.Radii(torch.full((3,), 0.25, dtype=torch.float64)))
    found = spectrum._min_eigenvalue(planted, 1e-6)
    return 0.25 / -found.lower


def block_eigenvalue_case() -> float:
    """LAPACK's smallest eigenvalue of a block in float32, over balls; the largest error among many."""
    worst = 0.0
    for seed in range(30):
        case = random_case(seed, 20, 2, 1)
        task = prepare(*tensors(case, "float32")).instance
        _, S = at_residual(task)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectrum, "_end", lambda *_: None)
            found = spectrum._min_eigenvalue(
                PreparedNetwork(task, torch.zeros(1), S, bounds.Radii(torch.zeros(20, dtype=torch.float64))), 1e-3
            )
        D = stream.block(task, S, slice(0, 20), 0.0).double().permute(2, 0, 1).numpy()
        low, _, _, _ = spectrum._bracket(task, S)
        worst = max(worst, (low - float(np.linalg.eigvalsh(D)[:, 0].min())) / (low - found.lower))
    return worst


def end_case() -> float:
    """1 + 0.15 u rounds down; the bound of λ_min must not."""
    unit = 2.0**-53
    at = prepare(*tensors(random_case(3, 2, 1, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectrum, "certify", lambda *_: certificate.Certificate("undecided", None, 0, 0.0, ""))
        patch.setattr(spectrum, "count_below", lambda *_: certificate.Count(1, 0.15 * unit))
        found = spectrum._end(at, at.instance, at.S_error, 0.5, 1.0, 2.0)
    assert found is not None
    return 0.0 if found > 1 else math.inf


def gamma_end(end: str) -> Callable[[], float]:
    """Is γ N^(1-2β), exactly and as computed again, on the right side of -λ_min, for many N and β?"""

    def ratio() -> float:
        rng = np.random.default_rng(0)
        X, y = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        with pytest.MonkeyPatch.context() as patch, flint.ctx.workprec(200):
            for _ in range(60):
                net = ShallowNet(int(rng.integers(2, 3000)), 1, beta=float(rng.uniform(0.55, 0.95)))
                x = float(rng.uniform(1, 2))
                found = MinEigenvalue(-x, -x, -x, True, True, 0)
                patch.setattr(spectrum, "_min_eigenvalue", lambda at, rtol, found=found: found)
                gamma = getattr(spectrum.required_gamma(net, X, y), end)
                exact = flint.arb(gamma) * flint.arb(net.width) ** (1 - 2 * flint.arb(net.beta))
                for damping in (exact, flint.arb(damping_of(net, gamma))):
                    if not (damping >= x if end == "upper" else damping <= x):
                        return math.inf
        return 0.0

    return ratio


TIGHT = [
    Term(spectrum, "_min_eigenvalue", "* size + «2 * doubt»", outward_case("lower")),
    Term(spectrum, "_min_eigenvalue", "* size + «2 * doubt» + torch", outward_case("upper")),
    # chosen: no proof rests on it, and in blocks of four few roundings go one way
    Term(spectrum, "_min_eigenvalue", "8 * task.p**2 * torch.finfo(task.dtype).eps", block_eigenvalue_case, 0.01),
    Term(spectrum, "_end", "4 * torch.finfo(torch.float64).eps", end_case),
    Term(spectrum, "required_gamma", "5 * torch.finfo(torch.float64).eps", gamma_end("lower")),
    Term(spectrum, "required_gamma", "5 * torch.finfo(torch.float64).eps", gamma_end("upper")),
]


@every(TIGHT)
def test_ten_times_smaller_the_widening_is_exceeded(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tight(monkeypatch, term)


def test_the_spectrum_of_zero_residual_is_as_uncertain_as_S() -> None:
    assert silent_case() == 1


@pytest.mark.parametrize("doubt", [0.0, 1e-300, 0.25, 1.0])
def test_zero_is_found_to_any_accuracy_only_where_it_is_exact(doubt: float) -> None:
    """No interval about λ_min = 0 is narrower than rtol |λ_min| but the point itself."""
    net, X, _ = random_case(0, 3, 1, 4)
    at = prepare(*tensors((reference.Network(np.zeros(3), net.w, net.eta, net.beta), X, np.zeros(4))))
    planted = PreparedNetwork(at.instance, at.residual, at.S, bounds.Radii(torch.full((3,), doubt, dtype=torch.float64)))
    found = spectrum._min_eigenvalue(planted, 1e-6)
    assert (found.value, found.lower, found.upper, found.evaluations) == (0, -doubt, doubt, 0)
    assert found.proved
    assert found.converged == (doubt == 0)


@pytest.mark.parametrize("lost", ["lower", "upper"])
def test_an_interval_of_which_one_end_is_not_confirmed_is_not_proved(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(3, 6, 2, 5)
    whole, end = min_eigenvalue(*tensors(case)), spectrum._end

    def one(at: object, smooth: object, error: object, start: float, room: float, most: float) -> float | None:
        return None if (room < 0) == (lost == "lower") else end(at, smooth, error, start, room, most)  # type: ignore[arg-type]

    monkeypatch.setattr(spectrum, "_end", one)
    found = min_eigenvalue(*tensors(case))
    assert whole.proved
    assert whole.converged
    assert not found.proved
    assert not found.converged
    # the other end is what it was; this one is where λ_min lies whatever the counts say
    kept, given_up = ("upper", "lower") if lost == "lower" else ("lower", "upper")
    assert getattr(found, kept) == getattr(whole, kept)
    assert abs(getattr(found, given_up) - found.value) > abs(getattr(whole, given_up) - whole.value)
    assert found.lower <= whole.lower <= found.value <= whole.upper <= found.upper


@pytest.mark.parametrize("points", [2, 3, 4])
def test_min_eigenvalue_without_residual_at_as_many_parameters_as_points(points: int) -> None:
    """R = 0 as computed: H = JᵀJ/M, singular if P > M, and here not if P ≤ M; P = 3."""
    net, X, _ = random_case(5, 1, 1, points)
    shallow, inputs, _ = tensors((net, X, np.zeros(points)))
    found = min_eigenvalue(shallow, inputs, outputs(shallow, inputs))
    J = reference.jacobian(net, X).reshape(points, -1)
    exact = float(np.linalg.eigvalsh(J.T @ J / points)[0]) if points >= 3 else 0.0
    assert found.lower <= exact <= found.upper
    assert found.value == 0 if points < 3 else abs(found.value - exact) <= 1e-5 * exact


def test_nothing_is_proved_by_eigenvalues_of_blocks_that_a_solver_gets_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: all of them 0, as if r were. There are more parameters than points, so that λ_min(H) = 0 would follow."""
    net, X, y = tensors(random_case(4, 6, 2, 3), "float64")
    truth = min_eigenvalue(net, X, y)
    assert truth.upper < 0

    def zeros(D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        p, _, n = D.shape
        return torch.zeros(p, n, dtype=D.dtype), torch.eye(p, dtype=D.dtype)[:, :, None].expand(p, p, n).contiguous()

    monkeypatch.setattr(blocks, "eigh", zeros)
    found = min_eigenvalue(net, X, y)
    assert not found.converged
    assert not found.proved or found.lower <= truth.upper
