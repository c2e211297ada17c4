"""`nntk verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from nntk.commands.messages import messages
from nntk.commands.options import Data, Full, Html, Json, Quick, among, check_files, effort_of, lister

__all__ = ["EPILOG", "verify"]

EPILOG = """\b
Example: two claims on a data set of one's own, with a report
  nntk verify --data points.csv --only push-through,indefinite --html r.html

\b
Exit code: 0 if every claim that applies to the data holds, its control is
refuted, and there is at least one; 1 if not; 2 for bad usage or bad input;
130 after Ctrl-C (what is finished is reported)."""


def _statements() -> dict[str, str]:
    from nntk_proofs_checks import CLAIMS

    return {id: claim.statement for id, claim in CLAIMS.items()}


def verify(
    context: typer.Context,
    data: Data = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Run this claim only; may be repeated, and take a,b,c.", autocompletion=among(_statements)
        ),
    ] = None,
    quick: Quick = False,
    full: Full = False,
    seed: Annotated[int, typer.Option(metavar="INT", help="Which networks are drawn.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(metavar="INT", help="Processes for the trials; as many as cores unless told.")
    ] = None,
    json: Json = None,
    html: Html = None,
    list_: Annotated[bool, lister(_statements)] = False,
) -> None:
    """Run every claim's check on a data set, and its negative control, which must be refuted."""
    with messages(context):
        from dataclasses import replace

        from nntk.verification import select
        from nntk.verification import verify as run
        from nntk_proofs_checks import CLAIMS, Effort
        from nntk_proofs_checks.data import default_data, load
        from nntk_proofs_checks.trials import processes

        effort = Effort[effort_of(quick, full).upper()]
        claims = select(only or [], CLAIMS)
        problem = replace(default_data() if data is None else load(data), seed=seed)
        check_files({"data": data}, json=json, html=html)
        code = run(claims, problem, effort, json=json, html=html, data=data, jobs=processes(jobs))
    raise typer.Exit(code)
