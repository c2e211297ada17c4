"""The JSON report of every command: one envelope around its results, written at the start and again after each part.

`docs/schemas/envelope.schema.json` describes the keys that all have in common, and a schema beside it those of each command.
Whoever reads a report should ignore keys that are not listed.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from nntk import __version__
from nntk.reporting.files import write_report

__all__ = ["NOT_FINISHED", "SCHEMA", "envelope", "environment", "plain", "unfinished", "write"]

SCHEMA = 2
"""Of the envelope and of every command's results; another number where a key changes its meaning or goes."""

NOT_FINISHED = "not finished"
"""Why a part that was to be worked out is left out of an incomplete report."""

_DISTRIBUTIONS = ("numpy", "scipy", "mpmath", "python-flint", "torch", "sympy")


def envelope(
    command: str,
    *,
    complete: bool,
    passed: bool,
    started: datetime,
    seconds: float,
    effort: str | None,
    seed: int | None,
    left_out: Mapping[str, str],
    results: Sequence[Mapping[str, Any]],
    **details: Any,
) -> dict[str, Any]:
    """A report in JSON's own types: NaN and infinity are None, a time is ISO 8601.

    complete   has everything been worked out that was to be? Until then the report does not pass.
    seconds    wall clock since `started`.
    left_out   why a part has no result, by its id. Every command: what is not finished yet, and what says nothing about the
               input. What was not selected stands here in the cross-check only, which gives every check of its registry a
               reason; verify and bench speak of the selected ones alone.
    results    an object for each finished part, with its `id`, in order.
    details    the command's own keys.
    """
    record = {
        "schema": SCHEMA,
        "command": command,
        "complete": complete,
        "passed": complete and passed,
        "started": started,
        "seconds": seconds,
        "environment": environment(),
        "effort": effort,
        "seed": seed,
        "left_out": left_out,
        "results": results,
        **details,
    }
    return dict(plain(record))


def unfinished(ids: Sequence[str], results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What `left_out` holds of `ids` that have no result yet."""
    done = {result["id"] for result in results}
    return {id: NOT_FINISHED for id in ids if id not in done}


def write(path: Path, record: Mapping[str, Any], argument: str = "json") -> None:
    """Write a report as JSON, whole or not at all. Raises InputError, which names the argument; ValueError for NaN."""
    write_report(path, json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2) + "\n", argument)


@cache
def environment() -> dict[str, Any]:
    """The machine and the versions, for a report."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": {"nntk": __version__, **{name: _version(name) for name in _DISTRIBUTIONS}},
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def plain(value: Any) -> Any:
    """The same of JSON's own types. JSON has no NaN and no infinity: such a number is None, and so becomes null."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if hasattr(value, "item"):  # a number of NumPy or torch
        value = value.item()
    if isinstance(value, bool | str | int | None):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
