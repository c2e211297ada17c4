"""`nntk plan`: which regularization, which width, how many steps for a data set, and what gradient descent costs beside it."""

from __future__ import annotations

import difflib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flint import arb, ctx
from rich.console import Console
from rich.table import Table
from rich.text import Text

import nntk_accelerated as fast
import nntk_reference as ref
from nntk import __version__
from nntk.reports import write_report
from nntk.terminal import console, text
from nntk_proofs_checks.claim import Problem
from nntk_reference import (
    Ball,
    DegenerateKernelError,
    InputError,
    Multiprecision,
    PrecisionError,
    QuadratureError,
    UnknownActivationError,
    UnprovedError,
    validation,
)
from nntk_reference.arithmetic import Array
from nntk_reference.network import scaling_exponent

__all__ = ["MOST_POINTS", "Alternative", "Cost", "Mode", "Observation", "Plan", "Request", "Size", "check", "make_plan", "plan"]

MOST_POINTS = 96
"""Points for which the spectrum is enclosed: Jacobi rotations over balls cost O(M³) a sweep, a minute or more at this M."""

_BITS = 64  # correct bits of every eigenvalue
_WORK = 256  # bits of the arithmetic on them
_BUDGET = 60.0  # seconds for looking at sampled networks
_TIMED_WIDTH = 2**16
_FURTHER_DRAWS = 4
_REDUCTION = 1000  # "steps until every mode has fallen to a thousandth"
_MOST_ROWS = 12
_LARGEST = 1e50  # in size, of inputs and targets: fourth powers stay within float64


# --------------------------------------------------------------------------------------------------------------- plain numbers


@dataclass(frozen=True)
class Size:
    """A number ≥ 0 that may lie far outside float64: `value`, None where float64 cannot hold it, and `log10`, None for 0."""

    value: int | float | None
    log10: float | None

    @staticmethod
    def of(number: arb | int | float) -> Size:
        """The size of a ball's midpoint, or of a number. Call it within flint's working precision."""
        x = arb(number).mid()
        if x == 0:
            return Size(0.0, None)
        log10 = float((x.log() / arb(10).log()).mid())
        if isinstance(number, int) and number < 2**53:
            return Size(number, log10)
        return Size(float(x) if -307 < log10 < 308 else None, log10)

    def text(self, digits: int = 3, *, up: bool = False) -> str:
        """Such as 0.0123, 98,910 or 1.51·10^64; `up` rounds the last digit up, for what is needed at least."""
        if self.log10 is None:
            return "0"
        if isinstance(self.value, int) and self.value < 10**7:
            return f"{self.value:,}"
        if self.value is not None and -3 <= self.log10 < 6 and not up:
            return f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.{digits}g}"
        exponent = math.floor(self.log10)
        scale = 10.0 ** (digits - 1)
        mantissa = 10 ** (self.log10 - exponent) * scale
        # a hair less before rounding up, so that 10^k stays what it is
        whole = math.ceil(mantissa - 1e-9 * scale) if up else round(mantissa)
        if whole >= 10 * scale:
            whole, exponent = int(scale), exponent + 1
        return f"{whole / scale:.{digits - 1}f}·10^{exponent}"


@dataclass(frozen=True)
class Mode:
    """One eigenvalue λ of the limit NTK, from 1 for the largest, and what becomes of the error along it in the limit.

    newton, gradient_descent   half-lives in steps: of Newton at α = 1, of gradient descent at its best stable rate.
    meets_rate                 does Newton's step shrink it by at least the fraction asked for (proved if λ is)?
    """

    number: int
    eigenvalue: Size
    enclosure: str
    newton: Size
    gradient_descent: Size
    meets_rate: bool


@dataclass(frozen=True)
class Observation:
    """What sampled networks at initialization show at the plan's γ.

    first            smallest width looked at that is certified positive definite, as is the next wider one; None if none was.
    looked_up_to     the widest network looked at; 0 if there was none.
    verdicts         (width, certificate's verdict) of the last path of doubling and bisection.
    also_definite    of `further_draws` other networks of width `first`, how many are certified.
    sufficient       (E16) with the widest network's own residuals and parameters; None where they have no bound.
    smallest_gamma   γ from which the widest network is positive definite (upper end of a certified bracket), where computed.
    seconds          what the looking took.
    reason           why the looking ended before `largest_width`, if it did.
    """

    first: int | None
    looked_up_to: int
    verdicts: tuple[tuple[int, str], ...]
    also_definite: int
    further_draws: int
    sufficient: Size | None
    smallest_gamma: float | None
    seconds: float
    reason: str


@dataclass(frozen=True)
class Cost:
    """One exact Newton step at the planned width.

    bytes            8N(2p + (p-1) + p(p-1)/2 + 1) + N for parameters, update, residual blocks, their error bounds and a mask
                     (p = d+2), and 8M²(threads + 3) for the M×M sums, the matrix and its factor.
    seconds          measured at `measured_width` and scaled by N; None where no step could be timed.
    machine_bytes    the machine's memory.
    """

    bytes: Size
    seconds: Size | None
    measured_width: int
    measured_seconds: float | None
    machine_bytes: int


@dataclass(frozen=True)
class Alternative:
    """Another γ: its guaranteed width, how many modes shrink at the rate asked for, and half-lives.

    next_half_life   of the first mode that does not shrink at that rate; None if all do.
    """

    gamma: Size
    guaranteed_width: Size | None
    modes_at_rate: int
    next_half_life: Size | None
    slowest_half_life: Size


@dataclass(frozen=True)
class Request:
    """What is asked for; checked by `check`. `gamma` None: the largest γ that meets the rate in every mode."""

    beta: float = 0.75
    rate: float = 0.5
    activation: str = "tanh"
    gamma: float | None = None
    largest_width: int = 2**18
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """The plan in plain numbers: what the tables show and what the JSON report holds.

    proved             are the eigenvalues enclosed, or (an activation without closed form and strip) estimated?
    condition          λ₁/λ_M.
    gamma              γ of the plan, rounded down where it comes from the rate.
    rho                |y||h|/M, the bound of (1/M)Σ|rₘ|h(xₘ) in (E16); None where σ' or σ'' is unbounded.
    guaranteed_width   from (E16) and `rho`; None without it.
    planned_width      the guaranteed one if it is at most `largest_width`, else the first observed, else the guaranteed one.
    feasible           is the planned width at most `largest_width`?
    stable_rate        2/λ₁, below which gradient descent's η̄ must stay; best_rate = 2/(λ₁+λ_M), which is used.
    newton_steps, gradient_descent_steps   until every mode has fallen to a thousandth.
    deviation          N^-min(β-1/2, 1-β) at the planned width, or at `largest_width` if that is not feasible.
    suggestion         where the guarantee is out of reach: the least round γ for which it is not; then what a step costs there.
    """

    request: Request
    points: int
    dimension: int
    source: str
    proved: bool
    largest_eigenvalue: str
    smallest_eigenvalue: str
    condition: Size
    gamma: Size
    modes: tuple[Mode, ...]
    rho: Size | None
    guaranteed_width: Size | None
    observation: Observation
    planned_width: Size | None
    feasible: bool
    stable_rate: Size
    best_rate: Size
    newton_steps: Size
    gradient_descent_steps: Size
    deviation: Size
    cost: Cost | None
    alternatives: tuple[Alternative, ...]
    suggestion: Alternative | None
    suggestion_cost: Cost | None


# -------------------------------------------------------------------------------------------------------------------- checking


def check(problem: Problem, request: Request) -> None:
    """Refuse, before any work, what no plan can be made for.

    Raises InputError, UnknownActivationError; DegenerateKernelError for duplicate inputs, with the points that are equal.
    """
    known = [name for name in ref.ACTIVATIONS if name in fast.ACTIVATIONS]
    if request.activation not in known:
        near = difflib.get_close_matches(request.activation.lower(), known, n=1, cutoff=0)
        raise UnknownActivationError(
            "--activation", f"one of {', '.join(known)}", f"{request.activation!r} (did you mean {near[0]!r}?)"
        )
    try:
        scaling_exponent(request.beta)
    except InputError:
        raise InputError("--beta", "a number between 1/2 and 1, ends excluded", repr(request.beta)) from None
    if not 0 < request.rate < 1:
        raise InputError("--rate", "a number between 0 and 1, ends excluded", repr(request.rate))
    if request.gamma is not None and not 0 < request.gamma < math.inf:
        raise InputError("--gamma", "a finite number above 0", repr(request.gamma))
    for name, value, low, high in (
        ("--largest-width", request.largest_width, 1, 10**9),
        ("--seed", request.seed, 0, 2**32 - 1),
    ):
        validation.whole_number(name, value, low, high)
    X, y = problem.X, problem.y
    if len(y) < 2:
        raise InputError("--data", "at least 2 points", str(len(y)))
    if max(np.abs(X).max(), np.abs(y).max()) > _LARGEST:
        raise InputError("--data", f"numbers of at most {_LARGEST:.0e} in size", "a larger one: rescale the data")
    _distinct(X, y)
    if len(y) > MOST_POINTS:
        raise InputError(
            "--data",
            f"at most {MOST_POINTS} points, for which the spectrum of the limit NTK can be enclosed",
            f"{len(y)}: plan for a subset of them, in the knowledge that smaller eigenvalues come with every point added",
        )
    if not y.any():
        raise InputError("--data", "a target that is not 0", f"{len(y)} zeros, which f = 0 fits: there is nothing to plan")


def _distinct(X: Array, y: Array) -> None:
    _, group = np.unique(X, axis=0, return_inverse=True)
    group = group.reshape(-1)
    equal = [np.flatnonzero(group == g) for g in np.flatnonzero(np.bincount(group) > 1)]
    if not equal:
        return
    named = "; ".join(" and ".join(str(i + 1) for i in rows) for rows in equal[:3])
    more = f"; and {len(equal) - 3} more" if len(equal) > 3 else ""
    differ = any(len(set(y[rows])) > 1 for rows in equal)
    reason = (
        "no γ > 0 shrinks every mode, since the targets of equal inputs differ and no function takes both; average or drop them"
        if differ
        else "their targets agree, so keep one of each"
    )
    raise DegenerateKernelError(
        f"--data: expected distinct inputs, got equal points {named}{more} (counted from 1): λ_min of the limit NTK is "
        f"exactly 0; {reason}"
    )


# -------------------------------------------------------------------------------------------------------------------- the plan


def make_plan(problem: Problem, request: Request, stage: Any = None) -> Plan:
    """The plan for a data set; `stage`, if given, is called with the name of each part before it is worked out.

    Raises as `check`, PrecisionError if the smallest eigenvalue cannot be told from 0, QuadratureError for too large inputs.
    """
    check(problem, request)
    tell = stage or (lambda name: None)
    with ctx.workprec(_WORK):
        tell("spectrum of the limit NTK")
        values, proved = _spectrum(problem.X, request.activation)
        gamma = arb(request.gamma) if request.gamma is not None else _largest_gamma(values[-1], request.rate)
        modes = _modes(values, gamma, request.rate)
        rho = _residual_bound(problem, request.activation)
        guaranteed = None if rho is None else _sufficient_width(rho, gamma, request.beta)

        tell("sampled networks")
        observation = _observe(problem, request, gamma)
        within = guaranteed is not None and guaranteed <= request.largest_width
        planned = guaranteed if within else observation.first if observation.first is not None else guaranteed
        feasible = within or observation.first is not None

        tell("time of a step")
        cost = None if planned is None else _cost(problem, request, planned, gamma)
        suggestion, suggestion_cost, alternatives = None, None, tuple[Alternative, ...]()
        if not within:
            affordable = None if rho is None else _round_up(rho / arb(request.largest_width) ** (1 - arb(request.beta)))
            if rho is not None and affordable is not None and affordable > gamma:
                suggestion = _alternative(affordable, values, rho, request)
                suggestion_cost = _cost(problem, request, _sufficient_width(rho, affordable, request.beta), affordable)
            alternatives = tuple(_alternative(g, values, rho, request) for g in _decades(values[0], gamma, affordable))
        exponent = min(request.beta - 0.5, 1 - request.beta)
        width = planned if feasible and planned is not None else request.largest_width
        return Plan(
            request=request,
            points=len(problem.y),
            dimension=problem.X.shape[1],
            source=problem.source,
            proved=proved,
            largest_eigenvalue=values[0].str(15),
            smallest_eigenvalue=values[-1].str(15),
            condition=Size.of(values[0] / values[-1]),
            gamma=Size.of(gamma),
            modes=modes,
            rho=None if rho is None else Size.of(rho),
            guaranteed_width=None if guaranteed is None else Size.of(guaranteed),
            observation=observation,
            planned_width=None if planned is None else Size.of(planned),
            feasible=feasible,
            stable_rate=Size.of(2 / values[0]),
            best_rate=Size.of(2 / (values[0] + values[-1])),
            newton_steps=_steps((values[-1] / gamma).log1p()),
            gradient_descent_steps=_steps(_decay(_descent(values, len(values) - 1))),
            deviation=Size.of(arb(width) ** -arb(exponent)),
            cost=cost,
            alternatives=alternatives,
            suggestion=suggestion,
            suggestion_cost=suggestion_cost,
        )


def _spectrum(X: Array, activation: str) -> tuple[Array, bool]:
    """Eigenvalues of the limit NTK (E9), descending, and whether they are enclosed or estimated."""
    try:
        return ref.limit_spectrum(X, activation, Ball(_BITS)), True
    except UnprovedError:
        estimates = ref.limit_spectrum(X, activation, Multiprecision(16))
        return Ball(_WORK).array(estimates), False
    except QuadratureError:
        raise
    except PrecisionError:
        raise PrecisionError(
            "--data: expected a smallest eigenvalue of the limit NTK that can be told from 0, got none within "
            f"{Ball(_BITS).max_bits} bits: inputs are nearly equal, or the kernel of {activation!r} on them is singular"
        ) from None


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


def _residual_bound(problem: Problem, activation: str) -> arb | None:
    """A bound of (1/M)Σₘ|rₘ|h(xₘ) (E16) for every network with |cᵢ| ≤ 1 and every residual with |r| ≤ |y|; None without one.

    h(x) ≤ ½(Kq² + √(K²q⁴ + 4s²q²)), K = sup|σ''|, s = sup|σ'|, q = |x̃| (E15); then Cauchy-Schwarz: |y||h|/M.
    """
    balls = Ball(_WORK)
    _, s, K = (arb(v) for v in ref.activation(activation).suprema(balls))
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


def _sampled(
    problem: Problem, request: Request, width: int, draw: int = 0
) -> tuple[fast.ShallowNet, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(request.seed + draw)
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    return fast.ShallowNet(width, X.shape[1], beta=request.beta, activation=request.activation, generator=generator), X, y


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
            found = fast.required_width(lambda N: _sampled(problem, request, N)[0], X, y, value, largest=top)
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

    widest = _sampled(problem, request, found.observed[-1][0])
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
        net = _sampled(problem, request, found.first, draw)
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
    net = _sampled(problem, request, width)
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


# ----------------------------------------------------------------------------------------------------------------- the command


def plan(problem: Problem, request: Request, report: Path | None = None) -> int:
    """Make the plan, print it and write it to the file `report` as JSON.

    Returns the exit code: 0 if the plan is feasible, 1 if no width up to `largest_width` will do. Raises as `make_plan`, and
    InputError if the report cannot be written.
    """
    check(problem, request)
    out, err = console(sys.stdout), console(sys.stderr)
    M, d = problem.X.shape
    _print(out, f"nntk {__version__}\ndata: {problem.source} (M = {M}, d = {d})")
    sys.stdout.flush()
    with _stages(err) as stage:
        made = make_plan(problem, request, stage)
    try:
        _show(out, made)
    finally:  # a reader of stdout that has gone away does not take the report with it
        if report is not None:
            record = {"version": __version__, **asdict(made)}
            write_report(report, json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2) + "\n")
    return 0 if made.feasible else 1


@contextmanager
def _stages(out: Console) -> Iterator[Any]:
    """A spinner on a terminal, a line for each part elsewhere."""
    if not out.is_interactive:
        yield lambda name: print(f"nntk plan: {name}", file=sys.stderr, flush=True)
        return
    with out.status("") as status:
        yield lambda name: status.update(Text(name))


def _print(out: Console, words: str) -> None:
    out.print(text(words, out))


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with numbers to the right; one without column titles holds names, values and remarks."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=any(columns))
    for k, column in enumerate(columns):
        table.add_column(text(column, out), justify="right" if any(columns) and k else "left")
    for row in rows:
        table.add_row(*(text(cell, out) for cell in row))
    out.print()
    _print(out, title)
    out.print(table)


def _show(out: Console, made: Plan) -> None:
    request = made.request
    at_rate = f"≥ {_percent(request.rate)} a step"
    _table(out, f"Regularization ({request.activation}, β = {request.beta:g})", ("", "", ""), _regularization(made))
    _table(out, "Width from which the damped Hessian is positive definite", ("", "", ""), _width(made))
    columns = ("mode", "eigenvalue λ", at_rate, "Newton", "gradient descent")
    _table(out, "Half-lives of the error in steps, in the limit of infinite width", columns, _mode_rows(made.modes))
    _table(out, "Steps until every mode of the error has fallen to a thousandth", ("", "", ""), _step_rows(made))
    if made.cost is not None:
        _table(out, f"One exact Newton step at N = {_width_text(made.planned_width)}", ("", "", ""), _cost_rows(made))
    if made.alternatives:
        titles = ("γ", "guaranteed width", f"modes at {at_rate}", "slowest half-life")
        rows = [_alternative_row(other, made.points) for other in made.alternatives]
        _table(out, "Other regularizations, Newton", titles, rows)
    out.print()
    for line in _conclusion(made):
        _print(out, line)


def _percent(rate: float) -> str:
    return f"{100 * rate:.6g} %"


def _gamma_text(gamma: Size) -> str:
    """As it can be typed: 0.05, 1e-8, 1.66e-16."""
    if gamma.value is None:
        return gamma.text()
    mantissa, _, exponent = f"{gamma.value:.2e}".partition("e")
    if -3 < int(exponent) < 4:
        return f"{gamma.value:.3g}"
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _width_text(width: Size | None) -> str:
    return "none" if width is None else width.text(2, up=True)


def _regularization(made: Plan) -> list[tuple[str, str, str]]:
    known = "enclosed" if made.proved else "estimated, not proved"
    rate = _percent(made.request.rate)
    asked = made.request.gamma is not None
    remark = "as asked for" if asked else f"λ_M(1-ρ)/ρ, the largest at which every mode shrinks by at least {rate} a step"
    return [
        ("largest eigenvalue λ₁ of the limit NTK", made.largest_eigenvalue, known),
        ("smallest eigenvalue λ_M", made.smallest_eigenvalue, known),
        ("condition number λ₁/λ_M", made.condition.text(), ""),
        ("γ", made.gamma.text() if made.gamma.value is None else repr(made.gamma.value), remark),
    ]


def _width(made: Plan) -> list[tuple[str, str, str]]:
    seen, request = made.observation, made.request
    if made.rho is None:
        rows = [("guaranteed", "none", f"σ' or σ'' of {request.activation} is unbounded")]
    else:
        rows = [("guaranteed", _width_text(made.guaranteed_width), "as long as all |c| ≤ 1 and the residual is at most |y|")]
    if seen.looked_up_to == 0:
        return [*rows, ("first observed", "not looked", seen.reason)]
    if seen.sufficient is not None:
        remark = f"from its own residual and parameters, at N = {seen.looked_up_to:,}"
        rows.append(("same bound, a sampled network", _width_text(seen.sufficient), remark))
    if seen.first is None:
        rows.append(("first observed", "none", f"no sampled network up to N = {seen.looked_up_to:,} was certified"))
        if seen.smallest_gamma is not None:
            rows.append(("smallest γ at that width", f"{seen.smallest_gamma:.3g}", "certified for the sampled network"))
    else:
        also = f"; so are {seen.also_definite} of {seen.further_draws} other draws" if seen.further_draws else ""
        rows.append(("first observed", f"{seen.first:,}", f"a sampled network, certified at initialization{also}"))
    if seen.reason:
        rows.append(("", "", f"looked up to N = {seen.looked_up_to:,} only: {seen.reason}"))
    return rows


def _mode_rows(modes: Sequence[Mode]) -> list[tuple[str, ...]]:
    """First, last, and others spread between, a dozen at most."""
    chosen = sorted({round(k) for k in np.linspace(0, len(modes) - 1, min(len(modes), _MOST_ROWS))})
    shown = [modes[k] for k in chosen]
    return [
        (str(m.number), m.eigenvalue.text(), "yes" if m.meets_rate else "no", m.newton.text(), m.gradient_descent.text())
        for m in shown
    ]


def _step_rows(made: Plan) -> list[tuple[str, str, str]]:
    scale = f"N^{2 * made.request.beta - 1:.3g}"
    best = f"at its best rate 2/(λ₁+λ_M) = {made.best_rate.text()} (times {scale}), where modes 1 and M are the slowest, alike"
    return [
        ("Newton", made.newton_steps.text(), "at α = 1"),
        ("gradient descent", made.gradient_descent_steps.text(), best),
        ("", "", f"stable below 2/λ₁ = {made.stable_rate.text()}, at which mode 1 would not decay"),
    ]


def _fits(cost: Cost) -> bool:
    return (cost.bytes.log10 or 0.0) <= math.log10(cost.machine_bytes)


def _cost_rows(made: Plan) -> list[tuple[str, str, str]]:
    cost = made.cost
    assert cost is not None
    impossible = "" if _fits(cost) else " (not possible)"
    machine = _bytes(Size(cost.machine_bytes, math.log10(cost.machine_bytes)))
    rows = [("memory", _bytes(cost.bytes) + impossible, f"this machine has {machine}")]
    if cost.seconds is None:
        return [*rows, ("time", "unknown", f"no step could be timed at N = {cost.measured_width:,}")]
    measured = made.planned_width is not None and made.planned_width.value == cost.measured_width
    threads = torch.get_num_threads()
    how = "measured" if measured else f"extrapolated from {cost.measured_seconds:.3g} s at N = {cost.measured_width:,}"
    return [*rows, ("time", f"{cost.seconds.text()} s{impossible}", f"{how} ({threads} thread{'s' * (threads > 1)})")]


def _bytes(size: Size) -> str:
    for unit, log10 in (("kB", 3), ("MB", 6), ("GB", 9), ("TB", 12)):
        if size.value is not None and size.value < 10 ** (log10 + 3):
            return f"{size.value / 10**log10:.3g} {unit}"
    return f"{size.text()} bytes"


def _alternative_row(other: Alternative, points: int) -> tuple[str, ...]:
    met = f"{other.modes_at_rate} of {points}"
    return _gamma_text(other.gamma), _width_text(other.guaranteed_width), met, other.slowest_half_life.text()


def _conclusion(made: Plan) -> list[str]:
    lines = [_outcome(made)]
    if made.suggestion is not None:
        lines.append(_instead(made.suggestion, made))
    width = made.planned_width if made.feasible else Size.of(made.request.largest_width)
    lines.append(
        "What the limit leaves open: a network of width N deviates from it by an order of N^-min(β-1/2, 1-β), "
        f"{made.deviation.text(2)} at N = {_width_text(width)}, with constants that grow with 1/γ; and its parameters move by "
        "an order of N^-(1-β)/γ, so that |c| ≤ 1 and a residual of at most |y| are assumptions about a training, not results."
    )
    return lines


def _outcome(made: Plan) -> str:
    seen, rate = made.observation, _percent(made.request.rate)
    met = sum(m.meets_rate for m in made.modes)
    which = "every mode shrinks" if met == made.points else f"{met} of {made.points} modes shrink"
    share = f"in the limit {which} by at least {rate} a step"
    gamma, guaranteed = _gamma_text(made.gamma), _width_text(made.guaranteed_width)
    needs = "no width is guaranteed" if made.guaranteed_width is None else f"the guarantee needs {guaranteed} neurons"
    largest = f"--largest-width {made.request.largest_width:,}"
    if made.feasible and made.planned_width == made.guaranteed_width:
        fits = "" if made.cost is None or _fits(made.cost) else " This machine's memory is too small for it."
        return f"Feasible: γ = {gamma} with {guaranteed} neurons; {share}.{fits}"
    if made.feasible:
        return (
            f"Feasible as far as was seen, without guarantee: at γ = {gamma} {needs} ({largest}), but a sampled network of "
            f"{seen.first:,} is positive definite at initialization, and so are {seen.also_definite} of {seen.further_draws} "
            f"other draws; {share}."
        )
    return (
        f"Not feasible: at γ = {gamma} {needs} ({largest}), and no sampled network up to N = {seen.looked_up_to:,} was "
        "certified positive definite."
    )


def _instead(other: Alternative, made: Plan) -> str:
    met, rate, cost = other.modes_at_rate, _percent(made.request.rate), made.suggestion_cost
    time_there = f", {cost.seconds.text()} s" if cost is not None and cost.seconds is not None else ""
    price = f" ({_bytes(cost.bytes)}{time_there} a step)" if cost is not None else ""
    text = (
        f"With γ = {_gamma_text(other.gamma)} instead the guarantee needs {_width_text(other.guaranteed_width)} neurons{price}"
    )
    if other.next_half_life is None:
        return f"{text}, and every mode still shrinks by at least {rate} a step."
    which = "no mode shrinks" if met == 0 else "only mode 1 shrinks" if met == 1 else f"only modes 1 to {met} shrink"
    slowest = f"the slowest {other.slowest_half_life.text()} (gradient descent: {made.modes[-1].gradient_descent.text()})"
    next_one = f"mode {met + 1} has a half-life of {other.next_half_life.text()} steps, {slowest}"
    return f"{text}, but {which} by at least {rate} a step; {next_one}."
