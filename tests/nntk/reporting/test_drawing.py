"""Figures: they show their panels, in the page's colours, whatever the numbers are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nntk.reporting import drawing
from nntk_proofs_checks import Panel, Series
from tests.nntk.reporting.panels import INF, NAN, phases, rates, spectrum, trajectories

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panel: Panel, name: str = "f") -> ElementTree.Element:
    return ElementTree.fromstring(drawing.draw(panel, name))


def words(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]


def marks(svg: ElementTree.Element, colour: int) -> int:
    """How many markers of a colour are in the axes (those of the legend are apart)."""
    axes = next(group for group in svg.iter(f"{SVG}g") if group.get("id", "").endswith("-axes_1"))
    return sum(f"var(--c{colour}," in use.get("style", "") for use in axes.iter(f"{SVG}use"))


@pytest.mark.parametrize("panel", [rates(), spectrum(), phases(), trajectories()], ids=lambda panel: panel.title)
def test_figure_shows_its_panel(panel: Panel) -> None:
    svg = drawn(panel)
    text = " ".join(words(svg))
    assert panel.x_label in text
    assert panel.y_label in text
    for series in panel.series:
        assert series.label in text
        assert f"var(--c{series.colour % 8}," in ElementTree.tostring(svg, "unicode")
    assert svg.get("role") == "img"
    label = svg.get("aria-label") or ""
    assert label.startswith(f"{panel.title}: {panel.y_label} against {panel.x_label}")
    assert all(series.label in label for series in panel.series)


@pytest.mark.parametrize("panel", [rates(), spectrum(), phases(), trajectories()], ids=lambda panel: panel.title)
def test_every_colour_is_the_pages(panel: Panel) -> None:
    source = re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", drawing.draw(panel, "f"))
    assert not re.search(r"#[0-9a-f]{6}\b|rgb|black|white", source)
    assert "font-family" not in source
    assert "<style" not in source


def test_points_that_cannot_be_shown_are_counted() -> None:
    x = (1.0, 2.0, 3.0, 4.0, 5.0, 0.0)
    y = (1.0, 0.0, -1.0, NAN, INF, 1.0)
    for log, kept in [("", 4), ("x", 3), ("y", 2), ("xy", 1)]:
        svg = drawn(Panel("t", "x", "y", (Series("s", x, y),), log))  # type: ignore[arg-type]
        assert marks(svg, 0) == kept
        reason = "not finite or ≤ 0" if log else "not finite"
        assert f"s ({6 - kept} of 6 not shown: {reason})" in " ".join(words(svg))
    none = drawn(Panel("t", "x", "y", (Series("s", (1.0,), (-1.0,)), Series("", (), ())), "xy"))
    assert marks(none, 0) == 0
    assert "s (1 of 1 not shown: not finite or ≤ 0)" in " ".join(words(none))
    drawn(Panel("t", "x", "y", ()))


def test_powers_of_the_base_on_logarithmic_axes() -> None:
    assert [word for word in words(drawn(rates())) if word.startswith("2")] == ["2¹⁰", "2¹¹", "2¹²", "2¹³", "2¹⁴", "2¹⁵", "2¹⁶"]
    assert {"10⁻²⁰", "10⁻⁴⁰"} <= set(words(drawn(spectrum())))
    short = Panel("t", "x", "y", (Series("s", (3.0, 8.0), (0.51, 0.53)),), "xy")
    assert {"4", "6", "8", "0.51", "0.52", "0.53"} <= set(words(drawn(short)))


def whiskers(svg: ElementTree.Element) -> list[tuple[float, float]]:
    """(upper, lower) ends of the error bars, in the figure's units, downwards."""
    group = next(g for g in svg.iter(f"{SVG}g") if "LineCollection" in g.get("id", ""))
    paths = [[float(v) for v in re.findall(r"[-\d.]+", path.get("d", ""))] for path in group.iter(f"{SVG}path")]
    return [(min(p[1], p[3]), max(p[1], p[3])) for p in paths]


def test_intervals_reach_from_low_to_high_and_to_the_frame_where_they_have_no_end() -> None:
    y = (1.0, 1.0, 1.0, 1.0, 1.0)
    low, high = (0.1, 1.0, 0.0, -INF, NAN), (10.0, 1.0, 1.0, 1.0, 10.0)
    svg = drawn(Panel("t", "x", "y", (Series("s", (1.0, 2.0, 3.0, 4.0, 5.0), y, low, high),), "y"))
    bars = whiskers(svg)
    top, middle = bars[0][0], bars[1][0]
    assert bars[0] == (top, pytest.approx(2 * middle - top, abs=1e-3))  # 0.1 … 10 about 1, on a logarithmic axis
    assert bars[1] == (middle, middle)
    frame = bars[2][1]
    assert frame > bars[0][1]
    assert bars[2] == bars[3] == (middle, frame)
    assert bars[4] == (top, middle)


def test_theory_is_dashed_and_runs_are_not() -> None:
    line = Series("run", (1.0, 2.0), (1.0, 2.0), style="line")
    theory = Series("theory", (1.0, 2.0), (1.0, 2.0), style="dashed", colour=1)
    band = Series("band", (1.0, 2.0), (1.0, 2.0), (0.5, 1.5), (1.5, 2.5), style="line", colour=2)
    svg = drawn(Panel("t", "x", "y", (line, theory, band)))
    styles = [path.get("style", "") for path in svg.iter(f"{SVG}path") if path.get("clip-path")]
    dashed = {colour: [("dash" in s) for s in styles if f"stroke: var(--c{colour}," in s] for colour in (0, 1, 2)}
    assert dashed == {0: [False], 1: [True], 2: [False]}
    assert any("fill: var(--c2," in element.get("style", "") for element in svg.iter())


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    matplotlib.rcParams["text.parse_math"] = True
    before = dict(matplotlib.rcParams)
    first = drawing.draw(rates(), "f")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30.0, "lines.linewidth": 9.0, "svg.fonttype": "path"}):
        assert drawing.draw(rates(), "f") == first  # and does not depend on the user's settings


numbers = st.floats(-1e300, 1e300) | st.sampled_from([0.0, NAN, INF, -INF, 1e-80, 5e-324, 1e300])


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    def series(colour: int) -> Series:
        n = draw(st.integers(0, 6))
        values = st.lists(numbers, min_size=n, max_size=n).map(tuple)
        low, high = (draw(values | st.just(())) for _ in range(2))
        style = draw(st.sampled_from(["points", "line", "dashed"]))
        return Series(draw(st.text(max_size=80)), draw(values), draw(values), low, high, style, colour)

    log = draw(st.sampled_from(["", "x", "y", "xy"]))
    some = tuple(series(k) for k in range(draw(st.integers(0, 3))))
    return Panel(draw(st.text(max_size=20)), draw(st.text(max_size=90)), "y", some, log, draw(st.sampled_from([2, 10])))


@given(panels())
def test_any_numbers_can_be_drawn(panel: Panel) -> None:
    svg = drawn(panel)
    for element in svg.iter():
        for key in ("d", "x", "y", "viewBox"):
            assert not re.search(r"nan|inf", element.get(key, ""))
