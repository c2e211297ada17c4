"""`nntk crosscheck`: what the battery is at, on the terminal, and in the end the card and the reports."""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.progress import Progress

from nntk.crosscheck.battery import InProcess, Worker, plan, run
from nntk.crosscheck.isolation import Isolated
from nntk.crosscheck.report import card, details, heading, record
from nntk.crosscheck.result import CheckResult, Report
from nntk.reporting.files import write_report
from nntk.reporting.recorder import Recorder
from nntk.reporting.terminal import console, progress

__all__ = ["crosscheck"]


def crosscheck(
    factory: str,
    profile: str,
    *,
    json: Path | None,
    html: Path | None,
    verbose: bool = False,
    in_process: bool = False,
    **options: Any,
) -> int:
    """Run the battery, show what it is at, and report: to `json` at the start and after each check, and in the end on stdout.

    The first line of the card is out already. `in_process` keeps the optimizer in this process, for a debugger.
    Returns the exit code: 0 if the optimizer is accepted, 1 if not, 130 after Ctrl-C, when what is finished is reported.
    Raises InputError for bad options, a factory that makes no optimizer, or a report that cannot be written.
    """
    out, err = console(sys.stdout), console(sys.stderr)
    planned = plan(factory, profile, **options)
    if html is not None:
        importlib.import_module("nntk.reporting.html")  # where drawing does not work, that is known before the work is done
    bars: list[Progress] = []
    reports: list[Report] = []
    kept = Recorder(out, lambda: record(reports[-1]), json=json, html=html)

    def keep(report: Report) -> None:
        if not reports:  # the options and the factory are known to be good
            with kept.printing():
                heading(report, out)
        reports.append(report)
        kept.keep()

    def start(id: str) -> None:
        refused = len(reports[-1].failed)
        so_far = f", {refused} not passed" if refused else ""
        bars.append(progress(f"{len(reports[-1].results)} of {len(planned.checks)} checks{so_far}: {id}", err))
        bars[-1].start()

    def finished(result: CheckResult) -> None:
        bars.pop().stop()

    try:
        with ExitStack() as children:
            worker: Worker = InProcess(planned) if in_process else children.enter_context(Isolated(planned))
            keep(run(planned, worker, progress=start, finished=finished, kept=keep))
    finally:
        for bar in bars:
            bar.stop()
    report = reports[-1]
    with ExitStack() as written:  # each is written even where stdout or the other report fails
        if html is not None:
            written.callback(lambda: write_report(html, card(report), "html"))
        written.callback(kept.close)
        with kept.printing():
            details(report, out, verbose=verbose)
    if not report.complete:
        print("nntk: interrupted", file=sys.stderr)
        return 130
    return 0 if report.passed else 1
