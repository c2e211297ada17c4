"""Gaussian expectations E[σ(z)σ(z')] and E[σ'(z)σ'(z')], enclosed in balls, for all pairs of a data set at once.

With z = √a u, z' = √a' u', where u, u' are standard normal of correlation ρ, Mehler's formula gives

    E[σ(z)σ(z')] = Σₖ cₖ(a) cₖ(a') ρᵏ,    cₖ(a) = E[σ(√a u) heₖ(u)],    heₖ = Heₖ/√k!,

and E[σ'(z)σ'(z')] = Σₖ k cₖ(a) cₖ(a') ρᵏ⁻¹/√(aa') by Stein's lemma. So one-dimensional integrals, one set for each data point,
give every pair. They are done by the trapezoidal rule on u = jh, whose errors are bounded as follows (docs/numerics.md):

* aliasing, by the strip |Im u| ≤ s on which |σ(√a u)| ≤ A + B√a|Re u|:  2 e^(s²/2) (A + B√a) e^(s√k) / (e^(2πs/h) - 1);
* the nodes left out beyond U, by Cramér's inequality |heₖ(u)| ≤ 1.09 e^(u²/4);
* the terms left out beyond K, by Cauchy–Schwarz and Parseval: at most |ρ|^(K+1) √(τ τ'), τ = E[σ(√a u)²] - Σ_{k≤K} cₖ².

Where an activation offers no strip, the same sums are refined until they stop moving, and the result says it is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat, ctx

from nntk_reference.activations import Activation, Pair
from nntk_reference.arithmetic import MAX_BITS, Array, Ball
from nntk_reference.errors import QuadratureError

__all__ = ["Expectations", "expectations", "pairs"]

_STRIP_USED, _CIRCLE = 0.9, 0.09  # fractions of the half-width: the strip used, and the Cauchy circle for σ'
_MOST_VALUES = 60_000_000  # Hermite values (terms × nodes): minutes of work
_NODE_COST = 64  # one node for one input costs about as much time and memory as so many Hermite values
_NODES_AT_ONCE = 256
_GUARD = 40


@dataclass(frozen=True, eq=False)
class Expectations:
    """value, slope: E[σ(zᵢ)σ(zⱼ)], E[σ'(zᵢ)σ'(zⱼ)], each (M, M) of arb, radius included; `proved` or an estimated radius."""

    value: Array
    slope: Array
    proved: bool
    method: str


def pairs(inputs: Array) -> tuple[Pair, Array, Array]:
    """Second moments of zᵢ = θ·x̃ᵢ, θ standard normal, for all pairs i ≤ j: (Pair, i, j). `inputs` (M, D) of arb.

    aa' - b² by Lagrange's identity, a sum of squares: no cancellation, and exactly zero for equal inputs.
    """
    i, j = np.triu_indices(len(inputs))
    x, x2 = inputs[i], inputs[j]
    determinant = np.array([arb(0)] * len(i), dtype=object)
    for k, m in zip(*np.triu_indices(inputs.shape[1], 1), strict=True):
        minor = x[:, k] * x2[:, m] - x[:, m] * x2[:, k]
        determinant = determinant + minor * minor
    # rounded products need not cancel exactly
    determinant[(i == j) | np.all(x == x2, axis=1)] = arb(0)
    squares = (inputs * inputs).sum(axis=1)
    return Pair(squares[i], squares[j], (x * x2).sum(axis=1), Ball(ctx.prec).ramp(determinant)), i, j


def expectations(entry: Activation, inputs: Array, bits: int, *, closed_form: bool = True) -> Expectations:
    """All pairs' expectations to about 2^-bits absolutely, for x̃ scaled by the law of the weights: `inputs` (M, D) of arb.

    `closed_form=False` takes the quadrature even where a closed form exists. Raises QuadratureError where the work would be out
    of reach, or an estimate does not settle.
    """
    ar = Ball(min(MAX_BITS, bits + _GUARD))
    with ctx.workprec(ar.bits):
        pair, i, j = pairs(inputs)
        if closed_form and entry.moments is not None:
            value, slope = entry.moments(pair, ar)
            return Expectations(_square(value, i, j), _square(slope, i, j), True, "closed form")
        series = _Series(entry, pair, i, j, bits)
        value, slope = series.proved() if entry.strip is not None else series.estimated()
        method = f"{series.terms} Hermite terms, {series.nodes} nodes"
        return Expectations(_square(value, i, j), _square(slope, i, j), entry.strip is not None, method)


def _square(values: Array, i: Array, j: Array) -> Array:
    M = int(j[-1]) + 1
    out = np.empty((M, M), dtype=object)
    out[i, j] = out[j, i] = values
    return out


class _Series:
    """Mehler's series for one activation and data set, at the precision set by the caller."""

    def __init__(self, entry: Activation, pair: Pair, i: Array, j: Array, bits: int) -> None:
        self.entry, self.pair, self.i, self.j, self.bits = entry, pair, i, j, bits
        self.ar = Ball(ctx.prec)
        self.a = pair.a[i == j]
        self.root = self.ar.sqrt(self.a)
        self.rho = pair.b / self.ar.sqrt(pair.a * pair.a2)
        # equal inputs, the diagonal among them, need no series: E[σ²]
        self.equal = np.array([bool(d == 0) for d in pair.determinant])
        self.size = np.clip(self.a.astype(float), 1e-200, 1e300)  # steers the work; the bounds use `a` itself
        self.smallest_a, self.largest_a = float(self.size.min()), float(self.size.max())
        self.wanted = bits * math.log(2) + 2  # -log of the error aimed at
        self.reach = 2 * math.sqrt(self.wanted + 4 + math.log1p(self.largest_a))  # U: e^(-U²/4) is below it
        self.terms = self.nodes = 0

    # ------------------------------------------------------------------------------------------------ proved

    def proved(self) -> tuple[Array, Array]:
        strip = self.entry.strip
        assert strip is not None
        y, radius = arb(_STRIP_USED * strip.half_width), arb(_CIRCLE * strip.half_width)
        A, B = strip.bound(y, self.ar)
        A2, B2 = strip.bound(y + radius, self.ar)
        A2, B2 = (A2 + B2 * radius) / radius, B2 / radius  # Cauchy: growth of σ'

        K = self._enough_terms(strip.half_width)
        s = min(float(y) / math.sqrt(self.largest_a), math.sqrt(2 * self.wanted))  # a wider strip gains nothing
        # what the constants of the bounds take away, and 1/√(aa') in the series of slopes
        constants = math.log(float(max(v.upper() for v in A2 + B2 * self.root)))
        amplified = max(0.0, -math.log(self.smallest_a))
        margin = 8 + amplified + max(0.0, 2 * constants - s * math.sqrt(K))
        self.reach = 2 * math.sqrt(self.wanted + 4 + amplified + max(0.0, constants))
        h = self._dyadic(2 * math.pi * s / (self.wanted + s * math.sqrt(K) + s * s / 2 + margin))
        C, square, square_slope = self._sums(h, K)

        U = arb(h) * self.nodes
        # any strip in which σ is analytic will do; the bound is least at s = 2π/h - √K
        least = arb(2 * math.pi / h - math.sqrt(K))
        s_each = np.array([min(s_max, least) for s_max in y / self.root], dtype=object)
        decay = 2 * arb.pi() * s_each / arb(h)
        alias = 2 * self.ar.exp(s_each * s_each / 2) / (self.ar.exp(decay) - 1)
        norm = A + B * self.root
        beyond = 4 * arb("1.09") / (2 * arb.pi()).sqrt() * (-U * U / 4).exp() * (A + B * self.root)
        for k in range(K + 1):
            C[k] = C[k] + _widen(alias * norm * self.ar.exp(s_each * arb(k).sqrt()) + beyond)
        for sums, (P, Q) in ((square, (A, B)), (square_slope, (A2, B2))):
            bound = alias * (P + Q * self.root) * (P + Q * self.root)
            left_out = 2 * (P * P + Q * Q * self.a * (1 + U)) * (-U * U / 2).exp()
            sums += _widen(bound + 2 * left_out)
        return self._pair_sums(C, square, square_slope, tails=True)

    def _enough_terms(self, half_width: float) -> int:
        """K for which the terms beyond should fall below the error aimed at. It decides the work; a bound comes later."""
        distinct = ~self.equal
        if not distinct.any():
            return 1
        s = 0.97 * half_width / np.sqrt(self.size)
        # log ρ² = log(1 - det/(aa')), accurate for nearly equal inputs
        closeness = (self.pair.determinant / (self.pair.a * self.pair.a2))[distinct].astype(float)
        rate = -0.5 * np.log1p(-np.minimum(closeness, 1 - 1e-12))

        def enough(k: int) -> bool:
            # cₖ(a) decays like e^(s²/4 - G), G = ∫₀ˢ √(k + t²/4) dt, for a singularity at ±is: like e^(-s√k) for large k
            decay = s / 2 * k / (np.sqrt(k + s * s / 4) + s / 2) + k * np.arcsinh(s / (2 * math.sqrt(k)))
            # ... and what is left of E[σ²] after K terms is not known better than E[σ²] itself
            decay = np.minimum(decay, (self.wanted + s.min() * math.sqrt(k)) / 2 + 2)
            least = np.min(rate * (k + 1) + (decay[self.i] + decay[self.j])[distinct])
            return bool(least - 2 * math.log(k) >= self.wanted)

        low, high = 1, 4
        while True:
            if enough(high):
                break
            low, high = high, 2 * high
            if high > _MOST_VALUES:
                break
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    @staticmethod
    def _dyadic(h: float) -> float:
        return math.floor(h * 2**12) / 2**12 if h > 2**-8 else 2.0 ** math.floor(math.log2(h))

    # ----------------------------------------------------------------------------------------------- estimated

    def estimated(self) -> tuple[Array, Array]:
        goal = arb(2) ** (-self.bits)
        previous: tuple[Array, Array] | None = None
        worst, K = arb("inf"), 64
        while True:
            h = self._dyadic(math.pi / (2 * math.sqrt(K)))
            try:
                current = self._pair_sums(*self._sums(h, K), tails=False)
            except QuadratureError:
                raise self._unsettled(worst) from None
            if previous is not None:
                differences = [np.abs(a - b) for a, b in zip(previous, current, strict=True)]
                change = [np.array([10 * v.upper() for v in part], dtype=object) for part in differences]
                before, worst = worst, max(v for part in change for v in part)
                if worst <= goal:
                    return current[0] + _widen(change[0]), current[1] + _widen(change[1])
                if not self._can_settle(before / worst, worst / goal, K):
                    raise self._unsettled(worst)
            previous, K = current, 2 * K

    def _can_settle(self, gain: arb, missing: arb, K: int) -> bool:
        """Errors like e^(-s√K) gain √2 times as many bits in each doubling of K; twice that, and the work left, is the hope."""
        if not gain.is_finite():
            return True
        hope, growth = 0.0, 2.0
        while K**1.5 < _MOST_VALUES:
            K, growth = 2 * K, growth * math.sqrt(2)
            hope += growth
        return bool(float(gain.log()) * hope >= float(missing.log()))

    def _unsettled(self, worst: arb) -> QuadratureError:
        return QuadratureError(
            f"activation {self.entry.name!r}: expected quadrature errors below 2^-{self.bits}, got estimates of "
            f"{worst.str(2, radius=False)} after {self.terms} Hermite terms; "
            "ask for fewer bits, or give the entry a strip or moments"
        )

    # -------------------------------------------------------------------------------------------------- sums

    def _sums(self, h: float, K: int) -> tuple[Array, Array, Array]:
        """Trapezoidal sums for cₖ (K+1, M), E[σ²] and E[σ'²] (M,), without the rule's own errors."""
        nodes = math.ceil(self.reach / h)
        if nodes * (K + _NODE_COST * len(self.a)) > _MOST_VALUES:
            raise QuadratureError(
                f"X: expected inputs for which {_MOST_VALUES} Hermite values suffice, got max|x̃|² = {self.largest_a:.3g}, "
                f"which needs {K} terms at {nodes:.3g} nodes for 2^-{self.bits}; rescale the inputs or ask for fewer digits"
            )
        self.terms, self.nodes = K, nodes
        u = [arb(h) * n for n in range(nodes + 1)]
        weight = np.array([(-(v * v) / 2).exp() for v in u], dtype=object) * (arb(h) / (2 * arb.pi()).sqrt())
        weight[0] = weight[0] / 2
        z = np.outer(self.root, np.array(u, dtype=object))
        right, left = self.entry.jets(z, self.ar), self.entry.jets(-z, self.ar)
        square = (weight * (right[0] * right[0] + left[0] * left[0])).sum(axis=1)
        square_slope = (weight * (right[1] * right[1] + left[1] * left[1])).sum(axis=1)
        normalize = self._inverse_root_factorials(K)
        C = np.full((K + 1, len(self.a)), arb(0), dtype=object)
        folded = {
            first: (weight * (right[0] + sign * left[0])).T
            for first, sign, vanishes in ((0, 1, "odd"), (1, -1, "even"))
            if self.entry.parity != vanishes
        }
        totals = {first: arb_mat(len(range(first, K + 1, 2)), len(self.a)) for first in folded}
        for start in range(0, nodes + 1, _NODES_AT_ONCE):
            block = range(start, min(start + _NODES_AT_ONCE, nodes + 1))
            columns = [self._hermite(h * n, K) for n in block]
            for first, values in folded.items():
                scale = normalize[first::2]
                orders = arb_mat([[v * c for v, c in zip(column[first::2], scale, strict=True)] for column in columns])
                totals[first] += orders.transpose() * arb_mat(values[start : block.stop].tolist())
        for first, total in totals.items():
            C[first::2] = np.array(total.tolist(), dtype=object)
        return C, square, square_slope

    def _hermite(self, u: float, K: int) -> list[arb]:
        """Heₖ(u) for k = 0 … K, by the recurrence.

        Over balls its radii grow like e^(u√k), which the working precision makes up for.
        """
        growth = 1.4427 * max(0.0, u * math.sqrt(K) - u * u / 2)
        with ctx.workprec(self.bits + 2 * _GUARD + K.bit_length() + int(growth)):
            node = arb(u)
            older, newer = arb(1), node
            values = [older, newer]
            for k in range(1, K):
                older, newer = newer, node * newer - k * older
                values.append(newer)
        return values

    @staticmethod
    def _inverse_root_factorials(K: int) -> list[arb]:
        """1/√k! for k up to K."""
        out, factorial = [], arb(1)
        for k in range(K + 1):
            factorial = factorial * max(k, 1)
            out.append(factorial.rsqrt())
        return out

    def _pair_sums(self, C: Array, square: Array, square_slope: Array, *, tails: bool) -> tuple[Array, Array]:
        i, j, K = self.i, self.j, len(C) - 1
        step = 1 if self.entry.parity is None else 2
        first = 1 if self.entry.parity == "odd" else 0
        factor = self.rho if step == 1 else self.rho * self.rho
        value = slope = np.full(len(i), arb(0), dtype=object)
        for k in reversed(range(first, K + 1, step)):
            product = C[k, i] * C[k, j]
            value = value * factor + product
            slope = slope * factor + k * product if k else slope
        if first:
            value = value * self.rho
        elif step == 2:
            slope = slope * self.rho  # the even series starts at k = 2
        geometric = self.ar.sqrt(self.pair.a * self.pair.a2)
        slope = slope / geometric
        if tails:
            orders = np.arange(K + 1)[:, None]
            last = abs(self.rho) ** K
            rest = self.ar.ramp(square - (C * C).sum(axis=0))
            rest_slope = self.ar.ramp(square_slope - (orders * C * C).sum(axis=0) / self.a)
            value = value + _widen(last * abs(self.rho) * self._mixed(rest))
            slope = slope + _widen(last * self._mixed(rest_slope))
        value[self.equal], slope[self.equal] = square[i][self.equal], square_slope[i][self.equal]
        return value, slope

    def _mixed(self, rest: Array) -> Array:
        upper = np.array([v.upper() for v in rest], dtype=object)
        root: Array = self.ar.sqrt(upper[self.i] * upper[self.j])
        return root


def _widen(errors: Array) -> Array:
    """Balls around 0 that contain the interval [-e, e] for each error bound e."""
    return np.array([arb(0, e.upper()) for e in errors.flat], dtype=object).reshape(errors.shape)
