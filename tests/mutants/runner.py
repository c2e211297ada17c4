"""Runs the tests of a module under each of its mutants: `run`; the results as a table: `rendered`.

No file of the tree is changed. A mutant is a folder of its own outside of the tree, with the changed source and a
`sitecustomize` that puts it in the module's place when Python imports it; the folder stands first on PYTHONPATH, so that the
processes which a test starts have the mutant, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.mutants.operators import Mutant, mutants
from tests.mutants.table import PATHS, Target

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
_PATIENCE = 10
"""Times the processor time of the tests without a change: more is a mutant that hangs."""
_LEAST_SECONDS = 10
_CLEAN_SECONDS = 1200
_WAITING = 3
"""Times that limit again, by the clock, for a mutant that waits for ever and takes no processor time."""

_NO_SUCH_TEST = 4
"""What pytest ends with where a test that was asked for is not there."""

_PUT_IN_PLACE = """
import importlib.machinery, json, pathlib, resource, sys

_here = pathlib.Path(__file__).parent
_what = json.loads((_here / "mutant.json").read_text())
resource.setrlimit(resource.RLIMIT_CPU, (_what["seconds"], _what["seconds"] + 5))


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        return compile((_here / "mutant.py").read_bytes(), self.path, "exec", dont_inherit=True)


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != _what["module"]:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


class _Finders(list):
    # The mutant stays first: pytest, which rewrites assertions, would come before it and read the file.
    def insert(self, place, finder):
        super().insert(max(place, 1), finder)


sys.meta_path = _Finders([_Finder, *sys.meta_path])
"""

_WATCH_LINES = """
import json, pathlib, time

import coverage, pytest

_here, _seconds = pathlib.Path(__file__).parent, {}
_source = json.loads((_here / "mutant.json").read_text())["source"]
_watch = coverage.Coverage(data_file=None, config_file=False, include=[_source])
_watch.start()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    _watch.switch_context(item.nodeid)
    start = time.perf_counter()
    yield
    _seconds[item.nodeid] = time.perf_counter() - start


def pytest_sessionfinish():
    _watch.stop()
    lines = _watch.get_data().contexts_by_lineno(_source)
    # a line that runs when the module is imported concerns all tests
    of = {line: sorted(tests, key=_seconds.__getitem__) for line, tests in lines.items() if tests and "" not in tests}
    (_here / "lines.json").write_text(json.dumps(of))
"""
"""A plugin of pytest that finds out which tests run which lines of the module, the quickest tests first."""


_running: set[subprocess.Popen[bytes]] = set()
"""What an interrupted run has to end: a session of its own does not hear of the interruption."""

_interrupted = threading.Event()
"""Set before those in `_running` are ended: what is started after that ends at once."""


class CannotRun(Exception):
    """The tests of a module say nothing about its mutants."""


def with_pytest(tests: Sequence[str]) -> list[str]:
    """Run the tests, in this order, until one fails."""
    quiet = ["-q", "-x", "--tb=no", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark"]
    return [sys.executable, "-m", "pytest", *tests, *quiet]


@dataclass(frozen=True)
class Place:
    """Where and how tests are run.

    root      the tree
    paths     what stands on the import path, from the root
    command   from a target's tests to what is started, in the root
    loops     a folder in which numba keeps the loops of modules that are as they were; None: each mutant compiles its own
    """

    root: Path
    paths: tuple[str, ...] = PATHS
    command: Callable[[Sequence[str]], list[str]] = with_pytest
    loops: Path | None = None


@dataclass(frozen=True)
class Result:
    """What became of a mutant; `by` is the test that failed, as far as pytest names one."""

    module: str
    key: str
    versions: str
    outcome: str
    by: str = ""


@dataclass(frozen=True)
class Job:
    """A mutant that is to be tried."""

    target: Target
    mutant: Mutant
    source: bytes = field(repr=False)
    versions: str = ""

    @property
    def id(self) -> tuple[str, str, str]:
        return self.target.module, self.mutant.key, self.versions


def jobs_of(place: Place, targets: Iterable[Target]) -> list[Job]:
    """Every mutant of the targets, in order."""
    found = []
    for target in targets:
        source = (place.root / target.source).read_bytes()
        versions = _versions(place, target, source)
        found += [Job(target, mutant, source, versions) for mutant in mutants(source)]
    return found


def _versions(place: Place, target: Target, source: bytes) -> str:
    """Of the source and its tests: a result counts for these only."""
    total = hashlib.sha256(source)
    for test in target.tests:
        path = place.root / test
        total.update(b"\0" + test.encode() + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return total.hexdigest()[:16]


def sample(jobs: Sequence[Job], count: int, seed: int) -> list[Job]:
    """So many of them, the same for the same seed, in their order."""

    def draw(job: Job) -> bytes:
        return hashlib.sha256(f"{seed} {job.target.module} {job.mutant.key}".encode()).digest()

    chosen = {job.id for job in sorted(jobs, key=draw)[:count]}
    return [job for job in jobs if job.id in chosen]


# --- one mutant ------------------------------------------------------------------------------------------------------


Lines = Mapping[int, Sequence[str]]
"""The tests that run a line of a module, the quickest first; of lines that the module's import runs there is no entry."""


def _try(
    place: Place,
    target: Target,
    source: bytes,
    seconds: int,
    tests: Sequence[str] = (),
    lines: dict[int, list[str]] | None = None,
) -> tuple[str, str, float]:
    """(outcome, test that failed, processor seconds) of the target's tests with that source in its module's place.

    Of some of its tests, if they are given. `lines` is filled with the tests that run each line.
    """
    compile(source, target.source, "exec", dont_inherit=True)
    command = place.command(tests or target.tests)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        scratch = Path(folder)
        (scratch / "mutant.py").write_bytes(source)
        path = str((place.root / target.source).resolve())
        (scratch / "mutant.json").write_text(json.dumps({"module": target.module, "seconds": seconds, "source": path}))
        if lines is not None and place.command is with_pytest:
            (scratch / "watch_lines.py").write_text(_WATCH_LINES)
            command += ["-p", "watch_lines"]
        (scratch / "sitecustomize.py").write_text(_PUT_IN_PLACE)
        (scratch / "tmp").mkdir()
        with (scratch / "output").open("wb") as written:
            process = subprocess.Popen(
                command,
                cwd=place.root,
                env=_environment(place, scratch, source),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            _running.add(process)
            try:
                if _interrupted.is_set():
                    _kill(process)
                status, used = _wait(process, _WAITING * seconds)
            finally:
                _running.discard(process)
                _end(process)
        output = (scratch / "output").read_text("utf-8", errors="replace")
        if lines is not None and (scratch / "lines.json").is_file():
            lines |= {int(line): tests for line, tests in json.loads((scratch / "lines.json").read_text()).items()}
    if status is None or status == -signal.SIGXCPU:
        return TIMEOUT, "", used
    if tests and status == _NO_SUCH_TEST:  # under the mutant they have other names: all of them will tell
        return SURVIVED, "", used
    failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return (KILLED if status else SURVIVED), (failed[0] if failed else ""), used


def _environment(place: Place, scratch: Path, source: bytes) -> dict[str, str]:
    # Loops are kept by their bytecode, which a constant is no part of: what a mutant compiles is for nobody else.
    loops = scratch / "numba" if place.loops is None or b"njit" in source else place.loops.resolve()
    paths = [scratch, *(place.root / path for path in place.paths)]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "HYPOTHESIS_PROFILE": "ci",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        "NUMBA_CACHE_DIR": str(loops),
        "TMPDIR": str(scratch / "tmp"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[int | None, float]:
    """(exit status, processor seconds with those of its children); the status is None where it did not end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
    return None, seconds


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it started."""
    _kill(process)
    if process.returncode is None:
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def limit_of(place: Place, target: Target) -> tuple[int, Lines]:
    """Seconds of processor time that a mutant gets, and which tests run which line.

    Raises CannotRun unless the tests pass and notice a module that fails: one whose tests never import it would have survivors
    only, and nobody would see why.
    """
    if not target.tests:
        raise CannotRun(f"{target.module}: there are no tests of its own; name them in tests/mutants/table.py")
    source = (place.root / target.source).read_bytes()
    lines: dict[int, list[str]] = {}
    outcome, by, used = _try(place, target, source, _CLEAN_SECONDS, lines=lines)
    if outcome != SURVIVED:
        raise CannotRun(f"{target.module}: its tests fail without any change ({by or outcome})")
    broken = b"raise ImportError('a mutant that nothing survives')\n"
    if _try(place, target, broken, _CLEAN_SECONDS)[0] == SURVIVED:
        raise CannotRun(f"{target.module}: its tests never import it")
    return max(_LEAST_SECONDS, math.ceil(_PATIENCE * used)), lines


def _outcome(place: Place, job: Job, seconds: int, lines: Lines) -> tuple[str, str]:
    """(outcome, test that failed): of the tests that run the line first, and of all of them where these notice nothing.

    What they notice the others cannot make good. Where they do not, it may be seen in another way: in a process that a test
    starts, or in a compiled loop.
    """
    source, some = job.mutant.applied(job.source), lines.get(job.mutant.line, ())
    if some:
        outcome, by, _ = _try(place, job.target, source, seconds, some)
        if outcome != SURVIVED:
            return outcome, by
    outcome, by, _ = _try(place, job.target, source, seconds)
    return outcome, by


# --- all of them -----------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[tuple[str, str, str], Result]:
    """The results so far. A line that an interrupted run has left unfinished is none."""
    results = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            result = Result(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        results[result.module, result.key, result.versions] = result
    return results


def run(
    place: Place,
    jobs: Sequence[Job],
    path: Path,
    *,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[dict[tuple[str, str, str], Result], list[str]]:
    """The result of every job, by its id, and why modules could not be tried; results that `path` holds are taken from there.

    Each result is a line of `path` as soon as it is known. The clean runs come first and one by one, so that the limits do not
    depend on the number of workers.
    """
    known = read(path)
    waiting = [job for job in jobs if job.id not in known]
    limits: dict[Target, tuple[int, Lines]] = {}
    refused = []
    for target in dict.fromkeys(job.target for job in waiting):
        try:
            limits[target] = limit_of(place, target)
        except CannotRun as error:
            refused.append(str(error))
            say(f"not tried: {error}")
    waiting = [job for job in waiting if job.target in limits]
    say(f"{len(jobs)} mutants, {len(waiting)} to try")

    def tried(job: Job) -> Result:
        return Result(*job.id, *_outcome(place, job, *limits[job.target]))

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(workers) as pool, path.open("a", encoding="utf-8") as file:
            if file.tell() and not path.read_bytes().endswith(b"\n"):
                file.write("\n")
            futures = {pool.submit(tried, job): job for job in waiting}
            try:
                for count, future in enumerate(as_completed(futures), 1):
                    result, job = future.result(), futures[future]
                    file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
                    file.flush()
                    known[job.id] = result
                    say(f"{count}/{len(waiting)} {result.outcome} {job.target.source}:{job.mutant.line} {job.mutant.operator}")
            except BaseException:
                _interrupted.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(_running):
                    _kill(process)
                raise
    finally:  # the pool has ended by now
        _interrupted.clear()
    return {job.id: known[job.id] for job in jobs if job.id in known}, refused


# --- what came out ---------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What became of the mutants of a module."""

    module: str
    mutants: int = 0
    killed: int = 0
    timeout: int = 0
    survived: int = 0
    equivalent: int = 0

    @property
    def score(self) -> float:
        """Percent of the mutants that can be noticed; a mutant that hangs is."""
        noticeable = self.mutants - self.equivalent
        return 100 * (self.killed + self.timeout) / noticeable if noticeable else 100.0


def rows(jobs: Sequence[Job], results: Mapping[tuple[str, str, str], Result], explained: Iterable[object]) -> list[Row]:
    """A row for each module, in order, and the total. `explained` holds survivors, as `EQUIVALENT` does."""
    known = set(explained)
    found: dict[str, Row] = {}
    total = Row("total")
    for job in jobs:
        if job.id not in results:
            continue
        outcome = results[job.id].outcome
        if outcome == SURVIVED and place_of(job) in known:
            outcome = "equivalent"
        for row in (found.setdefault(job.target.module, Row(job.target.module)), total):
            row.mutants += 1
            setattr(row, outcome, getattr(row, outcome) + 1)
    return [*found.values(), total]


def place_of(job: Job) -> tuple[str, str, str]:
    """(module, the line, the line with the change)."""
    return job.target.module, job.mutant.before(job.source), job.mutant.after(job.source)


def rendered(jobs: Sequence[Job], results: Mapping[tuple[str, str, str], Result], explained: Iterable[object]) -> str:
    """The table, and below it the survivors, each with its place and both lines."""
    known = set(explained)
    lines = ["| module | mutants | killed | timeout | survived | equivalent | score |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows(jobs, results, known):
        counts = f"{row.mutants} | {row.killed} | {row.timeout} | {row.survived} | {row.equivalent}"
        lines.append(f"| {row.module} | {counts} | {row.score:.1f} % |")
    for job in jobs:
        if job.id in results and results[job.id].outcome == SURVIVED and place_of(job) not in known:
            _, before, after = place_of(job)
            lines += ["", f"{job.target.source}:{job.mutant.line} {job.mutant.operator}", f"  - {before}", f"  + {after}"]
    return "\n".join(lines)
