"""Plans that are quick to make, and the command on a small data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import nntk.planning.plan
from nntk.cli import app


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk.planning.plan, "_TIMED_WIDTH", 256)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def invoke(*args: str, rows: str = "x,y\n0,1\n1,-2\n") -> Result:
        path = tmp_path / "points.csv"
        path.write_text(rows)
        command = ["plan", "--data", str(path), "--activation", "erf", "--largest-width", "64", *args]
        return CliRunner().invoke(app, command, env={"NO_COLOR": "1"})

    return invoke
