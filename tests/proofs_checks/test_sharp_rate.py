"""The direction that `sharp-rate` projects on does not make its own signal; what is run, and what it is held against."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import Effort, Finding, sharp_rate
from nntk_proofs_checks.ensemble import BETAS, Setup
from nntk_reference import Verdict
from tests.proofs_checks.problems import line


def test_the_direction_of_one_half_comes_from_the_other() -> None:
    """Pure noise has no mean along a direction that it did not choose itself."""
    rng = np.random.default_rng(4)

    class Fake:
        def __init__(self) -> None:
            self.outputs, self.linear = np.zeros((2, 16)), rng.standard_normal((2, 16))

    runs = [[Fake() for _ in range(200)] for _ in range(3)]
    values = np.concatenate(sharp_rate._projected(runs, 0.75, (256, 1024, 4096)))  # type: ignore[arg-type]
    assert abs(values.mean()) < 5 / np.sqrt(600)


class Run:
    def __init__(self, N: int, beta: float) -> None:
        self.outputs, self.linear = np.full((2, 3), N ** (2 * beta - 2)), np.zeros((2, 3))


@pytest.fixture
def setups(monkeypatch: pytest.MonkeyPatch) -> list[Setup]:
    """Those that are run, each of whose networks attains the rate exactly, but for noise of a thousandth."""
    seen: list[Setup] = []

    def made(problem: Any, setup: Setup) -> list[list[Run]]:
        seen.append(setup)
        return [
            [Run(N * (1 + 1e-3 * (k % 3)), setup.beta) for k in range(n)]
            for N, n in zip(setup.widths, setup.seeds, strict=True)
        ]

    monkeypatch.setattr(sharp_rate, "ensemble", made)
    monkeypatch.setitem(sharp_rate._SEEDS, Effort.QUICK, (12,) * len(sharp_rate._WIDTHS[Effort.QUICK]))
    return seen


def test_what_is_run_at_a_beta_and_what_it_has_to_exclude(setups: list[Setup]) -> None:
    widths = sharp_rate._WIDTHS[Effort.QUICK]
    for symmetric in (True, False):
        ((rate,), values) = sharp_rate._at(line(), Effort.QUICK, 0.6, symmetric, 3, 1)
        wanted = Setup(0.6, widths, (36,) * len(widths), sharp_rate._CURVATURE_RATIO, symmetric=symmetric, matched=True)
        assert astuple(setups.pop()) == astuple(wanted)
        assert [len(v) for v in values] == [36] * len(widths)
        assert (rate.relation, rate.claimed, rate.alternatives) == ("≈", pytest.approx(-0.8), (pytest.approx(-0.4),))


def test_every_network_is_counted(setups: list[Setup]) -> None:
    found: Finding = sharp_rate._finding(line(), Effort.QUICK, BETAS, symmetric=True)
    assert found.verdict is Verdict.HOLDS, found.why
    assert found.cases == len(BETAS) * 12 * len(sharp_rate._WIDTHS[Effort.QUICK])
    assert len(setups) == len(BETAS)


def test_each_half_is_projected_on_the_mean_of_the_other() -> None:
    """Over all widths, each run scaled by N^(2-2β) so that all help to find the direction."""
    rng, widths, beta = np.random.default_rng(0), (4, 16), 0.75
    runs = [[Run(N, beta) for _ in range(n)] for N, n in zip(widths, (5, 4), strict=True)]
    for column in runs:
        for run in column:
            run.outputs, run.linear = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    found = sharp_rate._projected(runs, beta, widths)  # type: ignore[arg-type]
    errors = [[run.outputs[-1] - run.linear[-1] for run in column] for column in runs]
    for half in (0, 1):
        others = [e * N**0.5 for N, column in zip(widths, errors, strict=True) for e in column[1 - half :: 2]]
        mean = sum(others) / len(others)
        for values, column in zip(found, errors, strict=True):
            assert values[half::2] == pytest.approx([e @ mean / np.linalg.norm(mean) for e in column[half::2]])


@pytest.mark.control
def test_the_control_leaves_out_the_symmetry_and_nothing_else(setups: list[Setup]) -> None:
    sharp_rate.control(line(), Effort.DEFAULT)
    kept, *rest = setups
    assert kept.symmetric
    broken = [setup for setup in rest if not setup.symmetric]
    assert broken
    assert {astuple(replace(setup, seeds=0, symmetric=True)) for setup in setups} == {astuple(replace(kept, seeds=0))}
    assert (kept.beta, kept.widths) == (0.75, sharp_rate._WIDTHS[Effort.QUICK])


def test_the_check_is_of_the_symmetric_law_at_every_beta(setups: list[Setup]) -> None:
    assert sharp_rate.check(line(), Effort.QUICK).verdict is Verdict.HOLDS
    assert [(setup.beta, setup.symmetric) for setup in setups] == [(beta, True) for beta in BETAS]
    assert not sharp_rate.check(replace(line(), y=0 * line().y), Effort.QUICK).applies
