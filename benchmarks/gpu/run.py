"""Everything that needs a GPU, in one command and within ten minutes: the tests marked `gpu`, then steps of growing size.

    make gpu

It needs a Python with torch and NumPy, and nothing of this project installed: it sets the import path itself, says what is
missing and what that means, and goes on. Without a GPU it says so and exits with 0.

Every part runs in a process of its own, with a limit of time, and reports each test and size as it is done. The report,
gpu.json, is written anew each time, whole or not at all: whatever ends this run, what was finished is kept. A part that would
not end in time is not started. This process imports the standard library only: no fault of a package takes the report with it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # it is, where this file is run
    sys.path.insert(0, str(HERE))

from gpu_report import Report, write  # noqa: E402

ROOT = HERE.parents[1]
PACKAGES = [ROOT, ROOT / "reference", ROOT / "accelerated", ROOT / "proofs_checks"]

SECONDS = 570.0
"""For all of it: under ten minutes, with what the interpreter's start and the last write take."""

SURROUNDINGS_LIMIT = 120.0
TESTS_SHARE = 0.6
"""What the tests may take of the time that is left when they start; any other part half of it."""

GRACE = 5.0
"""Seconds between asking a part to end and ending it."""

AUTOGRAD = "tests/accelerated/test_against_autograd.py"
TESTS = {"cuda": ["-m", "gpu", "tests"], "cpu": ["-m", "not gpu", "-k", "optimizer or devices", AUTOGRAD]}
SIZES = {
    "cuda": [(10**4, 128), (10**5, 128), (10**6, 128), (10**5, 1024), (10**6, 1024), (10**7, 1024), (10**6, 8192)],
    "cpu": [(10**3, 16), (10**4, 16), (10**4, 64)],
}
"""(N, M), by flops."""

TABLES = {"cuda": ["precisions", "inertia", "others"], "cpu": ["inertia"]}
"""Of `nntk bench step`; the sizes stand for its table of rates."""


@dataclass(frozen=True)
class Part:
    """A process of this run. `flops`: of one step, if it measures one; `share`: of the time left, so that it hangs alone."""

    id: str
    statement: str
    arguments: tuple[str, ...]
    share: float = 0.5
    flops: float | None = None


def parts(device: str) -> list[Part]:
    """What is to be run, in order."""
    pytest = ("-m", "pytest", "-p", "recorder", *_PYTEST, *TESTS[device])
    steps = str(HERE / "steps.py")
    chosen = [Part("tests", "The tests marked gpu" if device == "cuda" else "A rehearsal of the tests", pytest, TESTS_SHARE)]
    for N, M in SIZES[device]:
        id, arguments = f"step-{N}-{M}", (steps, device, "size", str(N), str(M))
        chosen.append(Part(id, f"One exact step, N = {N:,}, M = {M:,}, d = 1", arguments, flops=3 * N * M**2 + M**3 / 3))
    for table in TABLES[device]:
        chosen.append(Part(f"table-{table}", f"The table {table!r} of `nntk bench step`", (steps, device, "table", table)))
    return chosen


# The machine's other pytest plugins stay out (see `surroundings_of_a_part`), and warnings of versions that nobody here has
# seen are shown, not errors.
_PYTEST = ("-q", "--no-header", "--tb=short", "-W", "default", "-p", "no:cacheprovider", "--continue-on-collection-errors")


# --- the parts ---------------------------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """A signal asked this run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True)
class Ended:
    """How a part ended: its exit status (of a signal: minus its number), seconds, and whether it was out of time."""

    status: int
    seconds: float
    late: bool


def run(arguments: Sequence[str], limit: float, log: Path | None, heard: Callable[[dict[str, Any]], None]) -> Ended:
    """Run Python with these arguments, `limit` seconds at most; `heard` takes each line that it sends, and {}s between."""
    reading, writing = os.pipe()
    start, late = time.monotonic(), False
    with contextlib.ExitStack() as held:
        held.callback(os.close, reading)
        output = held.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=surroundings_of_a_part(writing, start + limit),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            process_group=0,
            preexec_fn=_die_with_the_parent,
        )
        os.close(writing)
        try:
            for line in _lines(reading, child, start + limit + GRACE):
                heard(line)
            late = child.poll() is None
        finally:
            _end(child)
    return Ended(child.returncode, time.monotonic() - start, late)


def surroundings_of_a_part(pipe: int, until: float) -> dict[str, str]:
    """The environment variables: the import path, where to report to, and no plugin or option of somebody else's for pytest."""
    path = [*map(str, PACKAGES), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE") or "ci",
        "NNTK_GPU_PIPE": str(pipe),
        "NNTK_GPU_UNTIL": str(until),
    }
    return {**os.environ, **own}


def _die_with_the_parent() -> None:
    """On Linux a part ends with this process, however that ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _lines(reading: int, child: subprocess.Popen[bytes], until: float) -> Iterator[dict[str, Any]]:
    """What the child sends, until it ends or its time is over; {} where it is silent for a while."""
    rest = b""
    while time.monotonic() < until:
        ready, _, _ = select.select([reading], [], [], 0.2)
        if not ready:
            if child.poll() is not None:
                return
            yield {}
            continue
        chunk = os.read(reading, 2**16)
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, whole)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started, if they still run."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)


def run_part(part: Part, report: Report, limit: float, log: Path) -> dict[str, Any]:
    """Run a part and put its result into the report, growing as it is heard of; returns what else it sent."""
    result: dict[str, Any] = {
        "id": part.id,
        "statement": part.statement,
        "complete": False,
        "outcome": "running",
        "seconds": 0.0,
        "summary": None,
        "why": None,
        "wrong": [],
        "selected": None,
        "counts": {"passed": 0, "failed": 0, "skipped": 0},
        "tests": [],
        "measurements": [],
    }
    start, aside = time.monotonic(), dict[str, Any]()

    def heard(line: dict[str, Any]) -> None:
        for key, value in line.items():
            if key not in result:
                aside[key] = value
            elif isinstance(value, list):
                result[key].extend(value)
            else:
                result[key] = value
        for test in line.get("tests", []):
            result["counts"][test["outcome"]] += 1
        if line and "left_out" not in aside and result not in report.results:
            report.results.append(result)
        result["seconds"] = time.monotonic() - start
        report.update()

    try:
        ended = run(part.arguments, limit, log, heard)
    except Stopped:
        result |= {"outcome": _outcome(result), "why": "stopped"}
        raise
    if "left_out" in aside:
        report.skip(part.id, aside["left_out"], cannot=True)
        return aside
    if ended.late:
        result["why"] = f"not finished within {limit:.0f} s"
    elif result["why"] is None and ended.status not in (0, 5) and _outcome(result) == "passed":  # pytest's 5: no tests
        result["wrong"].append(f"its process ended with {ended.status}; the log may say more")
    cut = ended.late or result["why"] is not None or ended.status not in (0, 1, 5)
    result |= {"seconds": ended.seconds, "outcome": _outcome(result), "complete": not cut}
    if result not in report.results:
        report.results.append(result)
    report.waiting.remove(part.id)
    return aside


def _outcome(result: Mapping[str, Any]) -> str:
    return "failed" if result["wrong"] or result["counts"]["failed"] else "passed"


class Clock:
    """The seconds left, and what a step of some size may be expected to take."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.rate: float | None = None

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def expected(self, part: Part) -> float:
        """Seconds in proportion to the flops of the last size measured, which was smaller and so no faster a flop."""
        return 1.0 if part.flops is None or self.rate is None else part.flops * self.rate

    def learn(self, part: Part, calling: float | None) -> None:
        """From the seconds that the calls of a size took."""
        if part.flops is not None and calling is not None:
            self.rate = calling / part.flops


def run_all(chosen: Sequence[Part], report: Report, clock: Clock, folder: Path) -> None:
    """One part after another, while there is time."""
    for part in chosen:
        expected, limit = clock.expected(part), (clock.left - GRACE) * part.share
        if expected > limit:
            # Sizes grow as far as time allows; all else was to be done.
            why = f"takes about {expected:.0f} s, and may take {max(limit, 0):.0f} s of those left"
            report.skip(part.id, why, cannot=part.flops is not None)
            say(f"{part.id}: {report.left_out[part.id]}")
            continue
        log = folder / ("tests.log" if part.id == "tests" else "steps.log")
        clock.learn(part, run_part(part, report, limit, log).get("calling"))
        report.write()
        say(f"{part.id}: {report.left_out.get(part.id) or told(report.results[-1])}")


def told(result: Mapping[str, Any]) -> str:
    """A result in a line."""
    words = [result["outcome"] if result["complete"] else f"{result['outcome']}, not complete", f"{result['seconds']:.1f} s"]
    words += [", ".join(f"{n} {kind}" for kind, n in result["counts"].items())] if result["tests"] else []
    words += [result[key] for key in ("summary", "why") if result[key]] + result["wrong"]
    return "; ".join(words)


# --- the command -------------------------------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Print a line at once; a reader that has gone away is no reason to stop."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def surroundings(limit: float) -> dict[str, Any]:
    """The machine, its versions and its GPU, as a process of its own finds them; {} if it does not come back."""
    found: dict[str, Any] = {}
    run([str(HERE / "surroundings.py")], limit, None, found.update)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing wrong, or no GPU. 1: something wrong, or not finished. 2: bad usage. 128 + the signal that stopped it."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/run.py", description="Run what needs a GPU, and write gpu.json.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal on small sizes")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for all of it (default {SECONDS:.0f})")
    parser.add_argument("--out", type=Path, help="folder for the report (default $OUT, or benchmarks/results/gpu)")
    parser.add_argument("--only", help="ids of parts, with commas between: tests, step-N-M, table-ID")
    options = parser.parse_args(arguments)
    chosen = parts(options.device)
    if not 0 < options.seconds < math.inf:
        parser.error("--seconds: a positive number")
    if options.only is not None:
        only = [id.strip() for id in options.only.split(",")]
        unknown = [id for id in only if id not in [part.id for part in chosen]]
        if unknown:
            parser.error(f"--only: some of {', '.join(part.id for part in chosen)}, got {unknown[0]!r}")
        chosen = [part for part in chosen if part.id in only]
    clock = Clock(options.seconds)
    found = surroundings(min(SURROUNDINGS_LIMIT, options.seconds))
    absent = _no_device(found, options.device)
    if absent:
        say(absent[0])
        return absent[1]
    folder = (options.out or Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results" / "gpu")).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for log in ("tests.log", "steps.log"):
            (folder / log).write_bytes(b"")
        write(folder / "environment.json", found)
        report = Report(folder / "gpu.json", [part.id for part in chosen], options.device, options.seconds, found)
    except OSError as error:
        parser.error(f"--out: {folder} cannot be written to ({error.strerror})")
    say(_heading(found, options.device))
    for name, meaning in found["missing"].items():
        say(f"{name} is not installed: {meaning}")

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough
        raise Stopped(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        if "pytest" in found["missing"] and "tests" in report.waiting:
            report.skip("tests", "pytest is not installed", cannot=True)
            chosen = [part for part in chosen if part.id != "tests"]
        run_all(chosen, report, clock, folder)
    except Stopped as error:
        report.write()
        say(f"stopped by {error}; what was finished is in {report.path}")
        return 128 + error.number
    report.write()
    verdict = f"wrong in: {', '.join(report.failed)}" if report.failed else "nothing wrong"
    say(f"{verdict}{'' if report.complete else '; not complete'}; {time.monotonic() - report.start:.0f} s; {report.path}")
    return int(not report.passed)


def _heading(found: Mapping[str, Any], device: str) -> str:
    gpu, versions = found.get("gpu") or {}, found["versions"]
    what = f"{gpu['name']}, driver {gpu['driver']}, CUDA {gpu['cuda']}" if device == "cuda" else "a rehearsal on the CPU"
    return f"{what}; torch {versions['torch']}, Python {found['python']}"


def _no_device(found: Mapping[str, Any], device: str) -> tuple[str, int] | None:
    """What to say, and the exit code, where nothing can be run."""
    if not found:
        return "no GPU run: this Python does not come back from looking for torch and a GPU", 1
    torch, card = found["versions"]["torch"], found["card"]
    if torch is None:
        why = f"no GPU run: Python {found['python']} ({sys.executable}) has no torch"
        return (
            (f"{why}; a GPU is there: PYTHON=... make gpu takes another Python", 2)
            if card
            else (f"{why}, and no GPU is seen", 0)
        )
    if device == "cuda" and found["gpu"] is None:
        hint = ", though the machine has one: PYTHON=... make gpu takes another Python" if card else ""
        return f"no GPU: torch {torch} finds no CUDA device{hint}; nothing was run", 0
    if "numpy" in found["missing"]:
        return "no GPU run: NumPy is not installed", 2
    if device == "cuda" and found["gpu"].get("error"):
        return f"no GPU run: {found['gpu']['error']}", 1
    return None


if __name__ == "__main__":
    sys.exit(main())
