"""What a figure shows, as plain numbers: reports draw it, JSON keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Panel", "Series"]

Values = tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """One curve or set of points. `low` and `high`, where given, are the ends of each point's interval.

    style   "points", "line", or "dashed" for what theory says.
    colour  0, 1, 2 … of the report's palette; series that belong together share one.
    """

    label: str
    x: Values
    y: Values
    low: Values = ()
    high: Values = ()
    style: Literal["points", "line", "dashed"] = "points"
    colour: int = 0
    marker: Literal["o", "x", "s", "^"] = "o"


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `log` names the logarithmic ones: "", "x", "y" or "xy"; `base` is the x axis' base (2 for widths)."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log: Literal["", "x", "y", "xy"] = ""
    base: int = 10
