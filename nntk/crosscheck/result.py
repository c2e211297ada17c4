"""What is found out: a check's tally over its cases, its finding and smallest failure, and the report of a whole battery."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nntk.crosscheck.case import Case
from nntk.crosscheck.checks import FOLLOWS, Check
from nntk.crosscheck.diagnosis import Diagnosis
from nntk.crosscheck.setting import UNRESOLVED, Profile, Reading, Setting
from nntk.crosscheck.snippet import snippet
from nntk_proofs_checks.claim import Effort, Finding, unmet
from nntk_reference import Verdict

__all__ = ["CheckResult", "Failure", "Report", "Tally", "failure_of", "finding_of", "following", "outcome_of", "smallest_of"]


@dataclass(frozen=True)
class Failure:
    """The smallest case that failed, and a program that shows it without this package's checks.

    number, limit  None where what fails has none.
    """

    case: str
    number: float | None
    limit: float | None
    why: str
    snippet: str


@dataclass(frozen=True)
class CheckResult:
    """How one check came out.

    outcome   "passed", "failed", "undecided", "error" (the optimizer's code raised, or ran out of time), "skipped",
              "informative"; with an expected failure "xfailed", or "xpassed" where it did not fail.
    drawn     how many of its cases were drawn.
    follows   the id of the failed check that this failure follows from; "" where it stands for itself.
    smallest  (case, steps) of the failure, for the diagnosis; None where there is none to show.
    """

    check: Check
    outcome: str
    finding: Finding
    seconds: float
    failure: Failure | None = None
    trace: str = ""
    refused: int = 0
    unresolved: int = 0
    expected: str = ""
    drawn: int = 0
    follows: str = ""
    smallest: tuple[Case, int] | None = None

    @property
    def id(self) -> str:
        """The check's id."""
        return self.check.id

    @property
    def good(self) -> bool:
        """Does the report pass with it?"""
        return self.outcome in ("passed", "xfailed", "skipped", "informative")


@dataclass(frozen=True)
class Report:
    """What the battery found out about an optimizer; `left_out`, {id: why}, are the checks without a result."""

    subject: str
    form: str
    profile: Profile
    rtol: float | None
    dtype: str
    device: str
    effort: Effort
    seed: int
    results: tuple[CheckResult, ...]
    diagnosis: tuple[Diagnosis, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]
    started: datetime
    seconds: float
    complete: bool = True
    residual: float | None = None
    strict: bool = False
    form_given: bool = False

    @property
    def accepted(self) -> bool:
        """Is nothing about the step refused, by a check or by the diagnosis, and was something checked?"""
        checked = any(r.outcome in ("passed", "xfailed") for r in self.results) or bool(self.findings)
        right = not self.wrong_steps and all(r.good for r in self.results if r.check.about == "step")
        return self.complete and checked and right

    @property
    def wrong_steps(self) -> tuple[Diagnosis, ...]:
        """The groups of the diagnosis with a step that is not the profile's, but for those where that was expected.

        It was where the check that sees the same steps fails as expected: `step-matches`, of consecutive steps `trajectory` as
        well, of a failing case its own check.
        """
        expected = {r.id for r in self.results if r.outcome == "xfailed"}
        return tuple(
            found
            for found in self.diagnosis
            if found.refuses and not expected & {"step-matches", "trajectory" if found.group == "consecutive" else found.group}
        )

    @property
    def findings(self) -> tuple[CheckResult, ...]:
        """What is not as it should be beside the steps."""
        return tuple(r for r in self.failed if r.check.about == "behaviour")

    @property
    def passed(self) -> bool:
        """Is the step accepted? Findings about behaviour count where the report is strict."""
        return self.accepted and not (self.strict and self.findings)

    def __str__(self) -> str:
        """The report card as plain text."""
        from nntk.crosscheck.report import as_text

        return as_text(self)

    def __getitem__(self, id: str) -> CheckResult:
        return next(r for r in self.results if r.id == id)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that the report does not pass with."""
        return tuple(r for r in self.results if not r.good)


@dataclass
class Tally:
    """What the cases of a check have shown so far; `drawn` of them were drawn. Those that are only shown are not counted."""

    worst: Reading | None = None
    smallest: Reading | None = None
    cases: int = 0
    failures: int = 0
    refused: int = 0
    unresolved: int = 0
    refusal: str = ""
    vague: str = ""
    panels: tuple[Any, ...] = ()
    at: Case | None = None
    resolution: float = UNRESOLVED
    drawn: int = 0

    def add(self, reading: Reading, *, drawn: bool = False) -> bool:
        """Count a reading; is it a failure?"""
        self.cases += 1
        self.drawn += drawn
        self.panels = self.panels or reading.panels
        if reading.answer == "refused":
            self.refused, self.refusal = self.refused + 1, self.refusal or reading.why
            return False
        if self._vague(reading) or reading.answer == "unresolved":
            self.unresolved, self.vague = self.unresolved + 1, self.vague or reading.why
            return False
        if self.worst is None or reading.ratio > self.worst.ratio:
            self.worst = reading
        if reading.ratio <= 1:
            return False
        self.failures += 1
        self.show(reading)
        return True

    def show(self, reading: Reading) -> bool:
        """Is it a failure? The smallest one is kept, to be shown."""
        if not reading.judges or reading.ratio <= 1:
            return False
        if self.smallest is None or _size(reading) < _size(self.smallest):
            self.smallest = reading
        return True

    def _vague(self, reading: Reading) -> bool:
        """Is it within a limit that says nothing?"""
        return reading.limit is not None and reading.ratio <= 1 and self.resolution < reading.limit < math.inf

    @property
    def judged(self) -> int:
        """How many cases have said whether they pass."""
        return self.cases - self.refused - self.unresolved


def _size(reading: Reading) -> tuple[float, ...]:
    if reading.failing is None:
        return (math.inf,)
    at, steps = reading.failing
    parameters, points = at.size
    digits = sum(len(repr(float(v))) for v in (*at.theta.reshape(-1), *at.objective.X.reshape(-1), *at.objective.y))
    return parameters * points, parameters, steps, digits


def outcome_of(finding: Finding, informative: bool) -> str:
    """The outcome of a check that ran to its end (see CheckResult), before expected failures are looked at."""
    if informative:
        return "informative"
    if not finding.applies:
        return "skipped"
    return {Verdict.HOLDS: "passed", Verdict.REFUTED: "failed", Verdict.UNDECIDED: "undecided"}[finding.verdict]


def finding_of(tally: Tally, error: str, *, tolerant: bool = False) -> Finding:
    """What the cases show together; `error` says why the check ended early, if it did.

    A check of which a `tolerant` profile leaves nothing to be told does not apply.
    """
    notes = []
    if tally.refused:
        notes.append(f"{tally.refused} of {tally.cases} cases refused aloud ({tally.refusal})")
    if tally.unresolved:
        notes.append(f"{tally.unresolved} of {tally.cases} cases cannot tell ({tally.vague})")
    worst = tally.worst
    if worst is None:
        if tolerant and not error and tally.unresolved:
            return unmet(f"the tolerance leaves nothing to be told: {'; '.join(notes)}")
        why = "; ".join(filter(None, (error, *notes))) or "no case was run"
        return Finding.undecided(why, cases=tally.cases, panels=tally.panels)
    refuted = worst.ratio > 1
    verdict = Verdict.REFUTED if refuted else Verdict.UNDECIDED if error else Verdict.HOLDS
    count = [f"{tally.failures} of {tally.judged} cases fail"] if tally.failures and tally.cases > 1 else []
    why = "; ".join([*([error] if error else []), worst.why, *count, *notes])
    number, limit = _finite(worst.number), _finite(worst.limit)
    relation = "≤" if number is not None and limit is not None else ""
    return Finding(verdict, number, relation, limit if relation else None, tally.cases, why, panels=tally.panels)


def following(results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """The results, with the failures that follow from another one marked as such."""
    failed = {result.id for result in results if result.outcome in ("failed", "error")}
    return tuple(
        replace(result, follows=next((cause for cause in FOLLOWS.get(result.id, ()) if cause in failed), ""))
        if result.outcome in ("failed", "undecided")
        else result
        for result in results
    )


def _finite(number: float | None) -> float | None:
    """The number; None for one that is not finite, as of a step that is not, or a limit without bound."""
    return number if number is not None and math.isfinite(number) else None


def smallest_of(tally: Tally) -> tuple[Case, int] | None:
    """(the smallest case that failed, how many steps of it), without what was computed of it."""
    if tally.smallest is None or tally.smallest.failing is None:
        return None
    at, steps = tally.smallest.failing
    return Case(at.objective, at.theta, at.kind, at.source), steps


def failure_of(setting: Setting, tally: Tally, error: str) -> Failure | None:
    """The smallest case that failed, or the one at which an error ended the check; None where neither can be shown."""
    smallest = tally.smallest
    if smallest is not None and smallest.failing is not None:
        at, steps = smallest.failing
        return Failure(str(at), _finite(smallest.number), _finite(smallest.limit), smallest.why, snippet(setting, at, steps))
    if error and tally.at is not None:
        return Failure(str(tally.at), None, None, error, snippet(setting, tally.at, 10))
    return None
