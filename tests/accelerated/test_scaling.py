"""The scaling formula (E5), in the one place where it is written."""

from __future__ import annotations

import math

import pytest

import nntk_reference
from nntk_accelerated import InputError, RangeError, ShallowNet, regularization
from nntk_accelerated.scaling import damping_of
from tests.tolerances import EPS


@pytest.mark.parametrize("beta", [0.5, 0.6, 0.75, 5 / 6, 1.0])
@pytest.mark.parametrize("width", [1, 7, 4096, 10**9])
@pytest.mark.parametrize("gamma", [1e-300, 0.03, 1.0, 1e10])
def test_it_is_the_references(gamma: float, width: int, beta: float) -> None:
    found = regularization(gamma, width, beta)
    # the exponent 1 - 2β is rounded, by at most eps/2, and the power by a few units in the last place
    allowed = EPS["float64"] * (4 + math.log(width))
    expected = float(nntk_reference.regularization(gamma, width, beta)) if 0.5 < beta < 1 else gamma * width ** (1 - 2 * beta)
    assert abs(found - expected) <= allowed * expected


def test_a_net_is_damped_by_it_or_by_gamma_itself() -> None:
    net = ShallowNet(16, 1, beta=0.75)
    assert damping_of(net, 2.0) == regularization(2.0, 16, 0.75) == 0.5
    assert damping_of(net, 2.0, "fixed") == 2.0
    with pytest.raises(InputError, match="scaling"):
        damping_of(net, 2.0, "none")
    with pytest.raises(RangeError, match="below the normal numbers"):
        damping_of(net, 1e-308)
