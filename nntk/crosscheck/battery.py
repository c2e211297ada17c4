"""Run the checks of a profile on an optimizer: deterministic cases, drawn cases, a time limit, and what is said in the end."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

import nntk_reference
from nntk.crosscheck import diagnosis
from nntk.crosscheck.case import EPS, Case, Problem, rounded
from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.diagnosis import Diagnosis
from nntk.crosscheck.setting import (
    NotApplicable,
    Profile,
    Reading,
    Setting,
    guarded,
    profile,
    refuse_missing_device,
)
from nntk.crosscheck.snippet import snippet
from nntk.crosscheck.subject import FactoryError, SubjectError, subject
from nntk.reporting.selection import choose
from nntk_proofs_checks.claim import Effort, Finding
from nntk_reference import InputError, Verdict, regularization
from nntk_reference.validation import positive, whole_number

__all__ = ["CheckResult", "Failure", "Report", "check_optimizer", "read_expected_failures"]

DEFAULT_RTOL = 1e-3
TIME_LIMIT = 60.0

_DRAWN = {Effort.QUICK: 5, Effort.DEFAULT: 40, Effort.FULL: 300}
_SOFT = {Effort.QUICK: 0.15, Effort.DEFAULT: 1.5, Effort.FULL: 60.0}
"""Seconds after which no more cases are drawn; how many there were is reported."""
_SHRINKS = 200
_IMPORTS = 15.0
"""Seconds that torch's own imports may take."""
_UNRESOLVED = 0.1
"""A limit above this says nothing about a relative quantity."""

_ACTIVATIONS = ("tanh", "erf", "sin", "logistic", "softplus", "gelu")


@dataclass(frozen=True)
class Failure:
    """The smallest case that failed, and a program that shows it without this package's checks."""

    case: str
    number: float
    limit: float
    why: str
    snippet: str


@dataclass(frozen=True)
class CheckResult:
    """How one check came out.

    outcome   "passed", "failed", "undecided", "error" (the optimizer's code raised, or ran out of time), "skipped",
              "informative"; with an expected failure "xfailed", or "xpassed" where it did not fail.
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
    """What the battery found out about an optimizer."""

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

    @property
    def passed(self) -> bool:
        """Is nothing refused, and was something checked?"""
        checked = any(r.outcome in ("passed", "xfailed") for r in self.results)
        return self.complete and checked and all(r.good for r in self.results)

    def __getitem__(self, id: str) -> CheckResult:
        return next(r for r in self.results if r.id == id)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that the report does not pass with."""
        return tuple(r for r in self.results if not r.good)


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

    The optimizer's exceptions, printing and global state do not reach the caller. KeyboardInterrupt ends the run; what is
    finished by then is in the report, with complete=False.
    Raises InputError for bad arguments, and FactoryError for something that makes no optimizer.
    """
    chosen, told = _profile(profile), subject(factory, name)
    effort = _effort(effort)
    expected = read_expected_failures(expected_failures)
    checks, left_out = _select(chosen, only, skip, expected)
    if dtype not in EPS:
        raise InputError("dtype", f"one of {', '.join(EPS)}", repr(dtype))
    whole_number("seed", seed, 0, 2**32 - 1)
    positive("time_limit", time_limit)
    refuse_missing_device(device)
    setting = Setting(told, chosen, dtype, device, effort, seed, _rtol(rtol, chosen))
    started, begin = datetime.now(UTC), time.perf_counter()
    results: list[CheckResult] = []
    told_as: Sequence[Diagnosis] = ()
    output = _Output()
    complete = False
    try:
        with output.captured():
            _probe(setting, time_limit)
        for check in checks:
            if progress is not None:
                progress(check.id)
            with output.captured():
                result = _run(check, setting, expected.get(check.id, ""), time_limit)
            results.append(result)
            if finished is not None:
                finished(result)
        if diagnose:
            if progress is not None:
                progress("diagnosis")
            with output.captured():
                told_as = _diagnosed(setting, time_limit)
        complete = True
    except KeyboardInterrupt:
        pass
    return Report(
        told.name,
        str(setting.notes.get("form", "")),
        chosen,
        setting.rtol,
        dtype,
        device,
        effort,
        seed,
        tuple(results),
        tuple(told_as),
        (*([setting.notes["draws"]] if "draws" in setting.notes else []), *output.notes()),
        left_out,
        started,
        time.perf_counter() - begin,
        complete=complete,
    )


# --- options -------------------------------------------------------------------------------------------------------------

_profile = profile


def _effort(effort: str | Effort) -> Effort:
    if isinstance(effort, Effort):
        return effort
    names = {e.name.lower(): e for e in Effort}
    if effort not in names:
        raise InputError("effort", f"one of {', '.join(names)}", repr(effort))
    return names[effort]


def _rtol(rtol: float | None, chosen: Profile) -> float | None:
    if not chosen.approximate:
        if rtol is not None:
            raise InputError("rtol", "none, unless the profile is approximate-newton", repr(rtol))
        return None
    value = DEFAULT_RTOL if rtol is None else positive("rtol", rtol)
    if value >= 1:
        raise InputError("rtol", "a relative error below 1", repr(rtol))
    return value


def _select(
    chosen: Profile, only: Sequence[str], skip: Sequence[str], expected: Mapping[str, str]
) -> tuple[list[Check], dict[str, str]]:
    """(the checks to run, why each of the others is left out)."""
    wanted, unwanted = choose("only", only, CHECKS), choose("skip", skip, CHECKS)
    for id in expected:
        choose("expected_failures", [id], CHECKS)
    checks, left_out = [], {}
    for id, check in CHECKS.items():
        if chosen.name not in check.profiles:
            left_out[id] = f"not part of the profile {chosen.name}"
        elif id in unwanted:
            left_out[id] = "skipped on request"
        elif wanted and id not in wanted:
            left_out[id] = "not selected"
        else:
            checks.append(check)
    if not checks:
        raise InputError("only", f"a check of the profile {chosen.name}", ", ".join(only) or "none left by skip")
    return checks, left_out


def read_expected_failures(source: Mapping[str, str] | Path | str | None) -> dict[str, str]:
    """Expected failures, {id: reason}, from a mapping or a file of lines `id: reason`, where # begins a comment.

    Raises InputError.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        lines = [(0, id, reason) for id, reason in source.items()]
    else:
        path = Path(source)
        try:
            rows = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("xfail", "a file of lines `id: reason`", f"{str(path)!r} ({error})") from None
        lines = []
        for number, row in enumerate(rows, start=1):
            if row.strip() and not row.strip().startswith("#"):
                id, _, reason = row.partition(":")
                lines.append((number, id.strip(), reason.strip()))
    found: dict[str, str] = {}
    for number, id, reason in lines:
        where = f"line {number}: " if number else ""
        if id not in CHECKS or not reason:
            problem = "no such check" if id not in CHECKS else "no reason"
            raise InputError(
                "xfail", f"lines `id: reason`, with the id of a check ({', '.join(CHECKS)})", f"{where}{id!r}: {problem}"
            )
        if id in found:
            raise InputError("xfail", "each check once", f"{where}{id!r} again")
        found[id] = reason
    return found


# --- one check -----------------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What the cases of a check have shown so far."""

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
    resolution: float = _UNRESOLVED

    def add(self, reading: Reading) -> bool:
        """Count a reading; is it a failure?"""
        self.cases += 1
        self.panels = self.panels or reading.panels
        if reading.refused:
            self.refused, self.refusal = self.refused + 1, self.refusal or reading.refused
            return False
        if reading.unresolved or (reading.ratio <= 1 and self.resolution < reading.limit < math.inf):
            self.unresolved, self.vague = self.unresolved + 1, self.vague or reading.why
            return False
        if self.worst is None or reading.ratio > self.worst.ratio:
            self.worst = reading
        if reading.ratio <= 1:
            return False
        self.failures += 1
        if self.smallest is None or _size(reading) < _size(self.smallest):
            self.smallest = reading
        return True


def _size(reading: Reading) -> tuple[float, ...]:
    if reading.failing is None:
        return (math.inf,)
    at, steps = reading.failing
    parameters, points = at.size
    digits = sum(len(repr(float(v))) for v in (*at.theta.reshape(-1), *at.problem.X.reshape(-1), *at.problem.y))
    return parameters * points, parameters, steps, digits


def _run(check: Check, setting: Setting, expected: str, time_limit: float) -> CheckResult:
    begin = time.perf_counter()
    tally = _Tally(resolution=max(_UNRESOLVED, 2 * (setting.rtol or 0.0)))
    error, trace, why_not = "", "", ""
    try:
        with guarded(), _time_limit(time_limit):
            for case in check.cases(setting):
                tally.at = case
                tally.add(check.examine(setting, case))
            if check.drawn:
                _draw(check, setting, tally)
    except NotApplicable as reason:
        why_not = str(reason)
    except SubjectError as fault:
        error, trace = str(fault), fault.trace
    except _OutOfTime:
        error = f"no end after {time_limit:g} s (the time limit of a check)"
    except FactoryError as fault:
        error = str(fault)
    except Exception as fault:  # of this package, which must not hide what the other checks find
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc(file=sys.__stderr__)
        error = f"internal error: {type(fault).__name__}: {fault}"
    seconds = time.perf_counter() - begin
    if why_not:
        return CheckResult(check, "skipped", Finding(Verdict.UNDECIDED, None, "", None, 0, why_not, applies=False), seconds)
    finding = _finding(tally, error)
    informative = setting.profile.name in check.informative
    outcome = "error" if error else _outcome(finding, informative, tally)
    if expected and not informative:
        outcome = "xpassed" if outcome == "passed" else "xfailed"
    failure = None
    if not informative and (error or finding.verdict is Verdict.REFUTED):
        failure = _failure(setting, tally, error)
    return CheckResult(check, outcome, finding, seconds, failure, trace, tally.refused, tally.unresolved, expected)


def _outcome(finding: Finding, informative: bool, tally: _Tally) -> str:
    if informative:
        return "informative"
    if tally.cases and tally.refused == tally.cases:
        return "passed" if tally.worst is None and finding.verdict is Verdict.HOLDS else "undecided"
    return {Verdict.HOLDS: "passed", Verdict.REFUTED: "failed", Verdict.UNDECIDED: "undecided"}[finding.verdict]


def _finding(tally: _Tally, error: str) -> Finding:
    notes = []
    if tally.refused:
        notes.append(f"{tally.refused} of {tally.cases} cases refused aloud ({tally.refusal})")
    if tally.unresolved:
        notes.append(f"{tally.unresolved} of {tally.cases} cases cannot tell ({tally.vague})")
    worst, judged = tally.worst, tally.cases - tally.refused - tally.unresolved
    if worst is None:
        verdict = Verdict.UNDECIDED
        why = "; ".join(filter(None, (error, *notes))) or "no case was run"
        return Finding(verdict, None, "", None, tally.cases, why, panels=tally.panels)
    refuted = worst.ratio > 1
    verdict = Verdict.REFUTED if refuted else Verdict.UNDECIDED if error else Verdict.HOLDS
    count = [f"{tally.failures} of {judged} cases fail"] if tally.failures and tally.cases > 1 else []
    why = "; ".join([*([error] if error else []), worst.why, *count, *notes])
    limit = worst.limit if worst.limit < math.inf else None
    return Finding(verdict, worst.number, "≤" if limit is not None else "", limit, tally.cases, why, panels=tally.panels)


def _failure(setting: Setting, tally: _Tally, error: str) -> Failure | None:
    smallest = tally.smallest
    if smallest is not None and smallest.failing is not None:
        at, steps = smallest.failing
        return Failure(str(at), smallest.number, smallest.limit, smallest.why, snippet(setting, at, steps))
    if error and tally.at is not None:
        return Failure(str(tally.at), math.nan, 0.0, error, snippet(setting, tally.at, 10))
    return None


# --- drawn cases -----------------------------------------------------------------------------------------------------------


class _Failed(AssertionError):
    """A drawn case failed: what hypothesis shrinks."""


class _Enough(BaseException):
    """No Exception, so that hypothesis stops at once and does not shrink it."""


def _draw(check: Check, setting: Setting, tally: _Tally) -> None:
    """Cases drawn by hypothesis, until there are enough or time is up; a failing one is shrunk. Raises SubjectError."""
    deadline = time.perf_counter() + _SOFT[setting.effort]
    runs = 0
    fault: SubjectError | None = None

    @hypothesis.seed(setting.seed)
    @hypothesis.settings(
        max_examples=_DRAWN[setting.effort],
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(_cases(setting, check.drawn))
    def test(at: Case) -> None:
        nonlocal runs, fault
        runs += 1
        if time.perf_counter() > deadline or runs > _DRAWN[setting.effort] + _SHRINKS:
            raise _Enough
        tally.at = at
        try:
            failed = tally.add(check.examine(setting, at))
        except SubjectError as error:
            fault = error
            raise _Enough from None
        if failed:
            raise _Failed

    state = np.random.get_state()  # noqa: NPY002 - hypothesis seeds the global generators
    try:
        test()
    except (_Failed, _Enough):
        pass
    except hypothesis.errors.HypothesisException:
        pass  # Unsatisfiable, where no drawn case was of the right kind: counted as it is; Flaky, where the optimizer is
    finally:
        np.random.set_state(state)  # noqa: NPY002
    if fault is not None:
        raise fault


@st.composite
def _problems(draw: st.DrawFn, dtype: str) -> tuple[Problem, Any]:
    """Small problems in multiples of 1/64, which are short in print and the same in both dtypes.

    Integers, since floats take ten times as long to draw. Neurons and points are sometimes repeated, neurons sometimes dead.
    """
    width, dim, points = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    count = width * (dim + 2) + points * (dim + 1)
    numbers = np.array(draw(st.tuples(*[st.integers(-128, 128)] * count))) / 64
    theta, data = numbers[: width * (dim + 2)].reshape(width, -1), numbers[width * (dim + 2) :].reshape(points, -1)
    special = draw(st.sampled_from(["none"] * 6 + ["neuron repeated", "neuron dead", "point repeated"]))
    if special == "neuron repeated":
        theta[-1] = theta[0]
    elif special == "neuron dead":
        theta[-1, 0] = 0.0
    elif special == "point repeated":
        data[-1, :-1] = data[0, :-1]
    beta = draw(st.sampled_from([0.75, 0.6, 0.9]))
    gamma = 10 ** (draw(st.integers(-8, 8)) / 4)
    damping = float(rounded(regularization(gamma, width, beta), dtype))
    return Problem(data[:, :-1].copy(), data[:, -1].copy(), beta, draw(st.sampled_from(_ACTIVATIONS)), damping), theta


def _cases(setting: Setting, kind: str) -> st.SearchStrategy[Case]:
    """Small cases that the dtype can judge; with `kind` "definite" such that D ≻ 0."""
    dtype = setting.dtype

    def build(drawn: tuple[Problem, Any]) -> Case | None:
        problem, theta = drawn
        point = problem.at(theta)
        if not np.linalg.norm(point.gradient) > 1e-3 * point.gradient_size:
            return None
        spectrum = np.linalg.eigvalsh(point.blocks)
        if np.abs(spectrum).min() <= 1e-3 * point.matrix_size or (kind == "definite" and spectrum.min() <= 0):
            return None
        if max(point.newton.limit(dtype), point.gauss_newton_target.limit(dtype)) > math.sqrt(EPS[dtype]):
            return None
        return Case(problem, theta, "indefinite" if point.negative else "definite", "drawn by hypothesis")

    return _problems(dtype).map(build).filter(lambda case: case is not None)  # type: ignore[return-value]


# --- time, output, faults --------------------------------------------------------------------------------------------------


class _OutOfTime(BaseException):
    """No Exception, so that an optimizer that catches everything does not catch it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _OutOfTime in the block after so long; only where signals can be had, in the main thread of a Unix process."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(signum: int, frame: Any) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    # Again every second: one that is swallowed, or lands in a callback, must not be the last.
    earlier = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    begin = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if earlier[0]:  # a host's own alarm, such as pytest-timeout's
            signal.setitimer(signal.ITIMER_REAL, max(earlier[0] - (time.monotonic() - begin), 1e-3), earlier[1])


def _probe(setting: Setting, time_limit: float) -> None:
    """Make one optimizer, to find out that the factory makes one. What it raises is left to the checks to report."""
    if time_limit < _IMPORTS:
        # torch imports its compiler at the first call of torch.func; interrupted there, it stays broken.
        importlib.import_module("torch._dynamo")
    at = next(iter(CHECKS["deterministic"].cases(setting)))
    with guarded(), contextlib.suppress(SubjectError, _OutOfTime), _time_limit(time_limit):
        setting.start(at)


def _diagnosed(setting: Setting, time_limit: float) -> Sequence[Diagnosis]:
    try:
        with guarded(), _time_limit(time_limit):
            return diagnosis.diagnose(setting)
    except _OutOfTime:
        why = f"no end after {time_limit:g} s"
    except (SubjectError, FactoryError) as fault:
        why = str(fault)
    except Exception as fault:
        why = f"internal error: {type(fault).__name__}: {fault}"
    return (Diagnosis("all", "error", why, math.nan, False, 0),)


_OURS = Path(nntk_reference.__file__).parent


@dataclass
class _Output:
    """What the optimizer prints and warns of, kept off the terminal."""

    printed: io.StringIO = field(default_factory=io.StringIO)
    warned: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def captured(self) -> Iterator[None]:
        with (
            contextlib.redirect_stdout(self.printed),
            contextlib.redirect_stderr(self.printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("default")
            try:
                yield
            finally:
                for w in caught:
                    if issubclass(w.category, DeprecationWarning | FutureWarning) or Path(w.filename).is_relative_to(_OURS):
                        continue  # torch's own, and the reference's where an optimizer has left the range of float64
                    self.warned[f"{w.category.__name__}: {' '.join(str(w.message).split())}"] = None

    def notes(self) -> list[str]:
        lines = [line for line in self.printed.getvalue().splitlines() if line.strip()]
        told = [f"prints: {lines[0][:120]!r}{f' and {len(lines) - 1} lines more' if len(lines) > 1 else ''}"] if lines else []
        return told + [f"warns: {text[:200]}" for text in list(self.warned)[:3]]
