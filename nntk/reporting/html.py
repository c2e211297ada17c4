"""A report as one HTML page that needs nothing else: no network, no scripts, figures inline."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nntk.reporting import drawing
from nntk.reporting.terminal import seconds
from nntk_proofs_checks.panel import Panel

__all__ = ["page"]


@dataclass(frozen=True)
class _Figure:
    title: str
    svg: Markup | None
    fault: str = ""


def page(template: str, record: Mapping[str, Any], panels: Sequence[Sequence[Panel]]) -> str:
    """The page that a template makes of what the JSON report holds, and of the figures of each of its parts.

    All text is escaped. A panel that cannot be drawn is replaced by a line that says why.
    """
    environment = Environment(
        loader=PackageLoader("nntk.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["seconds"] = seconds
    figures = [[_figure(panel, f"f{i}-{k}") for k, panel in enumerate(group)] for i, group in enumerate(panels)]
    made = environment.get_template(f"{template}.html.j2")
    return made.render(record=record, figures=figures, light=drawing.LIGHT, dark=drawing.DARK) + "\n"


def _figure(panel: Panel, name: str) -> _Figure:
    try:
        return _Figure(panel.title, Markup(drawing.draw(panel, name)))
    except Exception as error:  # hours of verification must not be lost to a figure
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc()
        return _Figure(panel.title, None, f"{type(error).__name__}: {error}")
