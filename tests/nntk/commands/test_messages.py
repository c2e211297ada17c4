"""What a command ends with where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from nntk.cli import app
from nntk.commands.messages import translated
from nntk_proofs_checks import Problem
from nntk_reference import InputError, PrecisionError
from tests.nntk.claims import claim, message


def test_quick_and_full_exclude_each_other(verify: Callable[..., Result]) -> None:
    assert "one of --quick and --full, got both" in message(verify("--quick", "--full"))


def test_bad_data_is_one_line(verify: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y\n0,1\n2,abc\n")
    assert message(verify("--data", str(path))).startswith(
        f"nntk: --data: {path}, line 3, column 2 ('y'): expected a finite decimal"
    )
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


def test_interruption_before_the_work(verify: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> Problem:
        raise KeyboardInterrupt

    monkeypatch.setattr("nntk_proofs_checks.data.default_data", interrupt)
    assert message(verify(), code=130) == "nntk: interrupted\n"


def test_debugging_shows_where_a_check_broke(verify: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNTK_DEBUG", "1")
    result = verify(claims=[claim("bad", ZeroDivisionError("oops"))])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "bad: internal error: ZeroDivisionError: oops" in result.stdout


# --- in the words of the command line --------------------------------------------------------------------------------


def context(*command: str) -> typer.Context:
    found = typer.main.get_command(app)
    for word in command:
        found = found.commands[word]  # type: ignore[attr-defined]
    return typer.Context(found)


@pytest.mark.parametrize(
    ("command", "argument", "shown"),
    [
        ("plan", "largest_width", "--largest-width"),
        ("plan", "data", "--data"),
        ("plan", "X", "--data"),
        ("plan", "y", "--data"),
        ("plan", "rtol", "rtol"),
        ("verify", "only", "--only"),
        ("crosscheck", "factory", "FACTORY"),
        ("crosscheck", "expected_failures", "--xfail"),
        ("crosscheck", "xfail", "--xfail"),
        ("crosscheck", "time_limit", "--time-limit"),
        ("crosscheck", "X", "X"),
        ("bench step", "device", "--device"),
    ],
)
def test_an_argument_is_shown_as_it_is_typed(command: str, argument: str, shown: str) -> None:
    error = InputError(argument, "this", "that")
    assert str(error) == f"{argument}: expected this, got that"
    assert translated(error, context(*command.split())) == f"{shown}: expected this, got that"


def test_other_arguments_stand_in_backquotes() -> None:
    error = InputError("html", "a file other than `json`'s or `this`, lines `id: reason`", "`rtol`")
    text = "--html: expected a file other than --json's or `this`, lines `id: reason`, got --rtol"
    assert translated(error, context("crosscheck")) == text


def test_a_message_without_an_argument_stays() -> None:
    assert translated(PrecisionError("data: not an argument here"), context("plan")) == "data: not an argument here"
