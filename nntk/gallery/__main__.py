"""`python -m nntk.gallery`: cross-check the gallery's optimizers and write the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nntk.crosscheck import Report, check_optimizer
from nntk.gallery.entry import ENTRIES
from nntk.gallery.page import page
from nntk.reporting.selection import choose


def main(
    write: Annotated[Path | None, typer.Option(help="Write the page here, not to the terminal.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Ids, with commas between.")] = None,
    effort: Annotated[str, typer.Option(help="quick, default or full.")] = "quick",
) -> None:
    """Cross-check the gallery's optimizers whose packages are installed, and write the page."""
    reports: dict[str, Report | None] = {}
    for id in choose("only", only or [], ENTRIES) or ENTRIES:
        entry = ENTRIES[id]
        reports[id] = None
        if entry.version is not None:
            report = check_optimizer(entry.factory, entry.profile, rtol=entry.rtol, effort=effort, name=f"nntk.gallery:{id}")
            if not report.complete:
                raise typer.Abort
            reports[id] = report
        typer.echo(f"{id}: {'not installed' if entry.version is None else entry.version}", err=True)
    if write is None:
        typer.echo(page(reports))
    else:
        write.write_text(page(reports), "utf-8")


if __name__ == "__main__":
    typer.run(main)
