"""What a plan is asked for and what it consists of, in plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flint import arb

__all__ = [
    "Alternative",
    "Alternatives",
    "Cost",
    "Mode",
    "Observation",
    "Plan",
    "Request",
    "Size",
    "Spectrum",
    "Widths",
]


@dataclass(frozen=True)
class Request:
    """What is asked for; checked by `check`.

    gamma   None: the largest γ that meets the rate in every mode.
    law     of the output weights at initialization, a name in the registries of laws.
    """

    beta: float = 0.75
    rate: float = 0.5
    activation: str = "tanh"
    gamma: float | None = None
    largest_width: int = 2**18
    seed: int = 0
    law: str = "uniform"


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
class Spectrum:
    """The limit NTK's eigenvalues (E9), the γ that follows from them, and what the error's modes do in the limit.

    proved             are the eigenvalues enclosed, or (an activation without closed form and strip) estimated?
    condition          λ₁/λ_M.
    gamma              γ of the plan, rounded down where it comes from the rate.
    stable_rate        2/λ₁, below which gradient descent's η̄ must stay; best_rate = 2/(λ₁+λ_M), which is used.
    newton_steps, gradient_descent_steps   until every mode has fallen to a thousandth.
    """

    proved: bool
    largest_eigenvalue: str
    smallest_eigenvalue: str
    condition: Size
    gamma: Size
    modes: tuple[Mode, ...]
    stable_rate: Size
    best_rate: Size
    newton_steps: Size
    gradient_descent_steps: Size


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
class Widths:
    """From which width the damped Hessian is positive definite: guaranteed by (E16), and observed.

    largest_c     sup|c| under the initial law; None where there is none.
    rho           |y||h|/M, the bound of (1/M)Σ|rₘ|h(xₘ) in (E16); None where c, σ' or σ'' is unbounded.
    guaranteed    from (E16) and `rho`; None without it.
    planned       the guaranteed one if it is at most `largest_width`, else the first observed, else the guaranteed one.
    feasible      is the planned width at most `largest_width`?
    deviation     N^-min(β-1/2, 1-β) at the planned width, or at `largest_width` if that is not feasible.
    """

    largest_c: float | None
    rho: Size | None
    guaranteed: Size | None
    observation: Observation
    planned: Size | None
    feasible: bool
    deviation: Size


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
class Alternatives:
    """Other regularizations, where the plan's guarantee is out of reach.

    others            a few, from about λ₁ down to the plan's γ.
    suggestion        the least round γ at which the guarantee is in reach; None where the largest width or no bound forbids it.
    suggestion_cost   what a step costs there.
    """

    others: tuple[Alternative, ...]
    suggestion: Alternative | None
    suggestion_cost: Cost | None


@dataclass(frozen=True)
class Plan:
    """The plan in plain numbers, part by part: what the tables show and what the JSON report holds.

    cost           None where there is no width to take a step at.
    alternatives   None where the guarantee is in reach.
    """

    request: Request
    points: int
    dimension: int
    source: str
    spectrum: Spectrum
    widths: Widths
    cost: Cost | None
    alternatives: Alternatives | None
