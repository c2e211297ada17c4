"""Networks before training: drawn one by one, with copies of every neuron, or off centre."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from nntk_accelerated import ntk, outputs
from nntk_proofs_checks.ensemble import BETAS, draw_network, to_torch
from nntk_proofs_checks.initial_networks import WIDTHS, starts
from nntk_reference import Network
from tests.proofs_checks.problems import line


def test_copies_halve_the_independent_neurons() -> None:
    doubled = starts(line(6), 2, copies=2)[0][0].kernel
    single = starts(line(6), 2)[0][0].kernel
    assert doubled.shape == single.shape
    assert not np.array_equal(doubled, single)


def test_there_are_more_of_the_narrow_ones_and_as_many_as_asked_for_of_the_wide_ones() -> None:
    assert [len(column) for column in starts(line(2), 3)] == [12, 6, 3, 3]
    assert {b / a for a, b in pairwise(WIDTHS)} == {4}


def test_a_shift_moves_every_c_and_every_bias() -> None:
    data, X = line(4), torch.tensor(line(4).X)
    moved = starts(data, 3, shift=(0.5, -0.25))[0]
    for index, start in enumerate(moved[:3]):
        assert start.beta == BETAS[index]
        net = draw_network(data, start.beta, WIDTHS[0], index)
        shifted = to_torch(Network(net.c + 0.5, net.w, net.eta - 0.25, net.beta, net.activation, negative_control=True))
        assert np.array_equal(start.outputs, outputs(shifted, X).numpy())
        assert np.array_equal(start.kernel, ntk(shifted, X, normalized=True).numpy())
