"""`pytest --pyargs nntk_proofs_checks` as a user runs it: items, options, outcomes, and nothing for those who do not use it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from xml.etree import ElementTree

import pytest

from nntk_proofs_checks import CLAIMS, Effort
from nntk_proofs_checks.data import default_data

# In the host's folder, so that neither this project's settings nor its conftest take part.
INI = """
[pytest]
addopts = -p no:cacheprovider --strict-markers --strict-config
filterwarnings = error
"""


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Import what claims import late: pytester forgets the modules that a run brings, and torch stands no second import."""
    for name in ("indefinite", "one-step"):
        CLAIMS[name].check(default_data(), Effort.QUICK)


@pytest.fixture(autouse=True)
def host(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--pyargs", "nntk_proofs_checks", "-q", *args)


def test_one_item_per_claim_and_per_control(pytester: pytest.Pytester) -> None:
    # In a process of its own, as it is typed; the others run in this one.
    result = pytester.runpytest_subprocess("--pyargs", "nntk_proofs_checks", "-q", "--collect-only")
    assert result.ret == 0
    items = [line for line in result.outlines if "::" in line]
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
def test_selection(pytester: pytest.Pytester, select: tuple[str, str], count: int) -> None:
    result = run(pytester, "--collect-only", *select)
    assert sum("::" in line for line in result.outlines) == count


def test_outcomes_and_numbers_are_in_the_junit_report(pytester: pytest.Pytester) -> None:
    (pytester.path / "d.csv").write_text("0,1\n0.5,2\n1,0\n")
    args = ("--nntk-effort", "quick", "--nntk-data", "d.csv", "--nntk-seed", "3", "--junitxml", "j.xml")
    result = run(pytester, "-k", "indefinite", *args)
    assert result.ret == 0
    cases = ElementTree.parse(pytester.path / "j.xml").getroot().findall(".//testcase")
    found = [{p.get("name"): p.get("value") for p in case.findall(".//property")} for case in cases]
    assert [f["verdict"] for f in found] == ["holds", "refuted"]
    assert int(found[0]["cases"] or 0) > 0


def test_a_claim_that_does_not_apply_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    (pytester.path / "d.csv").write_text("0,1\n0,1\n1,0\n")
    result = run(pytester, "-k", "one-step", "--nntk-effort", "quick", "--nntk-data", "d.csv", "-rs")
    assert result.ret == 0
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*assumption not met: the inputs have duplicates*"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--nntk-data", "nowhere.csv"), "--nntk-data: nowhere.csv: expected a file, got nothing there"),
        (("--nntk-seed", "-1"), "nntk: --nntk-seed: expected an integer from 0 to 4294967295, got -1"),
    ],
)
def test_bad_data_end_the_run_with_usage_error(pytester: pytest.Pytester, args: tuple[str, ...], message: str) -> None:
    result = run(pytester, "-k", "indefinite", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stdout.str() + result.stderr.str()
    assert message in told
    assert "Traceback" not in told


def test_a_refuted_claim_fails_with_what_was_found(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose check finds the opposite, in a registry of its own."""
    claim = CLAIMS["one-step"]
    claims = MappingProxyType({"one-step": replace(claim, check=claim.control)})
    monkeypatch.setattr("nntk_proofs_checks.registry.CLAIMS", claims)
    result = run(pytester, "--nntk-effort", "quick", "-k", "one-step and not control")
    assert result.ret == 1
    told = result.stdout.str()
    assert "refuted, not holds: proved false: |f₁ - y|/|y|" in told
    assert "claim: with α = 1" in told
    assert "effort quick" in told


NOTHING_HEAVY = """
import sys

import nntk

def test_nothing_heavy_is_loaded():
    assert nntk.__version__
    assert {"check_optimizer", "parametrize_with_checks"} <= set(dir(nntk))
    assert not hasattr(nntk, "no_such_name")
    heavy = {"torch", "numpy", "flint", "hypothesis", "scipy", "nntk.crosscheck", "nntk_proofs_checks", "nntk_reference"}
    assert not heavy & set(sys.modules)
"""


def test_a_host_that_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_host=NOTHING_HEAVY)
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*cross-check*")
