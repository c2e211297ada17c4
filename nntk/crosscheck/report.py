"""The report card: on the terminal, as JSON (described by `docs/schemas/crosscheck.schema.json`), as an HTML page."""

from __future__ import annotations

import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from nntk import __version__
from nntk.crosscheck.checks import CHECKS
from nntk.crosscheck.diagnosis import Diagnosis
from nntk.crosscheck.result import CheckResult, Report
from nntk.reporting.envelope import NOT_FINISHED, envelope
from nntk.reporting.terminal import columns, count, decisive, one_line, seconds, text
from nntk_proofs_checks.claim import Effort

__all__ = [
    "as_text",
    "behaviour",
    "card",
    "cases_of",
    "command",
    "details",
    "first_cause",
    "heading",
    "in_order",
    "record",
    "step_verdict",
    "summary",
    "table",
    "verdict",
]

_STYLES = {
    "passed": "green",
    "failed": "red",
    "error": "red",
    "undecided": "yellow",
    "xpassed": "red",
    "xfailed": "dim",
    "skipped": "dim",
    "informative": "dim",
}


def summary(report: Report) -> str:
    """Counts in words: how many checks ran, on how many cases, how they came out, what was left out."""
    counts = Counter(r.outcome for r in report.results)
    ran = [r for r in report.results if r.outcome != "skipped"]
    words = [f"{counts[outcome]} {outcome}" for outcome in _STYLES if counts[outcome]]
    cases, drawn = sum(r.finding.cases for r in ran), sum(r.drawn for r in ran)
    unfinished = sum(why == NOT_FINISHED for why in report.left_out.values())
    others = len(report.left_out) - unfinished
    left = (f"; {unfinished} not finished" if unfinished else "") + (f"; {others} not part of this run" if others else "")
    on = f"{count(len(ran), len(ran), 'check')} on {count(cases, cases, 'case')}{f' ({drawn} drawn)' if drawn else ''}"
    return f"{on}: {', '.join(words) or 'none finished'}{left}"


def step_verdict(report: Report) -> str:
    """What is said of the step: it decides about the optimizer."""
    if not report.complete:
        return "interrupted"
    return "accepted" if report.accepted else "refused"


def refused_alone(report: Report) -> str:
    """What of the diagnosis refuses the step where no check does; "" where one does, or nothing is refused."""
    if not report.complete or report.accepted or any(not r.good for r in report.results if r.check.about == "step"):
        return ""
    groups = ", ".join(found.group for found in report.wrong_steps)
    return f"by what the diagnosis saw: {groups}" if groups else "nothing was checked"


def behaviour(report: Report) -> str:
    """What is said of what the optimizer does beside its steps."""
    ids = [result.id for result in report.findings]
    looked = [r for r in report.results if r.check.about == "behaviour" and r.outcome not in ("skipped", "informative")]
    if not ids:
        return "no findings" if looked else "not looked at"
    decides = "" if report.strict else "; no reason to refuse it without --strict"
    return f"{count(len(ids), len(ids), 'finding')} ({', '.join(ids)}{decides})"


def verdict(report: Report) -> str:
    """What is said of the optimizer."""
    if not report.complete:
        return "interrupted"
    return "accepted" if report.passed else "refused"


def cases_of(result: CheckResult) -> str:
    """How many cases a check had: those that it always has, and those that were drawn."""
    if result.outcome == "skipped":
        return "-"
    always = result.finding.cases - result.drawn
    return (
        f"{always} + {result.drawn} drawn" if result.drawn else f"{always}, none drawn" if result.check.drawn else str(always)
    )


def in_order(report: Report) -> list[CheckResult]:
    """The results in the order of their reader: what is wrong, and after each what follows from it; then the rest."""
    wrong = [r for r in report.results if not r.good]
    ids = {r.id for r in wrong}
    first = [r for r in wrong if r.follows not in ids]
    return [*_with_what_follows(first, wrong), *(r for r in report.results if r.good)]


def _with_what_follows(causes: Sequence[CheckResult], wrong: Sequence[CheckResult]) -> Iterator[CheckResult]:
    for cause in causes:
        yield cause
        yield from _with_what_follows([r for r in wrong if r.follows == cause.id], wrong)


def first_cause(report: Report) -> CheckResult | None:
    """The first failing check with a case to show, in the order of the reader: of the step, if there is one."""
    shown = [r for r in in_order(report) if not r.good and r.failure is not None]
    return next((r for r in shown if r.check.about == "step"), next(iter(shown), None))


def cause_title(cause: CheckResult) -> str:
    """What the first cause is called: a finding where it refuses nothing."""
    return "First finding" if cause.check.about == "behaviour" else "First cause"


def _there(report: Report, result: CheckResult) -> Diagnosis | None:
    """What the step is at the smallest failing case of a check."""
    return next((found for found in report.diagnosis if found.group == result.id), None)


# --- on the terminal -------------------------------------------------------------------------------------------------------


def title(report: Report) -> str:
    """The first line."""
    return f"nntk {__version__} crosscheck: {report.subject}"


def heading(report: Report, out: Console) -> None:
    """As what it is checked, and how; below the title."""
    out.print(text(f"profile {report.profile.name}: {report.profile.statement}", out))
    out.print(text(setting(report), out))
    out.print()


def table(ids: Sequence[str], out: Console) -> tuple[Text | None, Callable[[CheckResult], Text]]:
    """(the head of the table, what makes a check's row)."""
    titles = ("check", "outcome", "number and limit", "cases", "time")
    widths = (max((5, *(len(id) for id in ids))), 9, 20, 14, 7)
    head, line = columns(titles, widths, ("time",), out)

    def row(result: CheckResult) -> Text:
        shown = decisive(result.finding) if result.outcome != "skipped" else "-"
        outcome = Text(result.outcome, _STYLES[result.outcome])
        cases = cases_of(result)
        if head is None:
            return Text.assemble(f"{result.id}: ", outcome, text(f", {shown}, cases: {cases}, {seconds(result.seconds)}", out))
        return line((result.id, outcome, shown, cases, seconds(result.seconds)))

    return head, row


def details(report: Report, out: Console, *, verbose: bool = False) -> None:
    """The card: the verdict, what the step is, the first cause with a program that shows it, and then the checks."""
    _print_verdict(report, out)
    if report.diagnosis:
        out.print()
        out.print(text("What the step is", out, "bold"))
        for found in report.diagnosis:
            if found.group not in CHECKS:
                out.print(text(f"  {found.group}: {found.words}", out))
    _print_cause(report, out)
    out.print()
    _print_checks(report, out, verbose=verbose)
    for note in report.notes:
        out.print(text(f"note: {note}", out))
    for why, ids in _grouped(report.left_out).items():
        out.print(text(f"left out: {', '.join(ids)} ({why})", out))
    style = _VERDICTS.get(verdict(report), "bold yellow")
    out.print()
    out.print(Text.assemble((verdict(report), style), text(f": {summary(report)} ({seconds(report.seconds)})", out)))


_VERDICTS = {"accepted": "bold green", "refused": "bold red"}


def _print_verdict(report: Report, out: Console) -> None:
    said = step_verdict(report)
    why = refused_alone(report)
    out.print(Text.assemble("the step: ", (said, _VERDICTS.get(said, "bold yellow")), text(f" ({why})" if why else "", out)))
    out.print(text(f"behaviour: {behaviour(report)}", out))


def _print_cause(report: Report, out: Console) -> None:
    cause = first_cause(report)
    if cause is None or cause.failure is None:
        return
    out.print()
    out.print(text(f"{cause_title(cause)}: {cause.id}", out, "bold"))
    out.print(text(f"  {one_line(cause.failure.why)}", out))
    if (there := _there(report, cause)) is not None:
        out.print(text(f"  the step there: {one_line(there.words)}", out))
    if cause.trace:
        out.print()
        out.print(text(cause.trace, out))
    out.print()
    out.print(text(f"The smallest failing case of {cause.id} ({cause.failure.case}), without the battery:", out, "bold"))
    out.print(text(cause.failure.snippet.rstrip(), out), soft_wrap=True)


def _print_checks(report: Report, out: Console, *, verbose: bool) -> None:
    """A row and a reason for each check that is not passed; the others in a line, but for what they have to say."""
    results, cause = in_order(report), first_cause(report)
    first = None if cause is None else _there(report, cause)
    said = {d.id for d in (first, *report.diagnosis) if d is not None and (d is first or d.group not in CHECKS)}
    shown = [r for r in results if verbose or r.outcome not in ("passed", "skipped", "informative")]
    head, row = table([r.id for r in shown], out)
    if head is not None and shown:
        out.print(head)
    for result in shown:
        out.print(row(result))
        if result.outcome not in ("passed", "skipped", "informative"):
            expected = f"expected: {result.expected}; " if result.expected else ""
            follows = f"follows from {result.follows}; " if result.follows else ""
            out.print(text(f"  {follows}{expected}{one_line(result.finding.why)}", out))
            there = _there(report, result)
            if there is not None and there.id not in said:
                out.print(text(f"  the step there: {one_line(there.words)}", out))
    told = {cause.trace if cause is not None else "", ""}
    for trace in dict.fromkeys(r.trace for r in results if r.outcome == "error" and r.trace not in told):
        out.print()
        out.print(text(trace, out))
    if shown:
        out.print()
    passed = [r for r in report.results if r.outcome == "passed"]
    if passed and not verbose:
        cases, drawn = sum(r.finding.cases for r in passed), sum(r.drawn for r in passed)
        on = f"{cases - drawn} + {drawn} drawn cases"
        out.print(text(f"{len(passed)} passed on {on}: {', '.join(r.id for r in passed)}", out))
        if undrawn := [r.id for r in passed if r.check.drawn and not r.drawn]:
            out.print(text(f"none drawn for {', '.join(undrawn)}", out))
    for result in results:
        if result.outcome in ("skipped", "informative"):
            out.print(text(f"{result.id}: {result.outcome}: {one_line(result.finding.why)}", out))
        elif result.outcome == "passed" and result.refused:
            out.print(text(f"{result.id}: {count(result.refused, result.refused, 'case')} refused aloud", out))


def _grouped(left_out: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for id, why in left_out.items():
        groups.setdefault(why, []).append(id)
    return groups


def as_text(report: Report) -> str:
    """The card as plain text, a row for each check."""
    stream = io.StringIO()
    out = Console(file=stream, width=10_000, markup=False, highlight=False, emoji=False, color_system=None)
    out.print(text(title(report), out))
    heading(report, out)
    details(report, out, verbose=True)
    return stream.getvalue().rstrip()


def setting(report: Report) -> str:
    """With what the battery was run, in a line."""
    rtol = "" if report.rtol is None else f", rtol {report.rtol:g}"
    residual = "" if report.residual is None else f", residual {report.residual:g}"
    form = f"{report.form} form, " if report.form else ""
    strict = ", strict" if report.strict else ""
    effort = report.effort.name.lower()
    return f"{form}{report.dtype} on {report.device}, effort {effort}, seed {report.seed}{rtol}{residual}{strict}"


# --- in a file ---------------------------------------------------------------------------------------------------------------


def record(report: Report) -> dict[str, Any]:
    """What the JSON report holds."""
    results = []
    for result in report.results:
        f = result.finding
        results.append(
            {
                "id": result.id,
                "statement": result.check.statement,
                "outcome": result.outcome,
                "verdict": f.verdict.value,
                "why": f.why,
                "number": f.number,
                "relation": f.relation,
                "limit": f.limit,
                "shown": decisive(f) if result.outcome != "skipped" else "-",
                "about": result.check.about,
                "cases": f.cases,
                "drawn": result.drawn,
                "follows": result.follows,
                "refused": result.refused,
                "unresolved": result.unresolved,
                "expected": result.expected,
                "failure": None if result.failure is None else asdict(result.failure),
                "trace": result.trace,
                "panels": [asdict(panel) for panel in f.panels],
                "seconds": result.seconds,
                "reproduce": command(report, result.id),
            }
        )
    return envelope(
        "crosscheck",
        complete=report.complete,
        passed=report.passed,
        started=report.started,
        seconds=report.seconds,
        effort=report.effort.name.lower(),
        seed=report.seed,
        left_out=report.left_out,
        results=results,
        subject=report.subject,
        form=report.form,
        profile=report.profile.name,
        statement=report.profile.statement,
        rtol=report.rtol,
        residual=report.residual,
        strict=report.strict,
        step=step_verdict(report),
        behaviour=[result.id for result in report.findings],
        dtype=report.dtype,
        device=report.device,
        summary=summary(report),
        notes=report.notes,
        diagnosis=[asdict(found) for found in report.diagnosis],
    )


def command(report: Report, id: str) -> str:
    """The command line that repeats one check."""
    words = ["nntk", "crosscheck", report.subject, "--only", id, "--seed", str(report.seed)]
    if report.profile.name != "exact-newton":
        words += ["--profile", report.profile.name]
    if report.rtol is not None:
        words += ["--rtol", f"{report.rtol:g}"]
    if report.form_given:
        words += ["--form", report.form]
    if report.strict:
        words.append("--strict")
    if report.residual is not None:
        words += ["--residual", f"{report.residual:g}"]
    if report.dtype != "float64":
        words += ["--dtype", report.dtype]
    if report.device != "cpu":
        words += ["--device", report.device]
    if report.effort is not Effort.DEFAULT:
        words.append(f"--{report.effort.name.lower()}")
    return shlex.join(words)


def card(report: Report) -> str:
    """The card as one HTML page, figures inline, in the order of its reader."""
    from nntk.reporting.html import page  # with matplotlib, which nothing else here needs

    ordered = replace(report, results=tuple(in_order(report)))
    made = record(ordered)
    cause = first_cause(report)
    for result, shown in zip(ordered.results, made["results"], strict=True):
        shown["told_cases"] = cases_of(result)
        shown["good"] = result.good
        there = _there(report, result)
        shown["there"] = "" if there is None else there.words
    made["verdict"] = verdict(report)
    made["told_behaviour"] = behaviour(report)
    made["refused_alone"] = refused_alone(report)
    made["cause"] = next((shown for shown in made["results"] if cause is not None and shown["id"] == cause.id), None)
    made["cause_title"] = "" if cause is None else cause_title(cause)
    made["steps_are"] = [found for found in made["diagnosis"] if found["group"] not in CHECKS]
    made["setting"] = setting(report)
    made["left_out_for"] = _grouped(report.left_out)
    figures = [result.finding.panels for result in ordered.results]
    return page("crosscheck", made, figures)
