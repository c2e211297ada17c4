"""The cross-check as tests, one for each check: what the pytest plugin's items run, and a decorator for test modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nntk.crosscheck.battery import InProcess, check_optimizer, plan
from nntk.crosscheck.options import TIME_LIMIT, read_expected_failures
from nntk.crosscheck.result import CheckResult, Report
from nntk_reference import InputError, Verdict

__all__ = ["Candidate", "CheckError", "CheckFailed", "candidate", "parametrize_with_checks"]

Factory = Callable[..., Any] | str

_TOLD = ("profile", "rtol", "residual", "form", "dtype", "device", "effort", "seed")


class CheckFailed(AssertionError):
    """The optimizer does not pass a check."""


class CheckError(Exception):
    """The optimizer's code raised in a check, or took too long. No CheckFailed, which is what a mark for a failure covers."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An optimizer to be cross-checked one check at a time.

    ids        of the checks to run. `left_out` says why each of the others is not.
    expected   {id: reason} of those of them that are expected to fail.
    arguments  the other arguments of check_optimizer.
    """

    factory: Factory
    name: str
    ids: tuple[str, ...]
    left_out: Mapping[str, str]
    expected: Mapping[str, str]
    arguments: Mapping[str, Any]
    _told: dict[str, str] = field(default_factory=dict, repr=False)

    def run(self, id: str) -> CheckResult:
        """One check. Raises KeyboardInterrupt."""
        expected = {id: self.expected[id]} if id in self.expected else None
        report = _finished(
            check_optimizer(self.factory, only=[id], expected_failures=expected, diagnose=False, **self.arguments)
        )
        return report.results[0]

    def diagnosis_of(self, result: CheckResult) -> str:
        """What the steps are, a line for each kind of system and for the smallest failing case, where the result calls for it.

        It does not if nothing is wrong, nor where there was no step. Found out once.
        """
        wrong = result.finding.applies and result.outcome not in ("informative", "error")
        if not wrong or result.finding.verdict is Verdict.HOLDS or result.trace:
            return ""
        if result.id not in self._told:
            worker = InProcess(plan(self.factory, only=[result.id], **self.arguments))
            done = worker.diagnose([result])
            self._told[result.id] = "\n".join(f"{found.group}: {found.words}" for found in done.diagnosis)
        return self._told[result.id]

    def properties(self, result: CheckResult) -> list[tuple[str, str]]:
        """What is recorded of a result beside its outcome, as text."""
        finding = result.finding
        told: dict[str, Any] = {
            "optimizer": self.name,
            "check": result.id,
            "outcome": result.outcome,
            "number": finding.number,
            "limit": finding.limit,
            "cases": finding.cases,
            "why": finding.why,
            "diagnosis": self.diagnosis_of(result),
        }
        return [(f"nntk-{key}", "" if value is None else str(value)) for key, value in told.items()]

    def check(self, id: str) -> None:
        """Run one check. Raises CheckFailed or CheckError for a result that is not good, and pytest's Skipped for none."""
        __tracebackhide__ = True
        result = self.run(id)
        if result.outcome == "skipped":
            pytest.skip(result.finding.why)
        if complaint := self.complaint(result):
            if self.tolerates(result):
                pytest.xfail(complaint)
            raise (CheckError if result.outcome == "error" else CheckFailed)(complaint)

    def tolerates(self, result: CheckResult) -> bool:
        """Is it a finding about behaviour, which refuses an optimizer only where that is asked for?"""
        finding = result.check.about == "behaviour" and result.outcome in ("failed", "undecided")
        return finding and not self.arguments.get("strict", False)

    def complaint(self, result: CheckResult) -> str:
        """All there is to say about a result that fails a test, from the reason to a program that shows it; else nothing."""
        if result.outcome in ("passed", "skipped", "informative", "xpassed"):  # the xfail mark makes a failure of the last
            return ""
        finding, failure = result.finding, result.failure
        numbers = [] if finding.number is None else [f"number {finding.number:.3g}"]
        numbers += [] if finding.limit is None else [f"limit {finding.limit:.3g}"]
        numbers += [f"{finding.cases} cases"]
        numbers += [f"{key} {self.arguments[key]}" for key in _TOLD if self.arguments.get(key) is not None]
        parts = [
            f"{result.outcome}: {finding.why}",
            f"{result.id} of {self.name}: {result.check.statement} ({', '.join(numbers)})",
            result.trace,
            self.diagnosis_of(result),
        ]
        if failure is not None:
            parts += [f"smallest case: {failure.case}", f"a program that shows it:\n\n{failure.snippet.rstrip()}"]
        return "\n".join(part for part in parts if part)


def expected_mark(reason: str) -> pytest.MarkDecorator:
    """The mark of a test that is expected to fail for this reason. An error that the reason covers is a failure, too."""
    return pytest.mark.xfail(reason=reason, strict=True, raises=CheckFailed)


def _finished(report: Report) -> Report:
    if not report.complete:
        raise KeyboardInterrupt
    return report


def candidate(
    factory: Factory,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    name: str | None = None,
    **arguments: Any,
) -> Candidate:
    """A candidate whose factory makes an optimizer. Takes the arguments of check_optimizer; raises InputError, FactoryError."""
    planned = plan(factory, only=only, skip=skip, expected_failures=expected_failures, **arguments)
    worker = InProcess(planned)
    worker.probe()
    judged = {check.id for check in planned.checks if planned.profile.name not in check.informative}
    expected = {id: reason for id, reason in planned.expected.items() if id in judged}
    ids = tuple(check.id for check in planned.checks)
    return Candidate(factory, name or worker.subject, ids, planned.left_out, expected, arguments)


def parametrize_with_checks(
    factories: Sequence[Factory | Mapping[str, Factory]] | Mapping[str, Factory],
    profile: str = "exact-newton",
    *,
    rtol: float | None = None,
    residual: float | None = None,
    form: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    effort: str = "default",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
    time_limit: float = TIME_LIMIT,
    strict: bool = False,
) -> pytest.MarkDecorator:
    """Parametrize a test by the checks of a profile, on each of some optimizers.

        @nntk.parametrize_with_checks([factory])
        def test_my_optimizer(check):
            check()

    The tests are called `factory-step-matches` and so on. check() raises CheckFailed, an AssertionError, where the optimizer
    does not pass, CheckError where it raises or takes too long, and skips where the check does not apply. Expected failures are
    strict xfails, which cover an error only where the reason begins with `error:`. Findings about behaviour are xfailed, too,
    unless `strict`.

    factories  functions, "package.module:factory", or {name: factory} to give names. The other arguments are those of
               check_optimizer, and hold for every factory.

    Raises InputError for bad arguments, and FactoryError for something that makes no optimizer.
    """
    arguments: dict[str, Any] = {
        "profile": profile,
        "rtol": rtol,
        "residual": residual,
        "form": form,
        "effort": effort,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "time_limit": time_limit,
        "strict": strict,
    }
    expected = read_expected_failures(expected_failures)
    parameters, names = [], set()
    for name, factory in _named(factories):
        one = candidate(factory, only=only, skip=skip, expected_failures=expected, name=name, **arguments)
        short = name or one.name.rpartition(":")[2]
        if short in names:
            raise InputError("factories", "a name for each: {name: factory}", f"{short!r} twice")
        names.add(short)
        for id in one.ids:
            marks = [expected_mark(one.expected[id])] if id in one.expected else []
            parameters.append(pytest.param(partial(one.check, id), id=f"{short}-{id}", marks=marks))
    return pytest.mark.parametrize("check", parameters)


def _named(
    factories: Sequence[Factory | Mapping[str, Factory]] | Mapping[str, Factory],
) -> list[tuple[str | None, Factory]]:
    wanted = "a list of factories, or {name: factory}"
    if isinstance(factories, str) or not isinstance(factories, Sequence | Mapping):
        raise InputError("factories", wanted, repr(factories))
    named: list[tuple[str | None, Factory]] = []
    for entry in [factories] if isinstance(factories, Mapping) else factories:
        named += entry.items() if isinstance(entry, Mapping) else [(None, entry)]
    if not named:
        raise InputError("factories", wanted, "none")
    return named
