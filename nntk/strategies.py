"""Hypothesis strategies for networks, data sets and regularizations, to be used in anybody's tests.

>>> from hypothesis import given
>>> from nntk.strategies import problems
>>> from nntk_reference import gradient
>>>
>>> @given(problems(max_width=3, max_dim=2))
... def test_my_gradient(problem):
...     net, X, y, gamma = problem
...     assert gradient(net, X, y).shape == (net.width, net.dim + 2)
>>> test_my_gradient()

Examples shrink towards one neuron, one dimension, one data point, zeros, γ = 1, β = 0.75 and the first activation (tanh).
All numbers are float64, of size at most 3 unless the options below say otherwise; subnormal numbers are not drawn.

special=True (default) mixes in what generic numbers never hit: repeated neurons, neurons with c = 0, repeated inputs, and in
`problems` zero residuals, both exact (c = 0, y = 0) and up to float64 rounding (y = f(X)).

extreme=True (default) sometimes scales one array by a power of two between 2^-300 and 2^300 (about 1e±90), and draws γ from
1e-100 to 1e100. For the activations of the theory, outputs, loss, gradient, Hessian and kernels stay finite in float64 as long
as only one array is scaled, which `problems` sees to. A float64 Newton step may be refused as singular (SingularSystemError).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from nntk_reference import ACTIVATIONS, InputError, Network, outputs, scaling_exponent
from nntk_reference import activation as activation_entry
from nntk_reference.arithmetic import Array
from nntk_reference.validation import positive, whole_number

__all__ = ["Example", "data_sets", "networks", "problems", "regularizations"]

Example: TypeAlias = tuple[Network, Array, Array, float]
"""(net, X, y, gamma)"""

_SIZE = 3.0
_LARGEST_SCALE = 300  # binary; a residual times two inputs is the worst product: 2^900 leaves room for sums
_LARGEST_GAMMA = 100.0  # decimal


def networks(
    *,
    min_width: int = 1,
    max_width: int = 6,
    min_dim: int = 1,
    max_dim: int = 6,
    activations: Sequence[str] | None = None,
    betas: Sequence[float] | None = None,
    negative_control: bool = False,
    special: bool = True,
    extreme: bool = True,
) -> st.SearchStrategy[Network]:
    """Networks of N neurons on R^d.

    activations  names to choose from; by default those that satisfy the theory's assumptions, tanh first.
    betas        values to choose from; by default all of the open interval (1/2, 1).
    negative_control   admits the ends 1/2 and 1 in `betas`.

    Raises InputError for bad bounds, names or values, before anything is drawn.
    """
    widths, dims = _range("width", min_width, max_width), _range("dim", min_dim, max_dim)
    names, exponents = _activations(activations), _betas(betas, negative_control)

    @st.composite
    def build(draw: st.DrawFn) -> Network:
        width, dim, name, beta = draw(widths), draw(dims), draw(names), draw(exponents)
        c, w, eta = _neurons(draw, width, dim, special)
        if extreme:
            c, w, eta = _scale_one(draw, c, w, eta)
        return Network(c, w, eta, beta, name, negative_control=negative_control)

    return build()


def data_sets(
    *,
    min_points: int = 1,
    max_points: int = 6,
    min_dim: int = 1,
    max_dim: int = 6,
    special: bool = True,
    extreme: bool = True,
) -> st.SearchStrategy[tuple[Array, Array]]:
    """Data sets (X, y) with X (M, d) and y (M,). Raises InputError for bad bounds, before anything is drawn."""
    counts, dims = _range("points", min_points, max_points), _range("dim", min_dim, max_dim)

    @st.composite
    def build(draw: st.DrawFn) -> tuple[Array, Array]:
        count, dim = draw(counts), draw(dims)
        X, y = _points(draw, count, dim, special)
        return _scale_one(draw, X, y) if extreme else (X, y)

    return build()


def regularizations(*, min_gamma: float = 1e-3, max_gamma: float = 1e3, extreme: bool = True) -> st.SearchStrategy[float]:
    """γ > 0, log-uniform between the bounds; `extreme` adds 1e-100 to 1e100, outside the bounds as well.

    Raises InputError for bad bounds, before anything is drawn.
    """
    low, high = positive("min_gamma", min_gamma), positive("max_gamma", max_gamma)
    if low > high:
        raise InputError("max_gamma", f"at least min_gamma = {low}", repr(max_gamma))
    between = _powers_of_ten(math.log10(low), math.log10(high)).map(lambda gamma: min(max(gamma, low), high))
    if not extreme:
        return between
    anything = _powers_of_ten(-_LARGEST_GAMMA, _LARGEST_GAMMA)
    return _mostly("between", "anything").flatmap(lambda kind: between if kind == "between" else anything)


def problems(
    *,
    min_width: int = 1,
    max_width: int = 6,
    min_dim: int = 1,
    max_dim: int = 6,
    min_points: int = 1,
    max_points: int = 6,
    activations: Sequence[str] | None = None,
    betas: Sequence[float] | None = None,
    negative_control: bool = False,
    min_gamma: float = 1e-3,
    max_gamma: float = 1e3,
    special: bool = True,
    extreme: bool = True,
) -> st.SearchStrategy[Example]:
    """(net, X, y, γ): a network, data of its dimension, and a regularization. Options as in the other three strategies.

    Raises InputError for bad options, before anything is drawn.
    """
    widths, dims = _range("width", min_width, max_width), _range("dim", min_dim, max_dim)
    counts = _range("points", min_points, max_points)
    names, exponents = _activations(activations), _betas(betas, negative_control)
    gammas = regularizations(min_gamma=min_gamma, max_gamma=max_gamma, extreme=extreme)

    @st.composite
    def build(draw: st.DrawFn) -> Example:
        # sizes first: the numbers that come after do not shift their meaning when the shrinker drops some
        width, dim, count = draw(widths), draw(dims), draw(counts)
        name, beta, gamma = draw(names), draw(exponents), draw(gammas)
        kind = draw(_mostly("generic", "c = 0, y = 0", "y = f(X)")) if special else "generic"
        c, w, eta = _neurons(draw, width, dim, special)
        X, y = _points(draw, count, dim, special)
        if kind == "c = 0, y = 0":
            c, y = np.zeros_like(c), np.zeros_like(y)
        if extreme:
            c, w, eta, X, y = _scale_one(draw, c, w, eta, X, y)
        net = Network(c, w, eta, beta, name, negative_control=negative_control)
        return net, X, outputs(net, X) if kind == "y = f(X)" else y, gamma

    return build()


# ------------------------------------------------------------------------------------------------------------------- the parts


def _range(name: str, low: Any, high: Any) -> st.SearchStrategy[int]:
    low, high = whole_number(f"min_{name}", low), whole_number(f"max_{name}", high)
    if low > high:
        raise InputError(f"max_{name}", f"at least min_{name} = {low}", repr(high))
    return st.integers(low, high)


def _activations(names: Any) -> st.SearchStrategy[str]:
    if names is None:
        names = [name for name, entry in ACTIVATIONS.items() if entry.in_theory]
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise InputError("activations", "a nonempty list of names", repr(names))
    return st.sampled_from([activation_entry(name).name for name in names])


def _betas(values: Any, negative_control: bool) -> st.SearchStrategy[float]:
    if values is None:
        return st.just(0.75) | st.floats(0.5, 1.0, exclude_min=True, exclude_max=True)
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError("betas", "a nonempty list of numbers", repr(values))
    return st.sampled_from([scaling_exponent(value, negative_control=negative_control) for value in values])


@st.composite
def _row(draw: st.DrawFn, columns: int) -> list[float]:
    # One neuron or point, as a unit that the shrinker can drop; lists or tuples of floats shrink twenty times slower.
    return [draw(st.floats(-_SIZE, _SIZE, allow_subnormal=False)) for _ in range(columns)]


def _neurons(draw: st.DrawFn, width: int, dim: int, special: bool) -> tuple[Array, Array, Array]:
    values = np.array([draw(_row(dim + 2)) for _ in range(width)])
    if special:
        kind = draw(_mostly("generic", "repeated neuron", "dead neuron"))
        if kind == "repeated neuron":
            _repeat(draw, values)
        elif kind == "dead neuron":
            values[draw(st.integers(0, width - 1)), 0] = 0.0
    return values[:, 0], values[:, 2:], values[:, 1]


def _points(draw: st.DrawFn, count: int, dim: int, special: bool) -> tuple[Array, Array]:
    values = np.array([draw(_row(dim + 1)) for _ in range(count)])
    if special:
        kind = draw(_mostly("generic", "repeated input", "repeated point"))
        if kind != "generic":
            _repeat(draw, values[:, 1:] if kind == "repeated input" else values)
    return values[:, 1:], values[:, 0]


def _repeat(draw: st.DrawFn, rows: Array) -> None:
    index = st.integers(0, len(rows) - 1)
    rows[draw(index)] = rows[draw(index)]


def _mostly(usual: str, *others: str) -> st.SearchStrategy[str]:
    return st.sampled_from([usual] * (3 * len(others)) + list(others))


def _powers_of_ten(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False).map(lambda t: float(10.0**t))


def _scale_one(draw: st.DrawFn, *arrays: Array) -> Any:
    """One of the arrays, in one example of eight, times a power of two."""
    if draw(st.sampled_from([False] * 7 + [True])):
        which = draw(st.integers(0, len(arrays) - 1))
        scale = 2.0 ** draw(st.integers(-_LARGEST_SCALE, _LARGEST_SCALE))
        return tuple(a * scale if k == which else a for k, a in enumerate(arrays))
    return arrays
