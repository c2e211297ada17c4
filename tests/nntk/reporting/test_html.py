"""The HTML report: one file, everything escaped, every figure painted, in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import nntk_proofs_checks
from nntk.cli import app
from nntk.crosscheck import check_optimizer
from nntk.crosscheck.report import card
from nntk.reporting import drawing
from nntk_proofs_checks import Claim, Effort, Evidence, Finding, Panel, Problem, Series
from nntk_proofs_checks.claim import unmet
from nntk_reference import Verdict
from tests.nntk.reporting.panels import phases, rates, spectrum, trajectories

HOSTILE = """<script>alert("1")</script> '"><img src=x onerror=alert(2)> &amp; $x$ {{ 7*7 }} </svg></style>"""


def claim(id: str, finding: Finding, statement: str = "λ_min(B̄) → 0 with M", control: Finding | None = None) -> Claim:
    refuted = Finding(Verdict.REFUTED, 3.0, "≤", 1e-12, 4, "proved false: the number is [3.0 +/- 1e-9]")
    return Claim(
        id,
        statement,
        "distinct inputs",
        Evidence.MEASURED,
        lambda problem, effort: finding,
        lambda problem, effort: control or refuted,
        "γ is fixed while the number of points grows",
    )


def many() -> list[Claim]:
    """Thirteen claims, with every outcome and every kind of figure."""
    why = "every enclosed eigenvalue lies below its bound; closest: λ₁₆ at tanh: [1.6569e-16 +/- 3e-21] < [1.66e-16 +/- 1e-30]"
    good = Finding(Verdict.HOLDS, 0.54999996, "<", 0.55, 302, why)

    def with_panels(*panels: Panel) -> Finding:
        return Finding(Verdict.HOLDS, -0.513, "≤", -0.5, 48, why, panels=panels)

    return [
        claim(
            "push-through", good, "(H + γ_N I)⁻¹Jᵀ/M = D⁻¹Jᵀ(M I + J D⁻¹Jᵀ)⁻¹ and neg(H + γ_N I) = neg(D) - neg(M I + J D⁻¹Jᵀ)"
        ),
        claim("positive-definite", good),
        claim("indefinite", unmet("assumption not met: all targets are zero, so there is nothing to learn from f₀ = 0")),
        claim("vanishing-updates", with_panels(rates())),
        claim("linearization", Finding(Verdict.REFUTED, 3.0, "≤", 1.0, 4, "the exponent is [3 ± 0.1]")),
        claim("limit-equation", with_panels(rates(), trajectories(), spectrum())),
        claim("ntk-decay", with_panels(spectrum())),
        claim(
            "nntk-bound", good, control=Finding(Verdict.UNDECIDED, None, "", None, 0, "no proof within 1458 bits: " + "x" * 200)
        ),
        claim("exponential", with_panels(trajectories(), spectrum(), rates(), phases())),
        claim("one-step", Finding(Verdict.UNDECIDED, None, "", None, 0, "no proof within 1458 bits")),
        claim("vanishing-gamma", with_panels(phases())),
        claim("initial-fluctuations", good),
        claim("sharp-rate", with_panels(rates(), phases())),
    ]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Result, str]]:
    """Runs `nntk verify --html` on claims; (result, page)."""

    def run(claims: Iterable[Claim], *args: str) -> tuple[Result, str]:
        path = tmp_path / "report.html"
        monkeypatch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in claims})
        result = CliRunner().invoke(app, ["verify", "--html", str(path), *args])
        return result, path.read_text("utf-8")

    return run


@pytest.fixture(scope="module")
def of_many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str]:
    """One run on `many` claims, with a seed and an effort of its own; (result, page)."""
    path = tmp_path_factory.mktemp("many") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in many()})
        result = CliRunner().invoke(app, ["verify", "--html", str(path), "--seed", "5", "--quick"])
    return result, path.read_text("utf-8")


class Page(HTMLParser):
    """Elements, ids and text of a page; what would be loaded from elsewhere."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    @property
    def ids(self) -> list[str]:
        return [id for _, attrs in self.elements if (id := attrs.get("id")) is not None]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


# --- the page --------------------------------------------------------------------------------------------------------


def test_page_says_what_the_run_found(of_many: tuple[Result, str]) -> None:
    claims = many()
    result, source = of_many
    assert result.exit_code == 1
    page = Page(source)
    assert "10 of 12 claims hold, 11 of 12 controls refuted, 1 not applicable (" in page.text
    assert "interrupted" not in page.text
    sections = [attrs["id"] for attrs in page.all("section")]
    assert sections == [c.id for c in claims]
    assert [attrs["href"] for attrs in page.all("a")] == [f"#{id}" for id in sections]
    for c in claims:
        section = Page(source.partition(f'<section id="{c.id}">')[2].partition("</section>")[0])
        finding = c.check(Problem(np.eye(2), np.ones(2), "s"), Effort.QUICK)
        assert c.statement in section.text
        assert f"Assumptions: {c.assumptions}. Evidence: measured." in section.text
        assert finding.why in section.text
        assert (c.control_reason in section.text) is finding.applies
        assert f"nntk verify --only {c.id} --seed 5 --quick " in section.text
        assert f"pytest --pyargs nntk_proofs_checks -k {c.id} " in section.text
        assert f"docs/theory.md#{c.id}" in section.text
        assert len(section.all("svg")) == len(finding.panels)
        for panel in finding.panels:
            assert panel.title in section.text
        for word in ("holds", "refuted", "undecided"):  # in words, not in colour alone
            if finding.applies and finding.verdict == word:
                assert re.search(rf"{c.id} ?{word}", section.text)
        if not finding.applies:
            assert "not applicable" in section.text
    assert "could not be drawn" not in page.text


def test_page_needs_nothing_from_elsewhere(of_many: tuple[Result, str]) -> None:
    _, source = of_many
    page = Page(source)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attrs in page.elements:
        assert not [key for key in attrs if key.startswith("on")]
        for key in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert (attrs.get(key) or "#").startswith("#")
    assert "@import" not in source
    assert set(re.findall(r"url\((.)", source)) <= {"#"}
    assert set(re.findall(r"https?://[^\s\"'<]*", source)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "default-src 'none'" in source


def test_ids_are_unique_and_references_lead_somewhere(of_many: tuple[Result, str]) -> None:
    _, source = of_many
    page = Page(source)
    assert len(page.ids) == len(set(page.ids))
    references = {attrs["href"] for _, attrs in page.elements if attrs.get("href")}
    references |= set(re.findall(r"url\((#[^)]*)\)", source))
    assert {f"#{id}" for id in page.ids} >= references


def test_hostile_text_is_shown_not_run(report: Callable[..., tuple[Result, str]], tmp_path: Path) -> None:
    series = Series(HOSTILE, (1.0, 2.0), (1.0, -2.0), colour=-1)
    finding = Finding(Verdict.HOLDS, 1.0, "≤", 2.0, 3, HOSTILE, panels=(Panel(HOSTILE, HOSTILE, HOSTILE, (series,), "y"),))
    odd = Claim(
        "odd", HOSTILE, HOSTILE, Evidence.EXACT, lambda p, e: finding, lambda p, e: unmet(HOSTILE), control_reason=HOSTILE
    )
    data = tmp_path / "<b onclick='x'>&amp; \"it\".csv"
    data.write_text("0,1\n1,2\n")
    _, source = report([odd], "--data", str(data))
    page = Page(source)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b"}
    assert not [key for _, attrs in page.elements for key in attrs if key.startswith("on")]
    assert page.text.count(HOSTILE) >= 6
    assert "{{ 7*7 }}" in page.text
    assert data.name in page.text
    assert source.count("</svg>") == len(page.all("svg")) == 1
    assert source.count("</style>") == 1
    assert source.rstrip().endswith("</html>")


def test_interrupted_run_writes_what_is_finished(report: Callable[..., tuple[Result, str]]) -> None:
    def stop(problem: Problem, effort: Effort) -> Finding:
        raise KeyboardInterrupt

    first, second, third = many()[3:6]
    stopping = Claim(second.id, "s", "a", Evidence.EXACT, stop, stop, "r")
    result, source = report([first, stopping, third])
    assert result.exit_code == 130
    page = Page(source)
    assert f"The run was interrupted; left out: {second.id}, {third.id}." in page.text
    assert [attrs["id"] for attrs in page.all("section")] == [first.id]
    result, source = report([stopping])
    assert "No claim was finished." in Page(source).text


def test_page_of_a_run_where_nothing_applies(report: Callable[..., tuple[Result, str]]) -> None:
    result, source = report([many()[2]])
    assert result.exit_code == 1
    assert "Nothing was verified: no claim applies to the data set." in Page(source).text


def test_a_figure_that_cannot_be_drawn_is_said_and_costs_nothing_else(report: Callable[..., tuple[Result, str]]) -> None:
    uneven = Panel("t", "x", "y", (Series("<s>", (1.0, 2.0), (1.0,)),))
    result, source = report([claim("a", Finding(Verdict.HOLDS, 1.0, "≤", 2.0, 3, "w", panels=(uneven, rates())))])
    assert result.exit_code == 0
    page = Page(source)
    assert "This figure could not be drawn: ValueError: series '<s>': 2 x, 1 y, 1 low and 1 high values." in page.text
    assert len(page.all("svg")) == 1


def test_template_is_part_of_the_package() -> None:
    templates = resources.files("nntk.reporting").joinpath("templates")
    assert templates.joinpath("base.html.j2").read_text("utf-8").startswith("<!doctype html>")
    for name in ("verify", "crosscheck"):
        assert templates.joinpath(f"{name}.html.j2").read_text("utf-8").startswith('{% extends "base.html.j2" %}')


# --- in a browser ----------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

MEASURE = """
<pre id="measured"></pre>
<script>
async function paint(svg) {  // a copy as the page shows it, on a canvas: how many pixels of it are not blank
  const box = svg.getBoundingClientRect(), copy = svg.cloneNode(true), style = getComputedStyle(svg);
  for (const name of ["--grid", ...Array(8).keys()].map(k => k === "--grid" ? k : "--c" + k))
    copy.style.setProperty(name, style.getPropertyValue(name));
  copy.style.color = style.color;
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = box.width;
  canvas.height = box.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
  const texts = [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect());
  const outside = texts.filter(t => t.left < box.left - 1 || t.right > box.right + 1 || t.top < box.top - 1 ||
                                    t.bottom > box.bottom + 1).length;
  const stroke = getComputedStyle(svg.querySelector("path[clip-path][style*='--c']") || svg).stroke;
  return {width: box.width, height: box.height, painted, outside, stroke};
}
addEventListener("load", async () => {
  const body = getComputedStyle(document.body), root = document.documentElement;
  const out = {ground: body.backgroundColor, ink: body.color, width: innerWidth, scroll: root.scrollWidth, figures: []};
  for (const svg of document.querySelectorAll("svg")) out.figures.push(await paint(svg));
  document.getElementById("measured").textContent = JSON.stringify(out);
  if (parent !== window) parent.postMessage(out, "*");
});
</script></body>
"""

PHONE = """<!doctype html><pre id="measured"></pre><script>
addEventListener("message", event => { document.getElementById("measured").textContent = JSON.stringify(event.data); });
</script><iframe src="page.html" width="375" height="800" style="border: 0"></iframe>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], dict[str, Any]]:
    """(page, name of the file to open, colour scheme) → what the page says of itself in Chromium, without console errors."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    folder = tmp_path_factory.mktemp("browser")

    def open_(source: str, file: str, scheme: int) -> dict[str, Any]:
        quiet = re.sub("<meta http-equiv[^>]*>", "", source)  # it would stop the script that measures
        (folder / "page.html").write_text(quiet.replace("</body>", MEASURE), "utf-8")
        (folder / "phone.html").write_text(PHONE, "utf-8")
        done = subprocess.run(
            [
                str(CHROMIUM),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                f"--user-data-dir={folder / 'profile'}",
                f"--blink-settings=preferredColorScheme={scheme}",
                "--virtual-time-budget=20000",
                "--window-size=1100,900",
                "--dump-dom",
                (folder / file).as_uri(),
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert "CONSOLE" not in done.stderr, done.stderr
        found = re.search(r'<pre id="measured">(\{.*?\})</pre>', done.stdout)
        assert found, done.stderr[-2000:]
        measured: dict[str, Any] = json.loads(found[1].replace("&amp;", "&"))
        return measured

    return open_


def brightness(colour: str) -> float:
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


DARK, LIGHT = 0, 1


@pytest.mark.parametrize(("file", "scheme"), [("page.html", LIGHT), ("page.html", DARK), ("phone.html", LIGHT)])
def test_in_a_browser(
    of_many: tuple[Result, str], browse: Callable[[str, str, int], dict[str, Any]], file: str, scheme: int
) -> None:
    claims = many()
    _, source = of_many
    seen = browse(source, file, scheme)
    problem = Problem(np.eye(2), np.ones(2), "s")
    wanted = sum(len(c.check(problem, Effort.QUICK).panels) for c in claims)
    assert len(seen["figures"]) == wanted > 10
    for figure in seen["figures"]:
        assert figure["width"] > 250
        assert figure["height"] > 150
        assert figure["painted"] > 0.01 * figure["width"] * figure["height"]
        assert figure["outside"] == 0  # no text cut off
    assert seen["scroll"] <= seen["width"] == (375 if file == "phone.html" else 1100)
    light = scheme == LIGHT
    assert (brightness(seen["ground"]) > 200) is light
    assert (brightness(seen["ink"]) < 100) is light
    palette = drawing.LIGHT if light else drawing.DARK
    expected = {"rgb({}, {}, {})".format(*bytes.fromhex(colour[1:])) for colour in palette}
    assert {figure["stroke"] for figure in seen["figures"]} <= expected


@pytest.mark.parametrize(("file", "scheme"), [("page.html", LIGHT), ("page.html", DARK), ("phone.html", LIGHT)])
def test_a_report_card_in_a_browser(browse: Callable[[str, str, int], dict[str, Any]], file: str, scheme: int) -> None:
    only = ["step-matches,damping-honoured,trajectory,width-exponent,mode-rates"]
    seen = browse(card(check_optimizer("tests.nntk.optimizers:half_residual", effort="quick", only=only)), file, scheme)
    assert len(seen["figures"]) == 4
    for figure in seen["figures"]:
        assert figure["painted"] > 0.01 * figure["width"] * figure["height"]
        assert figure["outside"] == 0
    assert seen["scroll"] <= seen["width"] == (375 if file == "phone.html" else 1100)  # programs scroll in their own boxes
    assert (brightness(seen["ground"]) > 200) is (scheme == LIGHT)


def test_console_errors_would_be_seen(browse: Callable[[str, str, int], dict[str, Any]]) -> None:
    page = "<!doctype html><body><script>console.error('seen')</script></body>"
    with pytest.raises(AssertionError, match="seen"):
        browse(page, "page.html", LIGHT)
