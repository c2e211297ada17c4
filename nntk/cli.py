"""The command line. Nothing heavy is imported before a command runs, so that `nntk --help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from nntk import __version__
from nntk.commands import bench, crosscheck, plan, verify

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run `nntk` (the console script)."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"nntk {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: nntk verify --quick")
def nntk(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Check the theory of the regularized Newton method for wide shallow networks."""


app.command(epilog=verify.EPILOG, short_help="Check every claim and its negative control.")(verify.verify)
app.command(epilog=plan.EPILOG, short_help="Regularization, width, steps and cost for a data set.")(plan.plan)
app.command(epilog=crosscheck.EPILOG, short_help="Find out what an optimizer really computes.")(crosscheck.crosscheck)
app.add_typer(bench.app, name="bench")
