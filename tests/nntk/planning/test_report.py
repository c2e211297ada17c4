"""The command `nntk plan`: what it prints, its report, refusals and exit codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import nntk.planning.plan
import nntk.planning.report
import nntk_accelerated
import nntk_reference
from nntk.cli import app
from nntk.planning.numbers import Plan, Request, Size
from nntk.planning.plan import make_plan
from nntk.reporting import recorder
from nntk.reporting.envelope import write
from nntk_proofs_checks import Problem
from tests.nntk.claims import strict

TWO = Problem(np.array([[0.0], [1.0]]), np.array([1.0, -2.0]), "two points")


def test_an_estimated_spectrum_says_so(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]) -> None:
    plain = replace(nntk_reference.ACTIVATIONS["erf"], name="plain", moments=None, strip=None)
    monkeypatch.setitem(nntk_reference.ACTIVATIONS, "plain", plain)
    monkeypatch.setitem(nntk_accelerated.ACTIVATIONS, "plain", replace(nntk_accelerated.ACTIVATIONS["erf"], name="plain"))
    result = run("--activation", "plain")
    assert result.stdout.count("estimated, not proved") == 2
    assert "enclosed" not in result.stdout
    assert "enclosed" in run().stdout
    estimated, enclosed = (make_plan(TWO, Request(activation=a, largest_width=2)) for a in ("plain", "erf"))
    assert not estimated.spectrum.proved
    assert estimated.spectrum.modes[1].eigenvalue.value == pytest.approx(enclosed.spectrum.modes[1].eigenvalue.value, rel=1e-13)


@pytest.mark.parametrize(
    ("options", "code", "start"),
    [
        (["--gamma", "10", "--largest-width", "1000"], 0, "Feasible: "),
        (["--gamma", "0.5", "--largest-width", "500"], 0, "Feasible as far as was seen, without guarantee: "),
        (["--gamma", "1e-9"], 1, "Not feasible: "),
        (["--activation", "relu"], 1, "Not feasible: "),
    ],
)
def test_exit_codes(run: Callable[..., Result], options: list[str], code: int, start: str) -> None:
    result = run(*options)
    assert result.exit_code == code
    (outcome,) = (line for line in result.stdout.splitlines() if "easible" in line)
    assert outcome.startswith(start)
    assert "What the limit leaves open" in result.stdout
    assert "\x1b" not in result.stdout


def test_report_holds_the_numbers_of_the_terminal(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    result = run("--json", str(path), rows="".join(f"{k / 7},{k % 3}\n" for k in range(14)))
    assert result.exit_code == 1
    report = strict(path)
    assert (report["schema"], report["command"], report["complete"], report["passed"]) == (2, "plan", True, False)
    assert report["environment"]["versions"]["nntk"] == nntk.__version__
    assert report["data"] == {
        "source": str(tmp_path / "points.csv"),
        "file": str(tmp_path / "points.csv"),
        "points": 14,
        "dimension": 1,
    }
    assert (report["seed"], report["effort"], report["feasible"], report["left_out"]) == (0, None, False, {})
    parts = {part["id"]: part for part in report["results"]}
    assert list(parts) == ["spectrum", "widths", "cost", "alternatives"]
    spectrum, text = parts["spectrum"], result.stdout
    assert len(spectrum["modes"]) == 14
    assert spectrum["smallest_eigenvalue"] == spectrum["modes"][-1]["enclosure"]
    assert spectrum["smallest_eigenvalue"] in text
    assert repr(spectrum["gamma"]["value"]) in text
    table = text[text.index("Half-lives") : text.index("Steps until")].splitlines()[2:-1]
    assert 2 <= len(table) <= 12
    assert table[0].split()[0] == "1"
    assert table[-1].split()[0] == "14"
    for line in table:
        number, *cells = line.split()
        mode = spectrum["modes"][int(number) - 1]
        sizes = [Size(**mode[name]).text() for name in ("eigenvalue", "newton", "gradient_descent")]
        assert cells == [sizes[0], "yes" if mode["meets_rate"] else "no", *sizes[1:]]
    guaranteed = Size(**parts["widths"]["guaranteed"]).text(2, up=True)
    assert f"\nguaranteed{' ' * 21}{guaranteed} " in text
    assert f"needs {guaranteed} neurons" in text
    assert report["summary"] in text
    for other in parts["alternatives"]["others"]:
        met = f"{other['modes_at_rate']} of 14"
        slowest = Size(**other["slowest_half_life"]).text()
        assert re.search(rf"{re.escape(met)} +{re.escape(slowest)}", text)


def test_report_says_why_a_part_is_left_out(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert run("--json", str(path), "--gamma", "10", "--largest-width", "1000").exit_code == 0
    report = strict(path)
    assert (report["complete"], report["passed"]) == (True, True)
    assert report["left_out"] == {"alternatives": "not needed: the guaranteed width is in reach"}
    assert run("--json", str(path), "--activation", "relu").exit_code == 1
    report = strict(path)
    assert (report["complete"], report["passed"]) == (True, False)
    assert report["left_out"] == {"cost": "no width to take a step at"}


def test_report_is_written_after_each_part(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    seen = []

    def spy(report: Path, record: dict[str, Any]) -> None:
        write(report, record)
        seen.append(strict(path))

    monkeypatch.setattr(recorder, "write", spy)
    run("--json", str(path))
    ids = ["spectrum", "widths", "cost", "alternatives"]
    assert [[part["id"] for part in report["results"]] for report in seen] == [*(ids[:k] for k in range(5)), ids]
    for report in seen[:-1]:
        done = len(report["results"])
        assert (report["complete"], report["passed"], report["summary"]) == (False, False, "not finished")
        assert report["left_out"] == dict.fromkeys(ids[done:], "not finished")
        assert (report["feasible"] is None) == (done < 2)
    assert seen[-1]["complete"] is True


@pytest.mark.parametrize(
    ("law", "words"),
    [("uniform", "as long as all |c| ≤ 1 and the residual"), ("normal", "c under the law normal is unbounded")],
)
def test_words_speak_of_the_laws_bound(run: Callable[..., Result], law: str, words: str) -> None:
    text = run("--law", law).stdout
    assert words in text
    assert ("|c|" in text) == (law == "uniform")
    assert "Regularization (erf, c normal, β = 0.75)" in text or law == "uniform"
    assert "so that " in text


def test_output_that_knows_only_ascii(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("0,1\n1,-2\n")
    command = ["plan", "--data", str(path), "--activation", "erf", "--largest-width", "8"]
    result = CliRunner(charset="ascii").invoke(app, command)
    assert result.exit_code == 1
    assert result.stdout.isascii()
    assert "\\u" not in result.stdout
    assert "\\x" not in result.stdout


def test_report_may_not_replace_the_data(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("--json", str(tmp_path / "points.csv"))
    assert result.exit_code == 2
    assert "a file other than" in result.stderr
    assert (tmp_path / "points.csv").read_text().startswith("x,y\n0,1")


def test_interruption(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any) -> Plan:
        raise KeyboardInterrupt

    monkeypatch.setattr(nntk.planning.plan, "_enclosed", stop)
    result = run()
    assert result.exit_code == 130
    assert result.stderr.endswith("nntk: interrupted\n")
