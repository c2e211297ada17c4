"""Cases drawn by hypothesis: of the right kind, the same for the same seed, shrunk where they fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nntk_accelerated
import nntk_reference
from nntk.crosscheck import CHECKS, PROFILES
from nntk.crosscheck import drawn as module
from nntk.crosscheck.case import EPS, Case
from nntk.crosscheck.checks.check import Check
from nntk.crosscheck.drawn import draw_cases
from nntk.crosscheck.result import Tally
from nntk.crosscheck.setting import Reading, Setting
from nntk.crosscheck.subject import SubjectError, subject
from nntk_proofs_checks import Effort
from nntk_reference.arithmetic import Array


def stay(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
    return theta


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOFT", dict.fromkeys(Effort, 60.0))


def drawn(kind: str = "any", dtype: str = "float64", seed: int = 0, fails: Any = lambda at: False) -> tuple[list[Case], Tally]:
    seen: list[Case] = []

    def examine(setting: Setting, at: Case) -> Reading:
        seen.append(at)
        return Reading.failed("it fails", (at, 1)) if fails(at) else Reading.passed("fine")

    one: Check = replace(CHECKS["step-matches"], examine=examine, drawn=kind)
    tally = Tally()
    setting = Setting(subject(stay), PROFILES["exact-newton"], dtype=dtype, effort=Effort.DEFAULT, seed=seed)
    draw_cases(one, setting, tally)
    return seen, tally


@pytest.mark.parametrize("dtype", EPS)
def test_drawn_cases_are_short_in_print_and_of_their_kind(dtype: str) -> None:
    seen, tally = drawn("definite", dtype)
    assert len(seen) == tally.cases == 40
    for at in seen:
        assert at.kind == "definite"
        assert np.linalg.eigvalsh(at.start.blocks).min() > 0
        assert np.array_equal(64 * at.theta, np.round(64 * at.theta))
        assert at.start.newton.limit(dtype) <= EPS[dtype] ** 0.5
    kinds = {at.kind for at in drawn("any", dtype)[0]}
    # Of what float32 can judge, hardly any is indefinite.
    assert kinds == {"definite", "indefinite"} or (dtype == "float32" and kinds == {"definite"})


def test_the_same_seed_draws_the_same_and_leaves_the_global_generator_alone() -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr, index] # noqa: NPY002
    first, again, other = ([str(at) for at in drawn(seed=seed)[0]] for seed in (1, 1, 2))
    assert first == again != other
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002


def test_a_failing_case_is_shrunk() -> None:
    _, tally = drawn(fails=lambda at: len(at.objective.y) >= 3)
    assert tally.failures > 1
    assert tally.smallest is not None
    assert tally.smallest.failing is not None
    at, _ = tally.smallest.failing
    assert len(at.objective.y) == 3
    assert at.theta.shape == (1, 3)


def test_an_error_of_the_optimizer_ends_the_drawing() -> None:
    def fails(at: Case) -> bool:
        raise SubjectError("no such thing")

    with pytest.raises(SubjectError, match="no such thing"):
        drawn(fails=fails)


def test_an_activation_registered_later_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (nntk_reference.ACTIVATIONS, nntk_accelerated.ACTIVATIONS):
        monkeypatch.setitem(registry, "another", replace(registry["tanh"], name="another"))
    assert "another" in {at.objective.activation for at in drawn()[0]}
