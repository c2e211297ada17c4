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
    in_order = ["the step: refused", "What the step is", "First cause: step-matches", "\ncheck ", "follows from step-matches"]
    places = [run.stdout.index(words) for words in in_order]
    assert places == sorted(places)
    made = json.loads(files[0].read_text())
    assert [check["outcome"] for check in made["results"]] == ["failed", "failed"]
    assert [check["follows"] for check in made["results"]] == ["", "step-matches"]
    assert (made["step"], made["behaviour"], made["strict"]) == ("refused", [], False)
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
    """Killed in a later check, where the optimizer waits as soon as the report has a result."""
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
    finished = [result["id"] for result in made["results"]]
    assert finished[0] == "data-permutation"  # data-duplication is begun at the same time, and may be through as well
    assert chosen.startswith(",".join(finished))
    assert {result["outcome"] for result in made["results"]} == {"passed"}
    unfinished = {id for id, why in made["left_out"].items() if why == "not finished"}
    assert unfinished == set(chosen.split(",")) - set(finished) >= {"sign-symmetry"}
    assert set(made["left_out"]) == set(CHECKS) - set(finished)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere:make",), "nntk: FACTORY: expected"),
        (("tests.nntk.optimizers:takes_two_arguments",), "factory(model, X, y, damping)"),
        (("tests.nntk.optimizers:returns_none",), "got None"),
        (("tests.nntk.room_subjects:AsFactory",), "the class tests.nntk.room_subjects:AsFactory itself"),
        (("tests.nntk.room_subjects:wants_a_list",), "wants_a_list(model, X, y, damping) to make an optimizer, got TypeError"),
        (("tests.nntk.room_subjects:without_arguments",), "WithoutArguments.step(closure) to be a call that it takes"),
        (("tests.nntk.room_subjects:without_arguments", "--form", "object"), "WithoutArguments.step(X, y)"),
        (("tests.nntk.room_subjects:with_batch", "--form", "function"), "step(theta, X, y, damping, problem)"),
        (("tests.nntk.optimizers:right_dense", "--form", "closure"), "--form: expected one of torch, object, function"),
        (("tests.nntk.optimizers:right_dense", "--residual", "1e-3"), "--residual: expected none, unless"),
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
    assert len(run.stdout.splitlines()) <= 1  # the title, which does not wait for what may be at fault
    assert len(run.stderr.splitlines()) == 1
    assert words in run.stderr


def test_the_title_does_not_wait_for_torch() -> None:
    """The first line is out before the heavy modules are imported."""
    program = "import sys; from nntk.commands.crosscheck import _begin; _begin('a:b\x1b', True); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    title, torch = run.stdout.splitlines()
    assert title.endswith("crosscheck: a:b\\x1b")
    assert torch == "False"


def test_a_drawing_that_does_not_work_ends_the_run_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nntk.reporting.html", None)
    run = crosscheck("tests.nntk.room_subjects:segfaults", "--html", str(tmp_path / "card.html"))
    assert run.exit_code == 1
    assert "nntk.reporting.html" in run.stderr
    assert not list(tmp_path.iterdir())


def test_behaviour_decides_where_that_is_asked_for() -> None:
    options = "tests.nntk.optimizers:passes_nan_on", "--quick", "--only", "non-finite,neuron-permutation", "--in-process"
    run, strict = crosscheck(*options), crosscheck(*options, "--strict", "--verbose")
    assert run.exit_code == 0, run.stdout
    assert "the step: accepted\nbehaviour: 1 finding (non-finite; no reason to refuse it without --strict)\n" in run.stdout
    assert "\n1 passed on " in run.stdout
    assert strict.exit_code == 1, strict.stdout
    assert "the step: accepted\nbehaviour: 1 finding (non-finite)\n" in strict.stdout
    assert "\nneuron-permutation " in strict.stdout


def test_the_form_is_told_and_can_be_given() -> None:
    chosen = "--quick", "--profile", "first-order", "--only", "deterministic"
    guessed = crosscheck("tests.nntk.room_subjects:with_loss_and_flag", *chosen)
    assert guessed.exit_code == 0, guessed.stdout + guessed.stderr
    assert "\ntorch form, " in guessed.stdout
    given = crosscheck("tests.nntk.room_subjects:oddly_named", *chosen, "--form", "torch")
    assert given.exit_code == 2  # it takes both points and labels


def test_the_guide_lists_every_check_and_profile() -> None:
    guide = (ROOT / "docs" / "crosscheck.md").read_text("utf-8")
    for id, check in CHECKS.items():
        assert f"| `{id}` | {check.statement}" in guide
    assert all(f"| `{name}`" in guide for name in PROFILES)
