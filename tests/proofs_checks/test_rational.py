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
