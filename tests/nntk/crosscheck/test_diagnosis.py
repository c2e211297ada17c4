"""The catalogue of explanations, and which of them a group of steps gets."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nntk.crosscheck import EXPLANATIONS, Diagnosis
from nntk.crosscheck.case import Case, Point
from nntk.crosscheck.cases import case
from nntk.crosscheck.diagnosis import Observation, explain
from nntk.crosscheck.diagnosis.explanation import REGISTERED, explanation
from nntk.crosscheck.diagnosis.registry import MODULES, ORDER
from nntk_reference.arithmetic import Array

BEFORE = [
    *[("newton", other) for other in ("saddle-free", "clipped-eigenvalues", "stale", "several-steps", "cg")],
    ("gauss-newton", "cg-gauss-newton"),
    ("diagonal", "absolute-diagonal"),
    ("gradient", "cg"),
    ("levenberg-marquardt", "scaled-damping"),
    *[(f"{matrix}-damping", f"scaled-{matrix}") for matrix in ("newton", "gauss-newton", "diagonal", "per-tensor")],
    *[("newton-damping", f"{matrix}-damping") for matrix in ("saddle-free", "clipped-eigenvalues")],
    ("newton-damping-rate", "gauss-newton-damping-rate"),
]
"""Which coincide on some systems, and which of them is to be reported there: the plainer."""


def test_the_explanations_stand_in_order_the_simplest_first() -> None:
    assert [entry.id for entry in EXPLANATIONS] == sorted(ORDER, key=lambda id: REGISTERED[id].fitted)
    place = {entry.id: k for k, entry in enumerate(EXPLANATIONS)}
    assert all(place[one] < place[other] for one, other in BEFORE)


def test_every_explanation_that_is_defined_is_ordered_once() -> None:
    assert set(REGISTERED) == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


def test_no_two_explanations_share_an_id() -> None:
    ids = [e.id for e in EXPLANATIONS]
    assert len(ids) == len(set(ids))
    assert [e.fitted for e in EXPLANATIONS] == sorted(e.fitted for e in EXPLANATIONS)
    with pytest.raises(ValueError, match="two explanations are called newton"):
        explanation("newton", "another")(EXPLANATIONS[0].predict)


def test_every_module_of_explanations_is_loaded_by_the_registry() -> None:
    folder = Path(inspect.getfile(explanation)).parent
    defining = set()
    for file in folder.glob("*.py"):
        called = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call))
        if any(ast.unparse(node.func) == "explanation" for node in called):
            defining.add(file.stem)
    assert defining == {module.__name__.rpartition(".")[2] for module in MODULES}


# --- which one is chosen -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case("indefinite", 5, 2, 7, "tanh", seed=seed) for seed in range(3)]


def told(cases: list[Case], step: Callable[[Point], Array]) -> Diagnosis:
    return explain("indefinite", [Observation(at.start, step(at.start)) for at in cases])


def across(point: Point, relative: float, seed: int = 0) -> Array:
    """A change at right angles to Newton's step and to the gradient, of a length relative to the step's."""
    change = np.random.default_rng(seed).standard_normal(point.theta.size)
    for direction in np.linalg.qr(np.column_stack([point.newton.step, point.gradient]))[0].T:
        change -= (change @ direction) * direction
    return np.asarray(change * relative * np.linalg.norm(point.newton.step) / np.linalg.norm(change))


def damped_newton(point: Point, factor: float) -> Array:
    A = point.hessian + factor * point.objective.damping * np.eye(point.theta.size)
    return np.asarray(np.linalg.solve(A, -point.gradient))


@pytest.mark.parametrize(
    ("step", "id", "words"),
    [
        (lambda p: p.newton.step, "newton", "exact Newton, to "),
        (lambda p: p.gauss_newton_target.step, "gauss-newton", "Gauss–Newton (no residual term S), to "),
        (lambda p: -p.gradient, "gradient", "a gradient step, to "),
        (lambda p: np.zeros(p.theta.size), "zero", "a zero step, to 0.0e+00"),
        (lambda p: -0.25 * p.gradient, "scaled-gradient", "a gradient step times 0.25, to "),
        (lambda p: 0.5 * p.newton.step, "scaled-newton", "the exact Newton step times 0.5 (step size"),
        (lambda p: damped_newton(p, 1.5), "newton-damping", "Newton at 1.5 times the damping asked for, to "),
        (
            lambda p: damped_newton(p, 1 / 7),
            "newton-damping",
            "times the damping asked for (the loss is summed over the points",
        ),
        (lambda p: p.newton.step - 0.01 * p.theta.reshape(-1), "weight-decay", "Newton with weight decay 0.01, decoupled, to "),
    ],
)
def test_a_step_of_the_catalogue_is_explained_to_rounding(
    cases: list[Case], step: Callable[[Point], Array], id: str, words: str
) -> None:
    found = told(cases, step)
    assert (found.id, found.explained, found.steps) == (id, True, 3)
    assert words in found.words
    assert found.error < 1e-9


def floor(point: Point) -> float:
    """Ten times the exact steps' own limits."""
    return 10 * max(point.newton.limit("float64"), point.gauss_newton_target.limit("float64"))


@pytest.mark.parametrize(("share", "explained"), [(0.9, True), (1.1, False)])
def test_both_sides_of_what_counts_as_rounding(cases: list[Case], share: float, explained: bool) -> None:
    found = told(cases, lambda point: point.newton.step + across(point, share * floor(point)))
    assert found.explained == explained
    assert found.id == ("newton" if explained else "inexact")
    assert found.error == pytest.approx(share * max(floor(at.start) for at in cases), rel=1e-3)


@pytest.mark.parametrize(("noise", "id"), [(0.5, "inexact"), (0.2, "scaled-newton")])
def test_a_fitted_number_has_to_explain_three_times_better(cases: list[Case], noise: float, id: str) -> None:
    """(1 + 1e-3) times Newton's step and noise of so much of that: √(1 + noise²)/noise times better with a step size."""
    found = told(cases, lambda point: (1 + 1e-3) * point.newton.step + across(point, noise * 1e-3))
    assert found.id == id
    assert not found.explained


def test_steps_of_several_kinds_are_counted(cases: list[Case]) -> None:
    steps = [cases[0].start.newton.step, cases[1].start.newton.step, -cases[2].start.gradient]
    seen = [Observation(at.start, step) for at, step in zip(cases, steps, strict=True)]
    found = explain("indefinite", seen)
    assert (found.id, found.explained) == ("mixed", True)
    assert found.words == "2 of 3 steps: exact Newton; 1 of 3 steps: a gradient step"


def test_a_step_of_no_kind_is_unknown_and_the_nearest_is_named(cases: list[Case]) -> None:
    found = told(cases, lambda point: across(point, 1.0))
    assert (found.id, found.explained) == ("unknown", False)
    assert "no step of the catalogue (cosine to Newton's" in found.words
    assert "nearest in the catalogue: " in found.words


def test_a_step_in_float32_is_told_from_noise(cases: list[Case]) -> None:
    def single(point: Point) -> Array:
        A, g = point.newton.matrix.astype(np.float32), point.gradient.astype(np.float32)
        return np.linalg.solve(A, -g).astype(np.float64)

    definite = [case("definite", 5, 2, 7, "tanh", seed=seed) for seed in range(3)]
    assert told(definite, single).id == "float32"
    assert told(cases, lambda point: point.newton.step + across(point, 1e-3)).id == "inexact"


def test_what_was_before_explains_a_stale_step(cases: list[Case]) -> None:
    first = cases[0].start
    run = [Observation(first, first.newton.step)]
    theta = first.theta + 0.1 * first.newton.step.reshape(first.theta.shape)
    here = first.objective.at(theta)
    step = np.linalg.solve(first.newton.matrix, -here.gradient)
    found = explain("consecutive", [Observation(here, step, tuple(run))])
    assert found.id == "stale"
    assert "with the curvature of 1 step before" in found.words
