"""What is printed: a number beside its limit, columns, ASCII, and a terminal of any width."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import nntk_proofs_checks
from nntk.cli import app
from nntk_proofs_checks import Effort, Evidence, Finding, Problem
from nntk_reference import Verdict
from tests.nntk.claims import UNDECIDED, claim

FOUND = Finding(Verdict.HOLDS, 1.0, "≤", 2.0, 3, "w")


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


def test_columns_are_fixed_before_the_results_are_known(verify: Callable[..., Result]) -> None:
    wide = Finding(Verdict.UNDECIDED, -1.23456789012345e-100, "≤", -1.23456789012346e-100, 123456, "w")
    ids = ["a", "initial-fluctuations"]
    plain = verify(claims=[claim(id) for id in ids]).stdout.splitlines()
    other = verify(claims=[claim(ids[0], wide, UNDECIDED), claim(ids[1])]).stdout.splitlines()
    assert plain[3] == other[3]
    cut = slice(0, plain[5].index(" s") - 5)
    assert plain[5][cut] == other[5][cut]
    assert "-1.23456789012345e-100 ≤? -1.23456789012346e-100 123456 undecided" in other[4]  # moved apart, not cut


def test_output_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = claim("odd", Finding(Verdict.UNDECIDED, 1.0, "≤", 2.0, 3, "λ ≤ μ"))
    monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {"odd": odd})
    result = CliRunner(charset="ascii").invoke(app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.isascii()
    assert "1 <=? 2" in result.stdout
    assert "sin(5pix)" in result.stdout
    assert "odd: lambda <= \\u03bc" in result.stdout


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """What a run shows on a terminal of this width: a claim that is quick, and one that takes a while."""

    def slowly(problem: Problem, effort: Effort) -> Finding:
        time.sleep(0.3)
        return FOUND

    def run(columns: int) -> str:
        import pty

        claims = [replace(c, evidence=Evidence.EXACT) for c in (claim("quick", FOUND), replace(claim("slow"), check=slowly))]
        monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in claims})
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(columns))
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        ours, theirs = pty.openpty()
        seen: list[bytes] = []

        def read() -> None:
            try:
                while chunk := os.read(ours, 4096):
                    seen.append(chunk)
            except OSError:  # Linux's way to say that the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with open(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            code = app(["verify"], prog_name="nntk", standalone_mode=False)
        reader.join(30)
        os.close(ours)
        assert code == 0
        return b"".join(seen).decode()

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for POSIX")
def test_on_a_terminal(on_terminal: Callable[[int], str]) -> None:
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
def test_on_a_narrow_terminal(on_terminal: Callable[[int], str]) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_terminal(40))
    assert "number and limit" not in text
    assert "quick: holds (exact), 1 ≤ 2, cases: 3, " in text
    assert "2 claims hold, 2 controls refuted" in text
    rows = [line for line in re.split(r"[\r\n]+", text) if "slow: " in line or "quick: " in line]
    assert rows
    assert max(map(len, rows)) <= 40
