"""Argument checks. They run before any work; a complaint is an `InputError` with argument, expectation and what came."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nntk_reference.arithmetic import FLOAT64, Arithmetic, Array
from nntk_reference.errors import InputError, SizeError

__all__ = [
    "arithmetic",
    "as_array",
    "data_set",
    "exact_numbers",
    "inputs",
    "matrix",
    "positive",
    "real_array",
    "real_number",
    "seed",
    "targets",
    "whole_number",
]

_EXACT_INTEGER = 2**53


def as_array(name: str, values: Any, wanted: str) -> Array:
    """`values` as an array of whatever dtype, or InputError."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(name, wanted, f"{type(values).__name__} that NumPy cannot read ({error})") from None


def real_array(name: str, values: Any, shape: tuple[int | None, ...]) -> Array:
    """`values` as a float64 array of the given shape (None: any positive length), or InputError.

    Refused: complex, object, text and boolean dtypes; NaN and infinity; integers that float64 cannot hold; empty arrays.
    """
    wanted = "an array of shape (" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    array = as_array(name, values, wanted)
    if array.dtype.kind not in "iuf":
        raise InputError(name, "real numbers (float or integer dtype)", f"dtype {array.dtype}")
    if array.ndim != len(shape):
        hint = "; use X.reshape(-1, 1) for inputs in one dimension" if array.ndim == 1 and len(shape) == 2 else ""
        raise InputError(name, wanted, f"shape {array.shape}{hint}")
    if array.size == 0:
        raise InputError(name, "at least one entry", f"an empty array of shape {array.shape}")
    if any(want is not None and have != want for want, have in zip(shape, array.shape, strict=True)):
        raise InputError(name, wanted, f"shape {array.shape}")
    if array.dtype.kind in "iu" and not np.all((array <= _EXACT_INTEGER) & (array >= -_EXACT_INTEGER)):
        raise InputError(name, "integers of at most 2^53 in size, which float64 holds exactly", "a larger one")
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(name, "finite numbers", f"{array[index]} at index {index[0] if len(index) == 1 else index}")
    with np.errstate(over="ignore"):
        converted = array.astype(np.float64)
    if array.dtype.itemsize > 8 and not np.all(converted == array):
        raise InputError(name, "numbers that float64 holds exactly", f"dtype {array.dtype} with more precision or range")
    return converted


def real_number(name: str, value: Any) -> float:
    """A finite real number as float, or InputError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputError(name, "a real number", f"{type(value).__name__} {value!r}")
    if isinstance(value, int | np.integer) and abs(int(value)) > _EXACT_INTEGER:
        raise InputError(name, "a number of at most 2^53 if an integer, which float64 holds exactly", str(value))
    if not math.isfinite(value):
        raise InputError(name, "a finite number", str(value))
    if float(value) != value:
        raise InputError(name, "a number that float64 holds exactly", f"{type(value).__name__} {value!r}")
    return float(value)


def positive(name: str, value: Any) -> float:
    """A finite number > 0 as float, or InputError."""
    number = real_number(name, value)
    if number <= 0:
        raise InputError(name, "a number > 0", repr(value))
    return number


def whole_number(name: str, value: Any, low: int = 1, high: int = 2**31) -> int:
    """An integer from `low` to `high`, or InputError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(name, f"an integer from {low} to {high}", repr(value))
    return int(value)


def seed(value: Any, name: str = "seed") -> int:
    """A seed of whatever is drawn: an integer from 0 to 2^32 - 1, or InputError."""
    return whole_number(name, value, 0, 2**32 - 1)


def arithmetic(value: Any) -> Arithmetic:
    """FLOAT64, a Multiprecision or a Ball, or InputError."""
    if not isinstance(value, Arithmetic):
        raise InputError("arithmetic", "FLOAT64, Multiprecision(digits) or Ball(bits)", repr(value))
    return value


def inputs(X: Any, dim: int | None = None) -> Array:
    """X as (M, d)."""
    array = real_array("X", X, (None, None))
    if dim is not None and array.shape[1] != dim:
        raise InputError("X", f"shape (any, {dim}), the network's input dimension", f"shape {array.shape}")
    return array


def targets(y: Any, count: int) -> Array:
    """Targets y as (M,), with M the number of inputs."""
    array = real_array("y", y, (None,))
    if len(array) != count:
        raise InputError("y", f"shape ({count},), one target for each row of X", f"shape {array.shape}")
    return array


def data_set(X: Any, y: Any, dim: int | None = None) -> tuple[Array, Array]:
    """(X, y) as (M, d) and (M,)."""
    X = inputs(X, dim)
    return X, targets(y, len(X))


def dense_size(parameters: int, kind: Arithmetic) -> None:
    """Refuse P×P work that the plain definition cannot hold."""
    limit = 20_000 if kind == FLOAT64 else 2_000
    if parameters > limit:
        raise SizeError("width", f"at most {limit} parameters for the dense definition in {kind}", f"P = N(d+2) = {parameters}")


def exact_numbers(name: str, array: Array) -> Array:
    """An array of float64, or of objects that are float, int, mpf or arb and not NaN or infinite, or InputError."""
    if array.dtype != object:
        return real_array(name, array, (None,) * array.ndim)
    for v in array.flat:
        if isinstance(v, bool) or not (hasattr(v, "_mpf_") or isinstance(v, int | float)):  # arb has an _mpf_, too
            raise InputError(name, "entries that are floats, mpf or arb", f"an entry of type {type(v).__name__}")
        if not abs(v.mid() if hasattr(v, "mid") else v) < math.inf:
            raise InputError(name, "finite numbers", f"an entry {v}")
    return array


def matrix(name: str, A: Any) -> Array:
    """A square matrix of float64, mpf or arb, equal to its transpose in every entry."""
    array = as_array(name, A, "a square matrix")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise InputError(name, "a square matrix", f"shape {array.shape}")
    array = exact_numbers(name, array)
    if array.dtype != object and np.array_equal(array, array.T):
        return array
    for i, j in zip(*np.triu_indices(len(array), 1), strict=True):
        a, b = array[i, j], array[j, i]
        if not (a.overlaps(b) if hasattr(a, "overlaps") and hasattr(b, "overlaps") else a == b):
            raise InputError(name, "a symmetric matrix", f"entries ({i}, {j}) = {a} and ({j}, {i}) = {b}")
    return array
