"""The catalogue of explanations, and which of them a group of steps gets."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nntk.crosscheck import EXPLANATIONS, Diagnosis
from nntk.crosscheck.case import Case, Objective, Point
from nntk.crosscheck.cases import case
from nntk.crosscheck.diagnosis import Observation, diagnose, explain
from nntk.crosscheck.diagnosis.explanation import REGISTERED, explanation, told_apart
from nntk.crosscheck.diagnosis.registry import MODULES, ORDER
from nntk.crosscheck.setting import PROFILES, Setting
from nntk.crosscheck.subject import FunctionProblem, subject
from nntk_reference.arithmetic import Array
from tests.nntk import optimizers

BEFORE = [
    *[("newton", other) for other in ("saddle-free", "clipped-eigenvalues", "stale", "several-steps", "cg")],
    ("gauss-newton", "cg-gauss-newton"),
    ("diagonal", "absolute-diagonal"),
    ("gradient", "cg"),
    *[(one, "quasi-newton") for one in ("gradient", "gradient-over-damping")],
    ("scaled-newton", "nesterov"),
    ("newton", "momentum"),
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
        (lambda p: -0.25 * p.gradient, "scaled-gradient", "a gradient step times 0.25 (step size), to "),
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


def limit(point: Point) -> float:
    """The exact step's own limit."""
    return point.newton.limit("float64")


@pytest.mark.parametrize(("share", "explained"), [(0.9, True), (1.1, False), (9.0, False)])
def test_both_sides_of_what_counts_as_rounding(cases: list[Case], share: float, explained: bool) -> None:
    found = told(cases, lambda point: point.newton.step + across(point, share * limit(point)))
    assert found.explained == explained
    assert found.id == ("newton" if explained else "inexact")
    assert found.error == pytest.approx(share * max(limit(at.start) for at in cases), rel=1e-2)


@pytest.mark.parametrize(("factor", "id"), [(1.0, "inexact"), (20.0, "scaled-newton")])
def test_a_step_size_is_not_named_for_a_gap_that_rounding_could_make(cases: list[Case], factor: float, id: str) -> None:
    """Newton's step times 1 + a few of its limits: exactly so, and yet no step size below ten limits."""
    found = told(cases, lambda point: (1 + factor * 2 * limit(point)) * point.newton.step)
    assert found.id == id


@pytest.mark.parametrize(("noise", "id"), [(0.2, "inexact"), (0.05, "scaled-newton")])
def test_a_fitted_number_has_to_explain_ten_times_better(cases: list[Case], noise: float, id: str) -> None:
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


def test_a_kind_among_others_is_exact_newton_within_its_limit_only(cases: list[Case]) -> None:
    first, second = cases[0].start, cases[1].start
    steps = [first.newton.step + across(first, 3 * limit(first)), -second.gradient]
    found = explain("indefinite", [Observation(at, step) for at, step in zip((first, second), steps, strict=True)])
    assert "exact Newton" not in found.words
    assert not found.explained


def test_a_step_of_no_kind_is_unknown_and_the_nearest_is_named(cases: list[Case]) -> None:
    found = told(cases, lambda point: across(point, 1.0))
    assert (found.id, found.explained) == ("unknown", False)
    assert "no step of the catalogue (cosine to Newton's" in found.words


def test_what_is_far_from_every_entry_is_not_called_one(cases: list[Case]) -> None:
    """A step that is Newton's but for most of itself is no exact Newton step of any accuracy."""
    found = told(cases, lambda point: point.newton.step + across(point, 0.9))
    assert found.id == "unknown"
    assert "exact Newton" not in found.words


@pytest.mark.parametrize(("relative", "named"), [(0.2, True), (0.45, False)])
def test_the_nearest_entry_is_named_where_it_is_near(cases: list[Case], relative: float, named: bool) -> None:
    def step(point: Point) -> Array:
        here = -0.25 * point.gradient
        change = across(point, 1.0)
        return np.asarray(here + change * relative * np.linalg.norm(here) / np.linalg.norm(change))

    found = told(cases, step)
    assert found.id == "unknown"
    assert ("nearest in the catalogue: " in found.words) == named


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


def test_a_step_that_rounding_can_make_anything_is_called_nothing_but_exact() -> None:
    """In float32, so close to singular that the limit says little."""
    at = case("nearly singular", 4, 2, 5, "tanh", seed=0, dtype="float32").start
    assert at.newton.limit("float32") > 0.01
    for step, id in ((at.newton.step, "newton"), (at.gauss_newton_target.step, "gauss-newton"), (-at.gradient, "unknown")):
        found = explain("indefinite", [Observation(at, step, dtype="float32")])
        assert found.id == id
        assert ("rounding alone may change" in found.words) == (id == "unknown")


# --- noise, and what repeats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("again", "id"), [(-1.0, "noise"), (1.0, "inexact")])
def test_noise_is_what_does_not_repeat(cases: list[Case], again: float, id: str) -> None:
    seen = []
    for at in cases:
        off = across(at.start, 1e-5)
        seen.append(Observation(at.start, at.start.newton.step + off, again=at.start.newton.step + again * off))
    found = explain("indefinite", seen)
    assert found.id == id
    assert ("the same when started again" in found.words) == (id == "inexact")
    assert ("steps that differ by 2e-05" in found.words) == (id == "noise")


def test_of_steps_that_were_not_taken_again_nothing_is_said_of_noise(cases: list[Case]) -> None:
    found = told(cases, lambda point: point.newton.step + across(point, 1e-5))
    assert found.id == "inexact"
    assert "noise" not in found.words
    assert "again" not in found.words


def test_a_wrong_matrix_that_is_solved_exactly_is_no_unfinished_solve(cases: list[Case]) -> None:
    """An error in one entry of the matrix: no entry of the catalogue, and no iterate either."""

    def step(point: Point) -> Array:
        A = point.newton.matrix.copy()
        A[0, -1] = A[-1, 0] = A[0, -1] + 1e-3
        return np.linalg.solve(A, -point.gradient)

    found = told(cases, step)
    assert found.id == "inexact"
    assert not any(word in found.words for word in ("noise", "finished", "stopped", "residual term"))


@pytest.mark.parametrize("iterations", [2, 5])
def test_an_unfinished_solve_is_found_by_its_space(cases: list[Case], iterations: int) -> None:
    """The least residual in the space, as MINRES has it: no iterate of CG."""

    def step(point: Point) -> Array:
        A, space = point.newton.matrix, [point.gradient]
        for _ in range(iterations - 1):
            space.append(A @ space[-1])
        basis = np.linalg.qr(np.column_stack(space))[0]
        return np.asarray(basis @ np.linalg.lstsq(A @ basis, -point.gradient, rcond=None)[0])

    found = told(cases, step)
    assert (found.id, found.explained) == ("krylov", True)
    assert f"after {iterations} iterations at most, residual " in found.words


# --- numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (1.0, "1"),
        (1.001, "1.001"),
        (1.00004, "1.00004"),
        (1 + 3e-7, "1 + 3e-07"),
        (1 - 3e-13, "1 - 3e-13"),
        (-1.0, "-1"),
        (123456.0, "1.235e+05"),
    ],
)
def test_numbers_have_as_many_digits_as_tell_them_from_one(value: float, text: str) -> None:
    assert told_apart(value) == text


# --- optimizers ----------------------------------------------------------------------------------------------------------


def setting_of(factory: Callable[..., object] | str, profile: str = "exact-newton", **options: float) -> Setting:
    return Setting(subject(factory, "tried"), PROFILES[profile], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", optimizers.NAMED)
def test_every_kind_of_the_catalogue_is_named_so(id: str) -> None:
    entry = optimizers.NAMED[id]
    found = {one.group: one for one in diagnose(setting_of(entry.factory))}
    for group, words in entry.says.items():
        assert words.lower() in found[group].words.lower(), found[group]
        assert found[group].refuses
        assert found[group].explained


@pytest.mark.parametrize("id", [id for id in optimizers.RIGHT if id != "right_sharded"])
def test_right_steps_are_called_so_and_refuse_nothing(id: str) -> None:
    entry = optimizers.RIGHT[id]
    for found in diagnose(setting_of(entry.factory, entry.profile)):
        assert not found.refuses, found
        assert found.id in ("newton", "gauss-newton", "refused")


@pytest.mark.parametrize("id", [id for id in optimizers.FAULTS if id != "backtracking"])
def test_exact_newton_and_a_refusal_exclude_each_other(id: str) -> None:
    fault = optimizers.FAULTS[id]
    found = diagnose(setting_of(fault.factory))
    assert all(one.refuses == (one.id != "newton") for one in found), found
    if any(one.refuses for one in found):
        assert fault.diagnosis.lower() in " ".join(one.words for one in found).lower()


@pytest.mark.parametrize(("rtol", "refuses"), [(2e-5, False), (5e-6, True)])
def test_a_profile_with_a_tolerance_refuses_beyond_it(rtol: float, refuses: bool) -> None:
    """Noise of 1e-5."""
    found = diagnose(setting_of(optimizers.FAULTS["noise"].factory, "approximate-newton", rtol=rtol))
    assert {one.refuses for one in found} == {refuses}
    assert {one.id for one in found} == {"inexact"}


def test_where_no_step_is_prescribed_none_is_refused() -> None:
    found = diagnose(setting_of(optimizers.FAULTS["gradient"].factory, "first-order"))
    assert [(one.id, one.refuses) for one in found] == [("gradient", False)] * 3


@pytest.mark.parametrize(("share", "refuses"), [(0.9, False), (1.1, True)])
def test_both_sides_of_the_limit_that_refuses(share: float, refuses: bool) -> None:
    """Off by so much of the step's limit, where that does least to the residual."""

    def step(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
        objective = Objective(X, y, problem.beta, problem.activation, damping)
        point = objective.at(theta.reshape(problem.width, -1))
        values, vectors = np.linalg.eigh(point.newton.matrix)
        along = vectors[:, np.argmin(np.abs(values))]
        off = share * limit(point) * float(np.linalg.norm(point.newton.step))
        return np.asarray(theta + point.newton.step + off * along)

    assert {one.refuses for one in diagnose(setting_of(step))} == {refuses}


# --- the cases that failed -------------------------------------------------------------------------------------------------


def test_the_smallest_failing_case_is_explained_under_the_id_of_its_check() -> None:
    """A line search, which the steps that are always looked at do not show."""
    setting = setting_of(optimizers.FAULTS["backtracking"].factory)
    failing = case("nearly singular", 2, 1, 3, "tanh", seed=0)
    found = diagnose(setting, [("step-matches", failing, 1), ("no-silent-fallback", failing, 1)])
    assert [(one.id, one.refuses) for one in found[:3]] == [("newton", False)] * 3
    assert [one.group for one in found[3:]] == ["step-matches", "no-silent-fallback"]
    assert {(one.id, one.refuses, one.steps) for one in found[3:]} == {("scaled-newton", True, 1)}
    assert "step size" in found[3].words


def test_of_a_long_run_the_last_steps_are_explained_and_all_are_judged() -> None:
    setting = setting_of(optimizers.FAULTS["every_third_null"].factory)
    failing = case("definite", 3, 1, 4, "tanh", seed=0)
    *_, found = diagnose(setting, [("trajectory", failing, 20)])
    assert (found.id, found.steps, found.refuses) == ("mixed", 12, True)
    assert "4 of 12 steps: a zero step" in found.words


@pytest.mark.parametrize(("width", "explained"), [(40, True), (41, False)])
def test_large_failing_cases_are_left_alone(width: int, explained: bool) -> None:
    failing = case("definite", width, 1, 3, "tanh", seed=0)
    found = diagnose(setting_of(optimizers.FAULTS["gauss_newton"].factory), [("step-matches", failing, 1)])
    assert (len(found) == 4) == explained


def test_data_that_are_not_finite_are_left_alone() -> None:
    good = case("definite", 2, 1, 3, "tanh", seed=0)
    bad = replace(good, objective=replace(good.objective, y=np.full(3, np.nan)))
    assert len(diagnose(setting_of(optimizers.RIGHT["right_dense"].factory), [("non-finite", bad, 1)])) == 3


def test_a_run_that_ends_in_an_error_is_told_as_far_as_it_goes() -> None:
    found = diagnose(setting_of(optimizers.BAD["raises_in_third_step"].factory))
    assert [one.id for one in found] == ["newton"] * 3
    assert found[2].steps == 4
    assert "refused elsewhere: ValueError: the third step went wrong" in found[2].words


def test_a_step_that_is_not_finite_refuses() -> None:
    found = diagnose(setting_of(lambda theta, X, y, damping, problem: theta * np.nan))
    assert [(one.id, one.words, one.refuses) for one in found] == [("unknown", "no finite step", True)] * 3
