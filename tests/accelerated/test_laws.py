"""The laws of the output weights: the same names as the reference's, and draws that follow its moments and bounds."""

from __future__ import annotations

import math

import pytest
import torch

import nntk_accelerated
import nntk_reference
from nntk_accelerated import LAWS, InitialLaw, InputError, OutputLaw, ShallowNet, register_law

COUNT = 200_000
DEVIATIONS = 6.0
"""Of each mean, in its own standard deviations. The seed is fixed, so that the outcome is the same in every run."""


def test_registries_name_the_same_laws_with_the_same_bounds() -> None:
    assert list(LAWS) == list(nntk_reference.LAWS)
    for name, entry in LAWS.items():
        assert entry.name == name
        assert entry.bound == nntk_reference.LAWS[name].bound


@pytest.mark.parametrize("name", LAWS)
def test_draws_have_the_moments_of_the_references_law(name: str) -> None:
    law = nntk_reference.LAWS[name]
    net = ShallowNet(COUNT, 1, beta=0.75, law=name, generator=torch.Generator().manual_seed(11))
    c = net.c.detach()
    second, fourth = float(law.second_moment), float(law.fourth_moment)
    error = DEVIATIONS * math.sqrt((fourth - second**2) / COUNT)
    assert abs(float(c.square().mean()) - second) <= error
    if law.symmetric:
        assert abs(float(c.mean())) <= DEVIATIONS * math.sqrt(second / COUNT)
    assert float(c.abs().max()) <= law.bound


def test_a_law_is_registered_once_and_then_drawn_from() -> None:
    entry = OutputLaw("made-up", lambda n, generator, device: torch.full((n,), 0.5, dtype=torch.float64, device=device), 0.5)
    try:
        assert register_law(entry) is entry
        with pytest.raises(InputError, match="made-up"):
            register_law(entry)
        assert bool((ShallowNet(3, 1, beta=0.75, law="made-up").c == 0.5).all())
        assert InitialLaw("made-up").output is entry
    finally:
        del LAWS["made-up"]
    with pytest.raises(InputError, match="law"):
        ShallowNet(3, 1, beta=0.75, law="made-up")
    with pytest.raises(InputError, match="OutputLaw"):
        register_law("uniform")


def test_the_scales_of_the_law_are_those_of_the_weights() -> None:
    def net(law: InitialLaw | str) -> ShallowNet:
        return ShallowNet(50, 2, beta=0.75, law=law, generator=torch.Generator().manual_seed(3))

    plain, scaled = net("uniform"), net(InitialLaw("uniform", w_scale=0.25, eta_scale=4.0))
    assert torch.equal(plain.c, scaled.c)
    assert torch.equal(plain.w * 0.25, scaled.w)
    assert torch.equal(plain.eta * 4, scaled.eta)
    assert nntk_accelerated.InitialLaw() == InitialLaw("uniform", 1.0, 1.0)
