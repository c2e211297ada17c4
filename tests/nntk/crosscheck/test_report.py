"""The report card: as JSON, as text, as a page."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from nntk.crosscheck import CHECKS, Report, check_optimizer
from nntk.crosscheck.report import as_text, behaviour, card, cases_of, command, details, first_cause, in_order, record, summary
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
    assert page.index("What the step is") < page.index("First cause: ") < page.index("<table>")
    assert page.count("passed</summary>") == 1
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


def test_what_follows_stands_after_its_cause(refused: Report) -> None:
    ordered = in_order(refused)
    assert sorted(r.id for r in ordered) == sorted(r.id for r in refused.results)
    places = {result.id: place for place, result in enumerate(ordered)}
    follow = [result for result in ordered if result.follows]
    assert {"damping-honoured", "step-size-honoured"} <= {result.id for result in follow}
    assert all(places[result.follows] < places[result.id] for result in follow)
    assert ordered[0].id == "step-matches"
    assert not any(result.good for result in ordered[: len(refused.failed)])
    assert first_cause(refused) is refused["step-matches"]


def printed(report: Report, *, verbose: bool = False, width: int = 10_000) -> str:
    stream = io.StringIO()
    details(report, Console(file=stream, width=width, color_system=None), verbose=verbose)
    return stream.getvalue()


def test_passed_checks_are_folded_unless_all_is_wanted(refused: Report) -> None:
    passed = [result for result in refused.results if result.outcome == "passed"]
    cases, drawn = sum(r.finding.cases for r in passed), sum(r.drawn for r in passed)
    line = f"\n{len(passed)} passed on {cases - drawn} + {drawn} drawn cases: {', '.join(r.id for r in passed)}\n"
    assert line in printed(refused)
    assert line not in printed(refused, verbose=True)
    assert all(f"\n{result.id} " in printed(refused, verbose=True) for result in passed)
    assert not any(f"\n{result.id} " in printed(refused) for result in passed)


def test_a_table_fits_into_eighty_columns(refused: Report) -> None:
    rows = [line for line in printed(refused, verbose=True, width=80).splitlines() if line.endswith(" s")]
    assert len(rows) == len(refused.results)
    assert max(map(len, rows)) <= 80


def test_drawn_cases_are_told_apart(refused: Report) -> None:
    result = replace(refused["step-matches"], finding=replace(refused["step-matches"].finding, cases=52), drawn=40)
    assert cases_of(result) == "12 + 40 drawn"
    assert cases_of(replace(result, drawn=0)) == "52, none drawn"
    assert cases_of(replace(result, drawn=0, check=replace(result.check, drawn=None))) == "52"
    assert cases_of(replace(result, outcome="skipped")) == "-"


def test_behaviour_is_said_apart_from_the_step(refused: Report) -> None:
    assert behaviour(refused) == "no findings"
    assert behaviour(replace(refused, results=(refused["step-matches"],))) == "not looked at"
    finding = replace(refused["non-finite"], outcome="failed")
    report = replace(refused, results=(refused["deterministic"], finding), diagnosis=())
    assert (report.accepted, report.passed) == (True, True)
    assert behaviour(report) == "1 finding (non-finite; no reason to refuse it without --strict)"
    strict = replace(report, strict=True)
    assert (strict.accepted, strict.passed) == (True, False)
    assert behaviour(strict) == "1 finding (non-finite)"
    assert record(strict)["behaviour"] == ["non-finite"]


def test_the_command_that_repeats_a_check_has_all_that_matters(refused: Report) -> None:
    plain = "nntk crosscheck tests.nntk.optimizers:half_residual --only cost --seed 0"
    assert command(refused, "cost") == f"{plain} --quick"
    changed = replace(refused, rtol=0.5, residual=1e-3, strict=True, form_given=True, dtype="float32")
    told = f"{plain} --rtol 0.5 --form torch --strict --residual 0.001 --dtype float32 --quick"
    assert command(changed, "cost") == told


def test_a_program_and_its_reason_are_of_one_case(refused: Report) -> None:
    cause = first_cause(refused)
    assert cause is not None
    assert cause.failure is not None
    text = printed(refused)
    assert f"First cause: {cause.id}\n  {cause.failure.why}\n" in text
    assert f"of {cause.id} ({cause.failure.case})" in text
    assert cause.failure.case in cause.failure.why
