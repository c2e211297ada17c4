"""Which widths are affordable, and states a part of the neurons at a time."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import wide
from nntk_proofs_checks.ensemble import draw_network
from nntk_reference import FLOAT64, formulas
from tests.proofs_checks.problems import line, plane


def test_widths_are_kept_within_the_work() -> None:
    data = line()
    assert wide.affordable((10, 100, 1000), data, 10 * 3 * 64) == (10,)
    assert wide.affordable((10, 100, 1000), data, 100 * 3 * 64) == (10, 100)
    assert wide.affordable((10, 100), data, 1) == (10,)


@pytest.mark.parametrize("chunk", [1, 7, 20, 100])
def test_states_are_those_of_the_whole_network(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    data = plane()
    net = draw_network(data, 0.75, 20, 0)
    monkeypatch.setattr(wide, "_CHUNK", chunk)
    parts = list(wide.states(net, data.X))
    assert [s.start for s, _ in parts] == list(range(0, 20, chunk))
    whole = formulas.state(FLOAT64, net, data.X)
    np.testing.assert_allclose(sum(formulas.outputs(s) for _, s in parts), formulas.outputs(whole), rtol=1e-13)
    np.testing.assert_array_equal(np.concatenate([s.c for _, s in parts]), whole.c)
