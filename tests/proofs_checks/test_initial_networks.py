"""Networks before training: drawn one by one, or with copies of every neuron."""

from __future__ import annotations

import numpy as np

from nntk_proofs_checks.initial_networks import starts
from tests.proofs_checks.problems import line


def test_copies_halve_the_independent_neurons() -> None:
    doubled = starts(line(6), 2, copies=2)[0][0].kernel
    single = starts(line(6), 2)[0][0].kernel
    assert doubled.shape == single.shape
    assert not np.array_equal(doubled, single)
