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

from nntk.strategies import networks, problems
from nntk_reference import (
    InitialLaw,
    InputError,
    Multiprecision,
    Network,
    UnknownActivationError,
    newton_step,
    outputs,
    sample_network,
    scaling_exponent,
)

Example = tuple[Network, np.ndarray, np.ndarray, float]


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
def test_moved_adds_the_update_in_the_order_of_the_parameters(problem: Example) -> None:
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


# --- theta -------------------------------------------------------------------------------------------------------------------


@given(networks())
def test_theta_holds_a_row_for_each_neuron_in_the_order_of_the_parameters(net: Network) -> None:
    theta = net.theta
    assert theta.shape == (net.width, net.dim + 2)
    assert theta.dtype == np.float64
    for i in range(net.width):
        assert theta[i].tolist() == [net.c[i], *net.w[i], net.eta[i]]
    theta[:] = 7.0  # a copy
    assert not np.array_equal(net.theta, theta) or set(net.theta.flat) == {7.0}


@given(networks())
def test_from_theta_is_the_inverse_of_theta(net: Network) -> None:
    theta = net.theta
    other = Network.from_theta(theta, net.beta, net.activation, negative_control=net.negative_control)
    assert equal(net, other)
    assert (other.beta, other.activation, other.negative_control) == (net.beta, net.activation, net.negative_control)
    theta += 1.0
    assert equal(net, other)


def test_from_theta_takes_what_the_class_takes() -> None:
    net = Network.from_theta([[1, 2, 3, 4]], 1.0, negative_control=True)
    assert (net.c.tolist(), net.w.tolist(), net.eta.tolist()) == ([1.0], [[2.0, 3.0]], [4.0])
    assert (net.activation, net.beta) == ("tanh", 1.0)
    for beta in (1.0, 0.5):
        with pytest.raises(InputError, match="beta"):
            Network.from_theta([[1.0, 2.0, 3.0]], beta)


@pytest.mark.parametrize("columns", [1, 2])
def test_from_theta_wants_a_weight_in_each_row(columns: int) -> None:
    with pytest.raises(InputError, match=rf"at least one entry of w, got shape \(3, {columns}\)") as caught:
        Network.from_theta(np.ones((3, columns)), 0.75)
    assert caught.value.argument == "theta"


# --- what is refused ---------------------------------------------------------------------------------------------------------


def test_beta_lies_between_its_ends_which_only_a_negative_control_may_take() -> None:
    for beta in (math.nextafter(0.5, 1), 0.75, math.nextafter(1, 0)):
        assert scaling_exponent(beta) == scaling_exponent(beta, negative_control=True) == beta
    for end in (0.5, 1.0, 1):
        assert scaling_exponent(end, negative_control=True) == end
        with pytest.raises(InputError, match="only with negative_control=True"):
            scaling_exponent(end)
    for beta in (math.nextafter(0.5, 0), math.nextafter(1, 2), 0.0, -0.75):
        for control in (False, True):
            with pytest.raises(InputError, match="1/2 < beta < 1, got"):
                scaling_exponent(beta, negative_control=control)


@pytest.mark.parametrize(
    ("parameters", "argument"),
    [
        (([], [[1.0]], [1.0]), "c"),
        (([[1.0]], [[1.0]], [1.0]), "c"),
        (([1.0, 2.0], [[1.0]], [1.0, 2.0]), "w"),
        (([1.0], [1.0], [1.0]), "w"),
        (([1.0], [[]], [1.0]), "w"),
        (([1.0, 2.0], [[1.0], [2.0]], [1.0]), "eta"),
        (([1.0], [[1.0]], [[1.0]]), "eta"),
    ],
)
def test_parameters_of_other_shapes_are_refused(parameters: tuple[Any, Any, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        Network(*parameters, 0.75)
    assert caught.value.argument == argument


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(UnknownActivationError):
        Network([1.0], [[1.0]], [1.0], 0.75, "tahn")


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


@pytest.mark.parametrize(("argument", "value"), [("seed", -1), ("seed", 2**63), ("seed", 1.0), ("width", 0), ("dim", 0)])
def test_what_cannot_be_drawn_is_refused(argument: str, value: Any) -> None:
    options = {"width": 2, "dim": 1, "beta": 0.75, "seed": 2**63 - 1}
    assert sample_network(**options).width == 2  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        sample_network(**(options | {argument: value}))
    assert caught.value.argument == argument


def test_draws_come_in_the_order_of_the_parameters_with_the_scales_of_their_law() -> None:
    rng = np.random.default_rng(9)
    c, w, eta = rng.standard_normal(5), 0.25 * rng.standard_normal((5, 2)), 3.0 * rng.standard_normal(5)
    net = sample_network(5, 2, beta=0.75, seed=9, law=InitialLaw("normal", 0.25, 3.0))
    assert equal(net, Network(c, w, eta, 0.75))


def test_networks_are_tanh_and_no_controls_unless_told_otherwise() -> None:
    for net in (
        sample_network(2, 1, beta=0.75, seed=0),
        Network.from_theta([[1.0, 2.0, 3.0]], 0.75),
        Network([1], [[1]], [1], 0.75),
    ):
        assert (net.activation, net.negative_control) == ("tanh", False)
    with pytest.raises(InputError, match="beta"):
        sample_network(2, 1, beta=1.0, seed=0)
    with pytest.raises(InputError, match="beta"):
        Network([1.0], [[1.0]], [1.0], 1.0)


def test_options_reach_the_network() -> None:
    net = sample_network(2, 1, beta=1.0, activation="erf", seed=0, negative_control=True)
    assert (net.beta, net.activation, net.negative_control) == (1.0, "erf", True)
