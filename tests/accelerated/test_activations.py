"""The jets, their bounds and their error constant, against the reference over balls and against mpmath.

Balls at 300 bits stand for the exact values; z is the exact number that the jets were given, in its own dtype.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nntk_accelerated
import nntk_reference
from nntk_accelerated.activations import ACTIVATIONS, ERROR, activation
from nntk_reference import Ball
from tests.definitions import sigma

EXACT = Ball(300)
NAMES = sorted(ACTIVATIONS)
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LARGEST = 50.0
"""Up to here `activations.ERROR` promises something."""

every_activation = pytest.mark.parametrize("name", NAMES)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def points(dtype: str) -> torch.Tensor:
    """Zero, tiny, moderate and large numbers of both signs, and the neighbours of every change of sign or of behaviour."""
    rng = np.random.default_rng(20260508)
    kind = np.float32 if dtype == "float32" else np.float64
    # zeros of σ', σ'', 1 - 2σ, 2 - z² and of the sine; where tanh, erf and the logistic function saturate; softplus' threshold
    turns = [
        0.5,
        0.7517915,
        1.0,
        2.0**0.5,
        np.pi / 2,
        np.pi,
        3 * np.pi,
        16 * np.pi - 0.5,
        5.9,
        9.01,
        16.6,
        18.7,
        20.0,
        36.7,
        50.0,
    ]
    near = [kind(t) for t in turns]
    near += [np.nextafter(t, kind(side)) for t in near for side in (0, 40)]
    tiny = 10.0 ** np.arange(-30, 0, 1.5)
    spread = np.concatenate([rng.uniform(0, LARGEST, 150), np.abs(rng.standard_normal(200)), 10 ** rng.uniform(-3, 1.69, 150)])
    sizes = np.concatenate([near, tiny, spread]).astype(kind)
    sizes = np.minimum(sizes, kind(LARGEST))
    return torch.from_numpy(np.concatenate([[kind(0)], sizes, -sizes]))


def exact_jets(name: str, z: torch.Tensor) -> tuple[Any, ...]:
    values = z.double().cpu().numpy()
    return EXACT.evaluate(lambda ar: nntk_reference.activation(name).jets(ar.array(values), ar))


def ratios(computed: torch.Tensor, exact: Any, dtype: str) -> np.ndarray:
    """|computed - exact| / (u max(1, |exact|)), u = eps/2; nan where the computed value is no number."""
    u = torch.finfo(DTYPES[dtype]).eps / 2
    out = []
    for value, ball in zip(computed.double().cpu().tolist(), exact, strict=True):
        size = max(1.0, float(abs(ball)))
        out.append(float(abs(ball - value)) / (u * size) if np.isfinite(value) else np.nan)
    return np.array(out)


@both_dtypes
@every_activation
def test_jets_keep_within_half_of_the_error_constant(name: str, dtype: str, device: str) -> None:
    z = points(dtype)
    exact = exact_jets(name, z)
    jets = ACTIVATIONS[name].jets(z.to(device), 2)
    for k, (computed, truth) in enumerate(zip(jets, exact, strict=True)):
        found = ratios(computed, truth, dtype)
        worst = int(np.argmax(np.where(np.isnan(found), np.inf, found)))
        assert found[worst] <= ERROR / 2, f"{name}^({k}) in {dtype} at z = {z[worst].item()!r}: {found[worst]:.2f} u"


def test_the_error_constant_is_not_idle() -> None:
    # if the jets had errors far below a unit roundoff, the comparison above would be measuring the wrong thing
    z = points("float64")
    worst = max(
        ratios(jet, exact, "float64").max()
        for name in ("gelu", "erf", "softplus")
        for jet, exact in zip(ACTIVATIONS[name].jets(z.clone(), 2), exact_jets(name, z), strict=True)
    )
    assert 0.5 <= worst <= ERROR / 2, worst


def test_an_error_above_the_constant_is_seen() -> None:
    z = points("float64")
    value = ACTIVATIONS["tanh"].jets(z.clone(), 0)[0] + ERROR * 2.0**-53
    assert ratios(value, exact_jets("tanh", z)[0], "float64").max() > ERROR / 2


@every_activation
def test_the_number_of_a_compiled_branch_is_that_of_the_function(name: str) -> None:
    """Output of one neuron at z, by the loops; two roundings besides the function's own."""
    number = ACTIVATIONS[name].compiled
    if number is None:
        pytest.skip("torch computes it")
    loops = pytest.importorskip("nntk_accelerated.fused", reason="numba is not installed")
    z = points("float64")
    inputs = np.stack([np.ones(len(z)), z.numpy()])
    out, one = np.zeros(len(z)), np.ones(1)
    loops.outputs(number, one, np.ones((1, 1)), np.zeros(1), inputs, out, 1)
    assert ratios(torch.from_numpy(out), exact_jets(name, z)[0], "float64").max() <= ERROR / 2


@both_dtypes
@pytest.mark.parametrize("order", [0, 1, 2])
@every_activation
def test_jets_of_lower_order_are_the_first_ones(name: str, order: int, dtype: str) -> None:
    z = points(dtype)
    full = ACTIVATIONS[name].jets(z.clone(), 2)
    part = ACTIVATIONS[name].jets(z.clone(), order)
    assert len(part) == order + 1
    for a, b in zip(part, full, strict=False):
        assert a.dtype == b.dtype == DTYPES[dtype]
        assert a.shape == z.shape
        assert torch.equal(a, b)


@every_activation
def test_jets_share_no_memory_that_a_caller_could_spoil(name: str) -> None:
    # σ may live in z's memory, but writing into one jet must leave the others alone
    z = points("float64")
    jets = ACTIVATIONS[name].jets(z.clone(), 2)
    kept = [jet.clone() for jet in jets]
    for i in range(3):
        jets[i].fill_(7.0)
        for j in range(i + 1, 3):
            assert torch.equal(jets[j], kept[j]), f"{name}: jet {j} shares memory with jet {i}"


@both_dtypes
@every_activation
def test_far_out_there_is_no_nan(name: str, dtype: str) -> None:
    # beyond 50 the accuracy is nobody's promise, but a finite limit must not come out as nan
    large = torch.tensor([60.0, 1e3, 1e10, 1e18], dtype=DTYPES[dtype])
    z = torch.cat([large, -large])
    for k, jet in enumerate(ACTIVATIONS[name].jets(z.clone(), 2)):
        assert bool(torch.isfinite(jet).all()), (name, k, jet)


@pytest.mark.parametrize(("dtype", "huge"), [("float32", 1e25), ("float64", 1e200)])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "square"])
def test_jets_are_finite_where_z_squared_is_not(name: str, dtype: str, huge: float) -> None:
    z = torch.tensor([huge, -huge], dtype=DTYPES[dtype])
    for k, jet in enumerate(ACTIVATIONS[name].jets(z.clone(), 2)):
        assert bool(torch.isfinite(jet).all()), (name, k, jet)


@every_activation
def test_function_and_its_derivatives_are_the_jets(name: str) -> None:
    z = points("float64")
    z = z[(z != 0) | torch.tensor(name != "relu")]
    function = ACTIVATIONS[name].function
    x = z.clone().requires_grad_()
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.sum(), x, allow_unused=True, materialize_grads=True)
    else:
        curvature = torch.zeros_like(z)
    for k, (a, b) in enumerate(zip((value, slope, curvature), ACTIVATIONS[name].jets(z.clone(), 2), strict=True)):
        # each side is within a few units roundoff of the exact value; torch's own formulas get what ERROR gives the jets
        error = (a.detach() - b).abs() / (2.0**-53 * b.abs().clamp_min(1))
        assert bool((error <= 2 * ERROR).all()), f"{name}^({k}): {error.max().item():.1f} u at {z[error.argmax()].item()!r}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "relu"])
def test_bounds_hold_up_to_the_third_derivative_and_are_near(name: str) -> None:
    # On a grid of [0, t]; |σ^(k)| is even for all of these but softplus and gelu, whose negative side is looked at as well.
    grid = [
        0,
        1e-6,
        0.01,
        0.1,
        0.3,
        0.5,
        0.7071,
        0.792,
        0.8814,
        1.0,
        1.2247,
        1.317,
        1.4142,
        1.6,
        1.8,
        2.0,
        2.5,
        3.0,
        4.0,
        6.0,
        10.0,
        30.0,
    ]
    function = sigma(name)
    largest, nearest = [0.0] * 4, [math.inf] * 4
    with mpmath.workdps(40):
        for t in grid:
            for z in (mpmath.mpf(t), -mpmath.mpf(t)):
                jets = [function(z), *(mpmath.diff(function, z, k, h=mpmath.mpf(10) ** -10) for k in (1, 2, 3))]
                largest = [max(a, float(abs(b))) for a, b in zip(largest, jets, strict=True)]
            bounds = [float(b) for b in ACTIVATIONS[name].bounds(torch.tensor([t], dtype=torch.float64))]
            for k in range(4):
                # differences of step 1e-10 in 40 digits carry an error of about 1e-10
                assert largest[k] <= bounds[k] + 1e-9, f"|{name}^({k})| reaches {largest[k]} on [-{t}, {t}], bound {bounds[k]}"
            nearest = [min(n, b / a if a > 1e-9 else 1 + b) for n, a, b in zip(nearest, largest, bounds, strict=True)]
            # looser bounds would be as true, and certificates worthless
            assert t < 30 or all(b <= 1.031 * a or b <= 1e-9 for a, b in zip(largest, bounds, strict=True)), (bounds, largest)
    assert max(nearest) <= 1.009, nearest


@every_activation
def test_bounds_hold_for_the_reference_jets(name: str) -> None:
    z = points("float64").abs()
    z = torch.cat([z, -z])
    for k, (jet, bound) in enumerate(zip(exact_jets(name, z), ACTIVATIONS[name].bounds(z.abs()), strict=False)):
        limits = np.broadcast_to(np.asarray(bound), (len(z),)).tolist()
        for value, ball, limit in zip(z.tolist(), jet, limits, strict=True):
            assert abs(ball) <= limit * (1 + 2.0**-50), f"{name}^({k}) at {value!r}: {ball} above {limit!r}"


def test_the_jump_of_relu_has_no_bound() -> None:
    t = torch.tensor([1.0, 2.0])
    value, slope, change, _ = ACTIVATIONS["relu"].bounds(t)
    assert torch.equal(torch.as_tensor(value), t)
    assert slope == 1
    assert change == float("inf")


@given(name=st.sampled_from(NAMES), values=st.lists(st.floats(-LARGEST, LARGEST), min_size=1, max_size=8), single=st.booleans())
def test_jets_of_any_numbers(name: str, values: list[float], single: bool) -> None:
    dtype = "float32" if single else "float64"
    z = torch.tensor(values, dtype=DTYPES[dtype])
    for k, (computed, truth) in enumerate(zip(ACTIVATIONS[name].jets(z.clone(), 2), exact_jets(name, z), strict=True)):
        found = ratios(computed, truth, dtype)
        assert bool((found <= ERROR / 2).all()), f"{name}^({k}) in {dtype} at {z.tolist()}: {found} u"


@pytest.mark.slow
@both_dtypes
@every_activation
def test_jets_on_a_fine_grid(name: str, dtype: str) -> None:
    rng = np.random.default_rng(7)
    z = torch.from_numpy(np.concatenate([rng.uniform(-LARGEST, LARGEST, 10_000), 3 * rng.standard_normal(20_000)])).to(
        DTYPES[dtype]
    )
    for k, (computed, truth) in enumerate(zip(ACTIVATIONS[name].jets(z.clone(), 2), exact_jets(name, z), strict=True)):
        found = ratios(computed, truth, dtype)
        worst = int(np.argmax(np.where(np.isnan(found), np.inf, found)))
        assert found[worst] <= ERROR / 2, f"{name}^({k}) in {dtype} at z = {z[worst].item()!r}: {found[worst]:.2f} u"


@pytest.mark.parametrize(("name", "hint"), [("tahn", "tanh"), ("ERF", "erf"), ("sofplus", "softplus")])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(nntk_accelerated.UnknownActivationError, match=f"did you mean '{hint}'"):
        activation(name)
