"""The activation functions: one registry entry each, and all that the theory asks of them.

An entry gives σ, σ' and σ'' once, in the operators of an `Arithmetic`; its suprema; its parity; and, where they exist, the
closed form of its Gaussian expectations or the bound on a complex strip from which quadrature errors are proved.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nntk_reference.arithmetic import FLOAT64, Arithmetic, Array
from nntk_reference.errors import InputError, UnknownActivationError

__all__ = ["ACTIVATIONS", "Activation", "Pair", "Strip", "activation", "register"]


@dataclass(frozen=True)
class Pair:
    """Second moments of jointly Gaussian (z, z') of mean zero: E[zz] = a, E[z'z'] = a2, E[zz'] = b.

    `determinant` = a·a2 - b², which the caller knows without cancellation. Arrays of one shape, in any arithmetic.
    """

    a: Array
    a2: Array
    b: Array
    determinant: Array


@dataclass(frozen=True)
class Strip:
    """|σ(x + iy')| ≤ A + B|x| for all real x and |y'| ≤ y, where (A, B) = bound(y, arithmetic), for every y < half_width."""

    half_width: float
    bound: Callable[[Any, Arithmetic], tuple[Any, Any]]


@dataclass(frozen=True)
class Activation:
    """One activation function.

    jets        z ↦ (σ(z), σ'(z), σ''(z)), elementwise on arrays of the given arithmetic.
    suprema     (sup|σ|, sup|σ'|, sup|σ''|), exact in the given arithmetic, or infinity.
    parity      "odd", "even" or None.
    moments     closed form of (E[σ(z)σ(z')], E[σ'(z)σ'(z')]), or None.
    strip       growth on a strip of the complex plane, or None; without it and without `moments`, limit kernels are estimates.
    derivatives bounds of sup|σ^(k)|, (k, arithmetic) ↦ number for k ≥ 1, where they grow more slowly than k!; or None.
    in_theory   does it satisfy the paper's assumptions (σ bounded, or Lipschitz, with bounded and continuous σ', σ'')?
    """

    name: str
    jets: Callable[[Array, Arithmetic], tuple[Array, Array, Array]]
    suprema: Callable[[Arithmetic], tuple[Any, Any, Any]]
    parity: Literal["odd", "even"] | None = None
    moments: Callable[[Pair, Arithmetic], tuple[Array, Array]] | None = None
    strip: Strip | None = None
    derivatives: Callable[[int, Arithmetic], Any] | None = None
    in_theory: bool = True

    @property
    def bounded(self) -> bool:
        """Is σ itself bounded?"""
        return bool(self.suprema(FLOAT64)[0] < math.inf)

    @property
    def enclosed(self) -> bool:
        """Are the limit kernels proved enclosures, or estimates?"""
        return self.moments is not None or self.strip is not None


ACTIVATIONS: dict[str, Activation] = {}


def register(entry: object) -> Activation:
    """Add an activation under its name; every function of the package then accepts it. Raises InputError on a name in use."""
    if not isinstance(entry, Activation):
        raise InputError("entry", "an Activation", repr(entry))
    name: object = entry.name
    if not isinstance(name, str) or not name or name in ACTIVATIONS:
        raise InputError("activation", "a name not yet in use", repr(name))
    ACTIVATIONS[name] = entry
    return entry


def activation(name: object) -> Activation:
    """The registry entry called `name`. Raises UnknownActivationError, which offers the nearest name."""
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    near = difflib.get_close_matches(str(name).lower(), ACTIVATIONS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UnknownActivationError("activation", f"one of {', '.join(ACTIVATIONS)}", f"{name!r}{hint}")


_INFINITE = math.inf


# tanh: poles at ±iπ/2. 1 - tanh² is written 4·expit(2z)·expit(-2z), which keeps its relative accuracy far out.


def _tanh_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    t = ar.tanh(z)
    slope = 4 * ar.expit(2 * z) * ar.expit(-2 * z)
    return t, slope, -2 * t * slope


def _tanh_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    # |tanh|² = (sinh²x + sin²y)/(sinh²x + cos²y) ≤ max(1, tan²y)
    return 1 + ar.sin(y) / ar.cos(y), 0


register(
    Activation(
        "tanh",
        _tanh_jets,
        lambda ar: (ar.number(1), ar.number(1), 4 / (3 * ar.sqrt(ar.number(3)))),
        parity="odd",
        strip=Strip(math.pi / 2, _tanh_bound),
    )
)


# erf


def _erf_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    slope = 2 / ar.sqrt(ar.pi) * ar.exp(-(z * z))
    return ar.erf(z), slope, -2 * z * slope


def _erf_moments(p: Pair, ar: Arithmetic) -> tuple[Array, Array]:
    s = (1 + 2 * p.a) * (1 + 2 * p.a2)
    # s - 4b², from the determinant: no cancellation
    return 2 / ar.pi * ar.asin(2 * p.b / ar.sqrt(s)), 4 / (ar.pi * ar.sqrt(1 + 2 * p.a + 2 * p.a2 + 4 * p.determinant))


def _erf_derivatives(k: int, ar: Arithmetic) -> Any:
    # sup|erf^(k)| ≤ (2/√π) 1.09 2^((k-1)/2) √((k-1)!), by Cramér's inequality for the Hermite functions
    return 2 / ar.sqrt(ar.pi) * (ar.number(109) / 100) * ar.sqrt(ar.number(2) ** (k - 1) * math.factorial(k - 1))


def _erf_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    # erf(x + iy) = erf(x) + (2i/√π) ∫₀^y exp(-(x + it)²) dt, and |exp(-(x + it)²)| ≤ exp(t²)
    return 1 + 2 / ar.sqrt(ar.pi) * y * ar.exp(y * y), 0


register(
    Activation(
        "erf",
        _erf_jets,
        lambda ar: (ar.number(1), 2 / ar.sqrt(ar.pi), ar.sqrt(8 / ar.pi) * ar.exp(ar.number(-0.5))),
        parity="odd",
        moments=_erf_moments,
        strip=Strip(2.0, _erf_bound),
        derivatives=_erf_derivatives,
    )
)


# sin


def _sin_moments(p: Pair, ar: Arithmetic) -> tuple[Array, Array]:
    # e^(-(a+a')/2) sinh b and cosh b, with exponents that never overflow: a + a' ≥ 2|b|
    near, far = ar.exp(p.b - (p.a + p.a2) / 2) / 2, ar.exp(-p.b - (p.a + p.a2) / 2) / 2
    return near - far, near + far


def _sin_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    return ar.exp(y), 0  # |sin(x + iy)| ≤ cosh y


register(
    Activation(
        "sin",
        lambda z, ar: (ar.sin(z), ar.cos(z), -ar.sin(z)),
        lambda ar: (ar.number(1), ar.number(1), ar.number(1)),
        parity="odd",
        moments=_sin_moments,
        strip=Strip(2.0, _sin_bound),
        derivatives=lambda k, ar: ar.number(1),
    )
)


# logistic: poles at ±iπ


def _logistic_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    s, complement = ar.expit(z), ar.expit(-z)
    slope = s * complement
    return s, slope, -slope * ar.tanh(z / 2)


def _logistic_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    # |1 + e^(-z)| ≥ cos(y/2) for |Im z| ≤ y < π: its square is 1 + 2e^(-x)cos y + e^(-2x), least at e^(-x) = max(-cos y, 0)
    return 1 / ar.cos(y / 2), 0


register(
    Activation(
        "logistic",
        _logistic_jets,
        lambda ar: (ar.number(1), ar.number(0.25), 1 / (6 * ar.sqrt(ar.number(3)))),
        strip=Strip(math.pi, _logistic_bound),
    )
)


# softplus: branch points at ±iπ


def _softplus_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    s = ar.expit(z)
    return ar.softplus(z), s, s * ar.expit(-z)


def _softplus_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    # σ = log|1 + e^z| + i arg(1 + e^z). The argument is at most |Im z|; |1 + e^z| ≤ 1 + e^x, and ≥ 1 where cos(Im z) ≥ 0, else
    # ≥ sin(Im z) ≥ sin y, as for the logistic function. And -log t ≤ 4(t^(-1/4) - 1).
    if ar.cos(y) >= 0:
        return 1 + y, ar.number(1)
    return 1 + y + 4 * (1 / ar.sqrt(ar.sqrt(ar.sin(y))) - 1), ar.number(1)


register(
    Activation(
        "softplus",
        _softplus_jets,
        lambda ar: (_INFINITE, ar.number(1), ar.number(0.25)),
        strip=Strip(math.pi, _softplus_bound),
    )
)


# gelu: zΦ(z)


def _gelu_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    cdf = ar.erfc(-z / ar.sqrt(ar.number(2))) / 2
    density = ar.exp(-(z * z) / 2) / ar.sqrt(2 * ar.pi)
    return z * cdf, cdf + z * density, (2 - z * z) * density


def _gelu_moments(p: Pair, ar: Arithmetic) -> tuple[Array, Array]:
    # Stein's lemma, applied to z and z' in turn (docs/theory.md)
    u, u2 = 1 + p.a, 1 + p.a2
    s = u + p.a2 + p.determinant  # (1+a)(1+a') - b²
    both = ar.number(0.25) + ar.asin(p.b / ar.sqrt(u * u2)) / (2 * ar.pi)  # E[Φ(z)Φ(z')]
    density = 1 / (2 * ar.pi * ar.sqrt(s))  # E[φ(z)φ(z')]
    value = density * (p.determinant + p.b * p.b * (1 / u + 1 / u2)) + p.b * both
    return value, both + density * p.b * (1 / u + 1 / u2 + 1 / s)


def _gelu_bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
    cdf = (1 + _erf_bound(y / ar.sqrt(ar.number(2)), ar)[0]) / 2  # |Φ(z)| ≤ (1 + |erf(z/√2)|)/2
    return y * cdf, cdf


def _gelu_suprema(ar: Arithmetic) -> tuple[Any, Any, Any]:
    root = ar.sqrt(ar.number(2))  # σ'' = φ(z)(2 - z²) vanishes at √2, where σ' is largest
    return _INFINITE, ar.erfc(ar.number(-1)) / 2 + root * ar.exp(ar.number(-1)) / ar.sqrt(2 * ar.pi), ar.sqrt(2 / ar.pi)


register(Activation("gelu", _gelu_jets, _gelu_suprema, moments=_gelu_moments, strip=Strip(2.0, _gelu_bound)))


# Outside the theory: relu has no second derivative at 0 (here σ'(0) = σ''(0) = 0), square is not Lipschitz.


def _relu_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    return ar.ramp(z), ar.step(z), 0 * z


def _relu_moments(p: Pair, ar: Arithmetic) -> tuple[Array, Array]:
    # arc-cosine kernels (Cho and Saul 2009); θ = 2 atan(√det/(√(aa') + b)) is accurate also for nearly parallel inputs
    root = ar.sqrt(p.determinant)
    scale = ar.sqrt(p.a * p.a2)
    inside = 1 - 2 * ar.atan(root / (scale + p.b)) / ar.pi  # 1 - θ/π
    return (root / ar.pi + p.b * inside) / 2, inside / 2


register(
    Activation(
        "relu",
        _relu_jets,
        lambda ar: (_INFINITE, ar.number(1), _INFINITE),
        moments=_relu_moments,
        in_theory=False,
    )
)

register(
    Activation(
        "square",
        lambda z, ar: (z * z, 2 * z, 2 + 0 * z),
        lambda ar: (_INFINITE, _INFINITE, ar.number(2)),
        parity="even",
        moments=lambda p, ar: (p.a * p.a2 + 2 * p.b * p.b, 4 * p.b),
        in_theory=False,
    )
)
