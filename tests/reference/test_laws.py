"""Networks are drawn from the laws that they say, whose moments and bounds are those of the registry."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest

from nntk_reference import LAWS, InitialLaw, InputError, OutputLaw, limit_ntk, register_law, sample_network
from nntk_reference.laws import initial_law

COUNT = 200_000
DEVIATIONS = 6.0
"""Each statistic lies within six of its standard deviations: for one of two dozen, a false alarm has odds below 1e-7. The seed
is fixed, so that the outcome is the same in every run."""


def mean_is(values: np.ndarray, expected: float, variance: float) -> bool:
    return abs(float(values.mean()) - expected) <= DEVIATIONS * math.sqrt(variance / len(values))


@pytest.mark.parametrize("name", LAWS)
def test_output_weights_follow_their_law(name: str) -> None:
    net, law = sample_network(COUNT, 1, beta=0.75, seed=11, law=InitialLaw(c=name)), LAWS[name]
    second, fourth = float(law.second_moment), float(law.fourth_moment)
    assert mean_is(net.c**2, second, fourth - second**2)
    assert mean_is(net.c**4, fourth, float((net.c**8).mean()) - fourth**2 + 1e-12)
    if law.symmetric:
        for odd in (net.c, net.c**3):
            assert mean_is(odd, 0.0, float((odd**2).mean()))
    assert np.abs(net.c).max() <= law.bound
    if law.bound < math.inf:
        assert np.abs(net.c).max() >= 0.99 * law.bound


def test_the_named_laws_are_what_they_say() -> None:
    moments = {name: (LAWS[name].second_moment, LAWS[name].fourth_moment) for name in ("uniform", "rademacher", "normal")}
    assert moments == {"uniform": (Fraction(1, 3), Fraction(1, 5)), "rademacher": (1, 1), "normal": (1, 3)}
    drawn = {name: sample_network(COUNT, 1, beta=0.75, seed=11, law=InitialLaw(c=name)).c for name in moments}
    assert set(drawn["rademacher"]) == {-1.0, 1.0}
    assert np.abs(np.sort(drawn["uniform"]) - np.linspace(-1, 1, COUNT)).max() < DEVIATIONS / math.sqrt(COUNT)
    assert mean_is(drawn["normal"] ** 4, 3.0, 96.0)


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
    plain, explicit = (sample_network(5, 2, beta=0.75, seed=3, law=law) for law in ("uniform", InitialLaw()))
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
        OutputLaw("a half", lambda rng, n: np.full(n, 0.5), Fraction(1, 4), Fraction(1, 16), 0.5, symmetric=False)
    )
    assert LAWS["a half"] is entry
    assert InitialLaw("a half").output is entry
    assert sample_network(3, 1, beta=0.75, seed=0, law=InitialLaw("a half")).c.tolist() == [0.5] * 3


@pytest.mark.parametrize(("wrong", "offered"), [("unifrm", "uniform"), ("Normal", "normal"), ("zzz", None), (3, None)])
def test_an_unknown_law_is_refused_with_the_nearest(wrong: Any, offered: str | None) -> None:
    for argument, call in (("law.c", partial(InitialLaw, wrong)), ("law", partial(initial_law, wrong))):
        with pytest.raises(InputError, match="one of uniform, rademacher, normal") as caught:
            call()
        assert caught.value.argument == argument
        assert caught.value.got == repr(wrong) + (f" (did you mean {offered!r}?)" if offered else "")


def test_a_law_or_its_name_is_taken() -> None:
    law = InitialLaw("normal", 0.5, 2.0)
    assert initial_law(law) is law
    assert initial_law("normal") == InitialLaw("normal", 1.0, 1.0)


def test_scales_are_positive_floats() -> None:
    law = InitialLaw(w_scale=2, eta_scale=np.float32(0.5))  # type: ignore[arg-type]
    assert [type(v) for v in (law.w_scale, law.eta_scale)] == [float, float]
    for name in ("w_scale", "eta_scale"):
        for value in (0.0, -1.0, math.inf):
            with pytest.raises(InputError) as caught:
                InitialLaw(**{name: value})
            assert caught.value.argument == f"law.{name}"


@pytest.mark.usefixtures("registries")
def test_a_law_is_entered_once_under_a_name() -> None:
    for name in ("uniform", "", None, 3):
        with pytest.raises(InputError, match="not yet in use") as caught:
            register_law(dataclasses.replace(LAWS["uniform"], name=name))  # type: ignore[arg-type]
        assert caught.value.argument == "law"
    for other in (None, "uniform", OutputLaw):
        with pytest.raises(InputError, match="an OutputLaw"):
            register_law(other)


def test_the_registry_is_left_as_it_was() -> None:
    assert list(LAWS)[:3] == ["uniform", "rademacher", "normal"]
    assert "a half" not in LAWS
    assert all(law.name == name for name, law in LAWS.items())


def test_the_name_of_a_law_stands_for_it() -> None:
    for name in LAWS:
        by_name, by_law = (sample_network(4, 1, beta=0.75, seed=5, law=law) for law in (name, InitialLaw(name)))
        np.testing.assert_array_equal(by_name.theta, by_law.theta)
        X = np.array([[0.0], [1.0]])
        np.testing.assert_array_equal(limit_ntk(X, "erf", law=name), limit_ntk(X, "erf", law=InitialLaw(name)))
