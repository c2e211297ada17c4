"""ShallowNet is drawn from the laws that it is told, which have the moments and bounds of the reference's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import nntk_reference
from nntk_accelerated import LAWS, InitialLaw, InputError, OutputLaw, ShallowNet, register_law

COUNT = 100_000
DEVIATIONS = 6.0
"""Each statistic lies within six of its standard deviations; the seed is fixed."""


def drawn(law: Any, width: int = COUNT, dim: int = 1, **options: Any) -> ShallowNet:
    return ShallowNet(width, dim, beta=0.75, law=law, generator=torch.Generator().manual_seed(3), **options)


def mean_is(values: torch.Tensor, expected: float, variance: float) -> bool:
    return abs(float(values.mean()) - expected) <= DEVIATIONS * math.sqrt(variance / len(values))


@pytest.mark.parametrize("name", LAWS)
def test_output_weights_follow_their_law(name: str) -> None:
    c, twin = drawn(name).c.detach(), nntk_reference.LAWS[name]
    second, fourth = float(twin.second_moment), float(twin.fourth_moment)
    if twin.symmetric:
        assert mean_is(c, 0.0, second)
    assert mean_is(c**2, second, fourth - second**2)
    assert float(c.abs().max()) <= LAWS[name].bound
    assert abs(float((c**2).var()) - (fourth - second**2)) <= 0.1 * fourth
    if LAWS[name].bound < math.inf:
        assert float(c.abs().max()) >= 0.999 * LAWS[name].bound


def test_the_named_laws_are_what_they_say() -> None:
    assert set(drawn("rademacher").c.tolist()) == {-1.0, 1.0}
    uniform = drawn("uniform").c.detach().sort().values
    assert float((uniform - torch.linspace(-1, 1, COUNT, dtype=torch.float64)).abs().max()) < DEVIATIONS / math.sqrt(COUNT)


@pytest.mark.parametrize(("w_scale", "eta_scale"), [(1.0, 1.0), (0.25, 3.0)])
def test_weights_are_normal_with_the_scales_of_the_law(w_scale: float, eta_scale: float) -> None:
    net = drawn(InitialLaw(w_scale=w_scale, eta_scale=eta_scale), dim=2)
    for values, scale in ((net.w[:, 0], w_scale), (net.w[:, 1], w_scale), (net.eta, eta_scale)):
        u = values.detach() / scale
        # moments of N(0, 1): variances of u, u², u⁴ are 1, 2, 96
        assert mean_is(u, 0.0, 1.0)
        assert mean_is(u**2, 1.0, 2.0)
        assert mean_is(u**4, 3.0, 96.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_default_draws_are_what_they_were(dtype: torch.dtype) -> None:
    """Bit for bit: c, w, η in this order from one generator, in float64 and then rounded."""
    generator = torch.Generator().manual_seed(3)
    c = torch.rand(50, dtype=torch.float64, generator=generator) * 2 - 1
    w = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    eta = torch.randn(50, dtype=torch.float64, generator=generator)
    expected = torch.cat([c[:, None], w, eta[:, None]], 1).to(dtype)
    for law in ("uniform", InitialLaw(), InitialLaw("uniform", 1.0, 1.0)):
        assert torch.equal(drawn(law, 50, 3, dtype=dtype).theta, expected)
    plain = ShallowNet(50, 3, beta=0.75, dtype=dtype, generator=torch.Generator().manual_seed(3))
    assert torch.equal(plain.theta, expected)


@pytest.mark.parametrize("name", LAWS)
def test_one_seed_one_draw_and_the_global_generator_without_one(name: str) -> None:
    assert torch.equal(drawn(name, 20).theta, drawn(name, 20).theta)
    state = torch.get_rng_state()
    try:
        drawn(name, 20)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(3)
        assert torch.equal(ShallowNet(20, 1, beta=0.75, law=name).theta, drawn(name, 20).theta)
    finally:
        torch.set_rng_state(state)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_draws_do_not_depend_on_the_default_dtype(name: str, kind: torch.dtype) -> None:
    plain, before = drawn(name, 20).theta, torch.get_default_dtype()
    try:
        torch.set_default_dtype(kind)
        assert torch.equal(drawn(name, 20).theta, plain)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.usefixtures("registries")
def test_one_entry_makes_a_new_law_work() -> None:
    def draw(n: int, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
        return torch.rand(n, dtype=torch.float64, generator=generator, device=device) + 1

    entry = register_law(OutputLaw("one to two", draw, 2.0))
    assert LAWS["one to two"] is entry
    c = drawn("one to two", 1000).c.detach()
    assert 1 <= float(c.min()) < float(c.max()) <= 2
    assert torch.equal(c, drawn(InitialLaw("one to two"), 1000).c.detach())
    with pytest.raises(InputError, match="not yet in use"):
        register_law(entry)


def test_the_registry_is_left_as_it_was() -> None:
    assert list(LAWS)[:3] == ["uniform", "rademacher", "normal"]
    assert "one to two" not in LAWS
    assert np.isinf(LAWS["normal"].bound)
