"""The verification: the chosen claims on a data set, a row on stdout for each as it is finished, and the reports.

The JSON report, schema 1; whoever reads it should ignore keys that are not listed. NaN and infinity are null.

| key | value |
|---|---|
| schema, complete, passed | 1; false until every chosen claim is finished; true where the exit code is 0 |
| started, seconds | UTC, ISO 8601; wall clock so far |
| data | source, file (null for the default data), points, dimension |
| effort, seed | quick, default or full; the seed of the networks |
| environment | python, platform, machine, cpus, versions (of nntk and what it computes with; null where not installed) |
| summary, left_out | counts in words; ids of chosen claims that are not finished |
| claims | one object for each finished claim, in order |
| – id, statement, assumptions, evidence | the claim; evidence is exact, certified or measured |
| – applies, verdict, why | false where the claim says nothing about the data; holds, refuted or undecided; what decided |
| – number, relation, limit, shown, cases | `number relation limit` is what the claim needs, `shown` what was found |
| – panels | figures: title, x_label, y_label, log, base, series (label, x, y, low, high, style, colour, marker) |
| – control | reason (why it must be refuted), and its applies, verdict, why, number, relation, limit, shown, cases |
| – seconds, theory | time with the control; where the claim is derived |
| – reproduce, test | the command lines that repeat the check, by itself and under pytest |
"""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from nntk import __version__
from nntk.reports import environment, plain, seconds, shown_name, write_report
from nntk.selection import choose
from nntk.terminal import columns, console, count, decisive, one_line, progress, text
from nntk_proofs_checks.claim import Claim, Effort, Finding, Problem, Result, run
from nntk_reference import InputError, Verdict

__all__ = ["select", "verify"]

_NOT_APPLICABLE = "not applicable"


def select(only: Sequence[str], claims: Mapping[str, Claim]) -> list[Claim]:
    """The claims that `only` names, in the order of the report; all of them if it is empty. Raises UnknownIdError."""
    chosen = choose("--only", only, claims)
    return [claims[id] for id in chosen or claims]


def verify(
    claims: Sequence[Claim],
    problem: Problem,
    effort: Effort,
    *,
    json: Path | None = None,
    html: Path | None = None,
    data: Path | None = None,
) -> int:
    """Run the claims in turn: a row on stdout for each as it is finished, then what went wrong, and the counts.

    `json` is rewritten after each claim, `html` written at the end; `data` is the file that the problem was read from.
    Returns the exit code: 0 if every claim that applies holds with its control refuted, and there is one; 1 if not; 130 after
    Ctrl-C, which ends the run; what is finished by then is shown and written. Raises InputError if a report cannot be written.
    """
    if html is not None:
        from nntk.html import page  # here, before the work: were something missing from the installation, it would be in vain
    out, err = console(sys.stdout), console(sys.stderr)
    started, start = datetime.now(UTC), time.perf_counter()
    results: list[Result] = []
    told = 0
    interrupted = False

    def show(line: Text | str = "") -> None:
        try:
            out.print(line)
        except (BrokenPipeError, SystemExit):  # nobody reads stdout any more, for which rich ends the process
            if json is None and html is None:
                raise

    def show_rows() -> None:
        nonlocal told
        while told < len(results):
            show(row(results[told]))
            told += 1

    def record() -> dict[str, Any]:
        return _record(claims, results, problem, effort, data, started, time.perf_counter() - start)

    def write_json() -> None:
        if json is not None:
            write_report(json, jsonlib.dumps(record(), ensure_ascii=False, allow_nan=False, indent=2) + "\n")

    def write_html() -> None:
        if html is not None:
            write_report(html, page("verify", record(), [result.finding.panels for result in results]), "--html")

    M, d = problem.X.shape
    head, row = _table(claims, out)
    show(text(f"nntk {__version__}, effort {effort.name.lower()}, seed {problem.seed}", out))
    show(text(f"data: {problem.source} (M = {M}, d = {d})", out))
    show()
    if head is not None:
        show(head)
    with ExitStack() as reports:  # each is written even where stdout or the other report fails
        reports.callback(write_html)
        reports.callback(write_json)
        try:
            for claim in claims:
                with progress(f"{len(results) + 1}/{len(claims)} {claim.id}", err):
                    results.append(run(claim, problem, effort))
                show_rows()
                with suppress(InputError):  # the last one raises it
                    write_json()
        except KeyboardInterrupt:
            interrupted = True
        show_rows()
        show()
        for note in _notes(results):
            show(text(note, out))
        show(text(f"{_summary(results, len(claims))} ({seconds(time.perf_counter() - start)})", out))
    if interrupted:
        print(f"nntk: interrupted; left out: {', '.join(_left_out(claims, results)) or 'nothing'}", file=sys.stderr)
        return 130
    return 0 if _passed(claims, results) else 1


def _passed(claims: Sequence[Claim], results: Sequence[Result]) -> bool:
    """Are all finished, does none fail, and did at least one apply?"""
    finished = len(results) == len(claims)
    return finished and all(result.passed for result in results) and any(result.finding.applies for result in results)


def _left_out(claims: Sequence[Claim], results: Sequence[Result]) -> list[str]:
    return [claim.id for claim in claims[len(results) :]]


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
    started: datetime,
    duration: float,
) -> dict[str, Any]:
    """What the JSON report holds (the table at the top), and what the HTML report is made from."""
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
    record = {
        "schema": 1,
        "complete": len(results) == len(claims),
        "passed": _passed(claims, results),
        "started": started.isoformat(timespec="seconds"),
        "seconds": duration,
        "data": {
            "source": problem.source,
            "file": None if data is None else shown_name(data),
            "points": problem.X.shape[0],
            "dimension": problem.X.shape[1],
        },
        "effort": effort.name.lower(),
        "seed": problem.seed,
        "environment": environment(),
        "summary": _summary(results, len(claims)),
        "left_out": _left_out(claims, results),
        "claims": entries,
    }
    return dict(plain(record))


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
