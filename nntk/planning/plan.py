"""Which regularization, which width, how many steps for a data set, and what gradient descent costs beside it: the numbers."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flint import arb, ctx

import nntk_accelerated as fast
import nntk_reference as ref
from nntk.planning.check import check
from nntk.planning.numbers import (
    Alternative,
    Alternatives,
    Cost,
    Mode,
    Observation,
    Plan,
    Request,
    Size,
    Spectrum,
    Widths,
)
from nntk_proofs_checks import Problem
from nntk_reference import Ball, Multiprecision, PrecisionError, QuadratureError, UnprovedError
from nntk_reference.arithmetic import Array

__all__ = ["make_plan"]

_BITS = 64  # correct bits of every eigenvalue
_WORK = 256  # bits of the arithmetic on them
_BUDGET = 60.0  # seconds for looking at sampled networks
_TIMED_WIDTH = 2**16
_FURTHER_DRAWS = 4
_REDUCTION = 1000  # "steps until every mode has fallen to a thousandth"


# -------------------------------------------------------------------------------------------------------------------- the plan


def make_plan(
    problem: Problem,
    request: Request,
    stage: Callable[[str], Any] | None = None,
    finished: Callable[[str, Any], Any] | None = None,
) -> Plan:
    """The plan for a data set.

    stage      called with the name of each part before it is worked out.
    finished   called with the id of each part ("spectrum", "widths", "cost", "alternatives") and the part after it.

    Raises as `check`, PrecisionError if the smallest eigenvalue cannot be told from 0, QuadratureError for too large inputs.
    """
    check(problem, request)
    tell, keep = stage or (lambda name: None), finished or (lambda id, part: None)
    with ctx.workprec(_WORK):
        tell("spectrum of the limit NTK")
        values, proved = _enclosed(problem.X, request)
        gamma = arb(request.gamma) if request.gamma is not None else _largest_gamma(values[-1], request.rate)
        spectrum = _spectrum(values, proved, gamma, request.rate)
        keep("spectrum", spectrum)

        tell("sampled networks")
        rho = _residual_bound(problem, request)
        guaranteed = None if rho is None else _sufficient_width(rho, gamma, request.beta)
        observation = _observe(problem, request, gamma)
        within = guaranteed is not None and guaranteed <= request.largest_width
        planned = guaranteed if within else observation.first if observation.first is not None else guaranteed
        widths = _widths(request, rho, guaranteed, observation, planned)
        keep("widths", widths)

        tell("time of a step")
        cost = None if planned is None else _cost(problem, request, planned, gamma)
        keep("cost", cost)
        alternatives = None if within else _alternatives(problem, request, values, gamma, rho)
        keep("alternatives", alternatives)
    M, d = problem.X.shape
    return Plan(request, M, d, problem.source, spectrum, widths, cost, alternatives)


def _enclosed(X: Array, request: Request) -> tuple[Array, bool]:
    """Eigenvalues of the limit NTK (E9), descending, and whether they are enclosed or estimated."""
    law = ref.InitialLaw(request.law)
    try:
        return ref.limit_spectrum(X, request.activation, Ball(_BITS), law=law), True
    except UnprovedError:
        estimates = ref.limit_spectrum(X, request.activation, Multiprecision(16), law=law)
        return Ball(_WORK).array(estimates), False
    except QuadratureError:
        raise
    except PrecisionError:
        raise PrecisionError(
            f"the smallest eigenvalue of the limit NTK cannot be told from 0 within {Ball(_BITS).max_bits} bits: inputs are "
            f"nearly equal, or the kernel of {request.activation!r} on them is singular"
        ) from None


def _spectrum(values: Array, proved: bool, gamma: arb, rate: float) -> Spectrum:
    first, last = values[0], values[-1]
    return Spectrum(
        proved=proved,
        largest_eigenvalue=first.str(15),
        smallest_eigenvalue=last.str(15),
        condition=Size.of(first / last),
        gamma=Size.of(gamma),
        modes=_modes(values, gamma, rate),
        stable_rate=Size.of(2 / first),
        best_rate=Size.of(2 / (first + last)),
        newton_steps=_steps((last / gamma).log1p()),
        gradient_descent_steps=_steps(_decay(_descent(values, len(values) - 1))),
    )


def _largest_gamma(smallest: arb, rate: float) -> arb:
    """(E10) γ just below λ_min(1-ρ)/ρ, a float64 where that has one: strictly below, so that λ_min/(γ+λ_min) > ρ is proved."""
    bound = (smallest.lower() * (1 - arb(rate)) / arb(rate)).lower()
    if arb(10) ** -307 < bound < arb(10) ** 307:
        return arb(math.nextafter(math.nextafter(float(bound), 0), 0))
    return (bound * (1 - arb(2) ** -50)).mid()


def _modes(values: Array, gamma: arb, rate: float) -> tuple[Mode, ...]:
    half = arb(2).log()
    return tuple(
        Mode(
            k + 1,
            Size.of(v),
            v.str(15),
            Size.of(half / (v / gamma).log1p()),
            Size.of(half / _decay(_descent(values, k))),
            _meets(v, gamma, rate),
        )
        for k, v in enumerate(values)
    )


def _meets(eigenvalue: arb, gamma: arb, rate: float) -> bool:
    return bool(eigenvalue * (1 - arb(rate)) >= gamma * arb(rate))


def _descent(values: Array, k: int) -> arb:
    """1 - |1 - η̄λₖ| at the best stable rate η̄ = 2/(λ₁+λ_M): what a step of gradient descent takes off mode k.

    λ₁ and λ_M are the slowest, alike. In the upper half of the spectrum it is a difference of eigenvalues, taken at the end
    of its enclosure that is never too fast, and at least that of λ_M.
    """
    first, last = values[0], values[-1]
    taken = values[k]
    if 2 * values[k] > first + last:
        rest = (first + last - values[k]).lower()
        taken = last if k == 0 or rest < last.lower() else rest
    share: arb = 2 * taken / (first + last)
    return share


def _decay(taken: arb) -> arb:
    """The rate -log(1-t) at which a mode decays that loses the fraction t in each step; infinite if that is all of it."""
    taken = taken.mid()
    return -(-taken).log1p() if taken < 1 else arb("inf")


def _steps(rate: arb) -> Size:
    """Whole steps until e^(-rate·t) ≤ 1/1000."""
    steps = (arb(_REDUCTION).log() / rate).upper()
    return Size.of(max(1, math.ceil(float(steps)))) if steps < 2**53 else Size.of(steps)


def _widths(
    request: Request, rho: arb | None, guaranteed: arb | int | None, observation: Observation, planned: arb | int | None
) -> Widths:
    feasible = planned is not None and planned <= request.largest_width
    width = planned if feasible else request.largest_width
    exponent = min(request.beta - 0.5, 1 - request.beta)
    largest_c = ref.LAWS[request.law].bound
    return Widths(
        largest_c=largest_c if largest_c < math.inf else None,
        rho=None if rho is None else Size.of(rho),
        guaranteed=None if guaranteed is None else Size.of(guaranteed),
        observation=observation,
        planned=None if planned is None else Size.of(planned),
        feasible=feasible,
        deviation=Size.of(arb(width) ** -arb(exponent)),
    )


def _residual_bound(problem: Problem, request: Request) -> arb | None:
    """A bound of (1/M)Σₘ|rₘ|h(xₘ) (E16) for every network drawn by the law and every residual with |r| ≤ |y|; None without one.

    h(x) ≤ ½(Kq² + √(K²q⁴ + 4s²q²)), K = sup|c| sup|σ''|, s = sup|σ'|, q = |x̃| (E15); then Cauchy-Schwarz: |y||h|/M.
    """
    balls = Ball(_WORK)
    _, s, K = (arb(v) for v in ref.activation(request.activation).suprema(balls))
    K *= arb(ref.LAWS[request.law].bound)
    if not (s.is_finite() and K.is_finite()):
        return None
    X, y = balls.array(problem.X), balls.array(problem.y)
    q2 = (X * X).sum(axis=1) + 1
    h2 = sum((((K * q + (K * K * q * q + 4 * s * s * q).sqrt()) / 2) ** 2 for q in q2), arb(0))
    bound: arb = ((y * y).sum() * h2).sqrt() / len(y)
    return bound


def _sufficient_width(rho: arb, gamma: arb, beta: float) -> arb | int:
    """The least whole N > (ρ/γ)^(1/(1-β)) (E16); beyond 2^53 the bound itself, rounded up."""
    bound = ((rho / gamma).log() / (1 - arb(beta))).exp().upper()
    return math.floor(float(bound)) + 1 if bound < 2**53 else bound


def _alternatives(problem: Problem, request: Request, values: Array, gamma: arb, rho: arb | None) -> Alternatives:
    affordable = None if rho is None else _round_up(rho / arb(request.largest_width) ** (1 - arb(request.beta)))
    suggestion, cost = None, None
    if rho is not None and affordable is not None and affordable > gamma:
        suggestion = _alternative(affordable, values, rho, request)
        cost = _cost(problem, request, _sufficient_width(rho, affordable, request.beta), affordable)
    others = tuple(_alternative(g, values, rho, request) for g in _decades(values[0], gamma, affordable))
    return Alternatives(others, suggestion, cost)


def _round_up(x: arb) -> arb:
    """The next 1, 2 or 5 times a power of ten."""
    exponent = math.floor(float((x.log() / arb(10).log()).mid()))
    return next(c * arb(10) ** exponent for c in (arb(1), arb(2), arb(5), arb(10), arb(20)) if c * arb(10) ** exponent >= x)


def _decades(top: arb, gamma: arb, affordable: arb | None) -> list[arb]:
    """At most four powers of ten from about λ₁ down to γ, with the affordable γ and γ itself; descending."""
    high, low = (math.ceil(float((v.log() / arb(10).log()).mid())) for v in (top, gamma))
    between = sorted({round(e) for e in np.linspace(high, low, 5)[:-1] if round(e) > low}, reverse=True)
    chosen = [arb(10) ** e for e in between]
    if affordable is not None and affordable > gamma and not any(c.overlaps(affordable) for c in chosen):
        chosen.append(affordable)
    return [*sorted(chosen, key=lambda v: -float(v.log().mid())), gamma]


def _alternative(gamma: arb, values: Array, rho: arb | None, request: Request) -> Alternative:
    met = sum(_meets(v, gamma, request.rate) for v in values)
    lives = [Size.of(arb(2).log() / (v / gamma).log1p()) for v in values]
    return Alternative(
        gamma=Size.of(gamma),
        guaranteed_width=None if rho is None else Size.of(_sufficient_width(rho, gamma, request.beta)),
        modes_at_rate=met,
        next_half_life=lives[met] if met < len(lives) else None,
        slowest_half_life=lives[-1],
    )


# ------------------------------------------------------------------------------------------------------------ sampled networks


def _draw(problem: Problem, request: Request, width: int, draw: int = 0) -> tuple[fast.ShallowNet, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(request.seed + draw)
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    options: dict[str, Any] = {"beta": request.beta, "activation": request.activation, "law": request.law}
    return fast.ShallowNet(width, X.shape[1], **options, generator=generator), X, y


def _observe(problem: Problem, request: Request, gamma: arb) -> Observation:
    """Look for the first width certified positive definite, to widths that grow eightfold while the time lasts."""
    start = time.perf_counter()
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    found: fast.RequiredWidth | None = None
    reason, value, top = "", Size.of(gamma).value, min(2**9, request.largest_width)
    try:
        while True:
            if value is None:
                raise fast.RangeError("γ is outside the numbers of float64")
            began = time.perf_counter()
            found = fast.required_width(lambda N: _draw(problem, request, N)[0], X, y, value, largest=top)
            now = time.perf_counter()
            settled = found.first is not None and 2 * found.first <= top
            if settled or top == request.largest_width:
                break
            if now - start + 8 * (now - began) > _BUDGET:
                reason = f"wider ones would take more than {_BUDGET:.0f} s"
                break
            top = min(8 * top, request.largest_width)
    except (fast.RangeError, fast.MemoryLimitError) as error:
        reason = str(error)
    if found is None or value is None:
        return Observation(None, 0, (), 0, 0, None, None, time.perf_counter() - start, reason)

    widest = _draw(problem, request, found.observed[-1][0])
    enough = fast.sufficient_gamma(*widest)
    sufficient = None
    if math.isfinite(enough):
        rho = arb(enough) * arb(widest[0].width) ** (1 - arb(request.beta))
        sufficient = Size.of(_sufficient_width(rho, gamma, request.beta))
    smallest = None
    if found.first is None:
        bracket = fast.required_gamma(*widest, rtol=1e-2)
        smallest = bracket.upper if bracket.proved else None
    also = draws = 0
    for draw in range(1, _FURTHER_DRAWS + 1):
        if found.first is None or time.perf_counter() - start > _BUDGET:
            break
        net = _draw(problem, request, found.first, draw)
        draws += 1
        also += fast.inertia(*net, value).certificate.verdict == "positive definite"
    return Observation(
        found.first, widest[0].width, found.observed, also, draws, sufficient, smallest, time.perf_counter() - start, reason
    )


def _cost(problem: Problem, request: Request, planned: arb | int, gamma: arb) -> Cost:
    M, p = len(problem.y), problem.X.shape[1] + 2
    numbers = 2 * p + (p - 1) + p * (p - 1) // 2 + 1
    size = arb(planned) * (8 * numbers + 1) + 8 * M * M * (torch.get_num_threads() + 3)
    width = _TIMED_WIDTH if planned > _TIMED_WIDTH else int(float(arb(planned)))
    seconds = _timed_step(problem, request, width, gamma)
    scaled = None if seconds is None else Size.of(arb(seconds) * arb(planned) / width)
    return Cost(Size.of(size), scaled, width, seconds, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _timed_step(problem: Problem, request: Request, width: int, gamma: arb) -> float | None:
    """Seconds of a step at γ or, where (E16) asks for more at this width, at twice that: definite, as at the planned width."""
    net = _draw(problem, request, width)
    seconds = []
    try:
        enough = fast.sufficient_gamma(*net)
        value = max(Size.of(gamma).value or 0.0, 2 * enough if math.isfinite(enough) else 1.0)
        for _ in range(4):
            start = time.perf_counter()
            fast.newton_step(*net, value)
            seconds.append(time.perf_counter() - start)
    except fast.AcceleratedError:
        return None
    return statistics.median(seconds[1:])  # the first one warms up
