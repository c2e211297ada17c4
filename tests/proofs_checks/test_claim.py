"""What a claim, a problem and a finding are: checked when made, joined by the worst, and never the end of a run."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Problem, run
from nntk_proofs_checks.claim import Inputs, together, unmet
from nntk_reference import InputError, Verdict
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
