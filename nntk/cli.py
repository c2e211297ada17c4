"""The command line. Nothing heavy is imported before a command runs, so that `nntk --help` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nntk import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_VERIFY_HELP = """\b
Example: two claims on a data set of one's own, with a report
  nntk verify --data points.csv --only push-through,indefinite --json r.json

\b
Exit code: 0 if every claim holds and every control is refuted, 1 if not,
2 for bad usage or bad input, 130 after Ctrl-C (what is finished is reported)."""


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


@app.command(epilog=_VERIFY_HELP, short_help="Check every claim and its negative control.")
def verify(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="CSV (last column y) or NPZ (X, y). Default: 16 points of y = 2x + 0.4 sin(5 pi x).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Run this claim only; may be repeated, and take a,b,c.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases.")] = False,
    full: Annotated[bool, typer.Option("--full", help="More and larger cases.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Write a report as JSON.")] = None,
) -> None:
    """Run every claim's check on a data set, and its negative control, which must be refuted."""
    # The two files are looked at by `load` and `check_report`, which know more than typer (hence readable=False).
    with _messages():
        from nntk.data import default_data, load
        from nntk.reports import check_report
        from nntk.verify import select
        from nntk.verify import verify as run
        from nntk_proofs_checks import CLAIMS, Effort
        from nntk_reference import InputError

        if quick and full:
            raise InputError("--quick", "one of --quick and --full", "both")
        claims = select(only or [], CLAIMS)
        if json is not None:
            check_report(json)
        problem = default_data() if data is None else load(data)
        if data is not None and json is not None and json.exists() and json.samefile(data):
            raise InputError("--json", "a file other than the data's", repr(str(json)))
        code = run(claims, problem, Effort.QUICK if quick else Effort.FULL if full else Effort.DEFAULT, json)
    raise typer.Exit(code)


bench_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure, beside the machine's own GEMM rate.")
app.add_typer(bench_app, name="bench")


@bench_app.command(epilog="Example: nntk bench step --quick --json step.json", short_help="The exact Newton step.")
def step(
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda.")] = "cpu",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE", help="Of rates, inertia, others, ranks, precisions, large-m; may be repeated, and take a,b."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes, fewer rounds.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure the exact step: rate, memory, inertia, other methods, two processes. Exit code 0 if every wish is met, else 1."""
    with _messages():
        from nntk.bench import bench_step
        from nntk.reports import check_report

        if json is not None:
            check_report(json)
        code = bench_step(device, quick, json, only or [])
    raise typer.Exit(code)


@contextmanager
def _messages() -> Iterator[None]:
    """End on one line and an exit code, not on a traceback; with NNTK_DEBUG=1 on both.

    2: bad input. 130: Ctrl-C. 1: a fault of this package.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("nntk: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    except Exception as error:
        from nntk_reference import NntkError

        if os.environ.get("NNTK_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        accelerated = sys.modules.get("nntk_accelerated.errors")  # not loaded: then it did not come from there
        kinds = (NntkError, OSError, *((accelerated.AcceleratedError,) if accelerated else ()))
        expected = isinstance(error, kinds)
        message = str(error) if expected else f"internal error: {type(error).__name__}: {error}"
        print("nntk:", " ".join(message.split()), file=sys.stderr)
        raise typer.Exit(2 if expected else 1) from None
