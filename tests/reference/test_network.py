"""Networks are immutable, and are drawn from the laws that they say."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from nntk.strategies import Problem, networks, problems
from nntk_reference import LAWS, InitialLaw, InputError, Multiprecision, Network, newton_step, outputs, sample_network


def parts(net: Network) -> tuple[np.ndarray, ...]:
    return net.c, net.w, net.eta


def equal(a: Network, b: Network) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(parts(a), parts(b), strict=True))


# --- immutability ------------------------------------------------------------------------------------------------------------


@given(networks())
def test_arrays_are_read_only_and_attributes_frozen(net: Network) -> None:
    for array in parts(net):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    for name in ("c", "beta", "activation", "width"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(net, name, getattr(net, name))


@given(networks())
def test_the_arrays_given_are_copied_and_stay_writable(net: Network) -> None:
    given_arrays = [np.array(a) for a in parts(net)]
    copy = Network(*given_arrays, net.beta, net.activation)
    for array in given_arrays:
        array += 1.0
    assert equal(copy, net)


def test_sizes_and_dtypes() -> None:
    net = Network([1, 2], [[1, 2, 3], [4, 5, 6]], np.array([0, 1], dtype=np.int8), 0.75)
    assert (net.width, net.dim, net.parameters) == (2, 3, 10)
    assert all(a.dtype == np.float64 for a in parts(net))
    assert net.activation == "tanh"
    single = Network(np.float32([0.1]), np.float32([[0.1]]), np.float32([0.1]), 0.75)
    assert single.c[0] == float(np.float32(0.1))  # the number that it is, not 0.1


# --- moved -------------------------------------------------------------------------------------------------------------------


@given(problems(max_width=3, max_dim=3, max_points=2, min_gamma=1e3, extreme=False))
def test_moved_adds_the_update_in_the_order_of_the_parameters(problem: Problem) -> None:
    net, X, y, gamma = problem
    before = [a.copy() for a in parts(net)]
    update = newton_step(net, X, y, gamma).update
    new = net.moved(update)
    theta = np.column_stack(parts(net))
    assert np.array_equal(np.column_stack(parts(new)), theta + update)
    assert all(np.array_equal(a, b) for a, b in zip(parts(net), before, strict=True))
    assert (new.beta, new.activation) == (net.beta, net.activation)
    assert equal(net.moved(np.zeros_like(update)), net)
    outputs(new, X)


def test_moved_takes_the_steps_of_every_arithmetic() -> None:
    net = sample_network(2, 1, beta=0.75, seed=0)
    update = np.arange(6.0).reshape(2, 3) / 3
    for numbers in (
        update.tolist(),
        np.vectorize(lambda v: arb(v), otypes=[object])(update),
        newton_step(net, [[1.0]], [1.0], 1.0, arithmetic=Multiprecision(20)).update,
    ):
        new = net.moved(numbers)
        assert new.c[1] == net.c[1] + float(numbers[1][0])


@pytest.mark.parametrize(
    "update",
    [
        np.ones((2, 2)),
        np.ones(6),
        np.ones((2, 3)) * 1j,
        np.ones((2, 3), dtype=bool),
        np.full((2, 3), "1"),
        np.full((2, 3), "1", dtype=object),
        np.full((2, 3), None),
        np.full((2, 3), math.nan),
        np.full((2, 3), math.inf),
        np.full((2, 3), arb("nan"), dtype=object),
        [[1.0, 2.0, 3.0], [1.0]],
    ],
    ids=str,
)
def test_moved_refuses_what_is_no_update(update: Any) -> None:
    net = sample_network(2, 1, beta=0.75, seed=0)
    with pytest.raises(InputError, match=r"expected .*, got ") as caught:
        net.moved(update)
    assert caught.value.argument == "update"


def test_moved_keeps_the_negative_control() -> None:
    net = Network([1.0], [[1.0]], [1.0], 1.0, negative_control=True)
    assert net.moved(np.ones((1, 3))).beta == 1.0


# --- laws --------------------------------------------------------------------------------------------------------------------

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
    assert equal(plain, explicit)
    assert np.abs(plain.c).max() < 1


# --- sampling ----------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1), st.integers(1, 5), st.integers(1, 4))
def test_equal_seeds_give_equal_networks(seed: int, width: int, dim: int) -> None:
    first, second = (sample_network(width, dim, beta=0.6, seed=seed) for _ in range(2))
    assert equal(first, second)
    assert (first.width, first.dim, first.beta) == (width, dim, 0.6)
    assert equal(first, sample_network(width, dim, beta=0.9, seed=np.random.default_rng(seed)))
    assert not equal(first, sample_network(width, dim, beta=0.6, seed=seed ^ 1))


def test_a_generator_is_advanced_and_the_global_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    assert not equal(*(sample_network(3, 1, beta=0.75, seed=rng) for _ in range(2)))
    before, python_before = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    sample_network(3, 1, beta=0.75, seed=0)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert np.array_equal(before["state"]["key"], after["state"]["key"])
    assert before["state"]["pos"] == after["state"]["pos"]
    assert random.getstate() == python_before


def test_options_reach_the_network() -> None:
    net = sample_network(2, 1, beta=1.0, activation="erf", seed=0, negative_control=True)
    assert (net.beta, net.activation, net.negative_control) == (1.0, "erf", True)
