"""The verification: the chosen claims on a data set, their progress, their table and their JSON report."""

from __future__ import annotations

import difflib
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from nntk import __version__
from nntk.reports import write_report
from nntk_proofs_checks.claim import Claim, Effort, Finding, Problem, Result, run
from nntk_reference import InputError, Verdict

__all__ = ["UnknownClaimError", "select", "verify"]

_OPPOSITE = {"≤": ">", "≥": "<", "<": "≥", ">": "≤", "=": "≠"}
_ASCII = str.maketrans({"≤": "<=", "≥": ">=", "≠": "!=", "π": "pi"})


class UnknownClaimError(InputError):
    """No claim has this id; the message offers the nearest one."""


def select(only: Sequence[str], claims: Mapping[str, Claim]) -> list[Claim]:
    """The claims that `only` names, in the order of the report; all of them if it is empty.

    An entry of `only` is an id, or several with commas between. Raises UnknownClaimError.
    """
    ids = [id.strip() for entry in only for id in entry.split(",")]
    for id in ids:
        if id not in claims:
            (near,) = difflib.get_close_matches(id.lower(), claims, n=1, cutoff=0)
            raise UnknownClaimError("--only", f"one of {', '.join(claims)}", f"{id!r} (did you mean {near!r}?)")
    return [claim for id, claim in claims.items() if id in ids or not ids]


def verify(claims: Sequence[Claim], problem: Problem, effort: Effort, report: Path | None = None) -> int:
    """Run the claims in turn, with progress on stderr and the outcome on stdout and, as JSON, in the file `report`.

    Returns the exit code: 0 if every claim holds and every control is refuted, 1 if not, and 130 after Ctrl-C, which ends the
    run; the claims finished by then are shown and written. Raises InputError if the report cannot be written.
    """
    out, err = _console(sys.stdout), _console(sys.stderr)
    M, d = problem.X.shape
    _print(out, f"nntk {__version__}\ndata: {problem.source} (M = {M}, d = {d})")
    sys.stdout.flush()

    start = time.perf_counter()
    results: list[Result] = []
    interrupted = False
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=err, transient=True, disable=not err.is_interactive) as progress:
            task = progress.add_task("", total=len(claims))
            for claim in claims:
                progress.update(task, description=claim.id)
                result = run(claim, problem, effort)
                results.append(result)
                progress.advance(task)
                if not err.is_interactive:
                    outcome = f"{result.finding.verdict}, control {result.control.verdict} ({_seconds(result.seconds)})"
                    print(f"[{len(results)}/{len(claims)}] {claim.id}: {outcome}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        interrupted = True

    try:
        _show(out, results, len(claims), time.perf_counter() - start)
    finally:  # a reader of stdout that has gone away does not take the report with it
        if report is not None:
            write_report(report, json.dumps(_record(problem, results), ensure_ascii=False, allow_nan=False, indent=2) + "\n")
    if interrupted:
        left_out = ", ".join(claim.id for claim in claims[len(results) :])
        print(f"nntk: interrupted; left out: {left_out or 'nothing'}", file=sys.stderr)
        return 130
    return 0 if all(result.passed for result in results) else 1


# --- on the terminal -------------------------------------------------------------------------------------------------


def _console(stream: TextIO) -> Console:
    """Prints text as it is: brackets are intervals here, not markup. Lines are wrapped at words, and only on a terminal."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, width=None if stream.isatty() else 10_000, markup=False, highlight=False, emoji=False)


def _print(console: Console, text: str) -> None:
    console.print(Text(text.translate(_ASCII) if console.options.ascii_only else text))


def _show(console: Console, results: Sequence[Result], total: int, seconds: float) -> None:
    """The table, a line for whatever did not come out as it must, and the summary."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("claim", "verdict", "evidence"):
        table.add_column(title, no_wrap=True)
    table.add_column("number and limit")
    table.add_column("cases", justify="right", no_wrap=True)
    table.add_column("control", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    notes = []
    for result in results:
        claim, finding, control = result.claim, result.finding, result.control
        decisive = _decisive(finding)
        table.add_row(
            claim.id,
            _verdict(finding, Verdict.HOLDS),
            claim.evidence.value,
            decisive.translate(_ASCII) if console.options.ascii_only else decisive,
            str(finding.cases),
            _verdict(control, Verdict.REFUTED),
            _seconds(result.seconds),
        )
        if finding.verdict is not Verdict.HOLDS:
            notes.append(f"{claim.id}: {_one_line(finding.why)}")
        if control.verdict is not Verdict.REFUTED:
            notes.append(f"{claim.id}: control {control.verdict.value}: {_one_line(control.why)}")
    console.print()
    console.print(table)
    console.print()
    for note in notes:
        _print(console, note)
    hold = _count(sum(r.finding.verdict is Verdict.HOLDS for r in results), total, "claim")
    refuted = _count(sum(r.control.verdict is Verdict.REFUTED for r in results), total, "control")
    verb = "holds" if hold == "1 claim" else "hold"
    _print(console, f"{hold} {verb}, {refuted} refuted ({_seconds(seconds)})")


def _verdict(finding: Finding, wanted: Verdict) -> Text:
    undecided = finding.verdict is Verdict.UNDECIDED
    return Text(finding.verdict.value, "green" if finding.verdict is wanted else "yellow" if undecided else "red")


def _decisive(finding: Finding) -> str:
    """The number beside its limit, as the verdict has it (3 > 1 if 3 ≤ 1 is refuted), to enough digits to see it."""
    a, b, relation = finding.number, finding.limit, finding.relation
    if a is None:
        return "-"
    if b is None:
        return _digits(a, 3)
    if finding.verdict is Verdict.REFUTED:
        relation = _OPPOSITE.get(relation, relation)
    elif finding.verdict is Verdict.UNDECIDED:
        relation += "?"
    digits = next((n for n in range(3, 17) if a == b or _digits(a, n) != _digits(b, n)), 17)
    return f"{_digits(a, digits)} {relation} {_digits(b, digits)}"


def _digits(number: float, digits: int) -> str:
    return str(int(number)) if abs(number) < 1e6 and number == int(number) else f"{number:.{digits}g}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def _count(number: int, total: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}" if number == total else f"{number} of {total} {noun}s"


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- in a file -------------------------------------------------------------------------------------------------------


def _record(problem: Problem, results: Sequence[Result]) -> dict[str, Any]:
    """What the JSON report holds. JSON has no NaN and no infinity: such a number is null."""
    return {
        "version": __version__,
        "data": {"source": problem.source, "points": problem.X.shape[0], "dimension": problem.X.shape[1]},
        "claims": [
            {
                "id": result.claim.id,
                "verdict": result.finding.verdict.value,
                "evidence": result.claim.evidence.value,
                "number": _finite(result.finding.number),
                "limit": _finite(result.finding.limit),
                "cases": result.finding.cases,
                "control": {"verdict": result.control.verdict.value, "why": result.control.why},
                "seconds": result.seconds,
            }
            for result in results
        ],
    }


def _finite(number: float | None) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None
