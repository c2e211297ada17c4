"""`nntk crosscheck`: the battery on the terminal, a row for each check as it is finished, and the reports."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.progress import Progress

from nntk.crosscheck.battery import check_optimizer
from nntk.crosscheck.checks import CHECKS
from nntk.crosscheck.report import card, details, heading, record, table
from nntk.crosscheck.result import CheckResult, Report
from nntk.crosscheck.setting import profile as known_profile
from nntk.reporting.files import write_report
from nntk.reporting.recorder import Recorder
from nntk.reporting.terminal import console, progress

__all__ = ["crosscheck"]


def crosscheck(factory: str, profile: str, *, json: Path | None, html: Path | None, **options: Any) -> int:
    """Run `check_optimizer`, print its results as they come, and write the reports: `json` at the start and after each check.

    Returns the exit code: 0 if the optimizer is accepted, 1 if not, 130 after Ctrl-C, when what is finished is reported.
    Raises InputError for bad options, a factory that makes no optimizer, or a report that cannot be written.
    """
    out, err = console(sys.stdout), console(sys.stderr)
    head, row = table(list(CHECKS), out)
    chosen = known_profile(profile)
    bars: list[Progress] = []
    reports: list[Report] = []
    kept = Recorder(out, lambda: record(reports[-1]), json=json, html=html)

    def keep(report: Report) -> None:
        if not reports:  # the options and the factory are known to be good
            asked = f"{options['dtype']} on {options['device']}, effort {options['effort']}, seed {options['seed']}"
            with kept.printing():
                heading(factory, chosen.name, chosen.statement, asked, out)
            if head is not None:
                kept.show(head)
        reports.append(report)
        kept.keep()

    def start(id: str) -> None:
        bars.append(progress(id, err))
        bars[-1].start()

    def finished(result: CheckResult) -> None:
        bars.pop().stop()
        kept.show(row(result))

    try:
        keep(check_optimizer(factory, profile, progress=start, finished=finished, kept=keep, **options))
    finally:
        for bar in bars:
            bar.stop()
    report = reports[-1]
    with ExitStack() as written:  # each is written even where stdout or the other report fails
        if html is not None:
            written.callback(lambda: write_report(html, card(report), "html"))
        written.callback(kept.close)
        with kept.printing():
            details(report, out)
    if not report.complete:
        print("nntk: interrupted", file=sys.stderr)
        return 130
    return 0 if report.passed else 1
