"""The runner, on toy trees whose survivors are known."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutants import runner
from tests.mutants.__main__ import main
from tests.mutants.operators import Mutant
from tests.mutants.runner import CannotRun, Job, Place, Result, jobs_of, limit_of, read, rendered, rows, run, sample
from tests.mutants.table import Target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the runner limits and ends processes as POSIX does")

TARGET = Target("toy.weights", "source/toy/weights.py", ("check.py",))


def plain(tests: Sequence[str]) -> list[str]:
    """A program in place of pytest: it starts in a tenth of the time."""
    return [sys.executable, *tests]


def tree(root: Path, source: str, check: str) -> Place:
    (root / "source" / "toy").mkdir(parents=True)
    (root / "source" / "toy" / "__init__.py").touch()
    (root / TARGET.source).write_text(source)
    (root / "check.py").write_text(check)
    return Place(root, ("source",), plain)


@pytest.fixture
def toy(tmp_path: Path) -> Place:
    """One test is weak: it does not ask what happens at the limit itself."""
    return tree(
        tmp_path / "tree",
        "def heavy(a, b):\n    return a > b\n\n\ndef weight(a, b):\n    return a - b\n",
        "from toy.weights import heavy, weight\nassert heavy(2, 1) and not heavy(1, 2)\nassert weight(5, 2) == 3\n",
    )


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()
    }


def test_exactly_the_survivor_of_the_weak_test_is_left(toy: Place, tmp_path: Path) -> None:
    before = fingerprint(toy.root)
    jobs = jobs_of(toy, [TARGET])
    tables = []
    for workers in (1, 3):
        results, refused = run(toy, jobs, tmp_path / f"{workers}.jsonl", workers=workers)
        assert not refused
        tables.append(rendered(jobs, results, {}))
    assert tables[0] == tables[1]
    assert tables[0].splitlines()[2:] == [
        "| toy.weights | 4 | 3 | 0 | 1 | 0 | 75.0 % |",
        "| total | 4 | 3 | 0 | 1 | 0 | 75.0 % |",
        "",
        "source/toy/weights.py:2 relation",
        "  - return a > b",
        "  + return a >= b",
    ]
    assert fingerprint(toy.root) == before

    explained = {("toy.weights", "return a > b", "return a >= b"): "a and b differ"}
    (row, total) = rows(jobs, results, explained)
    assert (row.killed, row.survived, row.equivalent, row.score) == (3, 0, 1, 100.0)
    assert total.score == 100.0
    assert len(rendered(jobs, results, explained).splitlines()) == 4


def test_an_interrupted_run_goes_on(toy: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, path = jobs_of(toy, [TARGET]), tmp_path / "results.jsonl"

    def stop(text: str) -> None:
        if text.startswith("2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(toy, jobs, path, say=stop)
    assert not runner._interrupted.is_set()  # what is run next is not ended by it
    assert len(read(path)) == 2
    with path.open("a") as file:
        file.write('{"module": "toy.weights", "key": "half a li')
    said: list[str] = []
    results, _ = run(toy, jobs, path, say=said.append)
    assert said[0] == "4 mutants, 2 to try"
    assert len(results) == len(read(path)) == 4
    whole = run(toy, jobs, tmp_path / "whole.jsonl")[0]
    assert results == whole

    # Nothing is left to do, and nothing is started, until the source or a test of it changes.
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_try", None)
        assert run(toy, jobs, path)[0] == results
    with (toy.root / "check.py").open("a") as file:
        file.write("assert not heavy(1, 1)\n")
    (row, _) = rows(jobs_of(toy, [TARGET]), run(toy, jobs_of(toy, [TARGET]), path)[0], {})
    assert (row.killed, row.survived) == (4, 0)


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupted_run_leaves_nothing_running(late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what starts just as the others have been ended."""
    place = tree(
        tmp_path / "tree",
        "def after(k):\n    return k + 1\n",
        "import time\nfrom toy.weights import after\nif after(1) == 0: time.sleep(60)\nassert after(1) == 2\n",
    )

    interrupted, environment = threading.Event(), runner._environment

    def stop(text: str) -> None:
        if text.startswith("1/"):
            interrupted.set()
            raise KeyboardInterrupt

    def start(place: Place, scratch: Path, source: bytes) -> dict[str, str]:
        if late and b"return k - 1" in source:
            interrupted.wait(20)
            time.sleep(0.5)
        return environment(place, scratch, source)

    monkeypatch.setattr(runner, "_environment", start)
    started = time.monotonic()
    jobs = [job for job in jobs_of(place, [TARGET]) if job.mutant.after(job.source) in ("return k - 1", "return (k)")]
    assert len(jobs) == 2
    with pytest.raises(KeyboardInterrupt):
        run(place, jobs, tmp_path / "results.jsonl", workers=2, say=stop)
    assert time.monotonic() - started < 20
    assert not runner._running


def test_a_mutant_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that computes for ever and one that waits for ever, with what it has started."""
    monkeypatch.setattr(runner, "_LEAST_SECONDS", 1)
    monkeypatch.setattr(runner, "_PATIENCE", 0)
    monkeypatch.setattr(runner, "_WAITING", 1.5)
    child = tmp_path / "child"
    place = tree(
        tmp_path / "tree",
        "import subprocess, sys, time\n\n\ndef count(k):\n    while k > 0:\n        k -= 1\n",
        "from toy.weights import count\ncount(3)\n",
    )
    jobs = [job for job in jobs_of(place, [TARGET]) if job.mutant.after(job.source) == "k += 1"]
    results, _ = run(place, jobs, tmp_path / "results.jsonl")
    assert [result.outcome for result in results.values()] == [runner.TIMEOUT]

    waits = f"import subprocess\nsubprocess.run(['sh', '-c', 'echo $$ > {child}; exec sleep 60'])\n"
    started = time.monotonic()
    assert runner._try(place, TARGET, waits.encode(), 1)[0] == runner.TIMEOUT
    assert time.monotonic() - started < 20
    number = int(child.read_text())
    for _ in range(100):  # who is killed is there until somebody has asked after it
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{number}/stat").is_file() and ") Z " in Path(f"/proc/{number}/stat").read_text():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("what a test had started is still there")


def test_the_sample_depends_on_the_seed_only(toy: Place) -> None:
    jobs = [Job(Target(f"m{k}", "", ()), mutant, b"", "") for k in range(9) for mutant in _some_mutants(toy)]
    chosen = sample(jobs, 10, seed=0)
    assert len(chosen) == 10
    assert chosen == sample(jobs, 10, seed=0) == [job for job in jobs if job in chosen]
    assert set(chosen) == set(sample(jobs[::-1], 10, seed=0))
    assert chosen != sample(jobs, 10, seed=1)
    assert set(sample(jobs, 5, seed=0)) < set(chosen)
    assert sample(jobs, 1000, seed=0) == jobs


def _some_mutants(toy: Place) -> list[Mutant]:
    return [job.mutant for job in jobs_of(toy, [TARGET])]


def test_tests_that_say_nothing_are_refused(toy: Place, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no tests of its own"):
        limit_of(toy, Target(TARGET.module, TARGET.source, ()))
    (toy.root / "check.py").write_text("assert True\n")
    with pytest.raises(CannotRun, match="never import it"):
        limit_of(toy, TARGET)
    (toy.root / "check.py").write_text("assert False\n")
    results, (reason,) = run(toy, jobs_of(toy, [TARGET]), tmp_path / "results.jsonl")
    assert not results
    assert reason == "toy.weights: its tests fail without any change (killed)"


@pytest.mark.parametrize("name", ["test_child", "test_here"])
def test_pytest_has_the_mutant_and_names_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In a process that a test starts; and where pytest rewrites the module's assertions, which it reads the file for."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    place = tree(
        tmp_path / "tree",
        "X = 1\n",
        "import subprocess, sys\n\n"
        "def test_child():\n"
        "    code = 'import sys, toy.weights as w; sys.exit(w.X != 1)'\n"
        "    assert subprocess.run([sys.executable, '-c', code]).returncode == 0\n\n"
        "def test_here():\n    import toy.weights as w\n    assert w.X == 1\n\n"
        "def test_later():\n    raise AssertionError\n",
    )
    (place.root / "conftest.py").write_text("import pytest\npytest.register_assert_rewrite('toy')\n")
    target = Target(TARGET.module, TARGET.source, (f"check.py::{name}", "check.py::test_later"))
    outcome, by, _ = runner._try(Place(place.root, place.paths), target, b"X = 2\n", 60)
    assert (outcome, by) == (runner.KILLED, f"check.py::{name}")


def test_the_tests_that_run_the_line_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And all of them where those notice nothing: what a process sees that a test starts is not known."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    place = tree(
        tmp_path / "tree",
        "LIMIT = 3\n\n\ndef heavy(a):\n    return a > 1\n\n\ndef light(a):\n    return a < 9\n",
        "import subprocess, sys, time\nimport toy.weights as w\n\n"
        "def test_slow():\n    time.sleep(0.2)\n    assert w.heavy(2)\n\n"
        "def test_quick():\n    assert w.heavy(2)\n\n"
        "def test_child():\n"
        "    code = 'import sys, toy.weights as w; sys.exit(w.light(9) or w.LIMIT != 3)'\n"
        "    assert subprocess.run([sys.executable, '-c', code]).returncode == 0\n\n"
        "def test_light():\n    assert w.light(0)\n",
    )
    (place.root / "conftest.py").touch()
    place = Place(place.root, place.paths)
    _, lines = limit_of(place, TARGET)
    assert lines == {5: ["check.py::test_quick", "check.py::test_slow"], 9: ["check.py::test_light"]}

    tried, attempt = [], runner._try

    def watched(place: Place, target: Target, source: bytes, seconds: int, tests: Sequence[str] = ()) -> tuple[str, str, float]:
        tried.append(list(tests))
        return attempt(place, target, source, seconds, tests)

    monkeypatch.setattr(runner, "_try", watched)
    by = {}
    for job in jobs_of(place, [TARGET]):
        outcome, test = runner._outcome(place, job, 60, lines)
        by[job.mutant.after(job.source)] = (outcome, test.rpartition(":")[2], len(tried))
        tried.clear()
    assert by["return a <= 9"] == (runner.KILLED, "test_child", 2)
    assert by["return a >= 1"] == (runner.SURVIVED, "", 2)
    assert by["return a > 2"] == (runner.KILLED, "test_quick", 1)
    assert by["LIMIT = 4"] == (runner.KILLED, "test_child", 1)


def test_tests_that_have_other_names_under_the_mutant_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    place = tree(tmp_path / "tree", "X = 1\n", "def test_here():\n    import toy.weights as w\n    assert w.X\n")
    (place.root / "conftest.py").touch()
    place = Place(place.root, place.paths)
    assert runner._try(place, TARGET, b"X = 2\n", 60, ["check.py::test_gone"])[0] == runner.SURVIVED
    assert runner._try(place, TARGET, b"X = 0\n", 60, ["check.py::test_here"])[0] == runner.KILLED


def test_results_are_lines_of_json(toy: Place, tmp_path: Path) -> None:
    path = tmp_path / "a" / "results.jsonl"
    jobs = jobs_of(toy, [TARGET])[:1]
    run(toy, jobs, path)
    (line,) = path.read_text().splitlines()
    assert Result(**json.loads(line)) == read(path)[jobs[0].id]


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--module", "laws", "--sample", "3", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 3
    assert all("/laws.py:" in line for line in listed)
    assert main(["--module", "nonesuch"]) == 0
    assert "no mutants" in capsys.readouterr().out


def test_only_the_chosen_modules_are_tried(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By what has changed: a module's source, or a test of its own."""
    changed = {
        "reference/nntk_reference/verdict.py",
        "proofs_checks/nntk_proofs_checks/wide.py",
        "tests/reference/test_laws.py",
    }
    monkeypatch.setattr("tests.mutants.__main__._changed", lambda revision: changed if revision == "REV" else set())
    assert main(["--changed", "REV", "--list"]) == 0
    listed = {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()}
    assert listed == {"proofs_checks/nntk_proofs_checks/wide.py", "reference/nntk_reference/laws.py"}


def test_what_is_compiled_from_a_mutant_is_for_nobody_else(toy: Place, tmp_path: Path) -> None:
    shared = Place(toy.root, toy.paths, loops=tmp_path / "loops")
    scratch = tmp_path / "scratch"
    assert runner._environment(shared, scratch, b"x = 1")["NUMBA_CACHE_DIR"] == str(tmp_path / "loops")
    assert runner._environment(shared, scratch, b"@njit")["NUMBA_CACHE_DIR"] == str(scratch / "numba")
    assert runner._environment(toy, scratch, b"x = 1")["NUMBA_CACHE_DIR"] == str(scratch / "numba")


def test_the_exit_code_tells_a_low_score(toy: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mutants.__main__.targets", lambda: [TARGET])
    monkeypatch.setattr("tests.mutants.__main__.ROOT", toy.root)
    monkeypatch.setattr("tests.mutants.__main__.Place", lambda root, loops: toy)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    results = ["--results", str(tmp_path / "results.jsonl")]
    assert main([*results, "--at-least", "75"]) == 0
    assert main([*results, "--at-least", "76"]) == 1
