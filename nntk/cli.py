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
  nntk verify --data points.csv --only push-through,indefinite --html r.html

\b
Exit code: 0 if every claim that applies to the data holds, its control is
refuted, and there is at least one; 1 if not; 2 for bad usage or bad input;
130 after Ctrl-C (what is finished is reported)."""


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
    seed: Annotated[int, typer.Option(metavar="INT", min=0, max=2**32 - 1, help="Which networks are drawn.")] = 0,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="Write a report as JSON, after each claim.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="Write a report with figures, as one HTML page.")
    ] = None,
) -> None:
    """Run every claim's check on a data set, and its negative control, which must be refuted."""
    # The files are looked at by `load` and `check_report`, which know more than typer (hence readable=False).
    with _messages():
        from dataclasses import replace

        from nntk.reports import check_distinct, check_report
        from nntk.verify import select
        from nntk.verify import verify as run
        from nntk_proofs_checks import CLAIMS, Effort
        from nntk_proofs_checks.data import default_data, load
        from nntk_reference import InputError

        if quick and full:
            raise InputError("--quick", "one of --quick and --full", "both")
        claims = select(only or [], CLAIMS)
        reports = {"--json": json, "--html": html}
        for option, path in reports.items():
            if path is not None:
                check_report(path, option)
        problem = replace(default_data() if data is None else load(data), seed=seed)
        check_distinct({"--data": data, **reports})
        effort = Effort.QUICK if quick else Effort.FULL if full else Effort.DEFAULT
        code = run(claims, problem, effort, json=json, html=html, data=data)
    raise typer.Exit(code)


_PLAN_HELP = """\b
Example: half of every mode of the error gone in each step
  nntk plan --data points.csv --rate 0.5 --json plan.json

\b
Exit code: 0 if some width up to --largest-width is guaranteed, or observed,
to be positive definite at the plan's gamma, 1 if none is, 2 for bad usage or
bad input, 130 after Ctrl-C. More in docs/plan.md."""


@app.command(epilog=_PLAN_HELP, short_help="Regularization, width, steps and cost for a data set.")
def plan(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="CSV (last column y) or NPZ (X, y). Default: 16 points of y = 2x + 0.4 sin(5 pi x).",
        ),
    ] = None,
    beta: Annotated[float, typer.Option(help="Scaling exponent, between 1/2 and 1.")] = 0.75,
    rate: Annotated[float, typer.Option(help="Fraction of every mode of the error that a step is to remove.")] = 0.5,
    activation: Annotated[str, typer.Option(metavar="NAME", help="Activation function.")] = "tanh",
    gamma: Annotated[
        float | None, typer.Option(help="Plan for this regularization, not for the one that the rate asks for.")
    ] = None,
    largest_width: Annotated[int, typer.Option(metavar="N", help="Widest network that can be afforded.")] = 2**18,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sampled networks.")] = 0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Write the plan as JSON.")] = None,
) -> None:
    """Plan a training: regularization, width, steps and cost, with gradient descent beside it."""
    with _messages():
        from nntk.plan import Request
        from nntk.plan import plan as run
        from nntk.reports import check_distinct, check_report
        from nntk_proofs_checks.data import default_data, load

        if json is not None:
            check_report(json)
        problem = default_data() if data is None else load(data)
        check_distinct({"--data": data, "--json": json})
        code = run(problem, Request(beta, rate, activation, gamma, largest_width, seed), json)
    raise typer.Exit(code)


_CROSSCHECK_HELP = """\b
Example: is it the Gauss-Newton step, and what is it if not?
  nntk crosscheck mypackage.optim:make --profile gauss-newton --html card.html

\b
FACTORY is package.module:name of factory(model, X, y, damping), which returns
a torch optimizer, or an object with step(X, y); or of
step(theta, X, y, damping, problem), which returns the next theta.

\b
Exit code: 0 if every check of the profile is passed (or fails as expected);
1 if not; 2 for bad usage or bad input; 130 after Ctrl-C. More in
docs/crosscheck.md."""


@app.command(epilog=_CROSSCHECK_HELP, short_help="Find out what an optimizer really computes.")
def crosscheck(
    factory: Annotated[str, typer.Argument(metavar="FACTORY", help="The optimizer, as package.module:name.")],
    profile: Annotated[
        str,
        typer.Option(metavar="NAME", help="What it claims to be: exact-newton, gauss-newton, approximate-newton, first-order."),
    ] = "exact-newton",
    rtol: Annotated[
        float | None, typer.Option(help="Relative error that approximate-newton may have [default: 0.001].")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Run this check only; may be repeated, and take a,b,c.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="ID", help="Leave this check out; as --only.")] = None,
    xfail: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="Expected failures, a line `id: reason` for each.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases.")] = False,
    full: Annotated[bool, typer.Option("--full", help="More cases.")] = False,
    seed: Annotated[int, typer.Option(metavar="INT", min=0, max=2**32 - 1, help="Which cases are drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where the model lies: cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(metavar="DTYPE", help="float64 or float32.")] = "float64",
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="What one check may take.")] = 60.0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Write the report as JSON.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="Write the report card as one HTML page.")
    ] = None,
) -> None:
    """Cross-check an optimizer: run a profile's checks, and say what its steps are."""
    with _messages():
        from nntk.crosscheck.command import crosscheck as run
        from nntk.reports import check_distinct, check_report
        from nntk_reference import InputError

        if quick and full:
            raise InputError("--quick", "one of --quick and --full", "both")
        reports = {"--json": json, "--html": html}
        for option, path in reports.items():
            if path is not None:
                check_report(path, option)
        check_distinct({"--xfail": xfail, **reports})
        effort = "quick" if quick else "full" if full else "default"
        code = run(
            factory,
            profile,
            json=json,
            html=html,
            rtol=rtol,
            only=only or [],
            skip=skip or [],
            expected_failures=xfail,
            effort=effort,
            seed=seed,
            device=device,
            dtype=dtype,
            time_limit=time_limit,
        )
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
