"""A panel's plain numbers as an SVG for a web page: text stays text, and colours are the page's CSS variables."""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from nntk_proofs_checks.panel import Panel, Series

__all__ = ["DARK", "LIGHT", "describe", "draw"]

LIGHT = ("#0068a8", "#c04a00", "#007a58", "#8a4fa3", "#8f6400", "#b8326e", "#4a5fc1", "#666666")
DARK = ("#62b5f5", "#ff9a56", "#3fcf9f", "#cda2e6", "#e3b341", "#f48fbd", "#a3b1ff", "#b5b5b0")
"""The palette on light and on dark ground: what the page has to define as --c0, --c1, …; beside them --grid."""

_WIDTH, _HEIGHT = 5.0, 3.0  # inches, without the legend; narrow, so that text is still readable on a phone
# Colours that matplotlib is told and that stand for the page's; nothing else may use them.
_INK, _GRID = "#010203", "#040506"
_SENTINELS = [f"#0a0b{i:02x}" for i in range(len(LIGHT))]
_ON_PAGE = {_INK: "currentColor", _GRID: "var(--grid, #dddddd)"} | {
    sentinel: f"var(--c{i}, {light})" for i, (sentinel, light) in enumerate(zip(_SENTINELS, LIGHT, strict=True))
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Floats = NDArray[np.float64]


def draw(panel: Panel, name: str) -> str:
    """The panel as an `<svg>` element; every id in it begins with `name`, so that several fit on one page.

    Points that an axis cannot show (not finite, or not positive where it is logarithmic) are left out, and the legend says how
    many. Intervals reach to the frame where an end cannot be shown. Raises ValueError for series of unequal lengths.
    """
    with _defaults():
        figure = _figure(panel)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _for_page(buffer.getvalue(), name, describe(panel))


def describe(panel: Panel) -> str:
    """The panel in words, for readers who do not see it."""
    scales = {"": "", "x": ", logarithmic in x", "y": ", logarithmic in y", "xy": ", logarithmic in both axes"}
    parts = [f"{panel.title}: {panel.y_label} against {panel.x_label}{scales[panel.log]}."]
    for series in panel.series:
        shown = [y for y in series.y if math.isfinite(y)]
        kind = {"points": "points", "line": "line", "dashed": "dashed line"}[series.style]
        reach = f", from {shown[0]:.3g} to {shown[-1]:.3g}" if shown else ""
        parts.append(f"{series.label or 'unnamed'}: {kind}, {len(series.y)} values{reach}.")
    return _printable(" ".join(parts))


# --- with matplotlib -------------------------------------------------------------------------------------------------


@contextmanager
def _defaults() -> Iterator[None]:
    """Matplotlib's own settings and ours, whatever the user's say, and restored after."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The page's fonts show the text; matplotlib's only measure it, and may lack a sign.
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "nntk",
                "text.parse_math": False,  # labels are plain text: a $ is a $
                "text.color": _INK,
                "axes.edgecolor": _INK,
                "axes.labelcolor": _INK,
                "xtick.color": _INK,
                "ytick.color": _INK,
                "font.size": 10,
                "axes.titlesize": 10,
                "legend.fontsize": 9.5,
                "axes.linewidth": 0.8,
                "axes.unicode_minus": True,
            }
        )
        yield


def _figure(panel: Panel) -> Figure:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(_wrapped(panel.x_label))
    axes.set_title(_wrapped(panel.y_label), loc="left")  # above the axis: upright, and no width lost

    kept = [_kept(series, panel.log) for series in panel.series]
    x_range = _range([x for x, *_ in kept], "x" in panel.log)
    y_range = _range([part for _, *parts in kept for part in parts], "y" in panel.log)
    axes.set_xscale("log" if "x" in panel.log else "linear")
    axes.set_yscale("log" if "y" in panel.log else "linear")
    axes.set_xlim(*x_range)
    axes.set_ylim(*y_range)
    if "x" in panel.log:
        _log_ticks(axes, "x", *x_range, panel.base)
    if "y" in panel.log:
        _log_ticks(axes, "y", *y_range, 10)
    handles: list[Artist] = []
    for series, (x, y, low, high) in zip(panel.series, kept, strict=True):
        _plot(axes, series, x, y, low, high, y_range)
        handles.append(_handle(series, len(series.x) - len(x), panel.log))
    legend = _legend(figure, canvas, handles)
    if legend is not None:
        extent = legend.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
        figure.set_size_inches(_WIDTH, _HEIGHT + extent.height / figure.dpi)
    return figure


def _kept(series: Series, log: str) -> tuple[Floats, Floats, Floats, Floats]:
    """(x, y, low, high) of the points that the axes can show; an end that is not given, or is nan, is the point itself."""
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    low, high = (np.asarray(end, float) if end else y for end in (series.low, series.high))
    if not len(x) == len(y) == len(low) == len(high):
        raise ValueError(f"series {series.label!r}: {len(x)} x, {len(y)} y, {len(low)} low and {len(high)} high values")
    shown = np.isfinite(x) & np.isfinite(y)
    if "x" in log:
        shown &= x > 0
    if "y" in log:
        shown &= y > 0
    low, high = (np.where(np.isnan(end), y, end) for end in (low, high))
    return x[shown], y[shown], np.minimum(low, y)[shown], np.maximum(high, y)[shown]


def _range(parts: Sequence[Floats], log: bool) -> tuple[float, float]:
    """The ends of an axis that shows all that can be shown, with a margin."""
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values) & ((values > 0) if log else True)]
    if not len(values):
        return (0.1, 10.0) if log else (0.0, 1.0)
    if log:
        values = np.log10(values)
    lo, hi = float(values.min()), float(values.max())
    margin = 0.05 * (hi - lo) or (0.3 if log else 0.05 * abs(hi) or 1.0)
    lo, hi = lo - margin, hi + margin
    # Within float64's own range, or the ends would be 0 and inf.
    return (10 ** max(lo, -307.0), 10 ** min(hi, 308.0)) if log else (lo, hi)


def _log_ticks(axes: Axes, which: str, lo: float, hi: float, base: int) -> None:
    """At most eight powers of the base; where fewer than two fit, 1, 2, 5 times a power of ten, or else round numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    first, last = math.ceil(math.log(lo, base) - 1e-9), math.floor(math.log(hi, base) + 1e-9)
    stride = next(
        n for n in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500) if last // n + (-first) // n + 1 <= (8 if which == "x" else 6)
    )
    powers = range(-(-first // stride) * stride, last + 1, stride)
    if len(powers) >= 2:
        ticks = {float(base) ** k: f"{base}{str(k).translate(_SUPERSCRIPTS)}" for k in powers}
    else:
        decades = range(math.floor(math.log10(lo)), math.ceil(math.log10(hi)) + 1)
        values = [m * 10.0**k for k in decades for m in (1, 2, 5)]
        if sum(lo <= v <= hi for v in values) < 2:
            values = [float(v) for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(lo, hi)]
        ticks = {v: f"{v:.6g}" for v in values if lo <= v <= hi}
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: ticks.get(value, "")))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _plot(axes: Axes, series: Series, x: Floats, y: Floats, low: Floats, high: Floats, y_range: tuple[float, float]) -> None:
    colour = _SENTINELS[series.colour % len(LIGHT)]
    # Intervals end at the frame where an end is infinite, or not positive on a logarithmic axis.
    low, high = np.clip(low, *y_range), np.clip(high, *y_range)
    if series.low or series.high:
        if series.style == "points":
            axes.vlines(x, low, high, colors=colour, linewidth=1.2, zorder=3)
        else:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    if series.style == "points":
        axes.plot(x, y, linestyle="none", color=colour, zorder=3, **_mark(series))
    elif series.style == "line":
        axes.plot(x, y, color=colour, linewidth=1.5)
    else:
        axes.plot(x, y, color=colour, linewidth=1.4, linestyle=(0, (4, 2.5)))


def _mark(series: Series) -> dict[str, Any]:
    return {"marker": series.marker, "markersize": 4.5, "markeredgewidth": 1.3 if series.marker == "x" else 0.0}


def _handle(series: Series, dropped: int, log: str) -> Line2D:
    colour = _SENTINELS[series.colour % len(LIGHT)]
    reason = "not finite" + (" or ≤ 0" if log else "")
    note = f"({dropped} of {len(series.x)} not shown: {reason})" if dropped else ""
    label = _wrapped(" ".join(filter(None, (series.label, note))), 54)
    if series.style == "points":
        return Line2D([], [], linestyle="none", color=colour, label=label, **_mark(series))
    return Line2D([], [], color=colour, linewidth=1.5, linestyle="-" if series.style == "line" else (0, (3, 2)), label=label)


def _legend(figure: Figure, canvas: FigureCanvasAgg, handles: Sequence[Artist]) -> Legend | None:
    """A legend below the axes, where it covers nothing, in as many columns as fit."""
    handles = [handle for handle in handles if handle.get_label()]
    rows = max(1, math.ceil(len(handles) / 4))
    for columns in range(math.ceil(len(handles) / rows), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            handlelength=2.0,
            columnspacing=1.5,
            labelspacing=0.3,
            borderaxespad=0.2,
        )
        width = legend.get_window_extent(canvas.get_renderer()).width / figure.dpi  # type: ignore[no-untyped-call]
        if columns == 1 or width <= _WIDTH:
            return legend
        legend.remove()
    return None


def _wrapped(text: str, width: int = 60) -> str:
    return "\n".join(textwrap.wrap(_printable(text), width))


def _printable(text: str) -> str:
    """Control characters and lone surrogates, which XML has no way to write, become the replacement character."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


# --- for the page ----------------------------------------------------------------------------------------------------


def _for_page(svg: bytes, name: str, description: str) -> str:
    """Matplotlib's SVG with the page's colours and fonts, ids of its own and a text alternative; sized by its viewBox."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        for child in [child for child in element if child.tag.endswith(("}metadata", "}style"))]:
            element.remove(child)  # a style sheet inside the figure would hold for the whole page
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = dict(element.attrib)
        element.attrib.clear()
        for key, value in attributes.items():
            element.set(key.rpartition("}")[2], _rewritten(key.rpartition("}")[2], value, name))
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def _rewritten(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    if key == "style":  # the family is the page's; older versions of matplotlib write one property, newer ones two
        value = re.sub(r"font: (?:[a-z]+ )*([\d.]+px) [^;]*", r"font-size: \1", value)
        value = re.sub(r"font-family: [^;]*; ?", "", value)
    return re.sub("#[0-9a-f]{6}", lambda match: _ON_PAGE.get(match[0], match[0]), value)
