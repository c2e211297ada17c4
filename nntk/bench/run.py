"""Fill the tables one after the other: on the terminal as they are filled, and in the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Shown

from nntk import __version__
from nntk.bench.measuring import Measurement, processor
from nntk.bench.tables import TABLES
from nntk.reporting.envelope import envelope, unfinished
from nntk.reporting.recorder import Recorder
from nntk.reporting.terminal import console, count, text
from nntk_reference import InputError

__all__ = ["bench"]


def bench(tables: Sequence[str], *, device: str = "cpu", effort: str = "default", json: Path | None = None) -> int:
    """Fill these tables, print each as it is filled, and write the JSON report anew after it.

    Returns 0 if every wish with a limit was met, else 1. Raises InputError for a device that torch does not find, and if the
    report cannot be written.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise InputError("device", "cpu, or cuda where torch finds a GPU", repr(device))
    quick = effort == "quick"
    chosen = [id for id in tables if device == "cpu" or not TABLES[id].cpu_only]
    if not chosen:
        raise InputError("only", "a table that says something about a GPU", ", ".join(tables))
    machine = _machine(device)
    measured: list[Measurement] = []
    results: list[dict[str, Any]] = []

    def record() -> dict[str, Any]:
        idle = {id: "says nothing about a GPU" for id in tables if id not in chosen}
        return envelope(
            "bench",
            complete=len(results) == len(chosen),
            passed=not _unmet(measured),
            **kept.times,
            effort=effort,
            seed=None,
            left_out=unfinished(chosen, results) | idle,
            results=results,
            suite="step",
            device=device,
            machine=machine,
            summary=_summary(measured),
        )

    out = console(sys.stdout)
    kept = Recorder(out, record, json=json)
    kept.keep()
    kept.show(text(", ".join(f"{k} {v}" for k, v in machine.items()), out))
    for id in chosen:
        begin = time.perf_counter()
        rows = TABLES[id].fill(device, 3 if quick else 5, quick)
        measured += rows
        results.append(_result(id, rows, time.perf_counter() - begin))
        kept.keep()
        kept.show(_shown(rows, out), "")
    kept.close()
    return int(bool(_unmet(measured)))


def _unmet(measured: Sequence[Measurement]) -> list[Measurement]:
    return [m for m in measured if m.met is False]


def _summary(measured: Sequence[Measurement]) -> str:
    """How many wishes with a limit were met, in words."""
    wished = [m for m in measured if m.met is not None]
    return f"{count(len(wished) - len(_unmet(wished)), len(wished), 'limit')} met"


def _machine(device: str) -> dict[str, Any]:
    import platform

    return {
        "nntk": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": torch.cuda.get_device_name() if device.startswith("cuda") else processor(),
        "threads": torch.get_num_threads(),
    }


def _result(id: str, rows: Sequence[Measurement], seconds: float) -> dict[str, Any]:
    """What the JSON report holds of a table."""
    lines = [asdict(row) for row in rows]
    title = lines[0]["table"] if lines else ""
    for line in lines:
        del line["table"]
    return {"id": id, "statement": TABLES[id].statement, "title": title, "seconds": seconds, "measurements": lines}


def _shown(rows: Sequence[Measurement], out: Console) -> Shown:
    table = Shown(title=text(rows[0].table, out), title_justify="left", box=None, pad_edge=False)
    for column in ("case", "median", "number", "wanted", ""):
        table.add_column(column, justify="left" if column in ("case", "wanted", "") else "right")
    for row in rows:
        met = "" if row.met is None else "met" if row.met else "NOT MET"
        cells = (row.case, f"{row.seconds:.3g} s", f"{row.number:.3g} {row.unit}", row.wanted, " ".join((met, row.note)))
        table.add_row(*(text(cell, out) for cell in cells))
    return table
