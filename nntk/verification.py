"""The verification: the chosen claims on a data set, a row on stdout for each as it is finished, and the reports.

`docs/schemas/verify.schema.json` describes the JSON report.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from nntk import __version__
from nntk.reporting.envelope import envelope, unfinished
from nntk.reporting.files import shown_name, write_report
from nntk.reporting.recorder import Recorder
from nntk.reporting.selection import choose
from nntk.reporting.terminal import columns, console, count, decisive, one_line, progress, seconds, text
from nntk_proofs_checks.claim import Claim, Effort, Finding, Problem, Result, run
from nntk_proofs_checks.trials import in_processes
from nntk_reference import Verdict

__all__ = ["select", "verify"]

_NOT_APPLICABLE = "not applicable"


def select(only: Sequence[str], claims: Mapping[str, Claim]) -> list[Claim]:
    """The claims that `only` names, in the order of the report; all of them if it is empty. Raises UnknownIdError."""
    chosen = choose("only", only, claims)
    return [claims[id] for id in chosen or claims]


def verify(
    claims: Sequence[Claim],
    problem: Problem,
    effort: Effort,
    *,
    json: Path | None = None,
    html: Path | None = None,
    data: Path | None = None,
    jobs: int = 1,
) -> int:
    """Run the claims in turn: a row on stdout for each as it is finished, then what went wrong, and the counts.

    `json` is written at the start and after each claim, `html` at the end; `data` is the file that the problem was read from;
    `jobs` is the number of processes that trials are shared out to, on which nothing depends but the time.
    Returns the exit code: 0 if every claim that applies holds with its control refuted, and there is one; 1 if not; 130 after
    Ctrl-C, which ends the run; what is finished by then is shown and written. Raises InputError if a report cannot be written.
    """
    if html is not None:
        # here, before the work: were something missing from the installation, it would be in vain
        from nntk.reporting.html import page
    out, err = console(sys.stdout), console(sys.stderr)
    results: list[Result] = []
    told = 0
    interrupted = False

    def show_rows() -> None:
        nonlocal told
        while told < len(results):
            kept.show(row(results[told]))
            told += 1

    def record() -> dict[str, Any]:
        return _record(claims, results, problem, effort, data, kept.times)

    def write_html() -> None:
        if html is not None:
            write_report(html, page("verify", record(), [result.finding.panels for result in results]), "html")

    kept = Recorder(out, record, json=json, html=html)
    M, d = problem.X.shape
    head, row = _table(claims, out)
    kept.show(text(f"nntk {__version__}, effort {effort.name.lower()}, seed {problem.seed}", out))
    kept.show(text(f"data: {problem.source} (M = {M}, d = {d})", out), "")
    if head is not None:
        kept.show(head)
    kept.keep()
    with ExitStack() as reports:  # each is written even where stdout or the other report fails
        reports.callback(write_html)
        reports.callback(kept.close)
        reports.enter_context(in_processes(jobs))
        try:
            for claim in claims:
                with progress(f"{len(results) + 1}/{len(claims)} {claim.id}", err):
                    results.append(run(claim, problem, effort))
                kept.keep()
                show_rows()
        except KeyboardInterrupt:
            interrupted = True
        show_rows()
        kept.show("", *(text(note, out) for note in _notes(results)))
        kept.show(text(f"{_summary(results, len(claims))} ({seconds(kept.seconds)})", out))
    if interrupted:
        print(f"nntk: interrupted; left out: {', '.join(c.id for c in claims[len(results) :]) or 'nothing'}", file=sys.stderr)
        return 130
    return 0 if _passed(claims, results) else 1


def _passed(claims: Sequence[Claim], results: Sequence[Result]) -> bool:
    """Are all finished, does none fail, and did at least one apply?"""
    finished = len(results) == len(claims)
    return finished and all(result.passed for result in results) and any(result.finding.applies for result in results)


# --- in words --------------------------------------------------------------------------------------------------------


def _summary(results: Sequence[Result], total: int) -> str:
    applicable = [result for result in results if result.finding.applies]
    idle = len(results) - len(applicable)
    hold = count(sum(r.finding.verdict is Verdict.HOLDS for r in applicable), total - idle, "claim")
    refuted = count(sum(r.control.verdict is Verdict.REFUTED for r in applicable), total - idle, "control")
    verb = "holds" if hold == "1 claim" else "hold"
    return f"{hold} {verb}, {refuted} refuted" + (f", {idle} {_NOT_APPLICABLE}" if idle else "")


def _notes(results: Sequence[Result]) -> list[str]:
    """A line for whatever did not come out as it must, and for every claim that does not apply."""
    notes = []
    for result in results:
        id, finding, control = result.claim.id, result.finding, result.control
        if not finding.applies:
            notes.append(f"{id}: {_NOT_APPLICABLE}: {one_line(finding.why)}")
            continue
        if finding.verdict is not Verdict.HOLDS:
            notes.append(f"{id}: {one_line(finding.why)}")
        if control.verdict is not Verdict.REFUTED:
            notes.append(f"{id}: control {control.verdict.value}: {one_line(control.why)}")
    if results and not any(result.finding.applies for result in results):
        notes.append("nothing was verified: no claim applies to the data set")
    return notes


# --- on the terminal -------------------------------------------------------------------------------------------------


def _table(claims: Sequence[Claim], out: Console) -> tuple[Text | None, Callable[[Result], Text]]:
    """(the head of the table, what makes a claim's row), laid out before anything is known of the results.

    Where the console is too narrow for columns there is no head, and a row is a sentence.
    """
    titles = ("claim", "verdict", "evidence", "number and limit", "cases", "control", "time")
    widths = (max([5, *(len(claim.id) for claim in claims)]), 7, 9, 17, 5, 7, 6)
    head, line = columns(titles, widths, ("cases", "time"), out)

    def row(result: Result) -> Text:
        finding = result.finding
        verdict, control = _verdict(finding, Verdict.HOLDS), _verdict(result.control, Verdict.REFUTED)
        evidence, number, cases = result.claim.evidence.value, decisive(finding), str(finding.cases)
        if not finding.applies:
            evidence, number, cases, control = "", "-", "-", Text("-")
        if head is None and not finding.applies:
            return Text.assemble(f"{result.claim.id}: ", verdict)
        if head is None:
            found = text(f" ({evidence}), {number}, cases: {cases}, control ", out)
            return Text.assemble(f"{result.claim.id}: ", verdict, found, control, f", {seconds(result.seconds)}")
        return line((result.claim.id, verdict, evidence, number, cases, control, seconds(result.seconds)))

    return head, row


def _verdict(finding: Finding, wanted: Verdict) -> Text:
    if not finding.applies:
        return Text(_NOT_APPLICABLE, "dim")
    undecided = finding.verdict is Verdict.UNDECIDED
    return Text(finding.verdict.value, "green" if finding.verdict is wanted else "yellow" if undecided else "red")


# --- in a file -------------------------------------------------------------------------------------------------------


def _record(
    claims: Sequence[Claim],
    results: Sequence[Result],
    problem: Problem,
    effort: Effort,
    data: Path | None,
    times: Mapping[str, Any],
) -> dict[str, Any]:
    """What the JSON report holds, and what the HTML report is made from."""
    entries = []
    for result in results:
        claim = result.claim
        entry = {
            "id": claim.id,
            "statement": claim.statement,
            "assumptions": claim.assumptions,
            "evidence": claim.evidence.value,
            **_found(result.finding),
            "panels": [asdict(panel) for panel in result.finding.panels],
            "control": {"reason": claim.control_reason, **_found(result.control)},
            "seconds": result.seconds,
            **_commands(claim.id, problem.seed, effort, data),
            "theory": claim.theory,
        }
        entries.append(entry)
    return envelope(
        "verify",
        complete=len(results) == len(claims),
        passed=_passed(claims, results),
        **times,
        effort=effort.name.lower(),
        seed=problem.seed,
        left_out=unfinished([claim.id for claim in claims], entries),
        results=entries,
        data={
            "source": problem.source,
            "file": None if data is None else shown_name(data),
            "points": problem.X.shape[0],
            "dimension": problem.X.shape[1],
        },
        summary=_summary(results, len(claims)),
    )


def _found(finding: Finding) -> dict[str, Any]:
    return {
        "applies": finding.applies,
        "verdict": finding.verdict.value,
        "why": finding.why,
        "number": finding.number,
        "relation": finding.relation,
        "limit": finding.limit,
        "shown": decisive(finding),
        "cases": finding.cases,
    }


def _commands(id: str, seed: int, effort: Effort, data: Path | None) -> dict[str, str]:
    """The command lines that repeat one claim's check."""
    name, file = effort.name.lower(), [] if data is None else [shown_name(data)]
    reproduce = ["nntk", "verify", "--only", id, "--seed", str(seed)]
    test = ["pytest", "--pyargs", "nntk_proofs_checks", "-k", id, f"--nntk-seed={seed}", f"--nntk-effort={name}"]
    if effort is not Effort.DEFAULT:
        reproduce.append(f"--{name}")
    for option, line in (("--data", reproduce), ("--nntk-data", test)):
        line.extend([option, *file] if file else [])
    return {"reproduce": shlex.join(reproduce), "test": shlex.join(test)}
