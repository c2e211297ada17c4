"""What a check reads off a case, and what two runs, or a step, may differ by."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nntk.crosscheck import PROFILES
from nntk.crosscheck.case import EPS, THRESHOLD, Case, solved
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.setting import NotApplicable, Reading, Setting, attempt, one_step, profile, refuse_missing_device
from nntk.crosscheck.subject import SubjectError, subject
from nntk_reference import InputError
from nntk_reference.arithmetic import Array


def setting(profile: str = "exact-newton", dtype: str = "float64", step: Any = None, rtol: float | None = None) -> Setting:
    def stay(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return theta

    return Setting(subject(step or stay), PROFILES[profile], dtype=dtype, rtol=rtol)


# --- readings ------------------------------------------------------------------------------------------------------------


def test_readings_are_ordered_by_how_far_they_are_from_passing() -> None:
    rising = [
        Reading(0.0, 1.0, ""),
        Reading(0.5, 1.0, ""),
        Reading(1.0, 1.0, ""),  # on the limit: passes
        Reading(math.nextafter(1.0, 2.0), 1.0, ""),
        Reading(3.0, 1.0, ""),
        Reading(1e300, 1.0, ""),
        Reading.failed("it does not"),
    ]
    ratios = [reading.ratio for reading in rising]
    assert ratios == sorted(set(ratios))
    assert [ratio <= 1 for ratio in ratios] == [True] * 3 + [False] * 4


def test_ratios_at_the_edges() -> None:
    assert Reading(2.0, 4.0, "").ratio == 0.5
    assert Reading(5.0, 4.0, "").ratio == 1.25
    assert Reading(0.0, 0.0, "").ratio == 0.0
    assert Reading(1e-300, 0.0, "").ratio == math.inf
    assert Reading(math.inf, 1.0, "").ratio == math.inf
    for limit in (0.0, 1.0, math.inf):
        assert Reading(math.nan, limit, "").ratio == math.inf  # NaN never passes
    assert Reading(7.0, math.inf, "").ratio == 0.0  # informative
    assert Reading(math.inf, math.inf, "").ratio == 0.0


def test_a_reading_without_a_number_has_an_answer() -> None:
    for reading, ratio, judges in (
        (Reading.passed("all good"), 0.0, True),
        (Reading.failed("one is off"), math.inf, True),
        (Reading.refused("singular"), 0.0, False),
        (Reading.unresolved("too few"), 0.0, False),
    ):
        assert (reading.number, reading.limit) == (None, None)
        assert (reading.ratio, reading.judges) == (ratio, judges)
    assert Reading.refused("singular").why == "singular"
    case = ladder("definite", 0, "float64", 2)[0]
    assert Reading.failed("one is off", (case, 2)).failing == (case, 2)
    told = Reading.told(3.0, "so many")
    assert (told.number, told.limit, told.ratio) == (3.0, None, 0.0)
    for number, limit, answer in (
        (None, None, None),
        (None, 1.0, None),
        (None, 1.0, True),
        (1.0, None, True),
        (1.0, 1.0, True),
    ):
        with pytest.raises(ValueError, match="a number, and a limit if it judges, or an answer"):
            Reading(number, limit, "", answer=answer)  # type: ignore[arg-type]


# --- slack: what |AΔ + g| may be -----------------------------------------------------------------------------------------


def allowed(at: Case, step: Array, dtype: str) -> float:
    """30 √n eps max(1, a|D⁻¹|) (a|Δ| + G), and what the rounding of θ_next makes of AΔ: apart from `slack`."""
    point, P = at.start, at.theta.size
    D = point.residual_hessian + at.objective.damping * np.eye(P)
    errors = THRESHOLD * math.sqrt(P + len(at.objective.y)) * EPS[dtype]
    a, G, _ = point.sizes(dtype)
    scale = a * float(np.linalg.norm(step)) + G
    rounding = EPS[dtype] * (
        np.abs(point.hessian + at.objective.damping * np.eye(P)) @ (np.abs(at.theta.ravel()) + np.abs(step))
    )
    spread = max(1.0, a * float(np.linalg.norm(np.linalg.inv(D), 2)))
    return errors * spread * scale + float(np.linalg.norm(rounding))


@pytest.mark.parametrize("dtype", EPS)
def test_slack_is_attained_by_the_largest_residual_allowed_and_exceeded_by_a_larger_one(dtype: str) -> None:
    for at in ladder("definite", 2, dtype, 5, 2):
        target, here = at.start.newton, setting(dtype=dtype)
        direction = np.ones(at.theta.size) / math.sqrt(at.theta.size)
        for share, within in ((0.9, True), (1.2, False)):
            step = target.step
            for _ in range(20):  # what is allowed depends on the step
                step = solved(target.matrix, share * allowed(at, step, dtype) * direction - at.start.gradient)
            residual = float(np.linalg.norm(target.matrix @ step + at.start.gradient))
            slack = here.slack(target, step)
            assert slack == pytest.approx(allowed(at, step, dtype), rel=1e-6)
            assert (residual <= slack) == within
            assert residual > 0.8 * slack


def test_slack_of_a_better_step_is_what_can_be_seen_of_it() -> None:
    """In float32, of a step that is exact to float64: its own residual, twice, and the rounding of float64."""
    for at in ladder("definite", 2, "float32", 5, 2):
        target = at.start.newton
        slack = setting(dtype="float32").slack(target, target.step)
        residual = float(np.linalg.norm(target.matrix @ target.step + at.start.gradient))
        assert residual < slack < 1e-6 * allowed(at, target.step, "float32")
        unit = THRESHOLD * math.sqrt(at.theta.size + len(at.objective.y)) * EPS["float64"]
        scale = at.start.matrix_size * float(np.linalg.norm(target.step)) + at.start.gradient_size
        assert slack == pytest.approx(2 * residual + unit * scale)


def test_slack_of_an_approximate_step_is_that_of_rtol() -> None:
    at = ladder("definite", 2, "float64", 3, 2)[1]
    target, here = at.start.newton, setting("approximate-newton", rtol=1e-3)
    norm = float(np.abs(np.linalg.eigvalsh(target.matrix)).max())
    assert here.slack(target, target.step) == pytest.approx(1e-3 * norm * float(np.linalg.norm(target.step)))
    _, modes = np.linalg.eigh(target.matrix)
    off = target.step + 0.999e-3 * float(np.linalg.norm(target.step)) * modes[:, -1]  # the strongest mode: the largest residual
    residual = float(np.linalg.norm(target.matrix @ off + at.start.gradient))
    assert 0.9 * here.slack(target, off) < residual <= 1.001 * here.slack(target, off)


# --- tolerance: what two runs may differ by -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EPS)
def test_two_right_steps_differ_by_the_tolerance_at_most(dtype: str) -> None:
    """Both off by the limit, in opposite directions: the tolerance, to 1 %. Each off by a tenth more: beyond it."""
    for at in ladder("definite", 3, dtype, 4):
        target = at.start.newton
        size = float(np.linalg.norm(target.step))
        across = np.roll(target.step, 1) / size
        off = target.limit(dtype) * size * across
        apart = float(np.linalg.norm((target.step + off) - (target.step - off))) / size
        tolerance = setting(dtype=dtype).tolerance(at)
        assert 0.99 * tolerance < apart <= 1.0001 * tolerance
        assert 1.1 * apart > tolerance


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("factor", [0.125, 8.0])
def test_tolerance_without_a_target_is_that_of_the_optimizers_own_condition(factor: float, dtype: str) -> None:
    """θ_next = (1 + k)θ: moved by 4 eps of itself the step changes by 4 eps, 30 times which is allowed; θ itself is rounded."""

    def grow(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return (theta + factor * theta).astype(theta.dtype)

    for at in ladder("definite", 3, dtype, 4):
        errors = THRESHOLD * math.sqrt(at.theta.size + len(at.objective.y)) * EPS[dtype]
        own = THRESHOLD * 4 * EPS[dtype]
        rounding = THRESHOLD * 2 * EPS[dtype] * (2 + 1 / factor)  # of θ_next in both runs
        tolerance = setting("first-order", dtype, grow).tolerance(at)
        assert errors * (1 + 1 / factor) + own / 2 <= tolerance <= errors * (1 + 1 / factor) + own + rounding


def test_tolerance_grows_with_an_optimizers_condition() -> None:
    at = ladder("definite", 3, "float64", 4)[2]

    def steep(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return theta + 1.0 + 1e6 * (theta - at.theta.reshape(-1))

    moved = 4 * EPS["float64"] * 1e6 * float(np.linalg.norm(at.theta)) / math.sqrt(at.theta.size)
    tolerance = setting("first-order", step=steep).tolerance(at)
    assert THRESHOLD * moved / 2 < tolerance < 2 * THRESHOLD * moved


def test_no_target_where_the_profile_asks_for_none() -> None:
    at = ladder("definite", 0, "float64", 2)[0]
    with pytest.raises(NotApplicable, match="prescribes no step"):
        setting("first-order").target(at.start)


@pytest.mark.parametrize("steps", [1, 3])
def test_tolerance_of_a_constant_step_is_that_of_rounding(steps: int) -> None:
    """30 √n eps, and so much of θ; a step that does not depend on θ changes by the rounding of θ_next alone, of which 30."""
    at = ladder("definite", 3, "float64", 4)[2]
    theta, P = at.theta.reshape(-1), at.theta.size
    base = THRESHOLD * math.sqrt(P + len(at.objective.y)) * EPS["float64"]

    def shift(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return theta + 64.0

    size = steps * 64 * math.sqrt(P)
    floor = base * (1 + float(np.linalg.norm(theta)) / size)
    tolerance = setting("first-order", step=shift).tolerance(at, steps)
    assert floor * (1 - 1e-12) <= tolerance <= floor + THRESHOLD * 2 * EPS["float64"] * steps
    assert setting("first-order").tolerance(at, steps) == base  # no step at all


def test_tolerance_of_an_optimizer_that_fails_beside_the_start_is_that_of_rounding() -> None:
    """What is not finite says nothing about its condition."""
    at = ladder("definite", 3, "float64", 4)[2]
    start = at.theta.reshape(-1)

    def fragile(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return theta + 64.0 if np.array_equal(theta, start) else theta * math.inf

    size = 64 * math.sqrt(at.theta.size)
    base = THRESHOLD * math.sqrt(at.theta.size + len(at.objective.y)) * EPS["float64"]
    expected = base * (1 + float(np.linalg.norm(start)) / size)
    assert setting("first-order", step=fragile).tolerance(at) == pytest.approx(expected, rel=1e-12)


def test_an_approximate_step_may_differ_by_its_tolerance_and_by_no_more_noise_than_an_exact_one() -> None:
    at = ladder("definite", 3, "float64", 4)[2]
    exact = setting()
    assert setting("approximate-newton", rtol=1e-3).tolerance(at) == 2e-3
    assert setting("approximate-newton", rtol=1e-3).noise(at) == exact.noise(at) == exact.tolerance(at)


@pytest.mark.parametrize("dtype", EPS)
def test_a_noisy_step_is_not_measured_against_its_own_noise(dtype: str) -> None:
    """Of which there is 1e-2, and tenfold √eps at most is tolerated; what rounding does is tolerated in any case."""
    at = ladder("definite", 3, dtype, 4)[2]
    rng = np.random.default_rng(0)

    def noisy(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return (theta + 1 + 1e-2 * rng.standard_normal(theta.shape)).astype(dtype)

    assert setting("first-order", step=noisy, dtype=dtype).tolerance(at) == 10 * math.sqrt(EPS[dtype])


def test_a_residual_that_is_allowed_is_allowed_what_it_can_do_to_the_step() -> None:
    at = ladder("definite", 2, "float64", 3, 2)[1]
    target, here = at.start.newton, replace(setting("approximate-newton"), residual=1e-4)
    g, size = float(np.linalg.norm(at.start.gradient)), float(np.linalg.norm(target.step))
    values, modes = np.linalg.eigh(target.matrix)
    weakest = modes[:, int(np.abs(values).argmin())]
    off = np.linalg.solve(target.matrix, 1e-4 * g * weakest)
    assert target.error(target.step + off) == pytest.approx(here.limit(target), rel=1e-6)
    assert here.slack(target, target.step) == pytest.approx(1e-4 * g)
    assert here.tolerant
    assert size > 0


# --- limits, targets and profiles ---------------------------------------------------------------------------------------


def test_the_limit_of_a_step_is_that_of_rounding_or_rtol() -> None:
    target = ladder("definite", 0, "float64", 2)[1].start.newton
    for rate in (1.0, 1e-3):
        rounding = target.limit("float64", rate)
        assert setting().limit(target, rate) == rounding
        assert setting(rtol=2 * rounding).limit(target, rate) == 2 * rounding
        assert setting(rtol=rounding / 2).limit(target, rate) == rounding
    assert setting(dtype="float32").limit(target) == target.limit("float32")


def test_a_profile_has_its_target_and_is_found_by_its_name() -> None:
    at = ladder("indefinite", 0, "float64", 2)[0]
    for name, target in (
        ("exact-newton", at.start.newton),
        ("approximate-newton", at.start.newton),
        ("gauss-newton", at.start.gauss_newton_target),
    ):
        assert profile(name) is PROFILES[name]
        assert setting(name).target(at.start) is target
        assert profile(name).approximate == (name == "approximate-newton")
    with pytest.raises(InputError, match="exact-newton"):
        profile("exact-newtom")


def test_a_device_that_torch_does_not_have_is_refused() -> None:
    refuse_missing_device("cpu")
    for missing in ("no-such-device", "cuda:99"):
        with pytest.raises(InputError, match=missing):
            refuse_missing_device(missing)


# --- steps ---------------------------------------------------------------------------------------------------------------


def test_several_steps_are_one_displacement() -> None:
    at = ladder("definite", 0, "float64", 2)[1]

    def double(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return 2 * theta

    here = setting("first-order", step=double)
    for steps in (1, 2, 3):
        assert np.array_equal(one_step(here.start(at), steps), (2**steps - 1) * at.theta.reshape(-1))
    session = here.start(at)
    one_step(session)
    assert np.array_equal(one_step(session), 2 * at.theta.reshape(-1))  # from where it stands


def test_the_global_generators_are_where_they_always_are_when_an_optimizer_starts() -> None:
    at = ladder("definite", 0, "float64", 2)[0]
    drawn = []

    def chance(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
        return theta

    here = setting("first-order", step=chance)
    for _ in range(2):
        one_step(here.start(at), 2)
    assert drawn[:2] == drawn[2:]
    assert all(a != b for a, b in zip(*drawn[:2], strict=True))
    assert here.notes["form"] == here.start(at).form


@pytest.mark.parametrize("kind", ["definite", "indefinite", "nearly singular"])
@pytest.mark.parametrize("moves", [False, True])
def test_a_refusal_is_one_of_a_system_that_is_not_definite_and_leaves_the_parameters(kind: str, moves: bool) -> None:
    class Refusing:
        """A session that refuses to step."""

        def __init__(self, case: Case) -> None:
            self.theta = case.theta

        def step(self) -> None:
            self.theta = self.theta + moves
            raise SubjectError("singular")

    at = replace(ladder("definite", 0, "float64", 2)[0], kind=kind)
    session: Any = Refusing(at)
    if kind != "definite" and not moves:
        assert attempt(session, at) == "singular"
    else:
        with pytest.raises(SubjectError, match="singular"):
            attempt(session, at)


def test_a_step_that_is_taken_is_no_refusal() -> None:
    at = ladder("indefinite", 0, "float64", 2)[0]
    step = attempt(setting("first-order", step=lambda theta, X, y, damping, problem: theta + 1).start(at), at)
    assert np.allclose(np.asarray(step, dtype=float), 1.0, rtol=0, atol=1e-14)
