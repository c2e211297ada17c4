"""From the readings of a check to its finding and outcome."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from nntk.crosscheck import CHECKS, PROFILES
from nntk.crosscheck.case import Case, Objective
from nntk.crosscheck.result import CheckResult, Failure, Report, Tally, failure_of, finding_of, following, outcome_of
from nntk.crosscheck.setting import UNRESOLVED, Reading, Setting
from nntk.crosscheck.snippet import snippet
from nntk.crosscheck.subject import subject
from nntk_proofs_checks import Effort
from nntk_proofs_checks.claim import Finding
from nntk_proofs_checks.panel import Panel
from nntk_reference import Verdict

PASS, CLOSE, FAIL = Reading(0.1, 1e-2 * 100, "far"), Reading(0.09, 0.1, "close"), Reading(0.3, 0.1, "beyond")


def told(*readings: Reading, error: str = "", informative: bool = False) -> tuple[str, Verdict, float | None, str]:
    tally = Tally()
    for reading in readings:
        tally.add(reading)
    finding = finding_of(tally, error)
    assert finding.cases == len(readings)
    return outcome_of(finding, informative), finding.verdict, finding.number, finding.why


@pytest.mark.parametrize(
    ("readings", "outcome", "number", "why"),
    [
        ((CLOSE, Reading(0.0, 0.1, "best")), "passed", 0.09, "close"),
        ((CLOSE, FAIL), "failed", 0.3, "beyond; 1 of 2 cases fail"),
        ((FAIL,), "failed", 0.3, "beyond"),
        (
            (Reading.refused("no"), FAIL, Reading.unresolved("few"), CLOSE),
            "failed",
            0.3,
            "beyond; 1 of 2 cases fail; 1 of 4 cases refused aloud (no); 1 of 4 cases cannot tell (few)",
        ),
        ((Reading.passed("all there"),), "passed", None, "all there"),
        ((Reading.passed("all there"), Reading.failed("one lost")), "failed", None, "one lost; 1 of 2 cases fail"),
        ((FAIL, Reading.failed("one lost")), "failed", None, "one lost; 2 of 2 cases fail"),  # a flag is above every number
        ((Reading.passed("all there"), CLOSE), "passed", 0.09, "close"),
        ((Reading.refused("no"), CLOSE), "passed", 0.09, "close; 1 of 2 cases refused aloud (no)"),
        ((Reading.refused("no"), Reading.refused("never")), "undecided", None, "2 of 2 cases refused aloud (no)"),
        ((Reading.unresolved("few"), CLOSE), "passed", 0.09, "close; 1 of 2 cases cannot tell (few)"),
        ((Reading.unresolved("few"),), "undecided", None, "1 of 1 cases cannot tell (few)"),
        ((PASS,), "undecided", None, "1 of 1 cases cannot tell (far)"),  # its limit says nothing
        ((Reading(math.nan, 0.1, "lost"),), "failed", None, "lost"),
        ((), "undecided", None, "no case was run"),
    ],
)
def test_readings_to_outcome(readings: tuple[Reading, ...], outcome: str, number: float | None, why: str) -> None:
    found = told(*readings)
    assert (found[0], found[3]) == (outcome, why)
    assert found[2] == number or (number is None and found[2] is not None and math.isnan(found[2]))


def test_a_limit_above_the_resolution_tells_only_of_failures() -> None:
    for limit, judged in ((UNRESOLVED, True), (math.nextafter(UNRESOLVED, 1), False), (math.inf, True)):
        assert (told(Reading(0.0, limit, ""))[0] == "passed") == judged
    assert told(Reading(0.6, 0.5, "beyond even that"))[0] == "failed"
    assert told(Reading(0.5, 0.5, "on the limit"))[0] == "undecided"


def test_a_number_on_its_limit_is_no_failure() -> None:
    tally = Tally()
    assert not tally.add(Reading(0.1, 0.1, "on the limit"))
    assert (tally.failures, tally.smallest) == (0, None)
    assert tally.add(Reading(math.nextafter(0.1, 1), 0.1, "above"))
    assert tally.failures == 1


def test_an_error_leaves_what_was_found_undecided_or_refuted() -> None:
    assert told(CLOSE, error="it raised")[1] is Verdict.UNDECIDED
    assert told(CLOSE, FAIL, error="it raised")[1] is Verdict.REFUTED
    assert told(CLOSE, error="it raised")[3] == "it raised; close"


def test_an_informative_number_has_no_limit() -> None:
    tally = Tally()
    tally.add(Reading(-0.5, math.inf, "N^(-0.5)"))
    finding = finding_of(tally, "")
    assert (finding.number, finding.relation, finding.limit) == (-0.5, "", None)
    assert outcome_of(finding, True) == "informative"


def test_a_judged_number_stands_beside_its_limit_and_one_that_is_told_alone() -> None:
    for reading, expected in (
        (CLOSE, (0.09, "≤", 0.1)),
        (Reading.told(3.0, "so many"), (3.0, "", None)),
        (Reading.passed("all there"), (None, "", None)),
        (Reading(math.inf, 0.1, "lost"), (None, "", None)),
    ):
        tally = Tally()
        tally.add(reading)
        finding = finding_of(tally, "")
        assert (finding.number, finding.relation, finding.limit) == expected


def test_of_readings_equally_far_off_the_first_is_told() -> None:
    assert told(Reading(0.04, 0.08, "first"), Reading(0.02, 0.04, "second"))[3] == "first"
    assert told(Reading.failed("first"), Reading.failed("second"))[3] == "first; 2 of 2 cases fail"


def test_where_a_tolerance_leaves_nothing_to_be_told_a_check_does_not_apply() -> None:
    def outcome(*readings: Reading, error: str = "") -> str:
        tally = Tally()
        for reading in readings:
            tally.add(reading)
        return outcome_of(finding_of(tally, error, tolerant=True), False)

    vague = Reading.unresolved("few digits")
    assert outcome(vague, vague) == "skipped"
    assert outcome(vague, CLOSE) == "passed"
    assert outcome(vague, FAIL) == "failed"
    assert outcome(vague, error="it raised") == "undecided"
    assert outcome(Reading.refused("no")) == "undecided"
    assert outcome() == "undecided"
    assert told(vague)[0] == "undecided"  # without a tolerance it has to tell


def test_drawn_cases_are_counted_and_those_that_are_only_shown_are_not() -> None:
    tally = Tally()
    tally.add(CLOSE)
    tally.add(CLOSE, drawn=True)
    assert not tally.show(CLOSE)
    assert not tally.show(Reading.refused("no"))
    assert (tally.cases, tally.drawn, tally.smallest) == (2, 1, None)
    assert tally.show(FAIL)
    assert (tally.cases, tally.failures, tally.smallest) == (2, 0, FAIL)


@pytest.mark.parametrize(
    ("failed", "follows"),
    [
        (["damping-honoured"], {}),
        (["step-matches"], {}),
        (["step-matches", "damping-honoured"], {"damping-honoured": "step-matches"}),
        (["step-matches", "scheduler"], {"scheduler": "step-matches"}),
        (
            ["step-matches", "step-size-honoured", "scheduler"],
            {"step-size-honoured": "step-matches", "scheduler": "step-size-honoured"},
        ),
        (["deterministic", "state-dict", "trajectory"], {"state-dict": "deterministic", "trajectory": "deterministic"}),
        (["step-matches", "all-parameters-coupled", "whole-data"], {}),  # these say what is wrong
    ],
)
def test_failures_that_follow_from_others_are_marked(failed: list[str], follows: dict[str, str]) -> None:
    finding = finding_of(Tally(), "")
    results = [CheckResult(check, "failed" if id in failed else "passed", finding, 0.0) for id, check in CHECKS.items()]
    found = following(results)
    assert {result.id: result.follows for result in found if result.follows} == follows
    assert [result.id for result in found] == list(CHECKS)


@pytest.mark.parametrize("judged", [False, True])
def test_the_panels_are_those_of_the_first_reading_that_has_any(judged: bool) -> None:
    first, second = ((Panel(title, "x", "y", ()),) for title in ("first", "second"))
    tally = Tally()
    for panels in ((), first, second):
        answer = True if judged else "unresolved"
        tally.add(Reading(None, None, "", panels=panels, answer=answer))  # type: ignore[arg-type]
    assert finding_of(tally, "").panels == first


# --- the smallest failure ------------------------------------------------------------------------------------------------


def at(width: int, points: int, *, theta: float = 0.5, X: float = 0.5, y: float = 0.5) -> Case:
    objective = Objective(np.full((points, 1), X), np.full(points, y), 0.75, "tanh", 1.0)
    return Case(objective, np.full((width, 3), theta), "definite", "")


RISING = {
    "fewest parameters times points": (at(1, 1), 1),
    "six of them": (at(1, 2), 1),
    "as many, of more parameters": (at(2, 1), 1),
    "more parameters times points, though a smaller sum": (at(1, 3), 1),
    "more digits in y": (at(1, 3, y=0.125), 1),
    "still more, in X": (at(1, 3, X=0.0625), 1),
    "and in the parameters": (at(1, 3, theta=0.03125), 1),
    "more steps": (at(1, 3), 2),
}
"""(case, steps) in the order in which they are preferred; one neuron has three parameters."""


def test_of_two_failures_the_smaller_case_is_shown() -> None:
    readings = [Reading.failed(why, failing) for why, failing in RISING.items()] + [Reading.failed("with no case to show")]
    for k, small in enumerate(readings):
        for large in readings[k + 1 :]:
            for order in ((small, large), (large, small)):
                tally = Tally()
                for reading in order:
                    tally.add(reading)
                assert tally.smallest is small, f"{tally.smallest and tally.smallest.why} before {small.why}"


def test_of_two_failures_of_one_size_the_first_is_shown() -> None:
    tally = Tally()
    for why in ("first", "second"):
        tally.add(Reading.failed(why, (at(2, 2), 1)))
    assert tally.smallest is not None
    assert tally.smallest.why == "first"


def test_what_is_shown_of_a_failure_or_of_an_error() -> None:
    setting, case = Setting(subject("tests.nntk.optimizers:half_residual"), PROFILES["exact-newton"]), at(2, 1)
    failing = Tally(at=at(1, 1), smallest=Reading(0.5, 0.25, "beyond", (case, 3)))
    shown = Failure(str(case), 0.5, 0.25, "beyond", snippet(setting, case, 3))
    assert failure_of(setting, failing, "") == failure_of(setting, failing, "it raised") == shown
    for tally in (Tally(at=case), Tally(at=case, smallest=Reading.failed("with no case to show"))):
        assert failure_of(setting, tally, "it raised") == Failure(
            str(case), None, None, "it raised", snippet(setting, case, 10)
        )
        assert failure_of(setting, tally, "") is None
    assert failure_of(setting, Tally(), "it raised") is None


# --- the report ----------------------------------------------------------------------------------------------------------

GOOD, BAD = ("passed", "xfailed", "skipped", "informative"), ("failed", "undecided", "error", "xpassed")


def result(outcome: str, id: str = "step-matches") -> CheckResult:
    return CheckResult(CHECKS[id], outcome, Finding.undecided(""), 0.0)


def report(*results: CheckResult, complete: bool = True) -> Report:
    return Report(
        "subject", "function", PROFILES["exact-newton"], None, "float64", "cpu", Effort.QUICK, 0, results, (), (), {},
        datetime(2026, 1, 1, tzinfo=UTC), 0.0, complete,
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [*GOOD, *BAD])
def test_a_report_passes_if_all_is_good_and_something_was_checked(outcome: str) -> None:
    one = result(outcome)
    assert one.good == (outcome in GOOD)
    assert report(one).passed == (outcome in ("passed", "xfailed"))
    for checked in ("passed", "xfailed"):
        assert report(result(checked), one).passed == (outcome in GOOD)
        assert not report(result(checked), one, complete=False).passed
    assert report(result("passed"), one).failed == (() if outcome in GOOD else (one,))


def test_a_report_of_nothing_does_not_pass() -> None:
    assert not report().passed


def test_a_report_has_its_results_by_the_ids_of_their_checks() -> None:
    ids = list(CHECKS)[:3]
    made = report(*(result("passed", id) for id in ids))
    assert [made[id].id for id in reversed(ids)] == ids[::-1]


def test_a_result_has_no_case_refused_or_unresolved_unless_told() -> None:
    one = result("passed")
    assert (one.refused, one.unresolved, one.failure) == (0, 0, None)
