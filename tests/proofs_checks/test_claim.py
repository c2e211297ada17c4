"""What a claim, a problem and a finding are: checked when made, joined by the worst, and never the end of a run."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Problem, run
from nntk_proofs_checks.claim import Inputs, Result, evaluate, for_its_reason, together, unmet
from nntk_proofs_checks.panel import Panel
from nntk_reference import InputError, QuadratureError, Verdict
from tests.proofs_checks.problems import line


def test_a_failing_check_is_undecided_and_does_not_end_the_run() -> None:
    def refuses(problem: Problem, effort: Effort) -> Finding:
        raise InputError("X", "something else", "this")

    def is_broken(problem: Problem, effort: Effort) -> Finding:
        raise ZeroDivisionError("oops")

    claim = Claim("x", "s", "a", Evidence.EXACT, refuses, is_broken, "r")
    result = run(claim, line(), Effort.QUICK)
    assert result.finding.verdict is Verdict.UNDECIDED
    assert "expected something else, got this" in result.finding.why
    assert result.control.verdict is Verdict.UNDECIDED
    assert result.control.why == "internal error: ZeroDivisionError: oops"
    assert not result.passed


def test_a_problem_is_checked_when_it_is_made() -> None:
    assert Problem(np.arange(3)[:, None], np.ones(3, dtype=np.float32), "x").X.dtype == np.float64
    with pytest.raises(InputError, match=r"y: expected shape \(2,\)"):
        Problem(np.ones((2, 1)), np.ones(3), "x")


def test_the_seed_is_checked() -> None:
    with pytest.raises(InputError, match="seed"):
        Problem(line().X, line().y, "", seed=-1)


def test_inputs_are_keys_by_content() -> None:
    X = line().X.copy()
    inputs = Inputs(X)
    assert inputs == Inputs(line(scale=2.0).X)
    assert hash(inputs) == hash(Inputs(line().X))
    assert inputs != Inputs(X.T)
    assert inputs != "X"
    X[0] = 7.0
    assert inputs.X[0] == 0.0
    assert not inputs.X.flags.writeable
    with pytest.raises(InputError, match="X"):
        Inputs(np.array([0.0, np.nan])[:, None])


def test_parts_are_joined_by_the_worst() -> None:
    def finding(verdict: Verdict) -> Finding:
        return Finding(verdict, 1.0, "≤", 2.0, 3, str(verdict))

    holds, refuted, undecided = map(finding, (Verdict.HOLDS, Verdict.REFUTED, Verdict.UNDECIDED))
    assert together({"a": holds, "b": holds}).verdict is Verdict.HOLDS
    assert together({"a": holds, "b": undecided}).verdict is Verdict.UNDECIDED
    both = together({"a": holds, "b": undecided, "c": refuted})
    assert both.verdict is Verdict.REFUTED
    assert both.why == "c: refuted"
    assert both.cases == 9
    assert together({"a": refuted, "b": refuted}, Verdict.REFUTED).verdict is Verdict.REFUTED
    assert together({"a": refuted, "b": undecided}, Verdict.REFUTED).verdict is Verdict.UNDECIDED
    assert together({"a": refuted, "b": holds}, Verdict.REFUTED).verdict is Verdict.HOLDS
    assert not together({"a": unmet("no"), "b": unmet("nor this")}).applies
    partly = together({"a": holds, "b": unmet("no")})
    assert partly.verdict is Verdict.HOLDS
    assert partly.why == "a: holds; left out: b (no)"
    assert together({"a": refuted, "b": unmet("no")}).verdict is Verdict.REFUTED


def test_efforts_are_three_and_in_order() -> None:
    assert [effort.name for effort in Effort] == ["QUICK", "DEFAULT", "FULL"]
    assert all(less < more for less, more in pairwise(Effort))


def test_problems_are_keys_by_content() -> None:
    X, y = np.array([[0.0], [1.0]]), np.array([2.0, 3.0])
    problem, same = Problem(X, y, "x"), Problem(X.copy(), y.copy(), "x", 0)
    assert problem == same
    assert hash(problem) == hash(same)
    for other in (
        replace(problem, X=X + 1),
        replace(problem, y=y + 1),
        replace(problem, source="y"),
        replace(problem, seed=1),
        Problem(X.reshape(1, 2), y[:1], "x"),
    ):
        assert problem != other
    assert problem != "x"


def test_the_arrays_of_a_problem_are_its_own() -> None:
    X, y = np.array([[0.0], [1.0]]), np.array([2.0, 3.0])
    problem = Problem(X, y, "x")
    X[0] = y[0] = 7.0
    assert (problem.X[0, 0], problem.y[0]) == (0, 2)
    assert not problem.X.flags.writeable
    assert not problem.y.flags.writeable


HOLDS, REFUTED, UNDECIDED = (
    Finding(verdict, 1.0, "≤", 2.0, 3, verdict.value, panels=(Panel(verdict.value, "", "", ()),))
    for verdict in (Verdict.HOLDS, Verdict.REFUTED, Verdict.UNDECIDED)
)


def test_the_worst_part_decides_in_any_order() -> None:
    """The furthest from what is wanted: for a claim a refuted one, for a control one that holds."""
    for wanted, order in ((Verdict.HOLDS, (HOLDS, UNDECIDED, REFUTED)), (Verdict.REFUTED, (REFUTED, UNDECIDED, HOLDS))):
        for near, far in ((order[0], order[1]), (order[0], order[2]), (order[1], order[2])):
            for parts in ({"a": near, "b": far}, {"b": far, "a": near}):
                found = together(parts, wanted)
                assert (found.verdict, found.why) == (far.verdict, f"b: {far.why}")


def test_parts_are_all_counted_and_drawn() -> None:
    found = together({"a": HOLDS, "b": replace(unmet("no"), cases=4), "c": HOLDS})
    assert (found.verdict, found.cases, found.applies) == (Verdict.HOLDS, 10, True)
    assert found.why == "a: holds; c: holds; left out: b (no)"
    assert found.panels == HOLDS.panels * 2


def test_where_no_part_applies_all_reasons_are_given_once() -> None:
    found = together({"a": unmet("no"), "b": unmet("nor this")})
    assert (found.verdict, found.applies, found.why) == (Verdict.UNDECIDED, False, "a: no; b: nor this")


def test_a_finding_that_is_undecided_has_what_it_is_given_and_else_nothing() -> None:
    found = Finding.undecided("so")
    assert (found.number, found.relation, found.limit, found.cases, found.panels) == (None, "", None, 0, ())
    assert found.applies
    found = Finding.undecided("so", cases=3, number=1.0, relation="<", limit=2.0, panels=HOLDS.panels)
    assert found == replace(HOLDS, verdict=Verdict.UNDECIDED, relation="<", why="so")


def test_a_control_counts_only_if_refuted_for_its_reason() -> None:
    assert for_its_reason(HOLDS, HOLDS) is HOLDS
    assert for_its_reason(UNDECIDED, HOLDS) is UNDECIDED
    assert for_its_reason(REFUTED, HOLDS) == replace(REFUTED, why="refuted; instead, holds")
    for instead in (UNDECIDED, REFUTED):
        found = for_its_reason(REFUTED, instead)
        assert (found.verdict, found.cases, found.panels) == (Verdict.UNDECIDED, 3, REFUTED.panels)
        assert found.why == f"refuted; but not for the reason stated: {instead.why}"


CLAIM = Claim("x", "s", "a", Evidence.EXACT, lambda problem, effort: HOLDS, lambda problem, effort: REFUTED, "r")


def test_a_claim_passes_if_it_holds_and_its_control_does_not() -> None:
    for finding in (HOLDS, REFUTED, UNDECIDED):
        for control in (HOLDS, REFUTED, UNDECIDED):
            assert Result(CLAIM, finding, control, 0.0).passed is (finding is HOLDS and control is REFUTED)
    assert Result(CLAIM, unmet("no"), HOLDS, 0.0).passed


def test_the_control_of_a_claim_that_does_not_apply_is_not_run() -> None:
    def never(problem: Problem, effort: Effort) -> Finding:
        raise AssertionError("not run")

    result = run(replace(CLAIM, check=lambda problem, effort: unmet("no"), control=never), line(), Effort.QUICK)
    assert not result.control.applies
    assert result.control.why == "not run: the claim does not apply"
    assert run(CLAIM, line(), Effort.QUICK).control is REFUTED


def test_both_checks_are_given_the_problem_and_the_effort() -> None:
    given: list[object] = []

    def check(*arguments: object) -> Finding:
        given.append(arguments)
        return HOLDS

    problem = line()
    run(replace(CLAIM, check=check, control=check), problem, Effort.FULL)
    assert given == [(problem, Effort.FULL)] * 2


def test_the_time_is_that_of_both_checks() -> None:
    def slow(problem: Problem, effort: Effort) -> Finding:
        time.sleep(0.02)
        return HOLDS

    start = time.perf_counter()
    result = run(replace(CLAIM, check=slow, control=slow), line(), Effort.QUICK)
    assert 0.04 <= result.seconds <= time.perf_counter() - start


def test_what_a_check_raises_is_told_apart() -> None:
    def raising(error: Exception) -> Finding:
        def check(problem: Problem, effort: Effort) -> Finding:
            raise error

        return evaluate(check, line(), Effort.QUICK)

    assert raising(QuadratureError("X is large")) == unmet("out of reach: X is large")
    assert raising(InputError("X", "a", "b")) == Finding.undecided("InputError: X: expected a, got b")
    assert raising(KeyError("X")) == Finding.undecided("internal error: KeyError: 'X'")


@pytest.mark.parametrize(("value", "printed"), [("1", True), ("0", False), (None, False)])
def test_where_a_check_broke_is_printed_if_asked_for(
    value: str | None, printed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_broken(problem: Problem, effort: Effort) -> Finding:
        raise ZeroDivisionError("oops")

    if value is None:
        monkeypatch.delenv("NNTK_DEBUG", raising=False)
    else:
        monkeypatch.setenv("NNTK_DEBUG", value)
    evaluate(is_broken, line(), Effort.QUICK)
    assert ("in is_broken" in capsys.readouterr().err) is printed
