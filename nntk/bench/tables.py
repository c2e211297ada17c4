"""The registry of the benchmarks' tables: each a function under the decorator `table`, in the order of their definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from nntk.bench.measuring import Measurement

__all__ = ["TABLES", "Fill", "Table", "table"]

Fill: TypeAlias = Callable[[str, int, bool], list[Measurement]]
"""(device, rounds, quick) ↦ the table's lines"""


@dataclass(frozen=True)
class Table:
    """What a table says, in a line, and what fills it; `cpu_only` where it says nothing about a GPU."""

    id: str
    statement: str
    fill: Fill
    cpu_only: bool = False


TABLES: dict[str, Table] = {}


def table(id: str, statement: str, *, cpu_only: bool = False) -> Callable[[Fill], Fill]:
    """Register a function as what fills the table of this id."""

    def register(fill: Fill) -> Fill:
        TABLES[id] = Table(id, statement, fill, cpu_only)
        return fill

    return register
