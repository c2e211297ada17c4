"""Run the checks of a profile on an optimizer: deterministic cases, drawn cases, and what is said in the end."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nntk.crosscheck import diagnosis
from nntk.crosscheck.case import EPS
from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.diagnosis import Diagnosis
from nntk.crosscheck.drawn import draw_cases
from nntk.crosscheck.guards import OutOfTime, Output, guarded
from nntk.crosscheck.guards import time_limit as limited
from nntk.crosscheck.options import TIME_LIMIT, effort_of, read_expected_failures, rtol_of, select
from nntk.crosscheck.result import CheckResult, Report, Tally, failure_of, finding_of, outcome_of
from nntk.crosscheck.setting import UNRESOLVED, NotApplicable, Setting, refuse_missing_device
from nntk.crosscheck.setting import profile as known_profile
from nntk.crosscheck.subject import FactoryError, SubjectError, subject
from nntk.reporting.envelope import NOT_FINISHED
from nntk_proofs_checks.claim import Effort, unmet
from nntk_reference import InputError, Verdict, validation

__all__ = ["Run", "check_optimizer", "prepare", "probe"]

_IMPORTS = 15.0
"""Seconds that torch's own imports may take."""


def check_optimizer(
    factory: Callable[..., Any] | str,
    profile: str = "exact-newton",
    *,
    rtol: float | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    effort: str | Effort = "default",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
    time_limit: float = TIME_LIMIT,
    diagnose: bool = True,
    progress: Callable[[str], Any] | None = None,
    finished: Callable[[CheckResult], Any] | None = None,
    kept: Callable[[Report], Any] | None = None,
    name: str | None = None,
) -> Report:
    """Cross-check an optimizer: run the profile's checks, diagnose its steps, and report.

    factory            factory(model, X, y, damping) -> optimizer, or step(theta, X, y, damping, problem) -> theta_next; or
                       "package.module:name" of one (see nntk.crosscheck.subject).
    profile            "exact-newton", "gauss-newton", "approximate-newton" (with rtol, default 1e-3) or "first-order".
    only, skip         ids of checks; an id may hold several with commas between.
    expected_failures  {id: reason}, or a file of lines `id: reason`. A check in it that does not fail is reported as xpassed,
                       which the report does not pass with.
    effort             "quick", "default" or "full": how many cases. seed: which ones.
    diagnose           whether to say what the steps are.
    time_limit         seconds that each check may take, after which it is interrupted and marked error.
    progress, finished called with the id of each check before it, and with its result after it.
    kept               called with the report so far (complete=False) before the first check, and after each.

    The optimizer's exceptions, printing and global state do not reach the caller. KeyboardInterrupt ends the run; what is
    finished by then is in the report, with complete=False, and the other checks are left out as not finished.
    Raises InputError for bad arguments, and FactoryError for something that makes no optimizer.
    """
    run = prepare(
        factory,
        profile,
        rtol=rtol,
        only=only,
        skip=skip,
        expected_failures=expected_failures,
        effort=effort,
        seed=seed,
        device=device,
        dtype=dtype,
        time_limit=time_limit,
        name=name,
    )
    setting, output = run.setting, Output()
    started, begin = datetime.now(UTC), time.perf_counter()
    results: list[CheckResult] = []
    told: Sequence[Diagnosis] = ()

    def report(complete: bool) -> Report:
        done = {result.id for result in results}
        unfinished = {check.id: NOT_FINISHED for check in run.checks if check.id not in done}
        left_out = run.left_out | unfinished
        draws = [setting.notes["draws"]] if "draws" in setting.notes else []
        return Report(
            setting.subject.name,
            str(setting.notes.get("form", "")),
            setting.profile,
            setting.rtol,
            dtype,
            device,
            setting.effort,
            seed,
            tuple(results),
            tuple(told),
            (*draws, *output.notes()),
            {id: left_out[id] for id in CHECKS if id in left_out},
            started,
            time.perf_counter() - begin,
            complete=complete,
        )

    try:
        with output.captured():
            probe(setting, time_limit)
        if kept is not None:
            kept(report(complete=False))
        for check in run.checks:
            if progress is not None:
                progress(check.id)
            with output.captured():
                results.append(_run(check, setting, run.expected.get(check.id, ""), time_limit))
            if kept is not None:
                kept(report(complete=False))
            if finished is not None:
                finished(results[-1])
        if diagnose:
            if progress is not None:
                progress("diagnosis")
            with output.captured():
                told = _diagnosed(setting, time_limit)
    except KeyboardInterrupt:
        return report(complete=False)
    return report(complete=True)


@dataclass(frozen=True)
class Run:
    """What a battery is going to do: `checks`, in order, with the reasons why failures are `expected`, {id: reason}.

    left_out   why each of the other checks is not run.
    """

    setting: Setting
    checks: tuple[Check, ...]
    left_out: dict[str, str]
    expected: dict[str, str]


def prepare(
    factory: Callable[..., Any] | str,
    profile: str = "exact-newton",
    *,
    rtol: float | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    expected_failures: Mapping[str, str] | Path | str | None = None,
    effort: str | Effort = "default",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
    time_limit: float = TIME_LIMIT,
    name: str | None = None,
) -> Run:
    """Look at the arguments of `check_optimizer` before any work. Raises InputError and FactoryError, as that does."""
    chosen, told = known_profile(profile), subject(factory, name)
    amount = effort_of(effort)
    expected = read_expected_failures(expected_failures)
    checks, left_out = select(chosen, only, skip)
    if dtype not in EPS:
        raise InputError("dtype", f"one of {', '.join(EPS)}", repr(dtype))
    validation.seed(seed)
    validation.positive("time_limit", time_limit)
    refuse_missing_device(device)
    setting = Setting(told, chosen, dtype, device, amount, seed, rtol_of(rtol, chosen))
    return Run(setting, tuple(checks), left_out, expected)


def _run(check: Check, setting: Setting, expected: str, time_limit: float) -> CheckResult:
    begin = time.perf_counter()
    tally = Tally(resolution=max(UNRESOLVED, 2 * (setting.rtol or 0.0)))
    error, trace, why_not = "", "", ""
    try:
        with guarded(), limited(time_limit):
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
        error = f"no end after {time_limit:g} s (the time limit of a check)"
    except FactoryError as fault:
        error = str(fault)
    except Exception as fault:  # of this package, which must not hide what the other checks find
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc(file=sys.__stderr__)
        error = f"internal error: {type(fault).__name__}: {fault}"
    seconds = time.perf_counter() - begin
    if why_not:
        return CheckResult(check, "skipped", unmet(why_not), seconds)
    finding = finding_of(tally, error, tolerant=setting.tolerant)
    informative = setting.profile.name in check.informative
    outcome = "error" if error else outcome_of(finding, informative)
    if expected and outcome not in ("skipped", "informative"):
        outcome = "xpassed" if outcome == "passed" else "xfailed"
    failure = None
    if not informative and (error or finding.verdict is Verdict.REFUTED):
        failure = failure_of(setting, tally, error)
    return CheckResult(check, outcome, finding, seconds, failure, trace, tally.refused, tally.unresolved, expected, tally.drawn)


def probe(setting: Setting, time_limit: float) -> None:
    """Make one optimizer, to find out that the factory makes one. What it raises is left to the checks to report.

    Raises FactoryError.
    """
    if time_limit < _IMPORTS:
        # torch imports its compiler at the first call of torch.func; interrupted there, it stays broken.
        importlib.import_module("torch._dynamo")
    at = next(iter(CHECKS["deterministic"].cases(setting)))
    with guarded(), contextlib.suppress(SubjectError, OutOfTime), limited(time_limit):
        setting.start(at)


def _diagnosed(setting: Setting, time_limit: float) -> Sequence[Diagnosis]:
    try:
        with guarded(), limited(time_limit):
            return diagnosis.diagnose(setting)
    except OutOfTime:
        why = f"no end after {time_limit:g} s"
    except (SubjectError, FactoryError) as fault:
        why = str(fault)
    except Exception as fault:
        why = f"internal error: {type(fault).__name__}: {fault}"
    return (Diagnosis("all", "error", why, error=None, explained=False, steps=0),)
