"""`nntk crosscheck`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from nntk import __version__
from nntk.commands.messages import messages
from nntk.commands.options import Full, Html, Json, Quick, among, check_files, effort_of, lister
from nntk.forking import start_server
from nntk.reporting.characters import visible

__all__ = ["EPILOG", "crosscheck"]

EPILOG = """\b
Example: is it the Gauss-Newton step, and what is it if not?
  nntk crosscheck mypackage.optim:make --profile gauss-newton --html card.html

\b
FACTORY is package.module:name of factory(model, X, y, damping), which returns
a torch optimizer, or an object with step(X, y); or of
step(theta, X, y, damping, problem), which returns the next theta.

\b
Exit code: 0 if every check of the step is passed (or fails as expected), and
with --strict those of behaviour, too; 1 if not; 2 for bad usage or bad input;
130 after Ctrl-C. More in docs/crosscheck.md."""


def _statements() -> dict[str, str]:
    from nntk.crosscheck import CHECKS

    return {id: check.statement for id, check in CHECKS.items()}


def _profiles() -> list[str]:
    from nntk.crosscheck import PROFILES

    return list(PROFILES)


def _begin(factory: str, in_process: bool) -> None:
    """Say what is going to be done, and start what can be started, before torch is imported: that takes its time."""
    encoding = sys.stdout.encoding or "ascii"
    name = visible(factory).encode(encoding, "backslashreplace").decode(encoding)
    with contextlib.suppress(BrokenPipeError):  # where nobody reads, there may still be a report to write
        print(f"nntk {__version__} crosscheck: {name}", flush=True)
    if not in_process:
        start_server()


def crosscheck(
    context: typer.Context,
    factory: Annotated[str, typer.Argument(metavar="FACTORY", help="The optimizer, as package.module:name.")],
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What it claims to be: exact-newton, gauss-newton, approximate-newton, first-order.",
            autocompletion=among(_profiles),
        ),
    ] = "exact-newton",
    rtol: Annotated[
        float | None, typer.Option(help="Relative error that approximate-newton may have [default: 0.001].")
    ] = None,
    residual: Annotated[
        float | None, typer.Option(help="What |A step + g| / |g| may be for approximate-newton, beside or without --rtol.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            help="What FACTORY is: torch, object or function [default: guessed].",
            autocompletion=among(lambda: ("torch", "object", "function")),
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Run this check only; may be repeated, and take a,b,c.", autocompletion=among(_statements)
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Leave this check out; as --only.", autocompletion=among(_statements)),
    ] = None,
    expected_failures: Annotated[
        Path | None,
        typer.Option(
            "--xfail",
            metavar="FILE",
            readable=False,
            help="Expected failures, a line `id: reason` or `id: error: reason` for each.",
        ),
    ] = None,
    quick: Quick = False,
    full: Full = False,
    seed: Annotated[int, typer.Option(metavar="INT", help="Which cases are drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where the model lies: cpu or cuda.")] = "cpu",
    dtype: Annotated[
        str,
        typer.Option(metavar="DTYPE", help="float64 or float32.", autocompletion=among(lambda: ("float64", "float32"))),
    ] = "float64",
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="What one check may take.")] = 60.0,
    strict: Annotated[bool, typer.Option("--strict", help="Findings about behaviour refuse it, too.")] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run everything in one process, for a debugger; a crash ends the run.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show a row for each check that is passed as well.")] = False,
    json: Json = None,
    html: Html = None,
    list_: Annotated[bool, lister(_statements)] = False,
) -> None:
    """Cross-check an optimizer: run a profile's checks, and say what its steps are."""
    with messages(context):
        effort = effort_of(quick, full)
        check_files({"expected_failures": expected_failures}, json=json, html=html)
        _begin(factory, in_process)
        from nntk.crosscheck.command import crosscheck as run

        code = run(
            factory,
            profile,
            json=json,
            html=html,
            verbose=verbose,
            in_process=in_process,
            rtol=rtol,
            residual=residual,
            form=form,
            only=only or [],
            skip=skip or [],
            expected_failures=expected_failures,
            effort=effort,
            seed=seed,
            device=device,
            dtype=dtype,
            time_limit=time_limit,
            strict=strict,
        )
    raise typer.Exit(code)
