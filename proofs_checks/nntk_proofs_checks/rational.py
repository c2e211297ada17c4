"""Exact checks over the rationals: random numbers, and the inertia of a symmetric matrix."""

from __future__ import annotations

import itertools

import numpy as np
from flint import fmpq, fmpq_mat

from nntk_reference.arithmetic import Array

__all__ = ["drawn", "negative_eigenvalues"]


def drawn(rng: np.random.Generator, *shape: int) -> Array:
    """Random rationals, with numerators from 2¹⁶ numbers and denominators from 255."""
    numerators, denominators = rng.integers(-(2**15), 2**15, shape), rng.integers(1, 2**8, shape)
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        out[index] = fmpq(int(numerators[index]), int(denominators[index]))
    return out


def negative_eigenvalues(A: fmpq_mat) -> int:
    """How many eigenvalues of a symmetric matrix are negative, exactly.

    Its characteristic polynomial p has real roots only, so Descartes' rule of signs, applied to p(-x), counts them.
    """
    signs = [(1 if c > 0 else -1) * (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]
    return sum(a != b for a, b in itertools.pairwise(signs))
