"""The command line on claims that do as they are told: outcomes, exit codes, messages, the report and interruption."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import nntk
import nntk_proofs_checks
from nntk.cli import app
from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Panel, Problem, Series
from nntk_proofs_checks.claim import unmet
from nntk_proofs_checks.data import default_data
from nntk_reference import InputError, PrecisionError, Verdict

HOLDS = Finding(Verdict.HOLDS, 1.2e-30, "≤", 1e-12, 62, "as it must be")
REFUTED = Finding(Verdict.REFUTED, 3.0, "≤", 1e-12, 4, "3 is [3.0 +/- 1e-9], more than\n   1e-12")
UNDECIDED = Finding(Verdict.UNDECIDED, None, "≤", None, 0, "precision cap reached")
Calls = list[tuple[str, Problem, Effort]]
Outcome = Finding | BaseException


def claim(id: str, finding: Outcome = HOLDS, control: Outcome = REFUTED, calls: Calls | None = None) -> Claim:
    def check_as(outcome: Outcome, name: str) -> Callable[[Problem, Effort], Finding]:
        def check(problem: Problem, effort: Effort) -> Finding:
            if calls is not None:
                calls.append((name, problem, effort))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return check

    return Claim(id, "s", "a", Evidence.CERTIFIED, check_as(finding, id), check_as(control, f"{id}/control"), "r")


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(*args: str, claims: Iterable[Claim] = (claim("push-through"), claim("one-step"))) -> Result:
        monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in claims})
        return CliRunner().invoke(app, ["verify", *args], env={"NO_COLOR": "1", "COLUMNS": "80"})

    return run


def message(result: Result, code: int = 2) -> str:
    """The one line on stderr of a run that was refused before any work."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("nntk: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


# --- outcomes --------------------------------------------------------------------------------------------------------


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


NOT_MET = unmet("assumption not met: the inputs have\nduplicates")


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


def test_columns_are_fixed_before_the_results_are_known(verify: Callable[..., Result]) -> None:
    wide = Finding(Verdict.UNDECIDED, -1.23456789012345e-100, "≤", -1.23456789012346e-100, 123456, "w")
    ids = ["a", "initial-fluctuations"]
    plain = verify(claims=[claim(id) for id in ids]).stdout.splitlines()
    other = verify(claims=[claim(ids[0], wide, UNDECIDED), claim(ids[1])]).stdout.splitlines()
    assert plain[3] == other[3]
    cut = slice(0, plain[5].index(" s") - 5)
    assert plain[5][cut] == other[5][cut]
    assert "-1.23456789012345e-100 ≤? -1.23456789012346e-100 123456 undecided" in other[4]  # moved apart, not cut


def test_debugging_shows_where_a_check_broke(verify: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNTK_DEBUG", "1")
    result = verify(claims=[claim("bad", ZeroDivisionError("oops"))])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "bad: internal error: ZeroDivisionError: oops" in result.stdout


@pytest.mark.parametrize(
    ("verdict", "number", "relation", "limit", "shown"),
    [
        ("holds", 0.0, "=", 0.0, "0 = 0"),
        ("holds", 22, "≥", 1, "22 ≥ 1"),
        ("holds", 0.5499999570846517, "<", 0.55, "0.54999996 < 0.55"),
        ("holds", np.float64(1e300), ">", -1e-300, "1e+300 > -1e-300"),
        ("holds", 0.25, "<", 0.25, "0.25 < 0.25"),  # the enclosures differ by less than float64 can show
        ("holds", 0.25, "", None, "0.25"),
        ("refuted", 3.0, "≤", 1.0, "3 > 1"),
        ("refuted", 2.0, "=", 1.0, "2 ≠ 1"),
        ("refuted", 1 + 1e-15, "≤", 1.0, "1.000000000000001 > 1"),
        ("refuted", float("inf"), "<", 1.0, "inf ≥ 1"),
        ("undecided", 3.0, "≤", 1.0, "3 ≤? 1"),
        ("undecided", float("nan"), "≤", 1.0, "nan ≤? 1"),
        ("undecided", None, "≤", 1.0, "-"),
        ("holds", -0.52, "≲", -0.5, "-0.52 ≲ -0.5"),
        ("refuted", -0.2, "≲", -0.5, "-0.2 > -0.5"),
        ("refuted", 0.2, "≈", 0, "0.2 ≉ 0"),
    ],
)
def test_number_beside_limit(
    verify: Callable[..., Result], verdict: str, number: float | None, relation: str, limit: float | None, shown: str
) -> None:
    result = verify(claims=[claim("it", Finding(Verdict(verdict), number, relation, limit, 7, "w"))])
    assert re.search(rf"^it +{verdict} +certified +{re.escape(shown)} +7 +refuted ", result.stdout, re.MULTILINE)


def test_output_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = claim("odd", Finding(Verdict.UNDECIDED, 1.0, "≤", 2.0, 3, "λ ≤ μ"))
    monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {"odd": odd})
    result = CliRunner(charset="ascii").invoke(app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.isascii()
    assert "1 <=? 2" in result.stdout
    assert "sin(5pix)" in result.stdout
    assert "odd: lambda <= \\u03bc" in result.stdout


# --- what is run -----------------------------------------------------------------------------------------------------


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


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["push-throgh", "push-through,ones-tep", "", "PUSH-THROUGH", "a\nb"])
def test_unknown_claim_names_the_nearest(verify: Callable[..., Result], id: str) -> None:
    text = message(verify("--only", id))
    assert "--only: expected one of push-through, one-step, got" in text
    near = "one-step" if "ones" in id else "push-through" if "pu" in id.lower() else ""
    assert f"(did you mean '{near}" in text


def test_quick_and_full_exclude_each_other(verify: Callable[..., Result]) -> None:
    assert "one of --quick and --full, got both" in message(verify("--quick", "--full"))


def test_bad_data_is_one_line(verify: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y\n0,1\n2,abc\n")
    assert message(verify("--data", str(path))).startswith(f"nntk: {path}, line 3, column 2 ('y'): expected a finite decimal")
    assert "nothing there" in message(verify("--data", str(tmp_path / "missing.csv")))
    assert "got a directory" in message(verify("--data", str(tmp_path)))


@pytest.mark.parametrize(
    "args", [["--nonsense"], ["extra"], ["--data"], ["--seed", "-1"], ["--seed", "1.5"], ["--seed", "4294967296"]]
)
def test_bad_usage(verify: Callable[..., Result], args: list[str]) -> None:
    result = verify(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_fault_outside_the_checks_is_one_line_too(verify: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nntk_proofs_checks.data.default_data", lambda: 1 / 0)
    assert message(verify(), code=1) == "nntk: internal error: ZeroDivisionError: division by zero\n"
    monkeypatch.setenv("NNTK_DEBUG", "1")
    assert "Traceback" in verify().stderr


# --- the report ------------------------------------------------------------------------------------------------------


def strict(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    raw = path.read_bytes()
    assert raw.endswith(b"}\n")
    return json.loads(raw.decode("utf-8"), parse_constant=refuse)


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
    entries = report.pop("claims")
    assert report == {
        "schema": 1,
        "complete": True,
        "passed": False,
        "data": {"source": "16 points of y = 2x + 0.4 sin(5πx) on [0, 1]", "file": None, "points": 16, "dimension": 1},
        "effort": "default",
        "seed": 0,
        "summary": "1 of 2 claims hold, 2 controls refuted, 1 not applicable",
        "left_out": [],
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
    command = shlex.split(first["claims"][1]["reproduce"])
    assert command[:2] == ["nntk", "verify"]
    assert verify(*command[2:], "--json", str(again), claims=claims).exit_code == 0
    second = strict(again)
    assert [entry["id"] for entry in second["claims"]] == ["b"]
    assert all(first[key] == second[key] for key in ("data", "seed", "effort"))
    assert second["effort"] == "full"


def test_report_is_rewritten_after_each_claim(verify: Callable[..., Result], tmp_path: Path) -> None:
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
    assert seen[0] == "old"
    for text, done in zip(seen[1:], ["a", "ab"], strict=True):
        partial = json.loads(text)
        assert [entry["id"] for entry in partial["claims"]] == [*done]
        assert partial["left_out"] == [id for id in "abc" if id not in done]
        assert (partial["complete"], partial["passed"]) == (False, False)
    report = strict(path)
    assert [entry["id"] for entry in report["claims"]] == [*"abc"]
    assert (report["complete"], report["passed"]) == (True, True)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.json", "report.json"]


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_report_that_cannot_be_written_is_refused_before_any_work(
    verify: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    calls: Calls = []

    def refused(path: Path, *options: str) -> str:
        text = message(verify(option, str(path), *options, claims=[claim("a", calls=calls)]))
        assert text.startswith(f"nntk: {option}: expected ")
        return text

    assert f"{str(tmp_path)!r} (a directory)" in refused(tmp_path)
    assert f"(no folder {str(tmp_path / 'no')!r})" in refused(tmp_path / "no" / "r.json")
    os.mkfifo(tmp_path / "pipe")
    assert "(not a regular file)" in refused(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a file that can be written" in refused(tmp_path / "loop")
    assert "File name too long" in refused(tmp_path / ("a" * 300))
    data = tmp_path / "points.csv"
    data.write_text("0,1\n1,2\n")
    assert "a file other than --data's" in refused(data, "--data", str(data))
    (tmp_path / "same.csv").hardlink_to(data)
    assert "a file other than --data's" in refused(tmp_path / "same.csv", "--data", str(data))

    def full(path: Path, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", full)
        assert "(No space left on device)" in refused(tmp_path / "r.json")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        assert "(write-protected)" in refused(data)
    assert calls == []
    assert data.read_text() == "0,1\n1,2\n"


def test_reports_must_be_two_files(verify: Callable[..., Result], tmp_path: Path) -> None:
    calls: Calls = []
    (tmp_path / "link").symlink_to(tmp_path / "r")
    for other in ("r", "link", "../" + tmp_path.name + "/r"):
        paths = ["--json", str(tmp_path / "r"), "--html", f"{tmp_path}/{other}"]
        text = message(verify(*paths, claims=[claim("a", calls=calls)]))
        assert text.startswith("nntk: --html: expected a file other than --json's, got ")
    assert calls == []
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize(("broken", "whole"), [("--json", "--html"), ("--html", "--json")])
def test_report_that_cannot_be_written_after_all(
    verify: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, whole: str
) -> None:
    path, other = tmp_path / "report", tmp_path / "other"
    replace = Path.replace

    def full(draft: Path, target: Path) -> Path:
        if target == path.resolve():
            raise OSError(28, "No space left on device")
        return replace(draft, target)

    path.write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    result = verify(broken, str(path), whole, str(other))
    assert result.exit_code == 2
    assert "2 claims hold" in result.stdout  # the work is not lost
    assert f"nntk: {broken}: expected a file that can be written" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["other", "report"]
    assert path.read_text() == "old"
    assert "one-step" in other.read_text()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_interruption_keeps_what_is_finished(verify: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    stop = claim("b", HOLDS, KeyboardInterrupt())
    result = verify("--json", str(path), claims=[claim("a"), stop, claim("c")])
    assert result.exit_code == 130
    report = strict(path)
    assert [entry["id"] for entry in report["claims"]] == ["a"]
    assert (report["complete"], report["passed"], report["left_out"]) == (False, False, ["b", "c"])
    assert re.search(r"^a +holds ", result.stdout, re.MULTILINE)
    assert "1 of 3 claims hold, 1 of 3 controls refuted" in result.stdout
    assert result.stderr == "nntk: interrupted; left out: b, c\n"


def test_interruption_before_the_work(verify: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> Problem:
        raise KeyboardInterrupt

    monkeypatch.setattr("nntk_proofs_checks.data.default_data", interrupt)
    assert message(verify(), code=130) == "nntk: interrupted\n"


# --- in a process of its own -----------------------------------------------------------------------------------------

PROGRAM = """
import sys, time
import nntk_proofs_checks as p
from nntk.cli import main
from nntk_reference import Verdict

def claim(id, seconds):
    def check(problem, effort):
        time.sleep(seconds)
        return p.Finding(Verdict.HOLDS, 1.0, "≤", 2.0, 3, "w")
    refuted = p.Finding(Verdict.REFUTED, 3.0, "≤", 2.0, 3, "w")
    return p.Claim(id, "s", "a", p.Evidence.EXACT, check, lambda problem, effort: refuted, "r")

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
    assert [entry["id"] for entry in strict(path)["claims"]] == ["quick"]


def test_killed_run_leaves_what_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with start("--json", str(path), seconds=60, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    report = strict(path)
    assert (report["complete"], [entry["id"] for entry in report["claims"]]) == (False, ["quick"])


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


def on_terminal(columns: int) -> str:
    """What a run shows on a terminal of this width."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = start(seconds=0.3, stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm-256color"})
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return seen.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for POSIX")
def test_on_a_terminal() -> None:
    text = on_terminal(80)
    assert "\x1b[32mholds" in text
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    head, _, rest = text.partition("claim ")
    assert "seed 0" in head
    quick, _, rest = rest.partition("2/2 slow")  # the claim at work, below the rows of those before
    assert re.search(r"quick +holds +exact +1 ≤ 2 +3 +refuted +\d\.\d\d s", quick)
    assert re.search(r"slow +holds +exact +1 ≤ 2 +3 +refuted +\d\.\d\d s", rest)
    assert "2 claims hold, 2 controls refuted" in rest


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for POSIX")
def test_on_a_narrow_terminal() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_terminal(40))
    assert "number and limit" not in text
    assert "quick: holds (exact), 1 ≤ 2, cases: 3, " in text
    assert "2 claims hold, 2 controls refuted" in text
    rows = [line for line in re.split(r"[\r\n]+", text) if "slow: " in line or "quick: " in line]
    assert rows
    assert max(map(len, rows)) <= 40


def test_help_is_light_and_shows_an_example() -> None:
    code = (
        "import sys; from nntk.cli import main\ntry: main()\nfinally: print(sorted({'torch','flint','numpy'} & {*sys.modules}))"
    )
    for args, part in [
        (["--help"], "verify"),
        (["verify", "--help"], "\n    nntk verify --data points.csv --only "),
        (["--version"], ""),
    ]:
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert part in done.stdout
        assert done.stdout.endswith("[]\n")
        assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout == f"nntk {nntk.__version__}\n[]\n"
