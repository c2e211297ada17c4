"""The direction that `sharp-rate` projects on does not make its own signal."""

from __future__ import annotations

import numpy as np

from nntk_proofs_checks import sharp_rate


def test_the_direction_of_one_half_comes_from_the_other() -> None:
    """Pure noise has no mean along a direction that it did not choose itself."""
    rng = np.random.default_rng(4)

    class Fake:
        def __init__(self) -> None:
            self.outputs, self.linear = np.zeros((2, 16)), rng.standard_normal((2, 16))

    runs = [[Fake() for _ in range(200)] for _ in range(3)]
    values = np.concatenate(sharp_rate._projected(runs, 0.75, (256, 1024, 4096)))  # type: ignore[arg-type]
    assert abs(values.mean()) < 5 / np.sqrt(600)
