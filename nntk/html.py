"""The verification report as one HTML page that needs nothing else: no network, no scripts, figures inline."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nntk import drawing
from nntk.reports import seconds
from nntk_proofs_checks.panel import Panel

__all__ = ["page"]


@dataclass(frozen=True)
class _Figure:
    title: str
    svg: Markup | None
    fault: str = ""


def page(record: Mapping[str, Any], panels: Sequence[Sequence[Panel]]) -> str:
    """The page of a verification: `record` is what its JSON report holds, `panels` has the figures of each of its claims.

    All text is escaped. A panel that cannot be drawn is replaced by a line that says why.
    """
    source = resources.files("nntk").joinpath("templates/verify.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["seconds"] = seconds
    figures = [[_figure(panel, f"f{i}-{k}") for k, panel in enumerate(group)] for i, group in enumerate(panels)]
    template = environment.from_string(source)
    return template.render(record=record, figures=figures, light=drawing.LIGHT, dark=drawing.DARK) + "\n"


def _figure(panel: Panel, name: str) -> _Figure:
    try:
        return _Figure(panel.title, Markup(drawing.draw(panel, name)))
    except Exception as error:  # hours of verification must not be lost to a figure
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc()
        return _Figure(panel.title, None, f"{type(error).__name__}: {error}")
