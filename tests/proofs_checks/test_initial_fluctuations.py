"""The constants of (E19) and (E20), against enclosures and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, ctx

from nntk_proofs_checks.initial_fluctuations import constants
from nntk_reference import activation, formulas, gaussian


@pytest.mark.parametrize("X", [np.linspace(0, 1, 4)[:, None], np.array([[0.3, -0.5], [1.0, 0.2], [0.3, -0.5]])])
def test_the_constant_of_e19_is_the_enclosed_one(X: np.ndarray) -> None:
    found = constants(X)
    assert found is not None
    with ctx.workprec(128):
        inputs = formulas.augmented(np.array([[arb(v) for v in row] for row in X.tolist()], dtype=object))
        value = gaussian.expectations(activation("tanh"), inputs, 64).value
    np.testing.assert_allclose(found.second, [float(value[m, m].mid()) / 3 for m in range(len(X))], rtol=1e-9)


def test_the_constant_of_e20_by_simulation_of_single_neurons() -> None:
    X = np.linspace(0, 1, 3)[:, None]
    found = constants(X)
    assert found is not None
    rng, n = np.random.default_rng(0), 400_000
    c, w, eta = rng.uniform(-1, 1, n), rng.standard_normal(n), rng.standard_normal(n)
    s = np.tanh(X[:, 0, None] * w + eta)
    slope = 1 - s * s
    inputs = np.concatenate([X, np.ones((3, 1))], axis=1)
    K = (s[:, None] * s[None] + c**2 * slope[:, None] * slope[None] * (inputs @ inputs.T)[:, :, None]) / 3
    assert K.var(axis=2).sum() == pytest.approx(found.variance, rel=0.02)


def test_constants_out_of_reach_are_not_made_up() -> None:
    assert constants(np.array([[0.0], [1e6]])) is None
