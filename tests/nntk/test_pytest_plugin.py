"""`pytest --pyargs nntk_proofs_checks` as a user runs it: items, options, outcomes, and nothing for those who do not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nntk_proofs_checks import CLAIMS

# In the host's folder, so that neither this project's settings nor its conftest take part.
COMMAND = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error")


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_one_item_per_claim_and_per_control(tmp_path: Path) -> None:
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "--collect-only", "-q", "--strict-markers")
    assert result.returncode == 0, result.stdout + result.stderr
    items = [line for line in result.stdout.splitlines() if "::" in line]
    claims = [f"test_claim[{name}]" for name in CLAIMS]
    controls = [f"test_control[{name}-control]" for name in CLAIMS]
    assert [line.split("::")[1] for line in items] == claims + controls


@pytest.mark.parametrize(
    ("select", "count"),
    [
        (("-k", "ntk-decay"), 2),
        (("-m", "certified and control"), 5),
        (("-m", "measured"), 14),
    ],
)
def test_selection(tmp_path: Path, select: tuple[str, str], count: int) -> None:
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "--collect-only", "-q", *select)
    assert result.stdout.count("::") == count, result.stdout


def test_outcomes_and_numbers_are_in_the_junit_report(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("0,1\n0.5,2\n1,0\n")
    args = ("--nntk-effort", "quick", "--nntk-data", "d.csv", "--nntk-seed", "3", "--junitxml", "j.xml")
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "-q", "-k", "indefinite", *args)
    assert result.returncode == 0, result.stdout + result.stderr
    cases = ElementTree.parse(tmp_path / "j.xml").getroot().findall(".//testcase")
    found = [{p.get("name"): p.get("value") for p in case.findall(".//property")} for case in cases]
    assert [f["verdict"] for f in found] == ["holds", "refuted"]
    assert int(found[0]["cases"] or 0) > 0


def test_a_claim_that_does_not_apply_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("0,1\n0,1\n1,0\n")
    args = ("--nntk-effort", "quick", "--nntk-data", "d.csv", "-rs")
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "-q", "-k", "one-step", *args)
    assert result.returncode == 0
    assert "2 skipped" in result.stdout
    assert "assumption not met: the inputs have duplicates" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--nntk-data", "nowhere.csv"), "nowhere.csv: expected a file, got nothing there"),
        (("--nntk-seed", "-1"), "seed: expected"),
    ],
)
def test_bad_data_end_the_run_with_usage_error(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "-q", "-k", "indefinite", *args)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_refuted_claim_fails_with_what_was_found(tmp_path: Path) -> None:
    """A claim whose check finds the opposite, in the registry of a run of its own."""
    (tmp_path / "conftest.py").write_text(
        "from dataclasses import replace\n"
        "from types import MappingProxyType\n"
        "import nntk_proofs_checks.registry as r\n"
        "c = r.CLAIMS['one-step']\n"
        "r.CLAIMS = MappingProxyType({'one-step': replace(c, check=c.control)})\n"
    )
    result = run(tmp_path, "--pyargs", "nntk_proofs_checks", "-q", "--nntk-effort", "quick", "-k", "one-step and not control")
    assert result.returncode == 1
    assert "refuted, not holds: proved false: |f₁ - y|/|y|" in result.stdout
    assert "claim: with α = 1" in result.stdout
    assert "effort quick" in result.stdout


def test_a_host_that_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_host.py").write_text(
        "import sys\n"
        "def test_nothing_heavy_is_loaded():\n"
        "    loaded = {'torch', 'numpy', 'flint', 'nntk_proofs_checks', 'nntk_reference'} & set(sys.modules)\n"
        "    assert not loaded\n"
    )
    result = run(tmp_path, "-q", "-p", "no:hypothesispytest", "--strict-markers", "--strict-config")
    assert result.returncode == 0, result.stdout + result.stderr
