"""Run the checks of a profile on an optimizer: deterministic cases, drawn cases, and what is said in the end."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from nntk.crosscheck import diagnosis
from nntk.crosscheck.case import EPS
from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.diagnosis import Diagnosis
from nntk.crosscheck.drawn import draw_cases
from nntk.crosscheck.guards import FIRST_CALLS, OutOfTime, Output, Told, guarded, notes
from nntk.crosscheck.guards import time_limit as limited
from nntk.crosscheck.options import (
    TIME_LIMIT,
    covers,
    effort_of,
    form_of,
    read_expected_failures,
    residual_of,
    rtol_of,
    select,
)
from nntk.crosscheck.result import CheckResult, Report, Tally, failure_of, finding_of, following, outcome_of, smallest_of
from nntk.crosscheck.setting import UNRESOLVED, NotApplicable, Profile, Setting, refuse_missing_device
from nntk.crosscheck.setting import profile as known_profile
from nntk.crosscheck.subject import FactoryError, Subject, SubjectError, subject, tried
from nntk.reporting.characters import visible
from nntk.reporting.envelope import NOT_FINISHED
from nntk_proofs_checks.claim import Effort, unmet
from nntk_reference import InputError, Verdict, validation

__all__ = [
    "Done",
    "InProcess",
    "Plan",
    "Worker",
    "check_optimizer",
    "diagnosed",
    "examined",
    "form_made",
    "out_of_time",
    "plan",
    "probed",
    "run",
    "undiagnosed",
    "with_expected",
]

_IMPORTS = 15.0
"""Seconds that torch's own imports may take."""


def check_optimizer(
    factory: Callable[..., Any] | str,
    profile: str = "exact-newton",
    *,
    rtol: float | None = None,
    residual: float | None = None,
    form: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    effort: str | Effort = "default",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
    time_limit: float = TIME_LIMIT,
    strict: bool = False,
    diagnose: bool = True,
    progress: Callable[[str], Any] | None = None,
    finished: Callable[[CheckResult], Any] | None = None,
    kept: Callable[[Report], Any] | None = None,
    name: str | None = None,
) -> Report:
    """Cross-check an optimizer: run the profile's checks, diagnose its steps, and report.

    factory            factory(model, X, y, damping) -> optimizer, or step(theta, X, y, damping, problem) -> theta_next; or
                       "package.module:name" of one (see nntk.crosscheck.subject).
    profile            "exact-newton", "gauss-newton", "approximate-newton" (with rtol, default 1e-3, or residual) or
                       "first-order".
    rtol, residual     what the relative error of a step may be, and what |AΔ + g| / |g| may be.
    form               "torch", "object" or "function"; None to guess it.
    only, skip         ids of checks; an id may hold several with commas between.
    expected_failures  {id: reason}, or a file of lines `id: reason`. A check in it that does not fail is reported as xpassed,
                       which the report does not pass with. It covers an error or a time-out only where the reason begins
                       with `error:`.
    effort             "quick", "default" or "full": how many cases. seed: which ones.
    strict             whether findings about behaviour refuse the optimizer, too.
    diagnose           whether to say what the steps are.
    time_limit         seconds that each check may take, after which it is interrupted and marked error.
    progress, finished called with the id of each check before it, and with its result after it.
    kept               called with the report so far (complete=False) before the first check, and after each.

    The optimizer's exceptions, printing and global state do not reach the caller. KeyboardInterrupt ends the run; what is
    finished by then is in the report, with complete=False, and the other checks are left out as not finished.
    Raises InputError for bad arguments, and FactoryError for something that makes no optimizer.
    """
    planned = plan(
        factory,
        profile,
        rtol=rtol,
        residual=residual,
        form=form,
        only=only,
        skip=skip,
        expected_failures=expected_failures,
        effort=effort,
        seed=seed,
        device=device,
        dtype=dtype,
        time_limit=time_limit,
        strict=strict,
        diagnose=diagnose,
        name=name,
    )
    return run(planned, InProcess(planned), progress=progress, finished=finished, kept=kept)


# --- what is going to be done --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a battery is going to do: `checks`, in order, with the reasons why failures are `expected`, {id: reason}.

    factory    not looked at yet.
    left_out   why each of the other checks is not run.
    """

    factory: Callable[..., Any] | str
    name: str | None
    form: str | None
    profile: Profile
    rtol: float | None
    residual: float | None
    checks: tuple[Check, ...]
    left_out: dict[str, str]
    expected: dict[str, str]
    effort: Effort
    seed: int
    device: str
    dtype: str
    time_limit: float
    strict: bool
    diagnose: bool

    def subject(self) -> Subject:
        """What is cross-checked; a module that it is in is imported. Raises FactoryError."""
        return subject(self.factory, self.name, self.form)

    def setting(self, told: Subject) -> Setting:
        """What the checks are run with."""
        return Setting(
            told, self.profile, self.dtype, self.device, self.effort, self.seed, rtol=self.rtol, residual=self.residual
        )


def plan(
    factory: Callable[..., Any] | str,
    profile: str = "exact-newton",
    *,
    rtol: float | None = None,
    residual: float | None = None,
    form: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    effort: str | Effort = "default",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
    time_limit: float = TIME_LIMIT,
    strict: bool = False,
    diagnose: bool = True,
    name: str | None = None,
) -> Plan:
    """Look at the arguments of `check_optimizer` before any work, but for the factory. Raises InputError."""
    chosen, amount = known_profile(profile), effort_of(effort)
    expected = read_expected_failures(expected_failures)
    checks, left_out = select(chosen, only, skip)
    if dtype not in EPS:
        raise InputError("dtype", f"one of {', '.join(EPS)}", repr(dtype))
    validation.seed(seed)
    validation.positive("time_limit", time_limit)
    refuse_missing_device(device)
    tolerances = rtol_of(rtol, residual, chosen), residual_of(residual, chosen)
    return Plan(
        factory,
        name,
        form_of(form),
        chosen,
        *tolerances,
        tuple(checks),
        left_out,
        expected,
        amount,
        seed,
        device,
        dtype,
        time_limit,
        strict,
        diagnose,
    )


# --- doing it ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """What a piece of the work came to. `form` is empty until an optimizer was made; `told` is what it did beside its steps."""

    result: CheckResult | None = None
    diagnosis: tuple[Diagnosis, ...] = ()
    form: str = ""
    told: Told = field(default_factory=Told)


class Worker(Protocol):
    """Who does a battery's work, here or in other processes."""

    subject: str

    def probe(self) -> Done:
        """Make one optimizer and take a step. Raises FactoryError."""
        ...

    def checks(self, ids: Sequence[str]) -> Iterator[Done]:
        """The checks, in this order."""
        ...

    def diagnose(self, results: Sequence[CheckResult]) -> Done:
        """What the steps are, of which the checks have found `results`."""
        ...


class InProcess:
    """The work in this process. Raises FactoryError."""

    def __init__(self, planned: Plan) -> None:
        output = Output()
        with output.captured():
            told = planned.subject()
        self.planned, self.setting, self.subject = planned, planned.setting(told), told.name
        self._imported = output.told().printed

    def probe(self) -> Done:
        return self._told(lambda: probed(self.planned, self.setting))

    def checks(self, ids: Sequence[str]) -> Iterator[Done]:
        for id in ids:
            yield self._told(lambda id=id: Done(examined(self.planned, self.setting, id)))  # type: ignore[misc]

    def diagnose(self, results: Sequence[CheckResult]) -> Done:
        return self._told(lambda: Done(diagnosis=diagnosed(self.planned, self.setting, results)))

    def _told(self, work: Callable[[], Done]) -> Done:
        output = Output()
        with output.captured():
            done = work()
        return replace(done, form=form_made(self.setting), told=replace(output.told(), imported=self._imported))


def run(
    planned: Plan,
    worker: Worker,
    *,
    progress: Callable[[str], Any] | None = None,
    finished: Callable[[CheckResult], Any] | None = None,
    kept: Callable[[Report], Any] | None = None,
) -> Report:
    """The battery: the worker's probe, checks and diagnosis, as `check_optimizer` says. Raises FactoryError."""
    started, begin = datetime.now(UTC), time.perf_counter()
    done: list[Done] = []

    def report(complete: bool) -> Report:
        results = following([piece.result for piece in done if piece.result is not None])
        found = {result.id for result in results}
        left_out = planned.left_out | {check.id: NOT_FINISHED for check in planned.checks if check.id not in found}
        return Report(
            worker.subject,
            next((piece.form for piece in done if piece.form), planned.form or ""),
            planned.profile,
            planned.rtol,
            planned.dtype,
            planned.device,
            planned.effort,
            planned.seed,
            results,
            tuple(d for piece in done for d in piece.diagnosis),
            tuple(notes(piece.told for piece in done)),
            {id: left_out[id] for id in CHECKS if id in left_out},
            started,
            time.perf_counter() - begin,
            complete=complete,
            residual=planned.residual,
            strict=planned.strict,
            form_given=planned.form is not None,
        )

    def keep() -> None:
        if kept is not None:
            kept(report(complete=False))

    try:
        done.append(worker.probe())
        keep()
        ids = [check.id for check in planned.checks]
        pieces = worker.checks(ids)
        for id in ids:
            if progress is not None:
                progress(id)
            done.append(next(pieces))
            keep()
            result = done[-1].result
            if finished is not None and result is not None:
                finished(result)
        if planned.diagnose:
            if progress is not None:
                progress("diagnosis")
            done.append(worker.diagnose(report(complete=False).results))
    except KeyboardInterrupt:
        return report(complete=False)
    return report(complete=True)


# --- the pieces of the work ----------------------------------------------------------------------------------------------


def probed(planned: Plan, setting: Setting) -> Done:
    """Make one optimizer and take a step, to find out that it can be used. What it raises is left to the checks to report.

    Raises FactoryError.
    """
    if planned.time_limit < _IMPORTS:
        # torch imports its compiler at the first call of torch.func; interrupted there, it stays broken.
        importlib.import_module("torch._dynamo")
    at = next(iter(CHECKS["deterministic"].cases(setting)))
    with guarded(), contextlib.suppress(SubjectError, OutOfTime), limited(planned.time_limit):
        session = setting.subject.made(at, setting.dtype, setting.device)
        setting.notes["form"] = session.form
        tried(session)
    return Done(form=form_made(setting))


def form_made(setting: Setting) -> str:
    """The form of the optimizers that were made; empty for none."""
    return str(setting.notes.get("form", ""))


def examined(planned: Plan, setting: Setting, id: str, first_calls: float = FIRST_CALLS) -> CheckResult:
    """The check of this id on all its cases."""
    begin, check = time.perf_counter(), next(check for check in planned.checks if check.id == id)
    tally = Tally(resolution=max(UNRESOLVED, 2 * (setting.rtol or 0.0)))
    error, trace, why_not = "", "", ""
    try:
        with guarded(), limited(planned.time_limit, first_calls):
            for case in check.cases(setting):
                tally.at = case
                tally.add(check.examine(setting, case))
            if check.drawn:
                draw_cases(check, setting, tally)
    except NotApplicable as reason:
        why_not = str(reason)
    except SubjectError as fault:
        error, trace = str(fault), fault.trace
    except OutOfTime:
        error = out_of_time(planned.time_limit)
    except FactoryError as fault:
        error = str(fault)
    except Exception as fault:  # of this package, which must not hide what the other checks find
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc(file=sys.__stderr__)
        error = visible(f"internal error: {type(fault).__name__}: {fault}")
    seconds = time.perf_counter() - begin
    if why_not:
        return CheckResult(check, "skipped", unmet(why_not), seconds)
    finding = finding_of(tally, error, tolerant=setting.tolerant)
    informative = setting.profile.name in check.informative
    expected = planned.expected.get(id, "")
    outcome = with_expected("error" if error else outcome_of(finding, informative), expected)
    failure, smallest = None, None
    if not informative and (error or finding.verdict is Verdict.REFUTED):
        failure, smallest = failure_of(setting, tally, error), smallest_of(tally)
    return CheckResult(
        check,
        outcome,
        finding,
        seconds,
        failure,
        trace,
        tally.refused,
        tally.unresolved,
        expected,
        tally.drawn,
        smallest=smallest,
    )


def out_of_time(time_limit: float) -> str:
    """What is said of a check that took too long."""
    return f"no end after {time_limit:g} s (the time limit of a check)"


def with_expected(outcome: str, expected: str) -> str:
    """The outcome where a failure was expected, for a reason; an error is, where the reason says so."""
    if not expected or outcome in ("skipped", "informative") or (outcome == "error" and not covers(expected)):
        return outcome
    return "xpassed" if outcome == "passed" else "xfailed"


def diagnosed(
    planned: Plan, setting: Setting, results: Sequence[CheckResult], first_calls: float = FIRST_CALLS
) -> tuple[Diagnosis, ...]:
    """What the steps are, of which the checks have found `results`."""
    try:
        with guarded(), limited(planned.time_limit, first_calls):
            failures = [(r.id, *r.smallest) for r in results if r.smallest is not None]
            return tuple(diagnosis.diagnose(setting, failures))
    except OutOfTime:
        return undiagnosed(f"no end after {planned.time_limit:g} s")
    except (SubjectError, FactoryError) as fault:
        return undiagnosed(str(fault))
    except Exception as fault:
        return undiagnosed(visible(f"internal error: {type(fault).__name__}: {fault}"))


def undiagnosed(why: str) -> tuple[Diagnosis, ...]:
    """What is said of steps that could not be looked at: as a check that ends in an error, it refuses."""
    return (Diagnosis("all", "error", why, error=None, explained=False, steps=0, refuses=True),)
