"""Networks are drawn from the laws that they say, whose moments and bounds are those of the registry."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nntk_reference import LAWS, InitialLaw, OutputLaw, register_law, sample_network

COUNT = 200_000
DEVIATIONS = 6.0
"""Each statistic lies within six of its standard deviations: for one of two dozen, a false alarm has odds below 1e-7. The seed
is fixed, so that the outcome is the same in every run."""


def mean_is(values: np.ndarray, expected: float, variance: float) -> bool:
    return abs(float(values.mean()) - expected) <= DEVIATIONS * math.sqrt(variance / len(values))


# E[c], E[c²], Var c, Var c²; E[c²] again from the registry's fraction in the test
C_MOMENTS = {
    "uniform": (0.0, 1 / 3, 1 / 3, 1 / 5 - 1 / 9),
    "rademacher": (0.0, 1.0, 1.0, 0.0),
    "normal": (0.0, 1.0, 1.0, 2.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_output_weights_follow_their_law(name: str) -> None:
    net = sample_network(COUNT, 1, beta=0.75, seed=11, law=InitialLaw(c=name))
    first, second, variance, variance_of_square = C_MOMENTS[name]
    assert mean_is(net.c, first, variance)
    assert mean_is(net.c**2, second, variance_of_square)
    law = LAWS[name]
    assert second == float(law.second_moment)
    assert variance_of_square == pytest.approx(float(law.fourth_moment - law.second_moment**2), abs=1e-15)
    assert np.abs(net.c).max() <= law.bound
    assert law.symmetric
    if name == "uniform":
        assert -1 <= net.c.min() < -0.99
        assert 0.99 < net.c.max() <= 1
    if name == "rademacher":
        assert set(net.c) == {-1.0, 1.0}


@pytest.mark.parametrize(("w_scale", "eta_scale"), [(1.0, 1.0), (0.25, 3.0)])
def test_weights_are_normal_with_the_scales_of_the_law(w_scale: float, eta_scale: float) -> None:
    net = sample_network(COUNT, 2, beta=0.75, seed=12, law=InitialLaw(w_scale=w_scale, eta_scale=eta_scale))
    for values, scale in ((net.w[:, 0], w_scale), (net.w[:, 1], w_scale), (net.eta, eta_scale)):
        u = values / scale
        # moments of N(0, 1): variances of u, u², u⁴ are 1, 2, 96
        assert mean_is(u, 0.0, 1.0)
        assert mean_is(u**2, 1.0, 2.0)
        assert mean_is(u**4, 3.0, 96.0)
    for a, b in ((net.w[:, 0], net.w[:, 1]), (net.w[:, 0], net.eta), (net.c, net.eta)):
        assert mean_is(a * b, 0.0, float((a**2).mean() * (b**2).mean()))


def test_the_default_law_is_the_papers() -> None:
    assert InitialLaw() == InitialLaw(c="uniform", w_scale=1.0, eta_scale=1.0)
    plain, explicit = (sample_network(5, 2, beta=0.75, seed=3, law=law) for law in (None, InitialLaw()))
    assert np.array_equal(plain.theta, explicit.theta)
    assert np.abs(plain.c).max() < 1


def test_draws_are_those_of_the_generator_in_the_order_of_the_parameters() -> None:
    """Bit for bit, so that a seed draws the network that it drew before."""
    rng = np.random.default_rng(5)
    c, w, eta = rng.uniform(-1.0, 1.0, 7), rng.standard_normal((7, 3)), rng.standard_normal(7)
    assert np.array_equal(sample_network(7, 3, beta=0.75, seed=5).theta, np.column_stack([c, w, eta]))
    rng = np.random.default_rng(6)
    c, w, eta = rng.standard_normal(4), 0.5 * rng.standard_normal((4, 1)), 3.0 * rng.standard_normal(4)
    law = InitialLaw("normal", 0.5, 3.0)
    assert np.array_equal(sample_network(4, 1, beta=0.75, seed=6, law=law).theta, np.column_stack([c, w, eta]))


@pytest.mark.parametrize("name", LAWS)
def test_moments_are_possible_ones(name: str) -> None:
    law = LAWS[name]
    assert isinstance(law.second_moment, Fraction)
    assert isinstance(law.fourth_moment, Fraction)
    assert 0 < law.second_moment**2 <= law.fourth_moment  # Jensen
    if law.bound < math.inf:
        assert law.fourth_moment <= law.second_moment * Fraction(law.bound) ** 2


@pytest.mark.usefixtures("registries")
def test_one_entry_makes_a_new_law_work() -> None:
    entry = register_law(
        OutputLaw("half", lambda rng, n: np.full(n, 0.5), Fraction(1, 4), Fraction(1, 16), 0.5, symmetric=False)
    )
    assert LAWS["half"] is entry
    assert InitialLaw("half").output is entry
    assert sample_network(3, 1, beta=0.75, seed=0, law=InitialLaw("half")).c.tolist() == [0.5] * 3


def test_the_registry_is_left_as_it_was() -> None:
    assert list(LAWS)[:3] == ["uniform", "rademacher", "normal"]
    assert "half" not in LAWS
    assert all(law.name == name for name, law in LAWS.items())
