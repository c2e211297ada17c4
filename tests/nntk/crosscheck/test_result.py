"""From the readings of a check to its finding and outcome."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from nntk.crosscheck import CHECKS, PROFILES, Report
from nntk.crosscheck.result import UNRESOLVED, CheckResult, Tally, finding_of, outcome_of
from nntk.crosscheck.setting import Reading
from nntk_proofs_checks import Effort
from nntk_proofs_checks.claim import Finding
from nntk_reference import Verdict

PASS, CLOSE, FAIL = Reading(0.1, 1e-2 * 100, "far"), Reading(0.09, 0.1, "close"), Reading(0.3, 0.1, "beyond")


def told(*readings: Reading, error: str = "", informative: bool = False) -> tuple[str, Verdict, float | None, str]:
    tally = Tally()
    for reading in readings:
        tally.add(reading)
    finding = finding_of(tally, error)
    assert finding.cases == len(readings)
    return outcome_of(finding, informative, tally), finding.verdict, finding.number, finding.why


@pytest.mark.parametrize(
    ("readings", "outcome", "number", "why"),
    [
        ((CLOSE, Reading(0.0, 0.1, "best")), "passed", 0.09, "close"),
        ((CLOSE, FAIL), "failed", 0.3, "beyond; 1 of 2 cases fail"),
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


def test_an_error_leaves_what_was_found_undecided_or_refuted() -> None:
    assert told(CLOSE, error="it raised")[1] is Verdict.UNDECIDED
    assert told(CLOSE, FAIL, error="it raised")[1] is Verdict.REFUTED
    assert told(CLOSE, error="it raised")[3] == "it raised; close"


def test_an_informative_number_has_no_limit() -> None:
    tally = Tally()
    tally.add(Reading(-0.5, math.inf, "N^(-0.5)"))
    finding = finding_of(tally, "")
    assert (finding.number, finding.relation, finding.limit) == (-0.5, "", None)
    assert outcome_of(finding, True, tally) == "informative"


def result(outcome: str) -> CheckResult:
    return CheckResult(CHECKS["deterministic"], outcome, Finding.undecided("planted"), 0.0)


def report(*outcomes: str, complete: bool) -> Report:
    results, started = tuple(map(result, outcomes)), datetime(2026, 1, 1, tzinfo=UTC)
    profile = PROFILES["exact-newton"]
    return Report(
        "a", "torch", profile, None, "float64", "cpu", Effort.QUICK, 0, results, (), (), {}, started, 1.0, complete=complete
    )


@pytest.mark.parametrize(
    ("outcomes", "passed"),
    [
        (("passed",), True),
        (("xfailed",), True),
        (("passed", "skipped", "informative"), True),
        (("skipped", "informative"), False),  # nothing was checked
        ((), False),
        *((("passed", bad), False) for bad in ("failed", "undecided", "error", "xpassed")),
    ],
)
def test_a_report_passes_with_good_results_of_which_one_was_checked(outcomes: tuple[str, ...], passed: bool) -> None:
    whole = report(*outcomes, complete=True)
    assert whole.passed == passed
    assert not report(*outcomes, complete=False).passed
    assert [r.outcome for r in whole.failed] == [o for o in outcomes if o in ("failed", "undecided", "error", "xpassed")]


def test_a_result_has_no_cases_refused_or_unresolved_unless_it_is_said() -> None:
    plain = result("passed")
    assert (plain.refused, plain.unresolved, plain.failure, plain.trace, plain.expected) == (0, 0, None, "", "")
