"""The table of how often the claims hold: what counts as a pass, and that a run goes on where it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import verdicts as script
from nntk_proofs_checks import CLAIMS
from nntk_proofs_checks.data import load
from nntk_reference import Verdict


@pytest.fixture
def verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "RESULTS", tmp_path / "results" / "verdicts")
    return script


def row(seed: int, **changes: dict[str, Any]) -> dict[str, Any]:
    fine = {"verdict": "holds", "control": "refuted", "seconds": 1.0, "why": ""}
    claims = {id: fine | {"code": code} | changes.get(id, {}) for id, code in script.codes().items()}
    return {"seed": seed, "seconds": 10.0 + seed, "jobs": 1, "machine": "m", "claims": claims}


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"verdict": "not applicable", "control": "-"}, True),
        ({"verdict": "undecided"}, False),
        ({"verdict": "refuted"}, False),
        ({"control": "holds"}, False),
        ({"control": "undecided"}, False),
    ],
)
def test_what_passes(verdicts: ModuleType, change: dict[str, Any], passes: bool) -> None:
    assert verdicts.passed(row(0, **{"one-step": change})) is passes


def test_a_run_in_which_no_claim_applies_does_not_pass(verdicts: ModuleType) -> None:
    idle = {"verdict": "not applicable", "control": "-"}
    assert not verdicts.passed(row(0, **dict.fromkeys(CLAIMS, idle)))


def test_the_table_counts_and_names_what_failed(verdicts: ModuleType) -> None:
    verdicts.RESULTS.mkdir(parents=True)
    rows = [row(2), row(0), row(1, **{"sharp-rate": {"verdict": "undecided", "why": "too wide"}})]
    path = verdicts.RESULTS / "quick-default.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    page = verdicts.table()
    assert "## quick effort, default data: 2 of 3 seeds pass" in page
    assert "Median time 11 s" in page
    assert "| sharp-rate | 2 | 1 | 0 | 0 | 3 | 1 s |" in page
    assert "| one-step | 3 | 0 | 0 | 0 | 3 | 1 s |" in page
    assert "* seed 1, sharp-rate: undecided, control refuted: too wide" in page


def test_known_seeds_are_not_run_again(verdicts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(effort: str, name: str, seed: int, *rest: object) -> dict[str, Any]:
        asked.append((effort, name, seed))
        return row(seed)

    monkeypatch.setattr(verdicts, "verdicts", run)
    assert verdicts.main(["--seeds", "2", "--jobs", "1"]) == 0
    assert verdicts.main(["--seeds", "3", "--jobs", "1"]) == 0
    assert asked == [("quick", "default", seed) for seed in (0, 1, 2)]
    assert "3 of 3 seeds pass" in (verdicts.HERE / "results" / "verdicts.md").read_text("utf-8")


def test_claims_of_other_code_are_run_again_and_no_others(verdicts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def claim(claim: Any, problem: Any, effort: Any) -> Any:
        asked.append((problem.seed, claim.id))
        finding = SimpleNamespace(verdict=Verdict.HOLDS, applies=True, why="")
        return SimpleNamespace(
            finding=finding, control=SimpleNamespace(verdict=Verdict.REFUTED, why=""), seconds=2.0, passed=True
        )

    monkeypatch.setattr(verdicts, "run", claim)
    verdicts.RESULTS.mkdir(parents=True)
    path = verdicts.RESULTS / "quick-default.jsonl"
    rows = [row(0, **{"one-step": {"code": "other", "verdict": "undecided"}}), row(1)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    assert "1 of them by other code" in verdicts.table()
    assert verdicts.main(["--seeds", "2", "--jobs", "1"]) == 0
    assert asked == [(0, "one-step")]
    again = {r["seed"]: r for r in verdicts.read(path)}
    assert again[0]["claims"]["one-step"] | {"why": ""} == again[1]["claims"]["one-step"] | {"seconds": 2.0}
    assert again[0]["seconds"] == len(CLAIMS) + 1.0
    assert "all by the code as it is" in verdicts.table()
    assert verdicts.main(["--seeds", "2", "--jobs", "1"]) == 0
    assert asked == [(0, "one-step")]


def test_the_code_of_a_claim_is_its_module_with_all_that_it_imports() -> None:
    folder = Path(script.nntk_proofs_checks.__file__).parent
    found = {path.stem for path in script.imported(folder / "vanishing_gamma.py")}
    assert {"vanishing_gamma", "claim", "data", "ensemble", "statistics", "trials", "tried", "wide"} <= found
    assert not found & {"sharp_rate", "linearization", "registry", "__init__"}
    assert len(set(script.codes().values())) == len(CLAIMS)


@pytest.mark.slow
def test_seeds_can_be_shared_out_to_processes(tmp_path: Path) -> None:
    """As the script is started: what it defines is not to be found in other processes."""
    folder = tmp_path / "benchmarks"
    shutil.copytree(Path(script.__file__).parent / "data", folder / "data")
    shutil.copy(script.__file__, folder)
    command = [sys.executable, str(folder / "verdicts.py"), "--seeds", "2", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == ["0", "1"]
    assert "2 of 2 seeds pass" in (folder / "results" / "verdicts.md").read_text("utf-8")


def test_the_data_sets_can_be_read() -> None:
    names = {name: path for name, path in script.DATA.items() if path is not None}
    shapes = {name: load(path).X.shape for name, path in names.items()}
    assert shapes == {"plane": (24, 2), "five": (40, 5), "noisy": (30, 1)}
