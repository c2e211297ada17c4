"""`benchmarks/crosschecks.py`: what it runs and keeps, the page that it makes; and, slowly, that no right one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import crosschecks as script


@pytest.fixture
def crosschecks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "RESULTS", tmp_path / "results" / "crosschecks")
    return script


def row(id: str, seed: int, **changes: Any) -> dict[str, Any]:
    told = {
        "accepted": True,
        "failed": [],
        "follow": [],
        "undecided": [],
        "findings": [],
        "diagnosis": {},
        "cause": "",
        "cases": 9,
    }
    return {"id": id, "seed": seed, **told, "profile": "exact-newton", "seconds": 2.0, "code": "old", **changes}


def kept(script: ModuleType, name: str, *rows: dict[str, Any]) -> None:
    script.RESULTS.mkdir(parents=True, exist_ok=True)
    (script.RESULTS / name).write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_the_page_counts_what_was_refused_and_says_why(crosschecks: ModuleType) -> None:
    refused = row("right_qr", 1001, accepted=False, failed=["step-matches"], cause="relative error 1")
    kept(crosschecks, "right-quick.jsonl", row("right_qr", 1000), refused, row("right_qr", 1002, code=crosschecks.code()))
    wrong = row(
        "half_residual", 0, accepted=False, failed=["step-matches"], follow=["trajectory"], diagnosis={"definite": "half | S"}
    )
    kept(crosschecks, "planted.jsonl", wrong)
    page = crosschecks.table()
    assert "## Right ones, quick effort: 1 of 3 runs refused" in page
    assert "Seeds 1000 to 1002; 2 of the runs are of other code." in page
    assert "| right_qr | exact-newton | 2 of 3 |  | 2 s |" in page
    assert "* right_qr, seed 1001: step-matches: relative error 1" in page
    assert "1 of 1 refused" in page
    assert r"| half_residual | refused | step-matches (1) | half \| S |  |  | 2 s |" in page


def test_a_run_goes_on_where_it_was(crosschecks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = crosschecks.code()
    kept(crosschecks, "right-quick.jsonl", row("right_qr", 5, code=now), row("right_qr", 6), row("right_ldl", 6, code=now))
    ran: list[tuple[str, int]] = []

    def right(id: str, effort: str, seed: int, code: str) -> dict[str, Any]:
        ran.append((id, seed))
        return row(id, seed, code=code)

    monkeypatch.setattr(crosschecks, "right", right)
    crosschecks.main(["--seeds", "2", "--first", "5", "--only", "right_qr", "right_ldl", "--jobs", "1"])
    assert sorted(ran) == [("right_ldl", 5), ("right_qr", 6)]
    assert "0 of 4 runs refused" in (crosschecks.HERE / "results" / "crosschecks.md").read_text()


def test_a_run_tells_what_the_report_says() -> None:
    found = script.planted("gradient", "now")
    assert not found["accepted"]
    assert found["failed"][0] == "step-matches"
    assert "trajectory" in found["follow"]
    assert found["diagnosis"]["definite"].startswith("a gradient step, to ")
    assert found["code"] == "now"


@pytest.mark.slow
@pytest.mark.parametrize("effort", ["quick", "default"])
@pytest.mark.parametrize("id", script.RIGHT)
def test_no_right_one_is_refused_at_thirty_fresh_seeds(id: str, effort: str) -> None:
    for seed in range(1000, 1030):
        found = script.right(id, effort, seed, "")
        assert found["accepted"], found
