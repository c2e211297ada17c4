"""Checks in processes of their own: what ends one of them is told, and ends nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nntk.crosscheck.isolation
from nntk.crosscheck import FactoryError, Report
from nntk.crosscheck.battery import InProcess, plan, run
from nntk.crosscheck.isolation import Isolated
from nntk.crosscheck.report import record

ROOT = Path(__file__).parents[3]
CHOSEN = "neuron-permutation,deterministic"


def isolated(
    id: str, *, only: str = CHOSEN, profile: str = "first-order", module: str = "room_subjects", **options: Any
) -> Report:
    planned = plan(f"tests.nntk.{module}:{id}", profile, effort="quick", only=[only], **{"diagnose": False, **options})
    with Isolated(planned) as worker:
        return run(planned, worker)


def told(report: Report) -> list[tuple[str, str, str]]:
    return [(result.id, result.outcome, result.finding.why) for result in report.results]


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("segfaults", "the process was killed by SIGSEGV"),
        ("exits_at_once", "the process ended itself with exit code 7"),
        ("killed", "the process was killed by SIGKILL, perhaps for its memory"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_how(id: str, why: str) -> None:
    report = isolated(id)
    assert report.complete
    assert told(report) == [("neuron-permutation", "error", why), ("deterministic", "error", why)]
    for result in report.results:  # each has died in a process of its own, and shows the case at which it did
        assert result.failure is not None
        assert f"import {id}" in result.failure.snippet
        assert result.finding.cases == 1


def test_a_crash_is_traced_to_the_optimizers_frames() -> None:
    trace = isolated("segfaults", only="deterministic").results[0].trace
    assert "room_subjects.py" in trace
    assert "nntk/crosscheck/" not in trace


def test_a_hang_that_hears_no_signal_is_ended() -> None:
    begin = time.monotonic()
    report = isolated("hangs", only="deterministic", time_limit=0.5)
    assert told(report) == [("deterministic", "error", "no end after 0.5 s (the time limit of a check)")]
    assert time.monotonic() - begin < 60


def test_a_diagnosis_that_dies_says_how() -> None:
    (found,) = isolated("exits_at_once", only="deterministic", diagnose=True).diagnosis
    assert (found.id, found.words) == ("error", "the process ended itself with exit code 7")


def test_first_calls_are_not_held_against_the_limit() -> None:
    """Each new shape takes a second and a half, and the limit is half a second: enough for three first calls, not for ten."""
    passing = isolated("compiles", only="deterministic", time_limit=1.0)
    assert passing["deterministic"].outcome == "passed", told(passing)
    late = isolated("compiles", only="deterministic", time_limit=0.1)  # 1 s in all
    assert late["deterministic"].outcome == "error", told(late)


def test_what_is_expected_covers_an_error_only_where_it_says_so() -> None:
    expected = {"neuron-permutation": "known", "deterministic": "error: known to crash"}
    report = isolated("segfaults", expected_failures=expected)
    assert [result.outcome for result in report.results] == ["error", "xfailed"]
    assert not report.passed


def test_what_is_printed_in_c_and_python_is_noted_and_kept_off(capfd: pytest.CaptureFixture[str]) -> None:
    report = isolated("speaks_in_escapes", only="deterministic")
    assert capfd.readouterr() == ("", "")
    (note,) = report.notes
    assert note.startswith(r"prints: '\x1b[2Jcleared' and ")
    text = str(report)
    assert r"ValueError: \x1b[31mred\x07" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_threads_that_are_left_are_noted() -> None:
    assert "starts threads: helper" in isolated("starts_a_thread", only="deterministic").notes


def test_what_cannot_be_imported_is_bad_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dies_at_import.py").write_text("import os\nos._exit(3)\n")
    (tmp_path / "raises_at_import.py").write_text("raise ValueError('no')\n")
    for module, words in (
        ("dies_at_import", "exit code 3"),
        ("raises_at_import", "importing raises_at_import: ValueError: no"),
    ):
        planned = plan(f"{module}:make", only=["deterministic"])
        with pytest.raises(FactoryError, match=words), Isolated(planned) as worker:
            run(planned, worker)


def test_what_is_printed_at_import_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loud.py").write_text("print('hello')\nfrom tests.nntk.room_subjects import with_batch as make\n")
    planned = plan("loud:make", "first-order", only=[CHOSEN], effort="quick", diagnose=False)
    with Isolated(planned) as worker:
        report = run(planned, worker)
    assert report.notes == ("prints at import: 'hello'",)
    assert run(planned, InProcess(planned)).notes == report.notes


def timeless(report: Report) -> dict[str, Any]:
    made = record(replace(report, seconds=0.0, results=tuple(replace(r, seconds=0.0) for r in report.results)))
    return {key: value for key, value in made.items() if key != "started"}


def test_the_report_is_the_same_whatever_ran_before_and_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "only": "step-matches,data-permutation,deterministic",
        "profile": "exact-newton",
        "module": "optimizers",
        "diagnose": True,
    }
    two = isolated("half_residual", **options)
    monkeypatch.setattr(nntk.crosscheck.isolation, "_AT_ONCE", 1)
    assert timeless(isolated("half_residual", **options)) == timeless(two)
    alone = isolated("half_residual", **{**options, "only": "data-permutation"})
    assert replace(alone["data-permutation"], seconds=0.0) == replace(two["data-permutation"], seconds=0.0)
    assert [result.id for result in two.results] == ["step-matches", "data-permutation", "deterministic"]


WAITING = """
import os, time
from pathlib import Path

def step(theta, X, y, damping, problem):
    if Path("started").exists():
        Path("waiting").write_text(str(os.getpid()))
        time.sleep(600)
    Path("started").touch()
    return theta - problem.gradient(theta)
"""


HEARING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
from nntk.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_children_end_with_the_run(signal_: signal.Signals, code: int, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WAITING)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    options = "crosscheck", "mine:step", "--profile", "first-order", "--quick", "--only", "deterministic"
    command = [sys.executable, "-c", HEARING, *options]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE)
    waiting = tmp_path / "waiting"
    try:
        assert _within(120, lambda: waiting.exists() and bool(waiting.read_text()))
        process.send_signal(signal_)
        assert process.wait(60) == code
    finally:
        process.kill()
        process.communicate()
    child = int(waiting.read_text())
    assert _within(20, lambda: not _runs(child))


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jax_joins_as_a_function() -> None:
    """In a process of its own: importing it starts threads and changes what it likes."""
    report = isolated("by_jax", module="right_optimizers", profile="exact-newton", only="deterministic,precision,non-finite")
    assert [result.outcome for result in report.results] == ["passed"] * 3, report
    assert report.form == "function"
