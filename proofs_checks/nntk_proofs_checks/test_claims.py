"""The claims as tests: `pytest --pyargs nntk_proofs_checks`, one item per claim and one per negative control.

`-k ntk-decay` selects by id, `-m certified` by evidence, `-m control` the controls. An undecided claim fails; one that does not
apply to the data is skipped, with the reason. The number, its limit and the reason go into the JUnit report.
"""

from __future__ import annotations

import pytest

from nntk_proofs_checks.claim import Claim, Effort, Finding, Problem, evaluate
from nntk_proofs_checks.registry import CLAIMS
from nntk_reference import Verdict


def _items(suffix: str = "") -> list[object]:
    marks = {c.id: [getattr(pytest.mark, c.evidence.value)] + [pytest.mark.control] * bool(suffix) for c in CLAIMS.values()}
    return [pytest.param(claim, id=claim.id + suffix, marks=marks[claim.id]) for claim in CLAIMS.values()]


def _assert(
    finding: Finding, wanted: Verdict, statement: str, problem: Problem, effort: Effort, request: pytest.FixtureRequest
) -> None:
    for name in ("verdict", "number", "relation", "limit", "cases", "why"):
        request.node.user_properties.append((name, str(getattr(finding, name))))
    if not finding.applies:
        pytest.skip(finding.why)
    if finding.verdict is not wanted:
        case = f"{problem.source}, seed {problem.seed}, effort {effort.name.lower()}, {finding.cases} cases"
        pytest.fail(f"{finding.verdict.value}, not {wanted.value}: {finding.why}\n{statement}\n{case}", pytrace=False)


@pytest.mark.parametrize("claim", _items())
def test_claim(claim: Claim, nntk_problem: Problem, nntk_effort: Effort, request: pytest.FixtureRequest) -> None:
    """The claim holds."""
    finding = evaluate(claim.check, nntk_problem, nntk_effort)
    _assert(finding, Verdict.HOLDS, f"claim: {claim.statement}", nntk_problem, nntk_effort, request)


@pytest.mark.parametrize("claim", _items("-control"))
def test_control(claim: Claim, nntk_problem: Problem, nntk_effort: Effort, request: pytest.FixtureRequest) -> None:
    """Its negative control is refuted."""
    finding = evaluate(claim.control, nntk_problem, nntk_effort)
    _assert(finding, Verdict.REFUTED, f"control: {claim.control_reason}", nntk_problem, nntk_effort, request)
