"""Options that several commands share, with the same help, checks and completion."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Data", "Full", "Html", "Json", "Quick", "among", "check_files", "effort_of", "lister"]

# The files are looked at by `load` and `check_report`, which know more than typer (hence readable=False).
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,
        help="CSV (last column y) or NPZ (X, y). Default: 16 points of y = 2x + 0.4 sin(5 pi x).",
    ),
]
Json = Annotated[
    Path | None, typer.Option(metavar="FILE", readable=False, help="Write a report as JSON, anew after each part.")
]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", readable=False, help="Write a report with figures, as one HTML page.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases.")]
Full = Annotated[bool, typer.Option("--full", help="More and larger cases.")]


def effort_of(quick: bool, full: bool) -> str:
    """The effort that the two options ask for: "quick", "default" or "full". Raises InputError if both are given."""
    from nntk_reference import InputError

    if quick and full:
        raise InputError("quick", "one of `quick` and `full`", "both")
    return "quick" if quick else "full" if full else "default"


def check_files(read: Mapping[str, Path | None], **written: Path | None) -> None:
    """Find out before any work whether the reports can be written, and to files of their own. Raises InputError."""
    from nntk.reporting.files import check_distinct, check_report

    for argument, path in written.items():
        if path is not None:
            check_report(path, argument)
    check_distinct({**read, **written})


def lister(statements: Callable[[], Mapping[str, str]]) -> Any:
    """The option --list: print the ids of a registry, each with its statement, and end with exit code 0."""

    def show(wanted: bool) -> None:
        if wanted:
            from nntk.reporting.terminal import console, one_line, text

            out, entries = console(sys.stdout), statements()
            indent = max(map(len, entries)) + 2
            for id, statement in entries.items():
                lines = textwrap.wrap(one_line(statement), max(out.width - indent, 20)) or [""]
                for head, line in zip([id, *[""] * (len(lines) - 1)], lines, strict=True):
                    out.print(text(f"{head:<{indent}}{line}", out))
            raise typer.Exit

    return typer.Option("--list", help="List the ids with their statements and exit.", callback=show, is_eager=True)


def among(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Completion of one of these names, or of the last of several with commas between."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        return [f"{head}{comma}{name}" for name in names() if name.startswith(last)]

    return complete
