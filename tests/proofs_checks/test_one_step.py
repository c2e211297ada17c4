"""`one-step` is held to its bound from both sides, and its control breaks what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from flint import arb

from nntk_proofs_checks import Effort, Problem, one_step
from nntk_proofs_checks.certify import at_rising_precision
from nntk_reference import Verdict, limit_ntk
from tests.proofs_checks.problems import line, plane

Step = Callable[[Any, arb, Any], Any]


def _planted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Step], Step]) -> None:
    monkeypatch.setattr(one_step, "_one_step", change(one_step._one_step))


def test_the_last_damping_leaves_a_millionth_of_a_millionth() -> None:
    finding = one_step._limit_check(line(), Effort.QUICK)
    assert finding.verdict is Verdict.HOLDS
    assert finding.limit == pytest.approx(1e-12, rel=2e-6)
    assert finding.cases == 3 * 4
    (panel,) = finding.panels
    assert panel.series[0].x == (1e-1, 1e-3, 1e-6, 1e-12)
    assert panel.series[1].y == pytest.approx(panel.series[2].y, rel=2.0**-20)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(2**-22, Verdict.HOLDS), (-(2**-22), Verdict.HOLDS), (2**-19, Verdict.REFUTED), (-(2**-19), Verdict.REFUTED)],
)
def test_a_damping_that_is_off_by_more_than_the_room_is_noticed(
    change: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is attained, so γ is resolved to 2⁻²⁰, from above and from below."""
    _planted(monkeypatch, lambda original: lambda kernel, gamma, y: original(kernel, gamma * (1 + change), y))
    assert one_step._limit_check(line(), Effort.QUICK).verdict is verdict


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_rate_that_is_off_at_one_damping_only_is_noticed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    original = one_step._bound
    for j in one_step._EXPONENTS:

        def bound(gamma: arb, smallest: arb, j: int = j) -> arb:
            near = abs(gamma / smallest * arb(10) ** j - 1) < 1e-3
            return original(gamma, smallest) * (factor if near else 1)

        monkeypatch.setattr(one_step, "_bound", bound)
        assert one_step._limit_check(line(3), Effort.QUICK).verdict is Verdict.REFUTED, j


@pytest.mark.control
@pytest.mark.parametrize("data", [line(), line(2), plane()])
def test_the_control_breaks_the_targets_and_nothing_else(data: Problem) -> None:
    for apart, verdict in ((0.0, Verdict.HOLDS), (1e-3, Verdict.REFUTED)):
        assert at_rising_precision(partial(one_step._one_input_twice, data, apart)).verdict is verdict
    control = one_step._limit_control(data, Effort.QUICK)
    assert control.verdict is Verdict.REFUTED
    apart = float(np.abs(data.y).max())
    y = np.append(data.y, data.y[0] + apart)
    assert control.number >= apart / 2**0.5 / float(np.linalg.norm(y)) * 0.9  # at the first precision that decides
    assert control.limit == pytest.approx(1e-6 * (1 + 1 / len(data.X)), rel=1e-4)


@pytest.mark.control
def test_the_kernel_of_one_input_twice_is_that_of_the_points_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(one_step, "_left_over", lambda kernel, y, gamma: (seen.append(kernel), arb(0))[1])
    one_step._one_input_twice(plane(), 1.0, 128)
    X = np.concatenate([plane().X, plane().X[:1]])
    found = np.array([[float(v.mid()) for v in row] for row in seen[0]])
    np.testing.assert_allclose(found, limit_ntk(X), rtol=1e-12)


@pytest.mark.control
@pytest.mark.parametrize("what", ["0", "noise", "the data", "half the step"])
def test_the_control_is_not_refuted_for_another_reason(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).standard_normal(9)
    changes: dict[str, Callable[[Step], Step]] = {
        "0": lambda original: lambda kernel, gamma, y: 0 * y,
        "noise": lambda original: lambda kernel, gamma, y: np.array([arb(v) for v in noise]),
        "the data": lambda original: lambda kernel, gamma, y: y,
        "half the step": lambda original: lambda kernel, gamma, y: original(kernel, gamma, y) / 2,
    }
    _planted(monkeypatch, changes[what])
    control = one_step._limit_control(line(), Effort.QUICK)
    assert control.verdict is (Verdict.HOLDS if what == "the data" else Verdict.UNDECIDED)
    assert what == "the data" or "not for the reason stated" in control.why
