"""Least squares with error bars, and the parts of the matrix whose coefficients it fits."""

from __future__ import annotations

import numpy as np
import pytest

from nntk.crosscheck.checks.coupling import least_squares, parts_of


@pytest.mark.parametrize("shape", [(5, 5), (12, 3), (30, 8)])
def test_error_bars_are_the_most_that_a_coefficient_can_be_off_and_are_attained(shape: tuple[int, int]) -> None:
    """For each coefficient the worst right side of length `slack`, by the pseudo-inverse; one longer exceeds the bar."""
    rng = np.random.default_rng(shape)
    U = rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 3, shape[1])  # columns of unlike lengths
    x, slack = rng.standard_normal(shape[1]), 1e-3
    inverse = np.linalg.pinv(U)
    for k in range(shape[1]):
        worst = slack * inverse[k] / np.linalg.norm(inverse[k])
        for factor, within in ((0.999, True), (1.001, False)):
            fitted = least_squares(U, U @ x + factor * worst, slack)
            assert fitted is not None
            found, bars = fitted
            np.testing.assert_allclose(bars, slack * np.linalg.norm(inverse, axis=1), rtol=1e-6)
            error = abs(float(found[k] - x[k]))
            assert (error <= bars[k]) == within
            assert error > 0.99 * bars[k]


def test_no_bars_where_the_columns_do_not_fix_the_coefficients() -> None:
    rng = np.random.default_rng(0)
    assert least_squares(rng.standard_normal((3, 4)), np.ones(3), 1.0) is None
    U = rng.standard_normal((6, 3))
    U[:, 2] = U[:, 0] + U[:, 1]
    assert least_squares(U, np.ones(6), 1.0) is None
    U[0, 2] += 1e-5  # fixed, if barely: the bar says how barely
    fitted = least_squares(U, np.ones(6), 1.0)
    assert fitted is not None
    assert fitted[1][2] > 1e4


def test_the_parts_are_all_of_the_matrix_but_its_diagonal() -> None:
    N, d = 3, 2
    A = np.random.default_rng(1).standard_normal((N * (d + 2), N * (d + 2)))
    A = A + A.T
    parts = parts_of(A, N, d + 2)
    np.testing.assert_array_equal(sum(parts.values()), A - np.diag(np.diag(A)))
    assert list(parts)[:2] == ["c-w within a neuron", "c-w between neurons"]
    assert parts["w-w within a neuron"][1, 2] == A[1, 2]
    assert parts["c-η between neurons"][0, 7] == A[0, 7]
    assert "c-c within a neuron" not in parts
