"""`nntk bench`, with a subcommand for each suite of measurements."""

from __future__ import annotations

from typing import Annotated

import typer

from nntk.commands.messages import messages
from nntk.commands.options import Json, Quick, among, check_files, effort_of, lister

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure, beside the machine's own GEMM rate.")


def _statements() -> dict[str, str]:
    from nntk.bench import TABLES

    return {id: table.statement for id, table in TABLES.items()}


@app.command(epilog="Example: nntk bench step --quick --json step.json", short_help="The exact Newton step.")
def step(
    context: typer.Context,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda.")] = "cpu",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Fill this table only; may be repeated, and take a,b,c.", autocompletion=among(_statements)
        ),
    ] = None,
    quick: Quick = False,
    json: Json = None,
    list_: Annotated[bool, lister(_statements)] = False,
) -> None:
    """Measure the exact step: rate, memory, inertia, other methods, two processes. Exit code 0 if every wish is met, else 1."""
    with messages(context):
        from nntk.bench import TABLES
        from nntk.bench.run import bench
        from nntk.reporting.selection import choose

        tables = choose("only", only or [], TABLES) or list(TABLES)
        check_files({}, json=json)
        code = bench(tables, device=device, effort=effort_of(quick, False), json=json)
    raise typer.Exit(code)
