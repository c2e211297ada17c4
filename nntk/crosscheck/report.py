"""The report card: on the terminal, as JSON (described by `docs/schemas/crosscheck.schema.json`), as an HTML page."""

from __future__ import annotations

import io
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from nntk import __version__
from nntk.crosscheck.result import CheckResult, Report
from nntk.reporting.envelope import NOT_FINISHED, envelope
from nntk.reporting.terminal import columns, count, decisive, one_line, seconds, text
from nntk_proofs_checks.claim import Effort

__all__ = ["as_text", "card", "details", "heading", "record", "summary", "table", "verdict"]

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
    cases = sum(r.finding.cases for r in ran)
    unfinished = sum(why == NOT_FINISHED for why in report.left_out.values())
    others = len(report.left_out) - unfinished
    left = (f"; {unfinished} not finished" if unfinished else "") + (f"; {others} not part of this run" if others else "")
    on = f"{count(len(ran), len(ran), 'check')} on {count(cases, cases, 'case')}"
    return f"{on}: {', '.join(words) or 'none finished'}{left}"


def verdict(report: Report) -> str:
    """The first line of a card."""
    if not report.complete:
        return "interrupted"
    return "accepted" if report.passed else "refused"


# --- on the terminal -------------------------------------------------------------------------------------------------------


def heading(name: str, profile: str, statement: str, setting: str, out: Console) -> None:
    """What is checked, and as what."""
    out.print(text(f"nntk {__version__} crosscheck: {name}", out))
    out.print(text(f"profile {profile}: {statement}", out))
    out.print(text(setting, out))
    out.print()


def table(ids: Sequence[str], out: Console) -> tuple[Text | None, Callable[[CheckResult], Text]]:
    """(the head of the table, what makes a check's row)."""
    titles = ("check", "outcome", "number and limit", "cases", "time")
    head, line = columns(titles, (max(5, *(len(id) for id in ids)), 11, 24, 5, 7), ("cases", "time"), out)

    def row(result: CheckResult) -> Text:
        shown = decisive(result.finding) if result.outcome != "skipped" else "-"
        outcome = Text(result.outcome, _STYLES[result.outcome])
        cases = str(result.finding.cases) if result.outcome != "skipped" else "-"
        if head is None:
            return Text.assemble(f"{result.id}: ", outcome, text(f", {shown}, cases: {cases}, {seconds(result.seconds)}", out))
        return line((result.id, outcome, shown, cases, seconds(result.seconds)))

    return head, row


def details(report: Report, out: Console) -> None:
    """What the table has no room for: reasons, the diagnosis, notes, the smallest failing case and a program that shows it."""
    out.print()
    for result in report.results:
        if result.outcome in ("skipped", "informative"):
            out.print(text(f"{result.id}: {result.outcome}: {one_line(result.finding.why)}", out))
        elif result.outcome != "passed":
            expected = f" (expected: {result.expected})" if result.expected else ""
            out.print(text(f"{result.id}: {result.outcome}{expected}: {one_line(result.finding.why)}", out))
        elif result.refused:
            out.print(text(f"{result.id}: {result.refused} cases refused aloud", out))
    for trace in dict.fromkeys(r.trace for r in report.results if r.trace and r.outcome == "error"):
        out.print()
        out.print(text(trace, out))
    if report.diagnosis:
        out.print()
        out.print(text("What the steps are", out, "bold"))
        for found in report.diagnosis:
            out.print(text(f"  {found.group}: {found.words}", out))
    for note in report.notes:
        out.print(text(f"note: {note}", out))
    shown = first_failure(report)
    if shown is not None and shown.failure is not None:
        out.print()
        out.print(text(f"The smallest failing case of {shown.id} ({shown.failure.case}), without the battery:", out, "bold"))
        out.print(text(shown.failure.snippet, out), soft_wrap=True)
    out.print()
    for why, ids in _grouped(report.left_out).items():
        out.print(text(f"left out: {', '.join(ids)} ({why})", out))
    style = {"accepted": "bold green", "refused": "bold red"}.get(verdict(report), "bold yellow")
    out.print(Text.assemble((verdict(report), style), text(f": {summary(report)} ({seconds(report.seconds)})", out)))


def first_failure(report: Report) -> CheckResult | None:
    """The failing check with the smallest case to show: the first in the report's order."""
    return next((r for r in report.failed if r.failure is not None), None)


def _grouped(left_out: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for id, why in left_out.items():
        groups.setdefault(why, []).append(id)
    return groups


def as_text(report: Report) -> str:
    """The card as plain text."""
    stream = io.StringIO()
    out = Console(file=stream, width=10_000, markup=False, highlight=False, emoji=False, color_system=None)
    heading(report.subject, report.profile.name, report.profile.statement, setting(report), out)
    head, row = table([r.id for r in report.results] or ["check"], out)
    if head is not None:
        out.print(head)
    for result in report.results:
        out.print(row(result))
    details(report, out)
    return stream.getvalue().rstrip()


def setting(report: Report) -> str:
    """With what the battery was run, in a line."""
    rtol = "" if report.rtol is None else f", rtol {report.rtol:g}"
    form = f"{report.form} form, " if report.form else ""
    return f"{form}{report.dtype} on {report.device}, effort {report.effort.name.lower()}, seed {report.seed}{rtol}"


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
                "cases": f.cases,
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
    if report.dtype != "float64":
        words += ["--dtype", report.dtype]
    if report.device != "cpu":
        words += ["--device", report.device]
    if report.effort is not Effort.DEFAULT:
        words.append(f"--{report.effort.name.lower()}")
    return shlex.join(words)


def card(report: Report) -> str:
    """The card as one HTML page, figures inline."""
    from nntk.reporting.html import page  # with matplotlib, which nothing else here needs

    made = record(report)
    made["verdict"] = verdict(report)
    made["setting"] = setting(report)
    made["left_out_for"] = _grouped(report.left_out)
    figures = [result.finding.panels for result in report.results]
    return page("crosscheck", made, figures)
