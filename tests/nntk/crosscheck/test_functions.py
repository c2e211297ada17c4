"""What the functions that optimizers are handed are off by."""

from __future__ import annotations

import numpy as np
import pytest

from nntk.crosscheck.case import Objective
from nntk.crosscheck.cases import activations
from nntk.crosscheck.functions import EPS, function_errors


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", activations())
def test_functions_are_right_to_rounding_in_the_middle(name: str, dtype: str) -> None:
    z = np.linspace(-2, 2, 81).reshape(9, 9)
    for errors in function_errors(name, z, dtype):
        assert errors.shape == z.shape
        assert errors.max() <= 16 * EPS[dtype]


def test_gelu_loses_its_digits_far_to_the_left_and_the_limit_knows() -> None:
    """σ = z(1 + erf(z/√2))/2: eps of 1 in it is 5e-11 of σ at z = -4.95."""
    z = np.array([[-4.95]])
    value, _, _ = function_errors("gelu", z, "float64")
    assert 1e-12 < value.item() / 1.8e-6 < 1e-9
    of = Objective(np.array([[0.0]]), np.array([0.0]), 0.75, "gelu", 1e-9)
    point = of.at(np.array([[1.0, 0.0, -4.95]]))
    assert point.sizes("float64").gradient > 10 * point.sizes().gradient
    assert of.at(np.array([[1.0, 0.0, 0.5]])).sizes("float64") == of.at(np.array([[1.0, 0.0, 0.5]])).sizes()
