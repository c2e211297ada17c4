"""Exact inertia, and the numbers that exact checks are tried on."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from nntk_proofs_checks.rational import drawn, negative_eigenvalues


@pytest.mark.parametrize("diagonal", [[0], [-1], [3, -2, 0, -1], [0, 0], [-1, -1, -1], [1, 2, 3, 4, -5]])
def test_eigenvalues_of_a_congruent_matrix_are_counted(diagonal: list[int]) -> None:
    """Sylvester's law: T D Tᵀ has the signs of D."""
    n = len(diagonal)
    D = fmpq_mat(n, n, [fmpq(diagonal[i] if i == j else 0) for i in range(n) for j in range(n)])
    T = fmpq_mat(n, n, [fmpq(1 if i >= j else 0) + fmpq(i, 7) * (i > j) for i in range(n) for j in range(n)])
    assert negative_eigenvalues(T * D * T.transpose()) == sum(v < 0 for v in diagonal)


def test_numbers_are_those_of_the_seed_and_of_either_sign() -> None:
    first, again = (drawn(np.random.default_rng(3), 40, 3) for _ in range(2))
    assert first.shape == (40, 3)
    assert (first == again).all()
    assert any(v < 0 for v in first.flat)
    assert any(v > 0 for v in first.flat)
    assert len({(v.p, v.q) for v in first.flat}) > 100
    assert max(v.q for v in first.flat) < 256
    assert max(abs(v) for v in first.flat) <= 2**15


class _Ends:
    """In the place of a generator: always the first of the numbers in question, or always the last."""

    def __init__(self, last: bool) -> None:
        self.last = last

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, high - 1 if self.last else low)


def test_numerators_are_of_sixteen_bits_and_denominators_of_eight() -> None:
    """From -2¹⁵ to 2¹⁵ - 1, which are 2¹⁶ numbers, and from 1 to 255."""
    (smallest,), (largest,) = (drawn(_Ends(last), 1) for last in (False, True))  # type: ignore[arg-type]
    assert smallest == fmpq(-(2**15), 1)
    assert largest == fmpq(2**15 - 1, 255)


def test_multiple_eigenvalues_are_counted_as_often_as_they_occur() -> None:
    """A projection that is scaled: Q = 1 1ᵀ/n, and Q - 1/2 has n - 1 eigenvalues -1/2 and one 1/2."""
    for n in (2, 3, 5):
        A = fmpq_mat(n, n, [fmpq(1, n) - fmpq(int(i == j), 2) for i in range(n) for j in range(n)])
        assert (negative_eigenvalues(A), negative_eigenvalues(-1 * A)) == (n - 1, 1)
