"""`nntk crosscheck` as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from nntk.cli import app
from nntk.crosscheck import CHECKS, PROFILES

ROOT = Path(__file__).parents[3]


def crosscheck(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["crosscheck", *arguments])


def test_command_line(tmp_path: Path) -> None:
    files = tmp_path / "card.json", tmp_path / "card.html"
    options = "--quick", "--only", "step-matches,damping-honoured", "--json", str(files[0]), "--html", str(files[1])
    run = crosscheck("tests.nntk.optimizers:gauss_newton", *options)
    assert run.exit_code == 1, run.stderr
    assert run.stderr == ""
    assert "definite: Gauss–Newton (no residual term S), to " in run.stdout
    assert "refused: 2 checks on " in run.stdout
    made = json.loads(files[0].read_text())
    assert [check["outcome"] for check in made["results"]] == ["failed", "failed"]
    assert files[1].read_text().startswith("<!doctype html>")
    options = "--quick", "--profile", "gauss-newton", "--only", "step-matches"
    again = crosscheck("tests.nntk.optimizers:right_gauss_newton", *options)
    assert again.exit_code == 0, again.stdout + again.stderr
    assert "accepted: 1 check on " in again.stdout


WAITING = """
import json, time
from pathlib import Path

def step(theta, X, y, damping, problem):
    if json.loads(Path("r.json").read_text())["results"]:
        Path("waiting").touch()
        time.sleep(600)
    return theta - problem.gradient(theta)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of Unix")
def test_a_run_that_is_killed_leaves_what_was_finished(tmp_path: Path) -> None:
    """Killed in its second check, where the optimizer waits as soon as the report has a result."""
    (tmp_path / "mine.py").write_text(WAITING)
    chosen = "data-permutation,data-duplication,sign-symmetry"
    options = ("crosscheck", "mine:step", "--profile", "first-order", "--quick", "--only", chosen, "--json", "r.json")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.Popen(
        [sys.executable, "-m", "nntk", *options], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "waiting").exists():
            assert run.poll() is None, "it has ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == -signal.SIGKILL
    left = {file.name for file in tmp_path.iterdir()} - {"__pycache__", ".hypothesis"}  # what Python and hypothesis cache
    assert left == {"mine.py", "r.json", "waiting"}
    made = json.loads((tmp_path / "r.json").read_text())
    assert (made["complete"], made["passed"], made["command"]) == (False, False, "crosscheck")
    assert [(result["id"], result["outcome"]) for result in made["results"]] == [("data-permutation", "passed")]
    unfinished = {id for id, why in made["left_out"].items() if why == "not finished"}
    assert unfinished == {"data-duplication", "sign-symmetry"}
    assert set(made["left_out"]) == set(CHECKS) - {"data-permutation"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere:make",), "nntk: FACTORY: expected"),
        (("tests.nntk.optimizers:takes_two_arguments",), "factory(model, X, y, damping)"),
        (("tests.nntk.optimizers:returns_none",), "got None"),
        (("tests.nntk.optimizers:right_dense", "--only", "deterministc"), "--only: expected one of step-matches"),
        (("tests.nntk.optimizers:right_dense", "--profile", "sgd"), "nntk: --profile: expected"),
        (("tests.nntk.optimizers:right_dense", "--device", "cuda:99"), "nntk: --device: expected"),
        (("tests.nntk.optimizers:right_dense", "--xfail", "no/such/file"), "--xfail: expected a file of lines `id: reason`"),
        (("tests.nntk.optimizers:right_dense", "--quick", "--full"), "--quick"),
        (("tests.nntk.optimizers:right_dense", "--json", "no/such/folder/x.json"), "--json"),
    ],
)
def test_bad_usage_ends_in_one_line_and_code_2(arguments: tuple[str, ...], words: str) -> None:
    run = crosscheck(*arguments)
    assert run.exit_code == 2, run.stdout + run.stderr
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert words in run.stderr


def test_the_guide_lists_every_check_and_profile() -> None:
    guide = (ROOT / "docs" / "crosscheck.md").read_text("utf-8")
    for id, check in CHECKS.items():
        assert f"| `{id}` | {check.statement}" in guide
    assert all(f"| `{name}`" in guide for name in PROFILES)
