"""`nntk plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from nntk.commands.messages import messages
from nntk.commands.options import Data, Json, among, check_files

__all__ = ["EPILOG", "plan"]

EPILOG = """\b
Example: half of every mode of the error gone in each step
  nntk plan --data points.csv --rate 0.5 --json plan.json

\b
Exit code: 0 if some width up to --largest-width is guaranteed, or observed,
to be positive definite at the plan's gamma, 1 if none is, 2 for bad usage or
bad input, 130 after Ctrl-C. More in docs/plan.md."""


def _activations() -> list[str]:
    from nntk_reference import ACTIVATIONS

    return list(ACTIVATIONS)


def _laws() -> list[str]:
    from nntk_reference import LAWS

    return list(LAWS)


def plan(
    context: typer.Context,
    data: Data = None,
    beta: Annotated[float, typer.Option(help="Scaling exponent, between 1/2 and 1.")] = 0.75,
    rate: Annotated[float, typer.Option(help="Fraction of every mode of the error that a step is to remove.")] = 0.5,
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="Activation function.", autocompletion=among(_activations))
    ] = "tanh",
    gamma: Annotated[
        float | None, typer.Option(help="Plan for this regularization, not for the one that the rate asks for.")
    ] = None,
    largest_width: Annotated[int, typer.Option(metavar="N", help="Widest network that can be afforded.")] = 2**18,
    seed: Annotated[int, typer.Option(metavar="INT", help="Which networks are drawn.")] = 0,
    law: Annotated[
        str, typer.Option(metavar="NAME", help="Law of the output weights at initialization.", autocompletion=among(_laws))
    ] = "uniform",
    json: Json = None,
) -> None:
    """Plan a training: regularization, width, steps and cost, with gradient descent beside it."""
    with messages(context):
        from nntk.planning.numbers import Request
        from nntk.planning.report import plan as run
        from nntk_proofs_checks.data import default_data, load

        problem = default_data() if data is None else load(data)
        check_files({"data": data}, json=json)
        code = run(problem, Request(beta, rate, activation, gamma, largest_width, seed, law), json=json, data=data)
    raise typer.Exit(code)
