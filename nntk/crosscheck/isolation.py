"""The work of a battery in processes of its own, one for each check: what ends one of them ends nothing else.

They are forks of a server that has imported and computed nothing but this package, so that none sees what another did, or what
happened in this process. The optimizer's module is imported in each of them. A child that takes too long is killed with all the
processes that it has started; one that dies is an error that names the signal.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nntk.crosscheck.battery import (
    Done,
    Plan,
    diagnosed,
    examined,
    form_made,
    out_of_time,
    probed,
    undiagnosed,
    with_expected,
)
from nntk.crosscheck.case import Case
from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.guards import FIRST_CALLS, Output, Told, counted, tell_first_calls
from nntk.crosscheck.result import CheckResult, Failure, Tally, failure_of, finding_of
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import FactoryError
from nntk.forking import METHOD, start_server
from nntk.reporting.characters import visible

__all__ = ["Isolated"]

_AT_ONCE = 2
"""Children that work at the same time."""

_GRACE = 2.0
"""Seconds beyond its time limit after which a child that has not noticed it is killed."""


# --- what goes between the processes -------------------------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Checks are functions, and travel by their ids."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if isinstance(obj, Check) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return CHECKS[pid]


def _packed(thing: Any) -> bytes:
    packed = io.BytesIO()
    _Pickler(packed).dump(thing)
    return packed.getvalue()


def _unpacked(packed: bytes) -> Any:
    return _Unpickler(io.BytesIO(packed)).load()


@dataclass(frozen=True)
class _Job:
    """A piece of the work for a child.

    kind           "probe", "check", "diagnosis" or "show"; `id` of the check.
    results, at    what the diagnosis is of; the case to show, at which `error` ended a child.
    first_calls    as of nntk.crosscheck.guards.time_limit.
    """

    plan: Plan
    kind: str
    id: str = ""
    results: tuple[CheckResult, ...] = ()
    at: Case | None = None
    error: str = ""
    form: str = ""
    first_calls: float = FIRST_CALLS


# --- in the child --------------------------------------------------------------------------------------------------------


def _child(connection: Connection, packed: bytes, printed: str, crash: str) -> None:
    """Do a job, and tell of it.

    What is told: ("imported", bytes printed by then), ("first", bool), ("at", case), ("beside", Told); then "done", "shown" or
    "usage" with what was made or is at fault; ("end", None).
    """
    if hasattr(os, "setsid"):
        os.setsid()  # so that it can be killed with all that it starts, and Ctrl-C is for the parent alone
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _redirect(printed)
    with Path(crash).open("w") as file:
        faulthandler.enable(file, all_threads=False)
        told = _Telling(connection)
        output = Output()
        try:
            with output.watched():
                kind, made = _work(_unpacked(packed), told)
        except FactoryError as fault:
            kind, made = "usage", (fault.argument, fault.expected, fault.got)
        told("beside", output.told())
        told(kind, made)
        sys.stdout.flush()
        sys.stderr.flush()
        told("end", None)
        faulthandler.disable()


def _end_with_parent() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(os.getpid(), signal.SIGKILL)


def _redirect(path: str) -> None:
    """Send what is printed to a file: by C code as well, and each line at once, since the process may not live to flush it."""
    target = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(target, descriptor)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    os.close(target)


@dataclass(frozen=True)
class _Telling:
    """Tells the parent."""

    connection: Connection

    def __call__(self, kind: str, what: Any) -> None:
        self.connection.send_bytes(_packed((kind, what)))


def _work(job: _Job, told: _Telling) -> tuple[str, Any]:
    subject = job.plan.subject()
    sys.stdout.flush()
    told("imported", os.fstat(1).st_size)
    tell_first_calls(lambda begins: told("first", begins))
    setting = job.plan.setting(subject)
    if job.kind == "probe":
        return "done", probed(job.plan, setting)
    if job.kind == "diagnosis":
        return "done", Done(diagnosis=diagnosed(job.plan, setting, job.results, job.first_calls))
    if job.kind == "show":
        setting.notes["form"] = job.form
        return "shown", failure_of(setting, Tally(at=job.at), job.error)
    plan = replace(job.plan, checks=tuple(_telling_cases(check, told) for check in job.plan.checks if check.id == job.id))
    result = examined(plan, setting, job.id, job.first_calls)
    return "done", Done(replace(result, check=CHECKS[job.id]), form=form_made(setting))


def _telling_cases(check: Check, told: _Telling) -> Check:
    """The check, which tells each case before it looks at it."""

    def examine(setting: Setting, at: Case) -> Any:
        told("at", Case(at.objective, at.theta, at.kind, at.source))
        return check.examine(setting, at)

    return replace(check, examine=examine)


# --- in the parent -------------------------------------------------------------------------------------------------------

_IMPORT = 60.0
"""Seconds that importing the optimizer may take, or its time limit, if that is more."""


@dataclass
class _Seen:
    """What a child has told, and how it ended: `made` is what its last word, `kind`, brought; `fate` says how it died, if so.

    late   it was killed because it took too long; in a first call if `first`.
    """

    kind: str = ""
    made: Any = None
    imported: int = -1
    at: Case | None = None
    cases: int = 0
    first: bool = False
    beside: Told = field(default_factory=Told)
    late: bool = False
    fate: str = ""
    trace: str = ""
    seconds: float = 0.0


class _Allowance:
    """How much longer a child may take: its import, what counts against the limit, and what first calls may take beyond."""

    def __init__(self, limit: float, first_calls: float) -> None:
        self.counted, self.spare = limit, (first_calls - 1) * limit
        self.importing = max(_IMPORT, limit)
        self.since = time.monotonic()

    def left(self, seen: _Seen) -> float:
        """Seconds from now on."""
        counted = self.counted + (self.spare if seen.first else 0.0)
        allowed = self.importing if seen.imported < 0 else counted
        return max(self.since + allowed + _GRACE - time.monotonic(), 0.0)

    def turn(self, seen: _Seen) -> None:
        """What `seen` says is over."""
        took, self.since = time.monotonic() - self.since, time.monotonic()
        if seen.imported < 0:
            return
        spared = min(took, self.spare) if seen.first else 0.0
        self.spare -= spared
        self.counted -= took - spared


class Isolated:
    """The work of a battery, in children. To be used in a `with`, which ends those that still work."""

    def __init__(self, planned: Plan) -> None:
        self.planned, self.subject = planned, planned.name or str(planned.factory)
        self._form, self._first_calls = planned.form or "", FIRST_CALLS
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._children: dict[int, Any] = {}
        self._lock, self._closed = threading.Lock(), False
        start_server()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._closed = True
            for process in self._children.values():
                _kill(process)
        self._pool.shutdown(cancel_futures=True)

    def probe(self) -> Done:
        """Make one optimizer and take a step. Raises FactoryError."""
        seen = self._watched(_Job(self.planned, "probe"))
        if seen.kind == "usage":
            raise FactoryError(*seen.made)
        if seen.imported < 0:
            raise FactoryError("factory", "an importable package.module:factory", f"{self.subject!r}: importing it {seen.fate}")
        done = seen.made if seen.kind == "done" else Done()
        self._form = done.form or self._form
        return replace(done, told=seen.beside)

    def checks(self, ids: Sequence[str]) -> Iterator[Done]:
        """The checks, in this order, whichever is finished first."""
        futures = [self._pool.submit(self._checked, id) for id in ids]
        for future in futures:
            yield future.result()

    def diagnose(self, results: Sequence[CheckResult]) -> Done:
        """What the steps are."""
        job = _Job(self.planned, "diagnosis", results=tuple(results), first_calls=self._first_calls)
        seen = self._watched(job)
        done = seen.made if seen.kind == "done" else Done(diagnosis=undiagnosed(_fault(self.planned, seen)))
        return replace(done, told=seen.beside)

    def _checked(self, id: str) -> Done:
        seen = self._watched(_Job(self.planned, "check", id, first_calls=self._first_calls))
        done = seen.made if seen.kind == "done" else Done(self._broken(id, seen))
        if seen.late:
            self._first_calls = 1.0  # it hangs, and does not compile: the others need not wait as long
        return replace(done, told=seen.beside)

    def _broken(self, id: str, seen: _Seen) -> CheckResult:
        """The result of a check whose child did not come to its end, with a program for the case at which it was."""
        error = _fault(self.planned, seen)
        failure: Failure | None = None
        if seen.at is not None:
            shown = self._watched(_Job(self.planned, "show", id, at=seen.at, error=error, form=self._form))
            failure = shown.made if shown.kind == "shown" else None
        finding = finding_of(Tally(cases=seen.cases), error)
        expected = self.planned.expected.get(id, "")
        outcome = with_expected("error", expected)
        return CheckResult(CHECKS[id], outcome, finding, seen.seconds, failure, seen.trace, expected=expected)

    def _watched(self, job: _Job) -> _Seen:
        """Have a child do a job, and see what becomes of it."""
        with tempfile.TemporaryDirectory(prefix="nntk-", ignore_cleanup_errors=True) as folder:
            printed, crash = Path(folder) / "printed", Path(folder) / "crash"
            printed.touch()
            crash.touch()
            begin = time.monotonic()
            process, receiver = self._started(job, str(printed), str(crash))
            try:
                seen = _followed(process, receiver, _Allowance(self.planned.time_limit, job.first_calls))
            finally:
                if process.is_alive():
                    _kill(process)
                process.join()
                with self._lock:
                    del self._children[process.pid]
                receiver.close()
            _kill_group(process.pid)  # what it may have left running
            seen.seconds = time.monotonic() - begin
            seen.fate = "took too long" if seen.late else _fate(process.exitcode)
            seen.trace = _crash_trace(crash.read_text("utf-8", "replace"))
            with printed.open("rb") as file:
                first = file.read(seen.imported if seen.imported >= 0 else -1).decode("utf-8", "replace").splitlines()
                rest = counted(line.decode("utf-8", "replace") for line in file)
            seen.beside = replace(seen.beside, imported=counted(first), printed=rest)
            return seen

    def _started(self, job: _Job, printed: str, crash: str) -> tuple[Any, Connection]:
        context = multiprocessing.get_context(METHOD)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(sender, _packed(job), printed, crash))  # type: ignore[attr-defined]
        with self._lock:
            if self._closed:
                raise KeyboardInterrupt
            process.start()
            self._children[process.pid] = process
        sender.close()
        return process, receiver


def _followed(process: Any, receiver: Connection, allowance: _Allowance) -> _Seen:
    """What a child tells, until it says that it is at its end, dies, or takes too long: then it is aborted."""
    seen = _Seen()
    while True:
        ready = wait([receiver, process.sentinel], allowance.left(seen))
        if receiver not in ready:
            if not ready:
                seen.late = True
                os.kill(process.pid, signal.SIGABRT)  # which makes it say where it is
                process.join(_GRACE)
            return seen
        try:
            kind, what = _unpacked(receiver.recv_bytes())
        except EOFError:
            process.join(_GRACE)
            return seen
        if kind == "end":
            return seen
        _heard(seen, allowance, kind, what)


def _heard(seen: _Seen, allowance: _Allowance, kind: str, what: Any) -> None:
    if kind in ("imported", "first"):
        allowance.turn(seen)
        setattr(seen, kind, what)
    elif kind == "at":
        seen.at, seen.cases = what, seen.cases + 1
    elif kind == "beside":
        seen.beside = what
    else:
        seen.kind, seen.made = kind, what


def _kill(process: Any) -> None:
    _kill_group(process.pid)
    process.kill()


def _kill_group(pid: int) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has none yet, or none is left in it
            os.killpg(pid, signal.SIGKILL)


def _fault(planned: Plan, seen: _Seen) -> str:
    """What is said of a child that has no result."""
    if seen.kind == "usage":
        return str(FactoryError(*seen.made))
    return out_of_time(planned.time_limit) if seen.late else f"the process {seen.fate}"


def _fate(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended itself with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (", perhaps for its memory" if name == "SIGKILL" else "")


_OURS = str(Path(__file__).parent)


def _crash_trace(dump: str) -> str:
    """What faulthandler wrote, without this package's frames."""
    lines = [line for line in dump.splitlines() if line.startswith("  File ")]
    ours = next((i for i, line in enumerate(lines) if _OURS in line), len(lines))
    return visible("\n".join(["The last call first:", *lines[:ours]])) if ours else ""
