"""Bounds of what a network's derivatives are and of their computed values' errors, against balls of 256 bits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import ACTIVATIONS, bounds, stream
from nntk_accelerated.instance import Instance
from tests.accelerated.comparison import MODES, PRECISE, Case, Example, exact, prepared, rounded, seeded, spectral_norm_upper
from tests.accelerated.planted import EXACT, HALF, OFF, SINGLE, TINY, Planted, U, constant, flushed, losing, planted
from tests.weakened import Term, check_tight, every

IN_THEORY = [name for name, entry in reference.ACTIVATIONS.items() if entry.in_theory]

every_mode = pytest.mark.parametrize("mode", MODES)


def ours(block: Any) -> Any:
    """A matrix (or its rows) over (c, w, η), the reference's order, in the package's order (η, w, c)."""
    p = len(block)
    return block[[p - 1, *range(1, p - 1), 0]]


def exact_blocks(case: Case) -> list[np.ndarray]:
    S = reference.residual_hessian(case.net, case.X, case.y, arithmetic=PRECISE)
    return [ours(ours(block).T).T for block in S]


def radius_ratios(case: Case, mode: str, device: str = "cpu") -> list[float]:
    task, r, S = prepared(case, mode, device=device)
    values = bounds.radii(task, r).values.double().cpu().tolist()
    computed = stream.block(task, S, slice(0, task.local), 0.0).double().permute(2, 0, 1).cpu().numpy()
    with ctx.workprec(PRECISE.bits):
        errors = [spectral_norm_upper(exact(a) - b) for a, b in zip(computed, exact_blocks(case), strict=True)]
    return [error / value if error else 0.0 for error, value in zip(errors, values, strict=True)]


@given(
    problem=problems(max_width=4, max_dim=3, max_points=5, activations=[*IN_THEORY, "square"], extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_radii_bound_the_errors_of_the_blocks(problem: Example, mode: str) -> None:
    net, X, y, _ = problem
    case = rounded(net, X, y, MODES[mode][0])
    ratios = radius_ratios(case, mode)
    assert max(ratios) <= 1, f"{ratios}: {case.told}, {mode=}"


@every_mode
def test_radii_are_bounds_and_not_a_million_times_too_large(mode: str, device: str) -> None:
    ratios = []
    for seed, name in enumerate([*IN_THEORY, "square"]):
        case = seeded(400 + seed, 40, 1 + seed % 4, 20, activation=name, dtype=MODES[mode][0])
        ratios.append(max(radius_ratios(case, mode, device)))
    assert max(ratios) <= 1, ratios
    assert min(ratios) > 1e-5, ratios


@given(
    problem=problems(max_width=4, max_dim=3, max_points=5, activations=sorted(ACTIVATIONS), extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_the_jacobian_bound_is_one(problem: Example, mode: str) -> None:
    net, X, y, _ = problem
    case = rounded(net, X, y, MODES[mode][0])
    task, _, _ = prepared(case, mode)
    with ctx.workprec(PRECISE.bits):
        J = reference.jacobian(case.net, case.X, arithmetic=PRECISE).reshape(-1)
        norm = sum((v * v for v in J), arb(0)).sqrt()
        assert norm <= arb(bounds.jacobian_bound(task)), f"{norm} above {bounds.jacobian_bound(task)}: {case.told}, {mode=}"


def test_the_jacobian_bound_is_near() -> None:
    for seed, name in enumerate(IN_THEORY):
        case = seeded(500 + seed, 50, 2, 10, activation=name)
        task, _, _ = prepared(case, "float64")
        norm = np.linalg.norm(reference.jacobian(case.net, case.X))
        assert norm <= bounds.jacobian_bound(task) <= 20 * norm


# ----------------------------------------------------------------------------- every term where it is the largest, and attained
#
# Random cases come to 1e-2 … 1e-5 of a rounding bound: errors average out, and torch's functions are better than
# `activations.ERROR`. So errors are planted here at the limit of the model, all of one sign: jets off by exactly ERROR units,
# sums in which each addition loses just less than half a unit, underflow flushed to zero; with one neuron and one point, where
# the norms' inequalities are equalities. u is float32's unit roundoff, and truth is float64.

STEEP = 1024.0  # |z|: so large that the argument's error counts, not the jets'
DEEP = 30  # dimension of x there: that many additions, each of which loses half a unit


def steep(*powers: float, c: float, y: float = 0.0, limits: tuple[float, float, float, float]) -> tuple[Planted, float]:
    """(task, error of z) at z = STEEP as computed, with σ^(k) = powers[k] · (z - STEEP): that power is what errs."""
    task = planted(
        lambda z: tuple(p * (z - STEEP) if p else torch.zeros_like(z) for p in powers),
        limits,
        c=(c,),
        w=((STEEP, *[STEEP * HALF] * (DEEP - 1)),),
        eta=(STEEP * HALF,),
        X=((1.0,) * DEEP,),
        y=(y,),
    )
    off = float(task.w.double().sum() + task.eta.double().sum()) - STEEP
    assert off > (DEEP - 0.5) * STEEP * U
    return task, off


def slow(rule: tuple[float, float, float], limits: tuple[float, float, float, float]) -> Planted:
    """A sum over 1024 neurons, each of which loses half a unit of the first one's output 1."""
    return planted(
        constant(*rule), limits, c=(1.0, *[HALF] * 1023), w=((0.0,),) * 1024, eta=(0.0,) * 1024, X=((0.0,),), y=(0.0,)
    )


def residual_of(task: Instance) -> torch.Tensor:
    return stream.outputs(task) - task.y


def reach_case(w: float, eta: float) -> Callable[[], float]:
    def ratio() -> float:
        task = planted(constant(0, 0, 0), (0, 0, 0, 0), w=((w,),), eta=(eta,), X=((1.0,),))
        return abs(w + eta) / float(bounds._reach(task, SINGLE)[0])

    return ratio


def argument_case() -> float:
    task, off = steep(1.0, c=0.0, limits=(0, 1, 0, 0))
    assert float(task.jets(SINGLE, 0)[0]) == 0
    return off / float(bounds._reach(task, SINGLE)[1])


def norm_case(sigma: float, slope: float, c: float, points: int = 1) -> Callable[[], float]:
    def ratio() -> float:
        X = ((2.0,),) * points
        task = planted(constant(sigma, slope, 0), (sigma, slope, 0, 0), c=(c,), X=X, y=(0.0,) * points)
        exact_norm = np.sqrt(points * (sigma**2 + c**2 * slope**2 * 5))
        return exact_norm / float(bounds.jacobian_norms(task, SINGLE)[0])

    return ratio


def jacobian_argument_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        task, off = steep(*[float(i == k) for i in range(3)], c=1000.0 * k, limits=(0, float(k == 0), float(k == 1), 0))
        error = off * (1000 * np.sqrt(1 + DEEP) if k else 1)
        return error / float(bounds.jacobian_norms(task, SINGLE)[1])

    return ratio


def jacobian_unit_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        values = [EXACT * (i == k) for i in range(3)]
        task = planted(constant(*values), (values[0], values[1], 0, 0), c=(1000.0 * k,))
        return OFF * (1000 if k else 1) / float(bounds.jacobian_norms(task, SINGLE)[1])

    return ratio


def four_case() -> float:
    task = planted(constant(1, 0, 0), (1, 0, 0, 0), c=(0.0,) * 4, w=((0.0,),) * 4, eta=(0.0,) * 4)
    return 2 * 4**-0.75 / bounds.jacobian_bound(task)


def residual_argument_case() -> float:
    task, off = steep(1.0, c=1.0, limits=(0, 1, 0, 0))
    r = residual_of(task)
    return off / bounds.residual_error(task, r)


def residual_unit_case() -> float:
    task = planted(constant(EXACT + OFF, 0, 0), (EXACT, 0, 0, 0))
    r = residual_of(task)
    return abs(float(r) - EXACT) / bounds.residual_error(task, r)


def residual_sum_case() -> float:
    task = slow((1, 0, 0), (1, 0, 0, 0))
    r = residual_of(task)
    return (float(task.c.double().sum()) * task.scale - float(r)) / bounds.residual_error(task, r)


def residual_target_case() -> float:
    task = planted(constant(1, 0, 0), (1, 0, 0, 0), c=(HALF,), y=(-1.0,))
    r = residual_of(task)
    return (1 + float(task.c.double()) - float(r.double())) / bounds.residual_error(task, r)


def residual_underflow_case() -> float:
    # c σ is just below the normal numbers, and 24 units of c far below
    c, sigma = 1.98 * 2.0**-115, 2.0**-12
    task = planted(constant(sigma, 0, 0), (sigma, 0, 0, 0), c=(c,))
    r = residual_of(task)
    assert float(r) == 0
    return c * sigma / bounds.residual_error(task, r)


def h(s: float, kappa: float, q2: float = 1.0) -> float:
    return 0.5 * (kappa * q2 + float(np.sqrt(kappa**2 * q2**2 + 4 * s**2 * q2)))


def rho_residual_case() -> float:
    task, off = steep(1.0, c=1.0, limits=(0, 1, 0, 0))
    task = replace(task, rule=lambda z: (z - STEEP, torch.ones_like(z), torch.zeros_like(z)))
    r = residual_of(task)
    assert float(r) == 0
    return off * h(1, 0, 1 + DEEP) / bounds.rho_bound(task, r)


def rho_argument_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        # σ = 0: the residual is -y
        task, off = steep(
            *[float(i == k) for i in range(3)], c=float(k == 2), y=-1.0, limits=(0, 0, float(k == 1), float(k == 2))
        )
        exact_rho = h(off, 0, 1 + DEEP) if k == 1 else h(0, off, 1 + DEEP)
        return exact_rho / bounds.rho_bound(task, residual_of(task))

    return ratio


def rho_unit_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        task = planted(constant(0, 0, 0), (0, 0, 0, 0), c=(1000.0 * (k == 2),), y=(-1.0,))
        exact_rho = h(OFF, 0) if k == 1 else h(0, 1000 * OFF)
        return exact_rho / bounds.rho_bound(task, residual_of(task))

    return ratio


def rho_value_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        task = planted(constant(0, k == 1, k == 2), (0, 1, 1, 0), c=(1.0,), y=(-1.0,), X=((2.0,),))
        return h(float(k == 1), float(k == 2), 5) / bounds.rho_bound(task, residual_of(task))

    return ratio


def blocks_error(task: Instance, r: torch.Tensor, slope: float, bend: float, exact_r: float) -> float:
    """‖computed - exact‖₂ of the first neuron's block at one point, whose exact σ', σ'' and residual are given."""
    computed = stream.block(task, stream.residual_blocks(task, r), slice(0, 1), 0.0)[:, :, 0].double()
    x = torch.cat([task.X1[0].double(), torch.zeros(1, dtype=torch.float64)])
    c, out = float(task.c[0]), torch.zeros(task.p, dtype=torch.float64)
    out[-1] = 1
    S = task.scale * exact_r * (slope * (torch.outer(out, x) + torch.outer(x, out)) + c * bend * torch.outer(x, x))
    return float(torch.linalg.matrix_norm(computed - S, 2))


def radius_of(task: Instance, r: torch.Tensor) -> float:
    return float(bounds.radii(task, r).values[0])


def radii_residual_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        jets = (1.0, float(k == 1), float(k == 2))
        task = slow(jets, (*jets, 0))
        r = residual_of(task)
        exact_r = float(task.c.double().sum()) * task.scale
        return blocks_error(task, r, jets[1], jets[2], exact_r) / radius_of(task, r)

    return ratio


def radii_argument_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        task, off = steep(
            *[float(i == k) for i in range(3)], c=float(k == 2), y=-1.0, limits=(0, 0, float(k == 1), float(k == 2))
        )
        r = residual_of(task)
        return blocks_error(task, r, off * (k == 1), off * (k == 2), 1.0) / radius_of(task, r)

    return ratio


def radii_unit_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        jets = [0.0, EXACT * (k == 1), EXACT * (k == 2)]
        c = 1000.0 * (k == 2)
        task = planted(constant(*(v + OFF * (v > 0) for v in jets)), (0, *jets[1:], 0), c=(c,), y=(-1.0,))
        r = residual_of(task)
        return blocks_error(task, r, jets[1], jets[2], 1.0) / radius_of(task, r)

    return ratio


def radii_sum_case(k: int) -> Callable[[], float]:
    def ratio() -> float:
        # c = 0 for σ', and σ = 0: r = -y; N = 1, σ' or σ'' = 1, x = 0: the entry of S is the mean of r
        r, total = losing(1024)
        task = planted(constant(0, k == 1, k == 2), (0, k == 1, k == 2, 0), c=(1.0 * (k == 2),), X=((0.0,),) * 1024, y=-r)
        error = (r.sum() - total) / 1024
        assert error > 1024 / 4 * U
        return error / radius_of(task, residual_of(task))

    return ratio


def radii_underflow_case() -> float:
    task = planted(constant(0, 0.5, 0), (0, 0.5, 0, 0), c=(0.0,), y=(-1.98 * TINY,))
    r = residual_of(task)
    return blocks_error(task, r, 0.5, 0.0, 1.98 * TINY) / radius_of(task, r)


def kink_case() -> float:
    # the sum ends where it began, and has lost a positive z on its way
    task = planted(
        constant(0, 0, 0),
        (0, 0, 0, 0),
        w=((STEEP, *[STEEP * HALF] * (DEEP - 1)),),
        eta=(-STEEP,),
        X=((1.0,) * DEEP,),
    )
    task = replace(task, activation=replace(ACTIVATIONS["relu"]), rule=lambda z: (z, z, z))
    z = float(task.w.double().sum()) - STEEP
    assert z > 0
    assert float(task.jets(SINGLE, 0)[0]) == 0
    # told to be off the kink although its side is not known: as bad as it gets
    return 0.0 if bounds.off_kinks(task) is task else math.inf


def block_norm(entries: list[float], p: int) -> tuple[arb, arb]:
    """(‖S‖_F, its bound) for a block stored as `entries`: the row for c, then the lower triangle over (η, w)."""
    task = planted(constant(0, 0, 0), (0, 0, 0, 0), w=((0.0,) * (p - 2),), X=((0.0,) * (p - 2),), dtype=torch.float64)
    twice = [2] * (p - 1) + [1 if k == l else 2 for k in range(p - 1) for l in range(k + 1)]
    true = sum((t * arb(v) * arb(v) for t, v in zip(twice, entries, strict=True)), arb(0)).sqrt()
    S = torch.tensor(entries, dtype=torch.float64)[:, None]
    return true, arb(float(bounds.block_norms(task, S, SINGLE)))


def block_case(entries: list[float], p: int) -> Callable[[], float]:
    def ratio() -> float:
        with ctx.workprec(200):
            true, bound = block_norm(entries, p)
            return float(true / bound)

    return ratio


def block_sum_case() -> float:
    # beside the 1 of a diagonal entry, half a unit of each entry's square is lost
    p, other = 20, (HALF / U * 2.0**-54) ** 0.5
    entries = [0.0] * (p - 1) + [1.0] + [other] * (p * (p - 1) // 2 - 1)
    squares = torch.tensor(entries, dtype=torch.float64)[:, None].square()
    if float(torch.full((len(entries),), 2.0, dtype=torch.float64) @ squares) != 2:
        pytest.skip("torch does not sum in order here")
    with ctx.workprec(200):
        true, bound = block_norm(entries, p)
        return float((true - 1) / (bound - 1))


def kink_underflow_case() -> float:
    size = 0.99 * 2.0**-63
    task = planted(constant(0, 0, 0), (0, 0, 0, 0), w=((size,),), X=((2.0**-63,),))
    task = replace(task, activation=ACTIVATIONS["relu"], rule=lambda z: (z, z, z))
    assert float(task.jets(SINGLE, 0)[0]) == 0
    return 0.0 if bounds.off_kinks(task) is task else math.inf


def rho_sum_case() -> float:
    """In float64, as all of ρ is. With x = 0 and c = 0 ρ is the mean of |r|; the errors of r and σ' are taken out."""
    r, total = losing(4096, np.float64)
    if float(torch.from_numpy(r) @ torch.ones(len(r), 1, dtype=torch.float64)) != total:
        pytest.skip("torch does not sum in order here")
    slope = 1 - 24 * 2.0**-53
    task = planted(constant(0, slope, 0), (0, 1, 0, 0), c=(0.0,), X=((0.0,),) * len(r), y=-r, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch, ctx.workprec(200):
        patch.setattr(bounds, "residual_error", lambda task, r: 0.0)
        bound = arb(bounds.rho_bound(task, residual_of(task)))
        true = sum((arb(v) for v in r.tolist()), arb(0)) / len(r)
        computed = arb(total) / len(r)
        return float((true - computed) / (bound - computed))


# ----------------------------------------------------------------- the parts of `residual_bound`: what is above, and what below


def parts_of(task: Instance, **given: Any) -> dict[str, float]:
    """The numerator and the factors of the denominator that `residual_bound` arrives at: its locals where it returns."""
    M, n = task.M, task.local
    zero = torch.zeros(M, dtype=task.dtype)
    usual: dict[str, Any] = {
        "S": None, "shift": 1.0, "error": None, "h": zero, "v": zero, "left": zero, "update": torch.zeros(task.p, n),
        "measured": 0.0, "length": 0.0, "operator": 0.0, "gradient": 0.0, "r_error": 0.0, "alpha": 1.0, "exponent": 0,
    }  # fmt: skip
    found: dict[str, float] = {}

    def watch(frame: Any, event: str, result: Any) -> None:
        if event == "return" and frame.f_code is bounds.residual_bound.__code__:
            values = frame.f_locals
            found.update(top=values["top"], rayleigh=values["rayleigh"], slope=values["slope"], length=values["moved"])

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        bounds.residual_bound(task, **{**usual, **given})
    finally:
        sys.setprofile(before)
    return found


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def column(*values: float) -> torch.Tensor:
    return vector(*values)[:, None]


SUMS = 1024  # neurons: a sum over them in order, a chunk each, takes so many roundings


def of_outputs(jet: float, *, neurons: int = 1, points: int = 1) -> Planted:
    """J_i = N^(-β) σ in the coordinate of c, and 0 in the others; σ = `jet`."""
    return planted(
        constant(jet, 0, 0),
        (jet, 0, 0, 0),
        c=(0.0,) * neurons,
        w=((0.0,),) * neurons,
        eta=(0.0,) * neurons,
        X=((0.0,),) * points,
        y=(0.0,) * points,
    )


def numerator(exact_error: float, task: Instance, *, but: float = 0.0, **given: Any) -> float:
    """(exact - but) / (numerator - but), where `but` is in both for certain."""
    return (exact_error - but) / (parts_of(task, **given)["top"] - but)


def measured_case() -> float:
    return numerator(1.0, of_outputs(0), measured=1.0)


def measured_sum_case() -> float:
    # a norm whose squares' sum has lost a unit for each neuron: half of that in the root
    measured = 1 - 0.5 * SUMS * U
    return numerator(1.0, of_outputs(0, neurons=SUMS), measured=measured, but=measured)


def measured_underflow_case() -> float:
    return numerator(3**0.5 * 0.99 * 2.0**-63, of_outputs(0))


def pull_unit_case() -> float:
    return numerator(OFF, of_outputs(EXACT), v=vector(1))


def pull_sum_case() -> float:
    v, total = losing(SUMS)
    return numerator(v.sum() - total, of_outputs(1, points=SUMS), v=vector(*v))


def block_radius_case() -> float:
    radius = bounds.Radii(torch.tensor([0.5], dtype=torch.float64))
    return numerator(0.25, of_outputs(0), S=torch.zeros(5, 1), error=radius, update=column(0.5, 0, 0), shift=0.0)


def block_rounding_case() -> float:
    # D = μI, p = 3: a rounding of μ, one of S + μ, p of the product
    return numerator(5 * U, of_outputs(0), update=column(1, 0, 0))


def left_case() -> float:
    return numerator(1.0, of_outputs(1), left=vector(1))


def right_side_case() -> float:
    return numerator(3 * U, of_outputs(1), h=vector(1))


def push_unit_case() -> float:
    return numerator(EXACT * OFF / 2, of_outputs(EXACT), update=column(0.5, 0, 0), shift=0.0)


def push_sum_case() -> float:
    update = torch.zeros(3, SUMS)
    update[0, 0], update[0, 1:] = 1.0, HALF
    task = of_outputs(1, neurons=SUMS)
    return numerator(SUMS**0.5 * task.scale**2 * (SUMS - 1) * HALF, task, update=update, shift=0.0)


def residual_part_case() -> float:
    # Jᵀδ/M, J a column of ones, every rₘ off by a half
    return numerator(0.5, of_outputs(1, points=400), r_error=0.5)


def scaled_residual_case() -> float:
    # α r, r scaled to 1 where other entries are flushed; J so large that this is more than lost squares; all scaled up
    return numerator(100 * 2.0**70 * 0.99 * TINY, of_outputs(2.0**70), alpha=100.0, exponent=100)


def flushed_right_side_case() -> float:
    return numerator(2.0**70 * 0.99 * TINY, of_outputs(2.0**70), alpha=0.01, exponent=100)


def scaled_back_case(jet: float, shift: float) -> Callable[[], float]:
    def ratio() -> float:
        lost = 0.99 * TINY * 2.0**100 * (3**0.5 if shift else 1)
        return numerator(lost, of_outputs(jet), shift=shift, exponent=-100)

    return ratio


def denominator(name: str, computed: float, exact_value: float, task: Instance, **given: Any) -> float:
    """(computed - exact) / (computed - what is claimed), for a factor of the denominator, which is claimed from below."""
    return (computed - exact_value) / (computed - parts_of(task, **given)[name])


def operator_of_gram_case() -> float:
    # |Jq|²/M over |q|²: a unit for each neuron in |q|², twice that in |Jq|²
    task = of_outputs(1, neurons=SUMS)
    norm = SUMS * task.scale**2
    computed = norm * (1 + 3 * SUMS * U)
    return denominator("rayleigh", computed, norm, task, operator=computed, shift=0.0)


def operator_of_blocks_case() -> float:
    # q·Dq over |q|²
    computed = 1 + 2 * SUMS * U
    return denominator("rayleigh", computed, 1.0, of_outputs(0, neurons=SUMS), operator=computed)


def operator_of_points_case() -> float:
    computed = 1 + (SUMS - 1) * U
    return denominator("rayleigh", computed, 1.0, of_outputs(1, points=SUMS), operator=computed, shift=0.0)


def operator_radius_case() -> float:
    radius = bounds.Radii(torch.tensor([0.5], dtype=torch.float64))
    return denominator(
        "rayleigh", 1.0, 0.5, of_outputs(0), operator=1.0, S=torch.zeros(5, 1), error=radius, update=column(1, 0, 0), shift=0.0
    )


def gradient_sum_case() -> float:
    task = of_outputs(1, neurons=SUMS)
    norm = SUMS**0.5 * task.scale
    computed = norm * (1 + 0.5 * SUMS * U)
    return denominator("slope", computed, norm, task, gradient=computed, h=vector(1))


def gradient_unit_case() -> float:
    return denominator("slope", EXACT + OFF, EXACT, of_outputs(EXACT), gradient=EXACT + OFF, h=vector(0.25), alpha=0.25)


def gradient_residual_case() -> float:
    return denominator("slope", 1.0, 0.5, of_outputs(1), gradient=1.0, r_error=0.5, h=vector(1))


ROUNDED_UP = (3 * 2.0**-149) ** 0.5, (3 * 0.51 * 2.0**-149) ** 0.5
"""The norm of three numbers, whose squares were rounded up to the smallest of all, and the exact one."""


def gradient_underflow_case() -> float:
    return denominator("slope", *ROUNDED_UP, of_outputs(0), gradient=ROUNDED_UP[0])


def length_underflow_case() -> float:
    return denominator("length", *ROUNDED_UP, of_outputs(0), length=ROUNDED_UP[0])


def length_sum_case() -> float:
    computed = 1 + 0.5 * SUMS * U
    return denominator("length", computed, 1.0, of_outputs(0, neurons=SUMS), length=computed)


# ---------------------------------------------------------------------------------------- bounds that are equalities, both ways

NEAR = 1 - 3e-6
"""Three times `bounds.SLACK`: what a bound that is attained may be above, beside rounding."""


@pytest.mark.parametrize("p", [3, 4, 6])
def test_the_norm_of_a_block_is_that_of_the_matrix(p: int) -> None:
    rng = np.random.default_rng(p)
    for size in (1e-100, 1.0, 1e100):
        entries = (rng.standard_normal(p - 1 + p * (p - 1) // 2) * size).tolist()
        for alone in [entries, *np.diag(entries).tolist()]:  # all of them, and each by itself
            with ctx.workprec(200):
                true, bound = block_norm(alone, p)
                assert 1 - 1e-12 < float(true / bound) <= 1


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (reach_case(3.0, 0.0), "|z| at w alone"),
        (reach_case(0.0, 3.0), "|z| at η alone"),
        (reach_case(2.0, 3.0), "|z| at both"),
        (norm_case(1, 0, 0), "‖J‖ along c"),
        (norm_case(0, 1, 1000), "‖J‖ along (η, w)"),
        (norm_case(2, 3, 5, 400), "‖J‖ of many points"),
        (four_case, "‖J‖ of many neurons"),
    ],
)
def test_a_bound_that_is_attained_is_no_larger(case: Callable[[], float], told: str) -> None:
    assert NEAR < case() <= 1, told


@pytest.mark.parametrize("k", [1, 2])
def test_the_bound_of_rho_is_near_where_the_jets_are_their_bounds(k: int) -> None:
    assert 0.999 < rho_value_case(k)() <= 1


def test_the_denominator_takes_off_roundings_and_no_more() -> None:
    task, none = of_outputs(0.5), bounds.Radii(torch.zeros(1, dtype=torch.float64))
    found = parts_of(task, gradient=1.0, length=1.0, operator=1.0, S=torch.zeros(5, 1), error=none, shift=0.0)
    for name in ("slope", "length", "rayleigh"):
        assert 0.999 < found[name] <= 1, name


TIGHT = [
    Term(bounds, "_reach", "task.w[part].double().abs() @ size", reach_case(3.0, 0.0)),
    Term(bounds, "_reach", "task.eta[part].double().abs()", reach_case(0.0, 3.0)),
    Term(bounds, "_reach", "roundings(task.p + 2, task.dtype)", argument_case),
    Term(bounds, "_q", "float(task.X1.double().square().sum(1).max().sqrt())", norm_case(0, 1, 1000)),
    Term(bounds, "jacobian_norms", "hypot(«b0 + 0 * t»", norm_case(1, 0, 0)),
    Term(bounds, "jacobian_norms", "steep * b1)", norm_case(0, 1, 1000)),
    Term(bounds, "jacobian_norms", "task.M**0.5", norm_case(1, 1, 1, 400)),
    Term(bounds, "jacobian_norms", "b1 * e", jacobian_argument_case(0)),
    Term(bounds, "jacobian_norms", "u * _most(b0)", jacobian_unit_case(0)),
    Term(bounds, "jacobian_norms", "b2 * e", jacobian_argument_case(1)),
    Term(bounds, "jacobian_norms", "u * _most(b1)", jacobian_unit_case(1)),
    Term(bounds, "jacobian_bound", "float(total.sqrt())", four_case),
    Term(bounds, "residual_error", "b1 * e", residual_argument_case),
    Term(bounds, "residual_error", "u * _most(b0)", residual_unit_case),
    Term(bounds, "residual_error", "depth * b0", residual_sum_case),
    Term(bounds, "residual_error", "roundings(4, task.dtype)", residual_target_case),
    Term(bounds, "residual_error", "torch.finfo(task.dtype).tiny", flushed(residual_underflow_case)),
    Term(bounds, "rho_bound", "residual_error(task, r)", rho_residual_case),
    Term(bounds, "rho_bound", "b3 * e", rho_argument_case(2)),
    Term(bounds, "rho_bound", "u * _most(b2)", rho_unit_case(2)),
    Term(bounds, "rho_bound", "b2 * e", rho_argument_case(1)),
    Term(bounds, "rho_bound", "u * _most(b1)", rho_unit_case(1)),
    Term(bounds, "rho_bound", "curvature.double().abs()", rho_value_case(2)),
    Term(bounds, "rho_bound", "slope.double().abs()", rho_value_case(1)),
    Term(bounds, "radii", "r_error * b1", radii_residual_case(1)),
    Term(bounds, "radii", "b2 * e", radii_argument_case(1)),
    Term(bounds, "radii", "u * _most(b1)", radii_unit_case(1)),
    Term(bounds, "radii", "rounding * b1", radii_sum_case(1)),
    Term(bounds, "radii", "r_error * b2", radii_residual_case(2)),
    Term(bounds, "radii", "b3 * e", radii_argument_case(2)),
    Term(bounds, "radii", "u * _most(b2)", radii_unit_case(2)),
    Term(bounds, "radii", "rounding * b2", radii_sum_case(2)),
    Term(bounds, "radii", "tiny * q * q", flushed(radii_underflow_case)),
    Term(bounds, "off_kinks", "2 * e", kink_case),
    Term(bounds, "off_kinks", "torch.finfo(task.dtype).tiny", flushed(kink_underflow_case)),
    Term(bounds, "rho_bound", "roundings(2 * task.M + 64, torch.float64)", rho_sum_case),
    Term(bounds, "block_norms", "[«2.0»] * (p - 1)", block_case([3.0, 0, 0, 0, 0], 3)),
    Term(bounds, "block_norms", "«1.0» if k == l", block_case([0, 0, 3.0, 0, 0], 3)),
    Term(bounds, "block_norms", "if k == l else «2.0»", block_case([0, 0, 0, 3.0, 0], 3)),
    Term(bounds, "block_norms", "total.sqrt()", block_case([1.0, 0, 0, 0, 0], 3)),
    Term(bounds, "block_norms", "roundings(p * p, wide)", block_sum_case),
    Term(bounds, "block_norms", "torch.finfo(wide).tiny ** 0.5", flushed(block_case([2.0**-511.02] * 209, 20))),
    *(
        Term(bounds, "residual_bound", text, case)
        for text, case in {
            "top = «measured» * (1 + across)": measured_case,
            "top = measured * (1 + «across»)": measured_sum_case,
            "+ «lost» + pulled2**0.5": measured_underflow_case,
            "pulled, pushed, block = «e» + along * (j + e)": pull_unit_case,
            "e + «along» * (j + e)": pull_sum_case,
            "«radius» + small * D": block_radius_case,
            "radius + «small» * D": block_rounding_case,
            "rest = «size_left»": left_case,
            "«few» * size_h": right_side_case,
            "along * (j + e), «e» + across": push_unit_case,
            "e + «across» * (j + e)": push_sum_case,
            "«M**0.5» * (_ldexp(r_error": residual_part_case,
            "M**0.5 * («_ldexp(r_error, -exponent)»": residual_part_case,
            "+ «2 * tiny»)": scaled_residual_case,
            "+ «tiny * M»)": flushed_right_side_case,
            "_ldexp(«4 * tiny»": scaled_back_case(0, 1),
            "norm_A = J * J / M + «D_most»": scaled_back_case(0, 1),
            "norm_A = «J * J / M» + D_most": scaled_back_case(1, 0),
            "operator * (1 - «across»)": operator_of_gram_case,
            "- «block_error» - across * D_most": operator_radius_case,
            "across * «D_most»\n": operator_of_blocks_case,
            "(2 * J + image) * «image»": operator_of_gram_case,
            "«along» * J * J": operator_of_points_case,
            "gradient * (1 - «across»)": gradient_sum_case,
            "«pulled2**0.5» * (size_h / alpha)": gradient_unit_case,
            "+ «J * r_off»)": gradient_residual_case,
            "«gained» / M": gradient_underflow_case,
            "length * (1 - across) - «gained»": length_underflow_case,
            "length * (1 - «across»)": length_sum_case,
        }.items()
    ),
]


@every(TIGHT)
def test_ten_times_smaller_the_bound_is_exceeded(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tight(monkeypatch, term)
