"""Claims that do as they are told, for the tests of what runs and reports them; reports read as strictly as JSON is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Problem
from nntk_proofs_checks.claim import unmet
from nntk_reference import Verdict

HOLDS = Finding(Verdict.HOLDS, 1.2e-30, "≤", 1e-12, 62, "as it must be")
REFUTED = Finding(Verdict.REFUTED, 3.0, "≤", 1e-12, 4, "3 is [3.0 +/- 1e-9], more than\n   1e-12")
UNDECIDED = Finding(Verdict.UNDECIDED, None, "≤", None, 0, "precision cap reached")
NOT_MET = unmet("assumption not met: the inputs have\nduplicates")
Calls = list[tuple[str, Problem, Effort]]
Outcome = Finding | BaseException


def claim(id: str, finding: Outcome = HOLDS, control: Outcome = REFUTED, calls: Calls | None = None) -> Claim:
    def check_as(outcome: Outcome, name: str) -> Callable[[Problem, Effort], Finding]:
        def check(problem: Problem, effort: Effort) -> Finding:
            if calls is not None:
                calls.append((name, problem, effort))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return check

    return Claim(id, "s", "a", Evidence.CERTIFIED, check_as(finding, id), check_as(control, f"{id}/control"), "r")


def message(result: Result, code: int = 2) -> str:
    """The one line on stderr of a run that was refused before any work."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("nntk: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def strict(path: Path) -> Any:
    """A report, of which every byte is JSON: NaN and infinity are not."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    raw = path.read_bytes()
    assert raw.endswith(b"}\n")
    return json.loads(raw.decode("utf-8"), parse_constant=refuse)
