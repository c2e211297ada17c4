"""The command line on claims that do as they are told: outcomes, exit codes, messages, the report and interruption."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import nntk
from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Panel, Problem, Series
from nntk_proofs_checks.data import default_data
from nntk_reference import InputError, PrecisionError, Verdict
from tests.nntk.claims import HOLDS, NOT_MET, REFUTED, UNDECIDED, Calls, Outcome, claim, strict

# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_all_well(verify: Callable[..., Result]) -> None:
    result = verify()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"nntk {nntk.__version__}, effort default, seed 0"
    assert lines[1] == "data: 16 points of y = 2x + 0.4 sin(5πx) on [0, 1] (M = 16, d = 1)"
    assert lines[3].split() == ["claim", "verdict", "evidence", "number", "and", "limit", "cases", "control", "time"]
    assert re.fullmatch(r"push-through  holds    certified  1.2e-30 ≤ 1e-12       62  refuted  \d\.\d\d s", lines[4])
    assert lines[5].startswith("one-step ")
    assert re.fullmatch(r"2 claims hold, 2 controls refuted \(\d\.\d\d s\)", lines[-1])
    assert max(map(len, lines)) <= 80
    assert result.stderr == ""  # the rows are the progress


def test_one_claim_is_singular(verify: Callable[..., Result]) -> None:
    assert "\n1 claim holds, 1 control refuted (" in verify("--only", "one-step").stdout


@pytest.mark.parametrize(
    ("finding", "control", "notes"),
    [
        (REFUTED, REFUTED, ["bad: 3 is [3.0 +/- 1e-9], more than 1e-12"]),
        (UNDECIDED, REFUTED, ["bad: precision cap reached"]),
        (HOLDS, HOLDS, ["bad: control holds: as it must be"]),
        (HOLDS, UNDECIDED, ["bad: control undecided: precision cap reached"]),
        (REFUTED, UNDECIDED, ["bad: 3 is [3.0 +/- 1e-9], more than 1e-12", "bad: control undecided: precision cap reached"]),
        (PrecisionError("too\nhard"), REFUTED, ["bad: PrecisionError: too hard"]),
        (HOLDS, InputError("X", "this", "that"), ["bad: control undecided: InputError: X: expected this, got that"]),
        (ZeroDivisionError("[bold]oops"), REFUTED, ["bad: internal error: ZeroDivisionError: [bold]oops"]),
    ],
)
def test_one_claim_that_fails_is_explained_and_the_rest_goes_on(
    verify: Callable[..., Result], finding: Outcome, control: Outcome, notes: list[str]
) -> None:
    result = verify(claims=[claim("first"), claim("bad", finding, control), claim("last")])
    assert result.exit_code == 1
    *head, summary = result.stdout.splitlines()
    assert [line for line in head if ": " in line][1:] == notes
    assert [line.split()[0] for line in head[4:7]] == ["first", "bad", "last"]
    wrong_claim, wrong_control = finding is not HOLDS, control is not REFUTED
    assert summary.startswith("2 of 3 claims hold" if wrong_claim else "3 claims hold")
    assert ("2 of 3 controls refuted" if wrong_control else "3 controls refuted") in summary
    assert "Traceback" not in result.stderr


def test_a_claim_that_does_not_apply_neither_fails_nor_holds(verify: Callable[..., Result]) -> None:
    calls: Calls = []
    result = verify(claims=[claim("first"), claim("idle", NOT_MET, calls=calls), claim("last")])
    assert result.exit_code == 0
    assert [name for name, _, _ in calls] == ["idle"]  # no control without a claim
    assert re.search(r"^idle +not applicable +- +- +- +\d\.\d\d s$", result.stdout, re.MULTILINE)
    assert "\nidle: not applicable: assumption not met: the inputs have duplicates\n" in result.stdout
    assert "\n2 claims hold, 2 controls refuted, 1 not applicable (" in result.stdout


def test_a_claim_that_does_not_apply_hides_no_failure(verify: Callable[..., Result]) -> None:
    result = verify(claims=[claim("idle", NOT_MET), claim("bad", REFUTED), claim("good")])
    assert result.exit_code == 1
    assert "\n1 of 2 claims hold, 2 controls refuted, 1 not applicable (" in result.stdout


def test_nothing_is_verified_where_no_claim_applies(verify: Callable[..., Result]) -> None:
    result = verify(claims=[claim("idle", NOT_MET), claim("other", NOT_MET)])
    assert result.exit_code == 1
    assert "\nnothing was verified: no claim applies to the data set\n" in result.stdout
    assert "\n0 claims hold, 0 controls refuted, 2 not applicable (" in result.stdout


def test_a_control_that_does_not_apply_is_a_failure(verify: Callable[..., Result]) -> None:
    result = verify(claims=[claim("bad", HOLDS, NOT_MET)])
    assert result.exit_code == 1
    assert "bad: control undecided: assumption not met" in result.stdout


# --- what is run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "effort"), [([], Effort.DEFAULT), (["--quick"], Effort.QUICK), (["--full"], Effort.FULL)], ids=str
)
def test_every_check_gets_the_data_and_the_effort(verify: Callable[..., Result], options: list[str], effort: Effort) -> None:
    calls: Calls = []
    assert verify(*options, claims=[claim("a", calls=calls), claim("b", calls=calls)]).exit_code == 0
    assert [name for name, _, _ in calls] == ["a", "a/control", "b", "b/control"]
    for _, problem, given in calls:
        assert given is effort
        np.testing.assert_array_equal(problem.X, default_data().X)
        np.testing.assert_array_equal(problem.y, default_data().y)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["a", "b", "c"]),
        (["--only", "c", "--only", "a"], ["a", "c"]),
        (["--only", "b, a"], ["a", "b"]),
        (["--only", "b,b", "--only", "b"], ["b"]),
    ],
)
def test_only(verify: Callable[..., Result], options: list[str], ids: list[str]) -> None:
    calls: Calls = []
    assert verify(*options, claims=[claim(id, calls=calls) for id in "abc"]).exit_code == 0
    assert [name for name, _, _ in calls if "/" not in name] == ids


def test_seed(verify: Callable[..., Result]) -> None:
    calls: Calls = []
    result = verify("--seed", "7", claims=[claim("a", calls=calls)])
    assert result.stdout.startswith(f"nntk {nntk.__version__}, effort default, seed 7\n")
    assert [problem.seed for _, problem, _ in calls] == [7, 7]
    assert calls[0][1].source == default_data().source


def test_data_file(verify: Callable[..., Result], tmp_path: Path) -> None:
    calls: Calls = []
    path = tmp_path / "my [red]points.csv"
    path.write_text("a,b,y\n0,1,2\n3,4,5\n6,7,8\n")
    result = verify("--data", str(path), claims=[claim("a", calls=calls)])
    assert f"data: {path} (M = 3, d = 2)\n" in result.stdout
    np.testing.assert_array_equal(calls[0][1].X, [[0, 1], [3, 4], [6, 7]])


# --- the report -------------------------------------------------------------------------------------------------------

PANEL = Panel("t", "N", "λ", (Series("s", (1.0, 2.0), (0.5, float("nan")), (0.0, float("-inf")), colour=3),), "xy", 2)


def test_report(verify: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    plain = Finding(Verdict.HOLDS, np.float64(0.5), "<", 1, 2, "w", panels=(PANEL,))
    odd = Finding(Verdict.UNDECIDED, float("nan"), "≤", float("inf"), 3, "w")
    result = verify("--json", str(path), claims=[claim("a", plain), claim("b", odd), claim("c", NOT_MET)])
    assert result.exit_code == 1
    report = strict(path)
    assert datetime.fromisoformat(report.pop("started")).utcoffset() == timedelta(0)
    assert report.pop("seconds") >= 0
    environment = report.pop("environment")
    assert environment.keys() == {"python", "platform", "machine", "cpus", "versions"}
    assert environment["versions"].keys() == {"nntk", "numpy", "scipy", "mpmath", "python-flint", "torch", "sympy"}
    assert environment["versions"]["nntk"] == nntk.__version__
    assert environment["versions"]["numpy"] == np.__version__
    entries = report.pop("results")
    assert report == {
        "schema": 2,
        "command": "verify",
        "complete": True,
        "passed": False,
        "data": {"source": "16 points of y = 2x + 0.4 sin(5πx) on [0, 1]", "file": None, "points": 16, "dimension": 1},
        "effort": "default",
        "seed": 0,
        "summary": "1 of 2 claims hold, 2 controls refuted, 1 not applicable",
        "left_out": {},
    }
    for entry in entries:
        assert entry.pop("seconds") >= 0
    refuted = {"verdict": "refuted", "number": 3.0, "relation": "≤", "limit": 1e-12, "shown": "3 > 1e-12", "cases": 4}
    control = {"reason": "r", "applies": True, "why": REFUTED.why, **refuted}
    common = {"statement": "s", "assumptions": "a", "evidence": "certified", "why": "w", "applies": True, "control": control}
    series = {"label": "s", "x": [1.0, 2.0], "y": [0.5, None], "low": [0.0, None], "high": []}
    panel = {"title": "t", "x_label": "N", "y_label": "λ", "log": "xy", "base": 2}
    assert entries[0] == {
        "id": "a",
        **common,
        **{"verdict": "holds", "number": 0.5, "relation": "<", "limit": 1, "shown": "0.5 < 1", "cases": 2},
        "panels": [{**panel, "series": [{**series, "style": "points", "colour": 3, "marker": "o"}]}],
        "reproduce": "nntk verify --only a --seed 0",
        "test": "pytest --pyargs nntk_proofs_checks -k a --nntk-seed=0 --nntk-effort=default",
        "theory": "docs/theory.md#a",
    }
    assert entries[1] == {
        "id": "b",
        **common,
        **{"verdict": "undecided", "number": None, "relation": "≤", "limit": None, "shown": "nan ≤? inf", "cases": 3},
        "panels": [],
        "reproduce": "nntk verify --only b --seed 0",
        "test": "pytest --pyargs nntk_proofs_checks -k b --nntk-seed=0 --nntk-effort=default",
        "theory": "docs/theory.md#b",
    }
    assert (entries[2]["applies"], entries[2]["verdict"], entries[2]["why"]) == (False, "undecided", NOT_MET.why)
    assert entries[2]["control"]["applies"] is False
    assert os.listdir(tmp_path) == ["report.json"]


def test_reported_command_repeats_the_run(verify: Callable[..., Result], tmp_path: Path) -> None:
    data, path, again = tmp_path / "it's my data.csv", tmp_path / "report.json", tmp_path / "again.json"
    data.write_text("0,1\n1,2\n")
    claims = [claim("a"), claim("b")]
    assert verify("--full", "--seed", "3", "--data", str(data), "--json", str(path), claims=claims).exit_code == 0
    first = strict(path)
    command = shlex.split(first["results"][1]["reproduce"])
    assert command[:2] == ["nntk", "verify"]
    assert verify(*command[2:], "--json", str(again), claims=claims).exit_code == 0
    second = strict(again)
    assert [entry["id"] for entry in second["results"]] == ["b"]
    assert all(first[key] == second[key] for key in ("data", "seed", "effort"))
    assert second["effort"] == "full"


def test_report_is_written_at_the_start_and_after_each_claim(verify: Callable[..., Result], tmp_path: Path) -> None:
    path, link = tmp_path / "report.json", tmp_path / "link.json"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    seen: list[str] = []

    def look(problem: Problem, effort: Effort) -> Finding:
        seen.append(path.read_text())
        return HOLDS

    def refute(problem: Problem, effort: Effort) -> Finding:
        return REFUTED

    probes = [Claim(id, "s", "a", Evidence.EXACT, look, refute, "r") for id in "abc"]
    assert verify("--json", str(link), claims=probes).exit_code == 0
    for text, done in zip(seen, ["", "a", "ab"], strict=True):
        partial = json.loads(text)
        assert [entry["id"] for entry in partial["results"]] == [*done]
        assert partial["left_out"] == {id: "not finished" for id in "abc" if id not in done}
        assert (partial["complete"], partial["passed"]) == (False, False)
    report = strict(path)
    assert [entry["id"] for entry in report["results"]] == [*"abc"]
    assert (report["complete"], report["passed"]) == (True, True)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.json", "report.json"]


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_interruption_keeps_what_is_finished(verify: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    stop = claim("b", HOLDS, KeyboardInterrupt())
    result = verify("--json", str(path), claims=[claim("a"), stop, claim("c")])
    assert result.exit_code == 130
    report = strict(path)
    assert [entry["id"] for entry in report["results"]] == ["a"]
    assert (report["complete"], report["passed"], report["left_out"]) == (
        False,
        False,
        {"b": "not finished", "c": "not finished"},
    )
    assert re.search(r"^a +holds ", result.stdout, re.MULTILINE)
    assert "1 of 3 claims hold, 1 of 3 controls refuted" in result.stdout
    assert result.stderr == "nntk: interrupted; left out: b, c\n"


# --- in a process of its own ------------------------------------------------------------------------------------------

PROGRAM = """
import signal, sys, time
import nntk_proofs_checks as p
from nntk.cli import main
from nntk_reference import Verdict

def claim(id, seconds):
    def check(problem, effort):
        time.sleep(seconds)
        return p.Finding(Verdict.HOLDS, 1.0, "≤", 2.0, 3, "w")
    refuted = p.Finding(Verdict.REFUTED, 3.0, "≤", 2.0, 3, "w")
    return p.Claim(id, "s", "a", p.Evidence.EXACT, check, lambda problem, effort: refuted, "r")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
p.CLAIMS = {"quick": claim("quick", 0), "slow": claim("slow", float(sys.argv.pop()))}
main()
"""


def start(*args: str, seconds: float, **options: Any) -> subprocess.Popen[str]:
    environment = {
        "LC_ALL": "C.UTF-8",
        **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")},
    }
    environment.update(options.pop("env", {}))
    command = [sys.executable, "-c", PROGRAM, "verify", *args, str(seconds)]
    return subprocess.Popen(command, env=environment, text=True, encoding="utf-8", **options)


def test_real_interruption_and_order(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with start("--json", str(path), seconds=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]  # on the pipe while the work goes on
        assert lines[0].startswith("nntk ")
        assert re.match(r"quick +holds +exact +1 ≤ 2 +3 +refuted ", lines[4])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "nntk: interrupted; left out: slow\n"
    assert "1 of 2 claims hold" in out
    assert "\x1b" not in out
    assert [entry["id"] for entry in strict(path)["results"]] == ["quick"]


def test_reader_that_goes_away_does_not_take_the_report_with_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start("--json", str(path), seconds=0.5, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert errors == ""
    assert strict(path)["complete"] is True
