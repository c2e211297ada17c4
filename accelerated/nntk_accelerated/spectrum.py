"""Inertia and single eigenvalues of the Hessian, and what damping or width makes it positive definite. H is never formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import stream
from nntk_accelerated.bounds import Radii, gamma_bound, jacobian_bound, largest, off_kinks, radii
from nntk_accelerated.certificate import Certificate, certify, count_below
from nntk_accelerated.errors import InputError, RangeError, SingularSystemError
from nntk_accelerated.instance import Instance, Precision, instance, memory_guard
from nntk_accelerated.model import ShallowNet
from nntk_accelerated.prepared import PreparedNetwork, prepared
from nntk_accelerated.scaling import damping_of, regularization
from nntk_accelerated.validation import positive, whole_number

__all__ = [
    "Inertia",
    "MinEigenvalue",
    "RequiredGamma",
    "RequiredWidth",
    "inertia",
    "min_eigenvalue",
    "required_gamma",
    "required_width",
    "sufficient_gamma",
]

_ATTEMPTS = 4
"""Places at which an end of λ_min's interval is tried, each 16 times as far out as the one before."""


@dataclass(frozen=True)
class Inertia:
    """Numbers of negative and positive eigenvalues of H + γ_N I; `proved` if they are certain, else by floating point."""

    negative: int
    positive: int
    proved: bool
    certificate: Certificate


def inertia(
    net: Any, X: Any, y: Any, gamma: float, *, scaling: str = "width", precision: str | None = None, chunk: int | None = None
) -> Inertia:
    """Inertia of H + γ_N I (E14), exact for any P: neg(D) - neg(M I + J D⁻¹ Jᵀ). Raises as `newton_step`.

    Where every block is proved positive definite that settles it, and the M×M matrix is not formed.
    """
    task = instance(net, X, y, precision=precision, chunk=chunk)
    damping = damping_of(net, gamma, scaling)
    at = prepared(task)
    certificate = at.certificate(damping, count=True)
    negative = at.negative_eigenvalues(damping) if certificate.negative is None else certificate.negative
    return Inertia(negative, net.width * task.p - negative, certificate.negative is not None, certificate)


@dataclass(frozen=True)
class MinEigenvalue:
    """λ_min(H) lies in [lower, upper], with `value` near the middle; `proved` if both ends are certified.

    evaluations   inertia counts spent by the bisection.
    converged     is it certain but for relu's kinks, which rounding cannot move, that λ_min is inside, and is the interval no
                  wider than 2·rtol·|λ_min|? Not where λ_min is lost among rounding errors.
    """

    value: float
    lower: float
    upper: float
    proved: bool
    converged: bool
    evaluations: int

    def __float__(self) -> float:
        return self.value


def min_eigenvalue(
    net: Any, X: Any, y: Any, *, rtol: float = 1e-6, precision: str | None = None, chunk: int | None = None
) -> MinEigenvalue:
    """λ_min(H) by spectrum slicing (E14): bisection on the inertia of H - xI, until the interval's width is rtol·|λ_min|.

    Both ends are then moved outwards and confirmed, every rounding error included, in the working precision: with "mixed", as
    with "float64".

    JᵀJ/M has rank at most M and is positive semidefinite, so λ_min(H) lies between the smallest and the (M+1)-th smallest
    eigenvalue of S, which cost O(N): few counts of O(NM²) remain.
    Raises InputError for rtol outside [1e-14, 1), and as `newton_step`.
    """
    accuracy = _accuracy(rtol)
    return _min_eigenvalue(prepared(instance(net, X, y, precision=precision, chunk=chunk)), accuracy)


def _accuracy(rtol: Any) -> float:
    accuracy = positive("rtol", rtol)
    if not 1e-14 <= accuracy < 1:
        raise InputError("rtol", "a number in [1e-14, 1)", repr(rtol))
    return accuracy


def _min_eigenvalue(at: PreparedNetwork, rtol: float) -> MinEigenvalue:
    task = at.instance
    with memory_guard(task), torch.no_grad():
        lower, upper, size, whole = _bracket(task, at.S)
        known = math.isfinite(largest(task, at.S_error.values))
        smooth = task if known else off_kinks(task)
        error = at.S_error if smooth is task else radii(smooth, at.residual)
        doubt = largest(task, error.values)  # of S in the 2-norm, and so of its eigenvalues
    bounded = math.isfinite(doubt)
    doubt = doubt if bounded else 0.0
    # of a count: the sums over neurons are made in the product's dtype, of all of H; and of S itself
    working, product = (64 * torch.finfo(dtype).eps * whole for dtype in (task.dtype, task.precision.product))
    noise = max(working, product, 2 * doubt)
    outside = 8 * task.p**2 * torch.finfo(task.dtype).eps * size + 2 * doubt + torch.finfo(task.dtype).tiny
    if not math.isfinite(2 * (abs(lower) + abs(upper) + whole + noise)):  # no bracket below is wider
        raise RangeError(f"the Hessian is not finite in {task.dtype}: rescale the problem")
    if largest(task, at.S.abs()) == 0 and task.net.width * task.p > task.M:  # r = 0: H = JᵀJ/M, singular
        return MinEigenvalue(0.0, -doubt, doubt, known, bounded and doubt == 0, 0)
    spent = 0
    least, most = lower - outside, upper + outside  # contain λ_min whatever the counts say
    lower, upper = max(lower - noise, least), min(upper + noise, most)

    def below(x: float) -> bool:
        """Has H an eigenvalue below x? At an eigenvalue, to rounding, the answer is either."""
        nonlocal spent
        spent += 1
        try:
            return at.negative_eigenvalues(-x) > 0
        except SingularSystemError:
            return True

    def bisect(lower: float, upper: float, noise: float) -> tuple[float, float]:
        while upper - lower + noise > rtol * max(abs(lower), abs(upper)) and upper - lower > 4 * noise:
            middle = (lower + upper) / 2
            lower, upper = (lower, middle) if below(middle) else (middle, upper)
        return lower, upper

    lower, upper = bisect(lower, upper, noise)
    # The accuracy is that of the working dtype: what is left is done there, after a look at what the narrower counts said.
    at = replace(at, instance=replace(task, precision=Precision(task.dtype, task.dtype)))
    finer = max(working, 2 * doubt)
    if finer < noise and upper - lower + noise > rtol * max(abs(lower), abs(upper)):
        lower, upper = max(lower - noise, least), min(upper + noise, most)
        if below(lower):
            lower, upper = least, lower
        elif not below(upper):
            lower, upper = upper, most
        lower, upper = bisect(lower, upper, finer)
        noise = finer
    # widen by half a width: proofs need room, and the answer keeps its accuracy
    room = (upper - lower) / 2 + noise
    middle = (lower + upper) / 2
    confirmed = False
    if bounded:
        with memory_guard(task), torch.no_grad():
            down = _end(at, smooth, error, lower, -room, least)
            up = _end(at, smooth, error, upper, room, most)
        confirmed = down is not None and up is not None
        lower, upper = least if down is None else down, most if up is None else up
        middle = min(max(middle, lower), upper)
    converged = confirmed and upper - lower <= 2 * rtol * max(abs(lower), abs(upper))
    return MinEigenvalue(middle, lower, upper, confirmed and known, converged, spent)


def _end(at: PreparedNetwork, smooth: Instance, error: Radii, start: float, room: float, outermost: float) -> float | None:
    """A bound of λ_min(H), every rounding error included: from above for room > 0, from below for room < 0. None without one.

    It is `start` + `room` where the certificate says so, or half of that with a count and the perturbation for which that is
    exact. Where neither does, places farther out are tried, up to `outermost`.
    """
    task = replace(smooth, precision=at.instance.precision)
    wanted, sign = ("indefinite", 1) if room > 0 else ("positive definite", -1)
    best: float | None = None
    for _ in range(_ATTEMPTS):
        x = start + room
        if certify(task, at.S, -x, error).verdict == wanted:
            return x if best is None else sign * min(sign * x, sign * best)
        near = start + room / 2
        count = count_below(task, at.S, -near, error)
        if (count.negative > 0) == (sign > 0) and math.isfinite(count.error):
            bound = near + sign * (count.error + 4 * torch.finfo(torch.float64).eps * (abs(near) + count.error))
            best = bound if best is None else sign * min(sign * bound, sign * best)
            if count.error <= abs(room) / 2:
                return best
        if sign * x >= sign * outermost:
            break
        room *= 16
    return best


def _bracket(task: Instance, S: Tensor) -> tuple[float, float, float, float]:
    """(λ₁(S), upper bound of λ_min(H), ‖S‖, bound of ‖H‖): Weyl and, for a matrix of rank M added, Cauchy interlacing."""
    smallest, most = [], task.zeros(1, dtype=torch.float64)
    for _, values, _, _ in stream.eigen_blocks(task, S, torch.arange(task.local, device=task.device), 0.0):
        flat = values.reshape(-1)
        smallest.append(flat.topk(min(task.M + 1, flat.shape[0]), largest=False).values)
        most = torch.maximum(most, flat.abs().max().double())
    task.ranks.max(most)
    own = torch.cat(smallest)
    every = task.ranks.gather(own.topk(min(task.M + 1, own.shape[0]), largest=False).values).sort().values
    low, size = float(every[0]), float(most)
    added = jacobian_bound(task) ** 2 / task.M
    if every.shape[0] > task.M:
        return low, float(every[task.M]), size, size + added
    # fewer parameters than points: the mean of the eigenvalues of H bounds the smallest
    return low, size + added / (task.net.width * task.p), size, size + added


@dataclass(frozen=True)
class RequiredGamma:
    """γ at which H + γ N^(1-2β) I becomes positive definite.

    sufficient   by (E16), from the parameters and residuals alone; certainly enough.
    lower        at or below this γ it is indefinite; 0 if H itself is positive definite.
    upper        at or above this γ it is positive definite.
    proved       are `lower` and `upper` certified?
    """

    sufficient: float
    lower: float
    upper: float
    proved: bool


def required_gamma(
    net: Any, X: Any, y: Any, *, rtol: float = 1e-6, precision: str | None = None, chunk: int | None = None
) -> RequiredGamma:
    """The exact threshold -λ_min(H) N^(2β-1) by bisection on the inertia, and the bound (E16). Raises as `min_eigenvalue`."""
    accuracy = _accuracy(rtol)
    at = prepared(instance(net, X, y, precision=precision, chunk=chunk))
    smallest = _min_eigenvalue(at, accuracy)
    unit = 1 / regularization(1.0, net.width, net.beta)
    # N^(1-2β) is right to eps and 1 - 2β exact, the quotient and two products to eps/2: 2.5, and 1.5 more in γ N^(1-2β)
    room = 5 * torch.finfo(torch.float64).eps
    down, up = 1 - room, 1 + room
    lower, upper = max(0.0, -smallest.upper * unit * down), max(0.0, -smallest.lower * unit * up)
    return RequiredGamma(at.sufficient_gamma, lower, upper, smallest.proved)


def sufficient_gamma(net: Any, X: Any, y: Any, *, precision: str | None = None, chunk: int | None = None) -> float:
    """γ = N^(β-1) ρ, ρ = maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ), above which (E16) makes H + γ_N I positive definite. Raises as `newton_step`.

    hᵢ(x) = ½(|κ|q² + √(κ²q⁴ + 4s²q²)), κ = cσ'', s = σ', q = |x̃| (E15). The errors of r, σ' and σ'' are added;
    infinite where they have no bound.
    """
    task = instance(net, X, y, precision=precision, chunk=chunk)
    with memory_guard(task), torch.no_grad():
        return gamma_bound(task, stream.outputs(task) - task.y)


@dataclass(frozen=True)
class RequiredWidth:
    """Width from which H + γ_N I is positive definite, for nets drawn by one law.

    sufficient   N > (ρ/γ)^(1/(1-β)) (E16), with ρ from the widest net looked at; may exceed what fits any machine.
    first        smallest width looked at, on a path of doubling and bisection, that is proved positive definite, as is the next
                 wider one; None if none was up to the largest.
    observed     (width, certificate's verdict) of every net looked at, by width.
    """

    sufficient: float
    first: int | None
    observed: tuple[tuple[int, str], ...]


def required_width(
    make: Callable[[int], ShallowNet],
    X: Any,
    y: Any,
    gamma: float,
    *,
    largest: int = 2**20,
    precision: str | None = None,
    chunk: int | None = None,
) -> RequiredWidth:
    """The width at which nets make(N) become positive definite at this γ (E5): by (E16), and by certificates along a bisection.

    The nets are random, so the threshold is that of these nets, and need not be sharp; all that was seen is returned.
    Raises InputError if make(N) is no ShallowNet of width N, or `largest` is below 1; otherwise as `newton_step`.
    """
    if not callable(make):
        raise InputError("make", "a function from a width to a ShallowNet", type(make).__name__)
    whole_number("largest", largest)
    gamma = positive("gamma", gamma)
    seen: dict[int, tuple[str, float, float]] = {}

    def definite(width: int) -> bool:
        if width not in seen:
            net = make(width)
            if type(net) is not ShallowNet or net.width != width:
                raise InputError("make", f"a ShallowNet of width {width} for make({width})", repr(net))
            task = instance(net, X, y, precision=precision, chunk=chunk)
            damping, at = damping_of(net, gamma), prepared(task)
            seen[width] = at.certificate(damping).verdict, at.rho, net.beta
        return seen[width][0] == "positive definite"

    width, low = 1, 0
    while not definite(width) and width < largest:
        low, width = width, min(2 * width, largest)
    # the first success may be luck of a narrow net: it has to hold at twice the width, too
    while definite(width) and width < largest and not definite(min(2 * width, largest)):
        low, width = min(2 * width, largest), min(4 * width, largest)
        while not definite(width) and width < largest:
            low, width = width, min(2 * width, largest)
    first: int | None = None
    if definite(width):
        first = width
        while first - low > max(1, low // 64):
            middle = (low + first) // 2
            if definite(middle):
                first = middle
            else:
                low = middle
    widest = max(seen)
    _, rho, beta = seen[widest]
    try:
        sufficient = (rho / gamma) ** (1 / (1 - beta))
    except (OverflowError, ZeroDivisionError):
        sufficient = math.inf
    return RequiredWidth(sufficient, first, tuple((n, seen[n][0]) for n in sorted(seen)))
