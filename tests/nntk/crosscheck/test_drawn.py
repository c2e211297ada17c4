"""Drawn cases: of the right kind, the same for the same seed, made smaller where they fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

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


def set_up(dtype: str = "float64", seed: int = 0, effort: Effort = Effort.DEFAULT) -> Setting:
    return Setting(subject(stay), PROFILES["exact-newton"], dtype=dtype, effort=effort, seed=seed)


def drawn(
    kind: str = "any",
    setting: Setting | None = None,
    fails: Callable[[Case], bool] = lambda at: False,
    **changes: Any,
) -> tuple[list[Case], Tally]:
    seen: list[Case] = []

    def examine(setting: Setting, at: Case) -> Reading:
        seen.append(at)
        return Reading.failed("it fails", (at, 1)) if fails(at) else Reading.passed("fine")

    one: Check = replace(CHECKS["step-matches"], examine=examine, drawn=kind, **changes)
    tally = Tally()
    draw_cases(one, setting or set_up(), tally)
    return seen, tally


@pytest.mark.parametrize("dtype", EPS)
def test_drawn_cases_are_short_in_print_and_of_their_kind(dtype: str) -> None:
    seen, tally = drawn("definite", set_up(dtype))
    assert len(seen) == tally.cases == tally.drawn == 40
    for at in seen:
        assert (at.kind, at.source) == ("definite", "drawn")
        assert at.start.block_eigenvalues.min() > 0
        assert np.array_equal(64 * at.theta, np.round(64 * at.theta))
        assert at.start.newton.limit(dtype) <= EPS[dtype] ** 0.5
    kinds = {at.kind for at in drawn("any", set_up(dtype))[0]}
    # Of what float32 can judge, hardly any is indefinite.
    assert kinds == {"definite", "indefinite"} or (dtype == "float32" and kinds == {"definite"})


@pytest.mark.parametrize(
    ("effort", "share", "count"), [("QUICK", 1, 5), ("DEFAULT", 1, 40), ("DEFAULT", 0.1, 4), ("FULL", 0.01, 3)]
)
def test_a_check_gets_its_share_of_the_efforts_cases(effort: str, share: float, count: int) -> None:
    assert drawn(setting=set_up(effort=Effort[effort]), share=share)[1].cases == count


def test_what_is_drawn_depends_on_the_seed_the_check_and_nothing_else() -> None:
    """Not on what was drawn before, nor on the global generators, which stay as they are."""
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr, index] # noqa: NPY002
    first, again, other = ([str(at) for at in drawn(setting=set_up(seed=seed))[0]] for seed in (1, 1, 2))
    assert first == again != other
    assert [str(at) for at in drawn(setting=set_up(seed=1), id="another")[0]] != first
    assert [str(at) for at in drawn(setting=set_up(seed=1), share=0.25)[0]] == first[:10]
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002


def test_shapes_are_few_unless_the_effort_is_full() -> None:
    def shapes(effort: Effort) -> set[tuple[int, ...]]:
        return {(*at.theta.shape, len(at.objective.y)) for at in drawn(setting=set_up(effort=effort))[0]}

    assert len(shapes(Effort.DEFAULT)) <= 6
    assert len(shapes(Effort.FULL)) > 30


def test_a_failing_case_is_made_smaller() -> None:
    _, tally = drawn(fails=lambda at: len(at.objective.y) >= 3)
    assert 1 < tally.failures < tally.cases == 40  # what is only shown is not counted
    assert tally.smallest is not None
    assert tally.smallest.failing is not None
    at, _ = tally.smallest.failing
    assert len(at.objective.y) == 3
    assert at.theta.shape == (1, 3)
    numbers = np.concatenate([at.theta.ravel(), at.objective.X.ravel(), at.objective.y])
    assert np.array_equal(4 * numbers, np.round(4 * numbers))


@pytest.mark.parametrize("shrinks", [0, 3])
def test_the_search_for_a_smaller_case_ends(shrinks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHRINKS", dict.fromkeys(Effort, shrinks))
    assert len(drawn(fails=lambda at: True)[0]) == 40 + shrinks


def test_an_error_of_the_optimizer_ends_the_drawing() -> None:
    def fails(at: Case) -> bool:
        raise SubjectError("no such thing")

    with pytest.raises(SubjectError, match="no such thing"):
        drawn(fails=fails)


def test_an_activation_registered_later_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (nntk_reference.ACTIVATIONS, nntk_accelerated.ACTIVATIONS):
        monkeypatch.setitem(registry, "another", replace(registry["tanh"], name="another"))
    assert "another" in {at.objective.activation for at in drawn()[0]}


# --- of what -------------------------------------------------------------------------------------------------------------


def objectives(count: int = 400) -> list[tuple[Objective, Array]]:
    rng, setting = np.random.default_rng(0), set_up(effort=Effort.FULL)
    return [module._objective(rng, setting) for _ in range(count)]


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
    """Each in a ninth of the cases: in more than 1 % of them, and less than a third."""
    seen = [(of, theta) for of, theta in objectives() if len(theta) > 1 and len(of.y) > 1]
    shares = {
        "neuron repeated": [np.array_equal(theta[0], theta[-1]) for _, theta in seen],
        "neuron dead": [bool(theta[-1, 0] == 0 and theta[-1, 1:].any()) for _, theta in seen],
        "point repeated": [np.array_equal(of.X[0], of.X[-1]) for of, _ in seen],
        "with another target": [np.array_equal(of.X[0], of.X[-1]) and bool(of.y[0] != of.y[-1]) for of, _ in seen],
    }
    assert {name: 0.01 < sum(share) / len(seen) < 1 / 3 for name, share in shares.items()} == dict.fromkeys(shares, True)


# --- which of them are judged --------------------------------------------------------------------------------------------


def is_drawn(of: Objective, theta: Array, kind: str = "any", dtype: str = "float64") -> bool:
    return module._judged(of, theta, set_up(dtype), replace(CHECKS["step-matches"], drawn=kind)) is not None


def crossing(value: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0."""
    assert value(low) < 0 < value(high)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if value(middle) > 0 else (middle, high)
    return (low + high) / 2


THETA = np.array([[0.5, 1.0, -0.25], [-0.75, 0.5, 0.25]])
PLAIN = Objective(np.array([[0.5], [-1.0], [0.75]]), np.array([1.0, -0.5, 0.25]), 0.75, "tanh", 2.0)


def test_a_gradient_that_is_lost_in_its_own_terms_is_not_drawn() -> None:
    """At one point, r a thousandth of the terms that it is a sum of, and a little more or less."""
    one = replace(PLAIN, X=PLAIN.X[:1], y=np.zeros(1))
    f = float(one.at(THETA).residual[0])

    def at(share: float) -> Objective:
        return replace(one, y=np.array([f * (1 - share)]))

    def excess(share: float) -> float:
        point = at(share).at(THETA)
        return float(np.linalg.norm(point.gradient)) / point.gradient_size - 1e-3

    edge = crossing(excess, 1e-6, 1.0)
    assert is_drawn(at(edge * 1.001), THETA)
    assert not is_drawn(at(edge * 0.999), THETA)
    silent = THETA * [0.0, 1.0, 1.0]
    assert not is_drawn(replace(one, y=np.zeros(1)), silent)  # there is no gradient, and nothing to lose


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_block_that_is_nearly_singular_is_not_drawn(sign: int) -> None:
    """Its smallest eigenvalue a thousandth of the matrix' size, and a little more or less; below 0 it is not definite."""
    lowest = -float(np.linalg.eigvalsh(PLAIN.at(THETA).residual_blocks).min())

    def excess(share: float) -> float:
        point = replace(PLAIN, damping=lowest * (1 + sign * share)).at(THETA)
        return float(np.abs(point.block_eigenvalues).min()) - 1e-3 * point.matrix_size

    edge = crossing(excess, 1e-6, 0.05)
    for share, judged in ((edge * 1.001, True), (edge * 0.999, False)):
        of = replace(PLAIN, damping=lowest * (1 + sign * share))
        assert is_drawn(of, THETA) == judged
        assert is_drawn(of, THETA, "definite") == (judged and sign > 0)


CURVED = Objective(np.array([[-1.0], [1.0], [0.5]]), np.array([1.0, -1.75, -0.5]), 0.75, "tanh", 1.0)
"""With S ≻ 0 at the parameters below: there is less in the way of a Newton step than of a Gauss-Newton step."""


@pytest.mark.parametrize(
    ("of", "theta", "first"), [(PLAIN, THETA, "newton"), (CURVED, np.array([[-1.5, -0.25, -0.5]]), "gauss-newton")]
)
def test_what_the_dtype_cannot_judge_to_half_its_digits_is_not_drawn(of: Objective, theta: Array, first: str) -> None:
    """Either step: a larger damping helps both, and first is the one that needs more of it."""
    half = math.sqrt(EPS["float32"])

    def room(damping: float) -> float:
        return half - replace(of, damping=damping).at(theta).target(first).limit("float32")

    edge = crossing(room, 0.5, 5.0)
    below, above = (replace(of, damping=edge * share) for share in (0.99, 1.01))
    other = "gauss-newton" if first == "newton" else "newton"
    assert below.at(theta).target(other).limit("float32") < 0.9 * half
    assert is_drawn(above, theta, dtype="float32")
    assert not is_drawn(below, theta, dtype="float32")
    assert is_drawn(below, theta)
