"""The report card: as JSON, as text, as a page."""

from __future__ import annotations

import json
from dataclasses import replace

from nntk.crosscheck import CHECKS, Report, check_optimizer
from nntk.crosscheck.report import as_text, card, record, summary
from tests.nntk import optimizers


def test_json_holds_the_verdict_and_the_diagnosis(refused: Report) -> None:
    made = json.loads(json.dumps(record(refused), allow_nan=False))
    assert made["passed"] is False
    assert made["diagnosis"][0]["id"] == "residual-share"


def test_text_has_every_check_the_diagnosis_and_a_program(refused: Report) -> None:
    text = as_text(refused)
    for result in refused.results:
        assert f"\n{result.id} " in text
    assert "Newton with half the residual term S" in text
    assert "from tests.nntk.optimizers import half_residual" in text
    assert text.splitlines()[-1].startswith(f"refused: {len(CHECKS) - 1} checks on ")


def test_card_is_whole_and_escaped(refused: Report) -> None:
    page = card(refused)
    assert page.startswith("<!doctype html>")
    assert "half the residual term" in page
    assert page.count("<svg") >= 4  # damping, trajectory, width exponent, spectral bias
    for id in ("damping-honoured", "trajectory", "width-exponent", "mode-rates"):
        assert f'<section id="{id}">' in page


def test_json_begins_with_what_all_commands_have(refused: Report) -> None:
    made = record(refused)
    shared = ["schema", "command", "complete", "passed", "started", "seconds", "environment"]
    shared += ["effort", "seed", "left_out", "results"]
    assert list(made)[: len(shared)] == shared
    assert (made["schema"], made["command"], made["complete"], made["effort"]) == (2, "crosscheck", True, "quick")
    assert made["left_out"] == {"cost": "skipped on request"}
    assert [result["id"] for result in made["results"]] == [id for id in CHECKS if id != "cost"]


def test_a_check_without_a_number_shows_none(refused: Report) -> None:
    made = {result["id"]: result for result in record(refused)["results"]}["non-finite"]
    assert made["outcome"] == "passed"
    assert (made["number"], made["relation"], made["limit"], made["shown"]) == (None, "", None, "-")
    assert any(line.split()[:3] == ["non-finite", "passed", "-"] for line in as_text(refused).splitlines())
    report = check_optimizer(optimizers.passes_nan_on, only=["non-finite"], effort="quick", diagnose=False)
    (failed,) = record(report)["results"]
    assert (failed["outcome"], failed["number"], failed["shown"]) == ("failed", None, "-")
    assert failed["failure"]["number"] is None
    assert failed["failure"]["limit"] is None


def test_an_unfinished_report_says_so(refused: Report) -> None:
    left_out = {"cost": "skipped on request", "mode-rates": "not finished"}
    report = replace(refused, results=refused.results[:-1], left_out=left_out, complete=False)
    assert summary(report).endswith("; 1 not finished; 1 not part of this run")
    assert record(report)["left_out"] == left_out
    assert not record(report)["passed"]
    assert as_text(report).splitlines()[-1].startswith("interrupted: ")
    assert "The run was interrupted" in card(report)
