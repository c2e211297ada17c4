"""Cases drawn by hypothesis: of the right kind, the same for the same seed, shrunk where they fail."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import nntk_accelerated
import nntk_reference
from nntk.crosscheck import CHECKS, PROFILES
from nntk.crosscheck import drawn as module
from nntk.crosscheck.case import EPS, Case, Objective
from nntk.crosscheck.cases import activations
from nntk.crosscheck.checks.check import Check
from nntk.crosscheck.drawn import draw_cases
from nntk.crosscheck.result import Tally
from nntk.crosscheck.setting import Reading, Setting
from nntk.crosscheck.subject import SubjectError, subject
from nntk_proofs_checks import Effort
from nntk_reference import regularization
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


# --- how many ------------------------------------------------------------------------------------------------------------


def test_no_more_cases_are_drawn_once_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later at each look: one look at the start, and one before each case."""
    ticks = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    monkeypatch.setattr(module, "_SOFT", dict.fromkeys(Effort, 10.0))
    assert drawn()[1].cases == 10


@pytest.mark.parametrize("shrinks", [0, 3])
def test_shrinking_ends_after_so_many_cases(shrinks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the cases that are drawn fails, and those after it that are as large: there is much to shrink."""
    seen = itertools.count(1)
    large: list[float] = []

    def fails(at: Case) -> bool:
        size = float(np.abs(at.theta).sum())
        if next(seen) == 40:
            large.append(size / 4)
        return bool(large) and size > large[0]

    monkeypatch.setattr(module, "_SHRINKS", shrinks)
    assert drawn(fails=fails)[1].cases == 40 + shrinks


# --- of what -------------------------------------------------------------------------------------------------------------


@functools.cache
def objectives(count: int = 400) -> list[tuple[Objective, Array]]:
    seen = []

    @hypothesis.seed(0)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(module._objectives("float64"))
    def look(drawn: tuple[Objective, Array]) -> None:
        seen.append(drawn)

    look()
    return seen


def test_drawn_problems_are_of_every_small_size_and_of_every_kind() -> None:
    seen = objectives()
    assert {theta.shape[0] for _, theta in seen} == {1, 2, 3, 4}
    assert {of.X.shape[1] for of, _ in seen} == {1, 2, 3}
    assert {len(of.y) for of, _ in seen} == {1, 2, 3, 4, 5}
    assert {of.beta for of, _ in seen} == {0.6, 0.75, 0.9}
    assert {of.activation for of, _ in seen} == set(activations())
    # γ from 1e-2 to 1e2, four to a power of ten
    gammas = [4 * np.log10(of.damping / float(regularization(1.0, len(theta), of.beta))) for of, theta in seen]
    assert np.allclose(gammas, np.round(gammas), atol=1e-6)
    assert (round(min(gammas)), round(max(gammas))) == (-8, 8)
    numbers = np.concatenate([np.concatenate([theta.ravel(), of.X.ravel(), of.y]) for of, theta in seen])
    assert (numbers.min(), numbers.max()) == (-2, 2)
    assert np.array_equal(64 * numbers, np.round(64 * numbers))
    assert all(theta.shape[1] == of.X.shape[1] + 2 and len(of.X) == len(of.y) for of, theta in seen)


def test_neurons_and_points_are_sometimes_repeated_and_neurons_sometimes_dead() -> None:
    """Each in a ninth of the cases, and hardly ever by chance: in more than 1 % of them, and less than a third."""
    seen = [(of, theta) for of, theta in objectives() if len(theta) > 1 and len(of.y) > 1]
    alive = [(of, theta) for of, theta in seen if np.ptp(theta) > 0]  # hypothesis likes to draw one number for all
    shares = {
        "neuron repeated": [np.array_equal(theta[0], theta[-1]) for _, theta in alive],
        "neuron dead": [bool(theta[-1, 0] == 0 and theta[-1, 1:].any()) for _, theta in alive],
        "point repeated": [np.array_equal(of.X[0], of.X[-1]) for of, _ in alive],
        "with another target": [np.array_equal(of.X[0], of.X[-1]) and bool(of.y[0] != of.y[-1]) for of, _ in alive],
    }
    assert {name: 0.01 < sum(share) / len(alive) < 1 / 3 for name, share in shares.items()} == dict.fromkeys(shares, True)


# --- which of them are judged --------------------------------------------------------------------------------------------


def is_drawn(monkeypatch: pytest.MonkeyPatch, of: Objective, theta: Array, kind: str = "any", dtype: str = "float64") -> bool:
    monkeypatch.setattr(module, "_objectives", lambda dtype: st.just((of, theta)))
    return bool(drawn(kind, dtype)[1].cases)


def crossing(value: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0."""
    assert value(low) < 0 < value(high)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if value(middle) > 0 else (middle, high)
    return (low + high) / 2


THETA = np.array([[0.5, 1.0, -0.25], [-0.75, 0.5, 0.25]])
PLAIN = Objective(np.array([[0.5], [-1.0], [0.75]]), np.array([1.0, -0.5, 0.25]), 0.75, "tanh", 2.0)


def test_a_gradient_that_is_lost_in_its_own_terms_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one point, r a thousandth of the terms that it is a sum of, and a little more or less."""
    one = replace(PLAIN, X=PLAIN.X[:1], y=np.zeros(1))
    f = float(one.at(THETA).residual[0])

    def at(share: float) -> Objective:
        return replace(one, y=np.array([f * (1 - share)]))

    def excess(share: float) -> float:
        point = at(share).at(THETA)
        return float(np.linalg.norm(point.gradient)) / point.gradient_size - 1e-3

    edge = crossing(excess, 1e-6, 1.0)
    assert is_drawn(monkeypatch, at(edge * 1.001), THETA)
    assert not is_drawn(monkeypatch, at(edge * 0.999), THETA)
    silent = THETA * [0.0, 1.0, 1.0]
    assert not is_drawn(monkeypatch, replace(one, y=np.zeros(1)), silent)  # there is no gradient, and nothing to lose


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_block_that_is_nearly_singular_is_not_drawn(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its smallest eigenvalue a thousandth of the matrix' size, and a little more or less; below 0 it is not definite."""
    lowest = -float(np.linalg.eigvalsh(PLAIN.at(THETA).residual_blocks).min())

    def excess(share: float) -> float:
        point = replace(PLAIN, damping=lowest * (1 + sign * share)).at(THETA)
        return float(np.abs(np.linalg.eigvalsh(point.blocks)).min()) - 1e-3 * point.matrix_size

    edge = crossing(excess, 1e-6, 0.05)
    for share, judged in ((edge * 1.001, True), (edge * 0.999, False)):
        of = replace(PLAIN, damping=lowest * (1 + sign * share))
        assert is_drawn(monkeypatch, of, THETA) == judged
        assert is_drawn(monkeypatch, of, THETA, "definite") == (judged and sign > 0)


CURVED = Objective(np.array([[-1.0], [1.0], [0.5]]), np.array([1.0, -1.75, -0.5]), 0.75, "tanh", 1.0)
"""With S ≻ 0 at the parameters below: there is less in the way of a Newton step than of a Gauss-Newton step."""


@pytest.mark.parametrize(
    ("of", "theta", "first"), [(PLAIN, THETA, "newton"), (CURVED, np.array([[-1.5, -0.25, -0.5]]), "gauss-newton")]
)
def test_what_the_dtype_cannot_judge_to_half_its_digits_is_not_drawn(
    of: Objective, theta: Array, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either step: a larger damping helps both, and first is the one that needs more of it."""
    half = math.sqrt(EPS["float32"])

    def room(damping: float) -> float:
        return half - replace(of, damping=damping).at(theta).target(first).limit("float32")

    edge = crossing(room, 0.5, 5.0)
    below, above = (replace(of, damping=edge * share) for share in (0.99, 1.01))
    other = "gauss-newton" if first == "newton" else "newton"
    assert below.at(theta).target(other).limit("float32") < 0.9 * half
    assert is_drawn(monkeypatch, above, theta, dtype="float32")
    assert not is_drawn(monkeypatch, below, theta, dtype="float32")
    assert is_drawn(monkeypatch, below, theta)
