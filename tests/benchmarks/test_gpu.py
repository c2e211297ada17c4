"""`make gpu` without a GPU: what it says, what it writes, and what is left of it when it is stopped.

The parts here are small stand-ins in processes of their own; a rehearsal on the CPU runs the real ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu import run

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = {
    "python": "3.12.3",
    "platform": "Linux",
    "machine": "x86_64",
    "cpus": 16,
    "versions": {"nntk": "0.1.0", "torch": "2.11.0"},
    "missing": {},
    "card": True,
    "gpu": {
        "name": "card",
        "memory": 1,
        "capability": [9, 0],
        "multiprocessors": 1,
        "count": 1,
        "cuda": "13.0",
        "driver": "580",
    },
}
SEND = """
import json, os, sys, time, signal
def send(**line): os.write(int(os.environ["NNTK_GPU_PIPE"]), json.dumps(line).encode() + b"\\n")
"""
TEST = {"id": "a", "outcome": "passed", "seconds": 0.1, "why": ""}


def part(id: str, code: str, **options: Any) -> run.Part:
    return run.Part(id, "a part", ("-c", SEND + code), **options)


def report(folder: Path) -> dict[str, Any]:
    """The report, with the keys of its schema and no others, and without NaN."""
    return read(folder / "gpu.json")


def read(path: Path) -> dict[str, Any]:
    from tests.nntk.reporting.test_schemas import validator  # here, as the stand-ins need none of what it imports

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in the report")

    record: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    validator("gpu").validate(record)
    return record


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """(exit code, report) of a run of these parts."""

    def started(
        *parts: run.Part, found: dict[str, Any] = FOUND, seconds: float = 60.0, only: str = ""
    ) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(run, "parts", lambda device: list(parts))
        monkeypatch.setattr(run, "surroundings", lambda limit: found)
        signals = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
        try:
            code = run.main(["--seconds", str(seconds), "--out", str(tmp_path), *(["--only", only] if only else [])])
        finally:
            for number, handler in zip((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), signals, strict=True):
                signal.signal(number, handler)
        return code, report(tmp_path)

    return started


# --- where nothing can be run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"gpu": None, "card": False}, 0, "torch 2.11.0 finds no CUDA device; nothing was run"),
        ({"gpu": None}, 0, "though the machine has one: PYTHON=... make gpu"),
        ({"versions": {"torch": None}, "gpu": None, "card": False}, 0, "has no torch, and no GPU is seen"),
        ({"versions": {"torch": None}, "gpu": None}, 2, "PYTHON=... make gpu"),
        ({"missing": {"numpy": "nothing can be run"}}, 2, "NumPy is not installed"),
        ({"missing": {"numpy": "nothing can be run"}, "gpu": None, "card": False}, 0, "finds no CUDA device; nothing was run"),
        ({"gpu": FOUND["gpu"] | {"error": "RuntimeError: broken"}}, 1, "RuntimeError: broken"),
        (None, 1, "does not come back"),
    ],
)
def test_it_says_why_nothing_is_run(
    change: dict[str, Any] | None,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "surroundings", lambda limit: {} if change is None else FOUND | change)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert run.main([]) == code
    (line,) = capsys.readouterr().out.splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_the_command_itself_where_there_is_no_gpu(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES hides one that is there."""
    done = subprocess.run(
        ["make", "gpu", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finds no CUDA device" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [["--seconds", "0"], ["--seconds", "nan"], ["--only", "nonsense"], ["--device", "abacus"], ["--out", "/dev/null/x"]],
)
def test_bad_usage_ends_with_2(wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "surroundings", lambda limit: FOUND)
    with pytest.raises(SystemExit) as caught:
        run.main(wrong)
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


# --- what is written ---------------------------------------------------------------------------------------------------------


def test_each_part_has_its_result(go: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, record = go(
        part(
            "tests", f"send(selected=2, tests=[{TEST}]); send(tests=[{TEST} | {{'id': 'b', 'outcome': 'skipped', 'why': 'w'}}])"
        ),
        part("step-1-1", "send(summary='fast', wrong=[])"),
    )
    assert code == 0
    assert record["complete"]
    assert record["passed"]
    assert [result["id"] for result in record["results"]] == ["tests", "step-1-1"]
    assert record["results"][0]["counts"] == {"passed": 1, "failed": 0, "skipped": 1}
    assert [test["id"] for test in record["results"][0]["tests"]] == ["a", "b"]
    assert record["left_out"] == {}
    assert record["environment"]["versions"]["torch"] == "2.11.0"
    assert record["gpu"]["driver"] == "580"
    assert json.loads((tmp_path / "environment.json").read_text())["gpu"]["name"] == "card"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["environment.json", "gpu.json", "steps.log", "tests.log"]
    said = capsys.readouterr().out
    assert "card, driver 580, CUDA 13.0; torch 2.11.0, Python 3.12.3" in said
    assert "1 passed, 0 failed, 1 skipped" in said
    assert "fast" in said


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (f"send(tests=[{TEST} | {{'outcome': 'failed', 'why': 'w'}}]); sys.exit(1)", None),
        ("send(wrong=['the residual is 1, above 1e-13'])", None),
        ("send(wrong=['ValueError: x']); sys.exit(1)", None),
        ("sys.exit(1)", "its process ended with 1"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process ended with -11"),
        (f"send(tests=[{TEST}]); os._exit(3)", "its process ended with 3"),
    ],
)
def test_what_is_wrong_makes_it_fail_and_the_rest_is_run(code: str, why: str | None, go: Any) -> None:
    status, record = go(part("bad", code), part("good", "send(summary='done')"))
    bad, good = record["results"]
    assert status == 1
    assert bad["outcome"] == "failed"
    assert (why is None) or why in bad["wrong"][0]
    assert bad["complete"] == (why is None or "with 1" in why)
    assert good["outcome"] == "passed"
    assert not record["passed"]


def test_a_part_that_does_not_fit_in_memory_is_left_out(go: Any) -> None:
    code, record = go(part("large", "send(left_out='does not fit: lower M')"), part("good", "send(summary='done')"))
    assert code == 0
    assert record["left_out"] == {"large": "does not fit: lower M"}
    assert record["passed"]  # all that this machine allows


def test_without_pytest_the_tests_are_left_out(go: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = FOUND | {
        "missing": {"pytest": "no tests are run", "python-flint": "comparisons are with dense float64 autograd instead"}
    }
    code, record = go(part("tests", "raise RuntimeError"), part("good", "send(summary='done')"), found=found)
    assert code == 0
    assert record["left_out"] == {"tests": "pytest is not installed"}
    assert record["missing"] == found["missing"]
    assert "python-flint is not installed: comparisons are with dense float64 autograd instead" in capsys.readouterr().out


def test_only_some_parts(go: Any) -> None:
    code, record = go(part("a", "send(summary='done')"), part("b", "sys.exit(1)"), only=" a ")
    assert code == 0
    assert [result["id"] for result in record["results"]] == ["a"]


def test_a_part_sees_the_packages_first_and_no_options_of_others(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nonsense")
    _, record = go(part("a", "send(summary='|'.join([*sys.path[1:5], sys.path[6], os.environ['PYTEST_ADDOPTS']]))"))
    packages = [str(ROOT / folder) for folder in ("", "reference", "accelerated", "proofs_checks")]
    assert record["results"][0]["summary"].split("|") == [*packages, "/elsewhere", ""]


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    run.write(tmp_path / "gpu.json", {"a": [float("nan"), (float("inf"), 1.5)], "b": None})
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"a": [None, [None, 1.5]], "b": None}


# --- time --------------------------------------------------------------------------------------------------------------------


def test_out_of_time(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that does not end is ended, what it sent is kept, and no other is begun."""
    monkeypatch.setattr(run, "GRACE", 0.3)
    start = time.monotonic()
    code, record = go(
        part("tests", f"send(tests=[{TEST}]); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", share=1.0),
        part("next", "send(summary='done')"),
        seconds=2.0,
    )
    assert time.monotonic() - start < 30
    assert code == 1
    assert not record["complete"]
    assert not record["passed"]
    (result,) = record["results"]
    assert result["tests"] == [TEST]
    assert not result["complete"]
    assert "not finished within" in result["why"]
    assert "may take 0 s" in record["left_out"]["next"]


def test_a_size_that_would_take_too_long_is_not_begun(go: Any) -> None:
    code, record = go(
        part("small", "send(summary='done', calling=2.0)", flops=1.0),
        part("large", "send(summary='done')", flops=1000.0),
        part("table", "send(summary='done')"),
    )
    assert code == 0
    assert record["left_out"] == {"large": next(iter(record["left_out"].values()))}
    assert record["left_out"]["large"].startswith("takes about 2000 s, and may take ")
    assert record["passed"]  # sizes grow as far as time allows
    assert [result["id"] for result in record["results"]] == ["small", "table"]


def test_sizes_grow() -> None:
    for device in ("cuda", "cpu"):
        flops = [p.flops for p in run.parts(device) if p.flops is not None]
        assert flops == sorted(flops)
        assert len(flops) >= 3
        assert len({p.id for p in run.parts(device)}) == len(run.parts(device))
    assert 0 < run.SECONDS < 600 - 2 * run.GRACE


# --- stopped from outside ----------------------------------------------------------------------------------------------------

DRIVER = """
import sys
from pathlib import Path
from benchmarks.gpu import run
from tests.benchmarks.test_gpu import FOUND, TEST, part
run.parts = lambda device: [
    part("first", "send(summary='done')"),
    part("second", f"send(tests=[{TEST}]); send(summary=str(os.getpid())); time.sleep(300)"),
    part("third", "send(summary='done')"),
]
run.surroundings = lambda limit: FOUND
sys.exit(run.main(["--out", sys.argv[1]]))
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return "State:\tZ" not in (status.read_text() if status.exists() else "")


def eventually(true: Any, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.1)
    return False


def test_what_was_finished_is_kept(tmp_path: Path) -> None:
    """Each signal stops a run of its own, side by side: they mostly wait."""
    path = os.pathsep.join([str(ROOT), *(str(ROOT / folder) for folder in ("reference", "accelerated", "proofs_checks"))])
    children: dict[signal.Signals, subprocess.Popen[str]] = {}
    with contextlib.ExitStack() as held:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            (tmp_path / number.name).mkdir()
            children[number] = held.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", DRIVER, str(tmp_path / number.name)],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": path},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            held.callback(children[number].kill)  # where this test fails
        for number, child in children.items():
            stop(number, child, tmp_path / number.name)


def stop(number: signal.Signals, child: subprocess.Popen[str], folder: Path) -> None:
    """Send it once the second part has reported, and look at what it leaves."""
    file = folder / "gpu.json"
    assert eventually(lambda: file.exists() and len(results := report(folder)["results"]) == 2 and "summary" in results[1])
    part_pid = int(report(folder)["results"][1]["summary"])
    assert alive(part_pid)
    child.send_signal(number)
    said, _ = child.communicate(timeout=60)
    record = report(folder)
    assert record["results"][0]["complete"]
    assert record["results"][1]["tests"] == [TEST]
    assert not record["results"][1]["complete"]
    assert not record["complete"]
    assert not record["passed"]
    assert record["left_out"]["third"] == "not finished"
    if number == signal.SIGKILL:
        assert child.returncode == -number
    else:
        assert child.returncode == 128 + number
        assert f"stopped by {number.name}" in said
    assert eventually(lambda: not alive(part_pid), 30)


# --- the recorder ------------------------------------------------------------------------------------------------------------

MODULE = """
import pytest
# device
def test_good(): pass
def test_bad(): assert 1 == 2
@pytest.mark.skip(reason="because")
def test_left(): pass
@pytest.fixture
def broken():
    yield
    raise ValueError("torn down")
def test_torn(broken): pass
"""


def recorded(folder: Path, until: float = 60.0, **files: str) -> tuple[run.Ended, dict[str, Any], list[dict[str, Any]]]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    told: dict[str, Any] = {}
    tests: list[dict[str, Any]] = []

    def heard(line: dict[str, Any]) -> None:
        tests.extend(line.pop("tests", []))
        told.update(line)

    ended = run.run(["-m", "pytest", "-p", "recorder", *run._PYTEST, str(folder)], until, folder / "log", heard)
    return ended, told, tests


def test_each_test_is_sent_with_its_outcome(tmp_path: Path) -> None:
    ended, told, tests = recorded(tmp_path, test_some=MODULE, test_none="def test_of_the_cpu(): pass")
    assert ended.status == 1
    assert told == {"selected": 4}
    outcomes = {test["id"].rpartition("::")[2]: (test["outcome"], test.get("why", "")) for test in tests}
    assert outcomes.keys() == {"test_good", "test_bad", "test_left", "test_torn"}
    assert outcomes["test_good"] == ("passed", "")
    assert outcomes["test_left"] == ("skipped", "because")
    assert outcomes["test_bad"][0] == "failed"
    assert "assert 1 == 2" in outcomes["test_bad"][1]
    assert outcomes["test_torn"][0] == "failed"
    assert "torn down" in outcomes["test_torn"][1]


def test_a_module_that_wants_what_is_missing_is_skipped_and_a_broken_one_is_not(tmp_path: Path) -> None:
    block = "import sys\nsys.modules['flint'] = None\nsys.modules['nosuch'] = None\n"
    ended, _, tests = recorded(
        tmp_path,
        conftest=block,
        test_reference="import flint  # device",
        test_inner="import nosuch.part  # device",
        test_own="import nntk.nosuch  # device",
        test_broken="1 / 0  # device",
        test_good="def test_good(): pass  # device",
    )
    found = {test["id"].partition("::")[0].rpartition("/")[2]: test for test in tests}
    assert found["test_reference.py"]["outcome"] == "skipped"
    assert found["test_reference.py"]["why"] == "python-flint is not installed: compared with float64 autograd instead"
    assert found["test_inner.py"]["why"] == "nosuch is not installed"
    assert found["test_own.py"]["outcome"] == "failed"
    assert found["test_broken.py"]["outcome"] == "failed"
    assert "ZeroDivisionError" in found["test_broken.py"]["why"]
    assert found["test_good.py"]["outcome"] == "passed"
    assert ended.status == 1


def test_it_stops_between_tests_when_time_is_over(tmp_path: Path) -> None:
    slow = "import time\n# device\n" + "".join(f"def test_{i}(): time.sleep(0.2)\n" for i in range(60))
    ended, told, tests = recorded(tmp_path, until=2.0, test_slow=slow)
    assert not ended.late
    assert 1 <= len(tests) < 60
    assert "out of time" in told["why"]
    assert "60 tests" in told["why"]


def test_what_needs_only_torch_comes_first(tmp_path: Path) -> None:
    empty = "def test_a(): pass  # device"
    _, _, tests = recorded(tmp_path, test_a=empty, test_against_autograd=empty, test_z=empty)
    assert [test["id"].partition("::")[0].rpartition("/")[2] for test in tests] == [
        "test_against_autograd.py",
        "test_a.py",
        "test_z.py",
    ]


# --- a rehearsal of the whole ------------------------------------------------------------------------------------------------

# torch itself wants mpmath, sympy and jinja2
ABSENT = ("flint", "typer", "rich", "hypothesis", "jsonschema", "threadpoolctl", "numba", "joblib", "matplotlib", "scipy")


def test_a_rehearsal_where_little_more_than_torch_is_installed(tmp_path: Path) -> None:
    """As on a machine with torch, NumPy and pytest, and nothing of this project."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nfor name in {ABSENT!r}:\n    sys.modules[name] = None\n")
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "run.py"), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--only", "tests,step-1000-16,table-inertia"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (out / "tests.log").read_text()
    record = report(out)
    assert record["passed"]
    assert {"python-flint", "typer", "rich", "hypothesis", "threadpoolctl"} <= record["missing"].keys()
    assert record["environment"]["versions"]["python-flint"] is None
    assert record["environment"]["versions"]["torch"]
    assert "python-flint is not installed" in done.stdout
    tests, step, table = record["results"]
    assert tests["counts"]["passed"] == tests["selected"] >= 5
    (measured,) = step["measurements"]
    assert (measured["width"], measured["points"]) == (1000, 16)
    assert 0 < measured["residual"] <= 1e-13
    assert measured["gemm_gflops"] > measured["gflops"] > 0
    assert table["measurements"]


# --- the surroundings --------------------------------------------------------------------------------------------------------


MEASURED = sorted((ROOT / "benchmarks" / "results" / "gpu").glob("nvidia-*.json"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_what_was_measured_is_complete_and_fits_the_schema(path: Path) -> None:
    record = read(path)
    assert record["complete"]
    assert record["passed"]
    assert record["gpu"]["name"].casefold().replace(" ", "-") == path.stem


def test_a_gpu_that_does_not_compute_is_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from benchmarks.gpu import surroundings

    assert surroundings.gpu() is None or torch.cuda.is_available()
    card = {"name": "card", "total_memory": 2**30, "multi_processor_count": 7}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(**card))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def ones(*size: int, **options: Any) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(torch, "ones", ones)
    found = surroundings.gpu()
    assert found is not None
    assert (found["name"], found["memory"], found["capability"], found["multiprocessors"]) == ("card", 2**30, [9, 0], 7)
    assert found["error"] == "RuntimeError: CUDA error: no kernel image is available"
    monkeypatch.setattr(torch, "ones", lambda *size, **options: torch.full(size, 1.0, dtype=torch.float64))
    found = surroundings.gpu()
    assert found is not None
    assert "error" not in found
    schema = json.loads((ROOT / "docs" / "schemas" / "gpu.schema.json").read_text("utf-8"))
    assert list(found) == schema["$defs"]["gpu"]["required"]


@pytest.mark.parametrize("said", ["580.1\n", None])
def test_the_driver_is_asked_for(said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.gpu import surroundings

    def answer(command: list[str], **options: Any) -> Any:
        if said is None:
            raise FileNotFoundError(command[0])
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(subprocess, "run", answer)
    kernel = tmp_path / "version"
    kernel.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\n")
    monkeypatch.setattr(surroundings, "KERNEL", kernel)
    assert surroundings.driver() == ("580.1" if said else "570.86.15")
    kernel.unlink()
    assert surroundings.driver() == ("580.1" if said else None)
