"""Report files that cannot be written, or would replace one another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.nntk.claims import Calls, claim, message


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
