"""A plan's run: part by part into the report, and in words on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from nntk import __version__
from nntk.planning.check import check
from nntk.planning.numbers import Plan, Request, Widths
from nntk.planning.plan import make_plan
from nntk.planning.words import outcome, say, show
from nntk.reporting.envelope import NOT_FINISHED, envelope
from nntk.reporting.files import shown_name
from nntk.reporting.recorder import Recorder
from nntk.reporting.terminal import console
from nntk_proofs_checks import Problem

__all__ = ["PARTS", "plan"]

PARTS = {
    "spectrum": "",
    "widths": "",
    "cost": "no width to take a step at",
    "alternatives": "not needed: the guaranteed width is in reach",
}
"""The parts of a plan, in the order in which they are worked out, and why one that is None is left out of it."""


def plan(problem: Problem, request: Request, *, json: Path | None = None, data: Path | None = None) -> int:
    """Make the plan and print it; `json` is written anew after each part, `data` is the file that the problem was read from.

    Returns the exit code: 0 if the plan is feasible, 1 if no width up to `largest_width` will do. Raises as `make_plan`, and
    InputError if the report cannot be written.
    """
    check(problem, request)
    out, err = console(sys.stdout), console(sys.stderr)
    parts: dict[str, Any] = {}
    made: Plan | None = None

    def finished(id: str, part: Any) -> None:
        parts[id] = part
        kept.keep()

    kept = Recorder(out, lambda: _record(problem, request, parts, made, data, kept.times), json=json)
    kept.keep()
    M, d = problem.X.shape
    with kept.printing():
        say(out, f"nntk {__version__}\ndata: {problem.source} (M = {M}, d = {d})")
        sys.stdout.flush()
    with _stages(err) as stage:
        made = make_plan(problem, request, stage, finished)
    kept.close()
    with kept.printing():
        show(out, made)
    return 0 if made.widths.feasible else 1


def _record(
    problem: Problem,
    request: Request,
    parts: dict[str, Any],
    made: Plan | None,
    data: Path | None,
    times: Mapping[str, Any],
) -> dict[str, Any]:
    """What the JSON report holds: an object for each finished part."""
    widths: Widths | None = parts.get("widths")
    left_out = {id: why if id in parts else NOT_FINISHED for id, why in PARTS.items() if parts.get(id) is None}
    return envelope(
        "plan",
        complete=made is not None,
        passed=widths is not None and widths.feasible,
        **times,
        effort=None,
        seed=request.seed,
        left_out=left_out,
        results=[{"id": id, **asdict(part)} for id, part in parts.items() if part is not None],
        request=asdict(request),
        data={
            "source": problem.source,
            "file": None if data is None else shown_name(data),
            "points": problem.X.shape[0],
            "dimension": problem.X.shape[1],
        },
        feasible=None if widths is None else widths.feasible,
        summary=NOT_FINISHED if made is None else outcome(made),
    )


@contextmanager
def _stages(out: Console) -> Iterator[Callable[[str], Any]]:
    """A spinner on a terminal, a line for each part elsewhere."""
    if not out.is_interactive:
        yield lambda name: print(f"nntk plan: {name}", file=sys.stderr, flush=True)
        return
    with out.status("") as status:
        yield lambda name: status.update(Text(name))
