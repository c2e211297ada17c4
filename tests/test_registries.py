"""The two registries of activations and the two of laws say the same: names, bounds, values, moments.

An activation or a law is one entry in each package, written twice on purpose. These tests fail until both are there and agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

import nntk_accelerated
import nntk_reference
from nntk_accelerated.activations import ERROR
from nntk_reference import FLOAT64
from tests.definitions import sigma
from tests.tolerances import EPS

COUNT = 100_000
DEVIATIONS = 6.0
POINTS = np.concatenate([[0.0, 1e-300, 1e-8, 37.0], np.linspace(0.05, 6, 120), 10.0 ** np.linspace(-6, 1.5, 40)])
POINTS = np.concatenate([POINTS, -POINTS])


def names(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What is in one registry only, or in another place: reports and tests take entries in the registry's order."""
    if list(ours) == list(theirs):
        return []
    missing = [f"{name}: only in nntk_reference" for name in ours if name not in theirs]
    missing += [f"{name}: only in nntk_accelerated" for name in theirs if name not in ours]
    return missing or [f"order {list(ours)}, but {list(theirs)}"]


def activations(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What the registries of activations say differently, nntk_reference first."""
    found = names(ours, theirs)
    for name in (name for name in ours if name in theirs):
        one, other = ours[name], theirs[name]
        # where σ' jumps, either value at 0 will do
        z = POINTS if one.suprema(FLOAT64)[2] < math.inf else POINTS[POINTS != 0]
        for k, (a, b) in enumerate(zip(one.jets(z, FLOAT64), other.jets(torch.tensor(z), 2), strict=True)):
            # each within ERROR roundings of the exact value: the reference as well, in NumPy's functions
            apart = np.abs(a - b.numpy()) / (EPS["float64"] * np.maximum(1, np.abs(a)))
            if not (apart <= ERROR).all():
                found.append(f"{name}: σ^({k}) at {z[np.argmax(apart)]}")
        value = other.function(torch.tensor(z)).numpy()
        if not (np.abs(value - one.jets(z, FLOAT64)[0]) <= 2 * ERROR * EPS["float64"] * np.maximum(1, np.abs(value))).all():
            found.append(f"{name}: its function")
        bounds = other.bounds(torch.tensor([math.inf], dtype=torch.float64))
        for k, (most, bound) in enumerate(zip(one.suprema(FLOAT64), bounds, strict=False)):
            if not float(most) <= float(bound) <= 1.001 * float(most):
                found.append(f"{name}: sup|σ^({k})| is {float(most)}, and the bound {float(bound)}")
    return found


def laws(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What the registries of laws say differently."""
    found = names(ours, theirs)
    for name in (name for name in ours if name in theirs):
        one, other = ours[name], theirs[name]
        if one.bound != other.bound:
            found.append(f"{name}: the bounds {one.bound} and {other.bound}")
        second, fourth = float(one.second_moment), float(one.fourth_moment)
        drawn = {
            "nntk_reference": one.draw(np.random.default_rng(1), COUNT),
            "nntk_accelerated": other.draw(COUNT, torch.Generator().manual_seed(1), torch.device("cpu")).numpy(),
        }
        for where, c in drawn.items():
            slack = DEVIATIONS / math.sqrt(COUNT)
            if abs((c**2).mean() - second) > slack * math.sqrt(fourth - second**2):
                found.append(f"{name}: E[c²] in {where}")
            eighth = float((c**8).mean())
            if abs((c**4).mean() - fourth) > slack * math.sqrt(max(eighth - fourth**2, 0)) + 1e-12:
                found.append(f"{name}: E[c⁴] in {where}")
            if one.symmetric and abs(c.mean()) > slack * math.sqrt(second):
                found.append(f"{name}: E[c] in {where}")
            if np.abs(c).max() > one.bound:
                found.append(f"{name}: beyond its bound in {where}")
        first, second_draw = (np.sort(c) for c in drawn.values())
        # Kolmogorov and Smirnov's two-sample statistic; 2.5 √(2/n) is exceeded with probability 7e-6
        both = np.concatenate([first, second_draw])
        gap = np.abs(np.searchsorted(first, both, "right") - np.searchsorted(second_draw, both, "right")).max() / COUNT
        if gap > 2.5 * math.sqrt(2 / COUNT):
            found.append(f"{name}: the draws have two laws")
    return found


def test_the_activations_agree() -> None:
    assert activations(nntk_reference.ACTIVATIONS, nntk_accelerated.ACTIVATIONS) == []


@pytest.mark.parametrize("name", nntk_reference.ACTIVATIONS)
def test_every_activation_is_the_function_that_the_tests_define(name: str) -> None:
    entry, function = nntk_reference.ACTIVATIONS[name], sigma(name)
    with mpmath.workdps(40):
        for z in (-30.0, -2.5, -0.7, 0.0, 1e-3, 0.3, 1.0, 4.0, 25.0):
            (value,) = nntk_reference.Multiprecision(30).evaluate(lambda ar, z=z: entry.jets(ar.array([z]), ar)[0])
            assert abs(value - function(mpmath.mpf(z))) <= mpmath.mpf(10) ** -29 * max(1, abs(value))


def test_the_laws_agree() -> None:
    assert laws(nntk_reference.LAWS, nntk_accelerated.LAWS) == []


def test_the_default_law_is_the_same() -> None:
    one, other = nntk_reference.InitialLaw(), nntk_accelerated.InitialLaw()
    assert (one.c, one.w_scale, one.eta_scale) == (other.c, other.w_scale, other.eta_scale)


# --- what would be noticed ---------------------------------------------------------------------------------------------------

R, A = nntk_reference, nntk_accelerated


def without(registry: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in registry.items() if k != name}


def changed(registry: Mapping[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    return {**registry, name: replace(registry[name], **fields)}


def scaled_jet(order: int, factor: float) -> Any:
    plain = A.ACTIVATIONS["gelu"].jets
    return lambda z, k: tuple(v * (factor if i == order else 1) for i, v in enumerate(plain(z, k)))


ACTIVATION_FAULTS: dict[str, tuple[Any, Any, str]] = {
    "missing there": (R.ACTIVATIONS, without(A.ACTIVATIONS, "gelu"), "only in nntk_reference"),
    "missing here": (without(R.ACTIVATIONS, "relu"), A.ACTIVATIONS, "only in nntk_accelerated"),
    "another order": (R.ACTIVATIONS, dict(reversed(A.ACTIVATIONS.items())), "order"),
    **{
        f"another jet {k}": (R.ACTIVATIONS, changed(A.ACTIVATIONS, "gelu", jets=scaled_jet(k, 1 + 1e-13)), f"σ^({k})")
        for k in range(3)
    },
    "another function": (R.ACTIVATIONS, changed(A.ACTIVATIONS, "erf", function=torch.tanh), "its function"),
    "a bound too small": (R.ACTIVATIONS, changed(A.ACTIVATIONS, "sin", bounds=lambda t: (1.0, 1.0, 0.99, 1.0)), "sup"),
    "a bound too large": (R.ACTIVATIONS, changed(A.ACTIVATIONS, "sin", bounds=lambda t: (1.1, 1.0, 1.0, 1.0)), "sup"),
}
LAW_FAULTS: dict[str, tuple[Any, Any, str]] = {
    "missing there": (R.LAWS, without(A.LAWS, "normal"), "only in nntk_reference"),
    "missing here": (without(R.LAWS, "normal"), A.LAWS, "only in nntk_accelerated"),
    "another bound": (R.LAWS, changed(A.LAWS, "uniform", bound=2.0), "bounds"),
    "another second moment": (changed(R.LAWS, "uniform", second_moment=Fraction(35, 100)), A.LAWS, "E[c²]"),
    "another fourth moment": (changed(R.LAWS, "normal", fourth_moment=Fraction(33, 10)), A.LAWS, "E[c⁴]"),
    "another law there": (R.LAWS, changed(A.LAWS, "uniform", draw=A.LAWS["normal"].draw), "E[c²] in nntk_accelerated"),
    "the square root of the moments": (R.LAWS, changed(A.LAWS, "normal", draw=A.LAWS["rademacher"].draw), "two laws"),
    "not centred": (
        changed(R.LAWS, "uniform", draw=lambda rng, n: np.abs(rng.uniform(-1, 1, n))),
        A.LAWS,
        "E[c] in nntk_reference",
    ),
}


@pytest.mark.parametrize("fault", ACTIVATION_FAULTS)
def test_activations_that_differ_are_noticed(fault: str) -> None:
    ours, theirs, what = ACTIVATION_FAULTS[fault]
    assert any(what in line for line in activations(ours, theirs))


@pytest.mark.parametrize("fault", LAW_FAULTS)
def test_laws_that_differ_are_noticed(fault: str) -> None:
    ours, theirs, what = LAW_FAULTS[fault]
    assert any(what in line for line in laws(ours, theirs))


@pytest.mark.usefixtures("registries")
def test_an_entry_in_one_package_alone_fails() -> None:
    R.register(replace(R.ACTIVATIONS["tanh"], name="new"))
    R.register_law(replace(R.LAWS["uniform"], name="new"))
    assert activations(R.ACTIVATIONS, A.ACTIVATIONS) == laws(R.LAWS, A.LAWS) == ["new: only in nntk_reference"]
    A.register(replace(A.ACTIVATIONS["tanh"], name="new"))
    A.register_law(replace(A.LAWS["uniform"], name="new"))
    assert activations(R.ACTIVATIONS, A.ACTIVATIONS) == laws(R.LAWS, A.LAWS) == []


@pytest.mark.parametrize(("slip", "offered"), [("tahn", "tanh"), ("relu6", "relu"), ("maxout", None), ("silu", None)])
def test_an_activation_is_offered_only_where_one_is_near(slip: str, offered: str | None) -> None:
    for package in (nntk_reference, nntk_accelerated):
        with pytest.raises(package.UnknownActivationError) as told:
            package.activation(slip)
        assert ("did you mean" in str(told.value)) == (offered is not None)
        assert offered is None or repr(offered) in str(told.value)
