"""The gallery's Markdown page, from the cross-check's reports."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from nntk.crosscheck import Diagnosis, Report
from nntk.gallery.entry import ENTRIES, Entry

__all__ = ["page"]

_INTRODUCTION = """\
# Gallery: what published optimizers compute

Each optimizer was handed to `nntk crosscheck` as published, run as its documentation says, on narrow networks in float64,
with the damping γ_N to be added to the Hessian's diagonal and step size 1. The table says what its first steps turned out to
be, where H + γ_N I is positive definite and where it is indefinite, and how many of the checks of its profile it passed. The
profile is what its documentation claims; under `first-order` no step is prescribed, and a difference from Newton's step is no
fault. These are measurements at the versions given (Python {python}, effort {effort}, seed 0), no judgement of their use.

`make gallery` writes this page; `nntk crosscheck nntk.gallery:ID --profile PROFILE` runs one, and says more.

| optimizer | profile | definite systems | indefinite systems | checks passed |
|---|---|---|---|---|
"""


def page(reports: Mapping[str, Report | None]) -> str:
    """The gallery as a Markdown page, from the reports by id; None where the package is not installed."""
    entries = {id: ENTRIES[id] for id in reports}
    done = next((report for report in reports.values() if report is not None), None)
    effort = done.effort.name.lower() if done is not None else "none"
    head = _INTRODUCTION.format(python=".".join(map(str, sys.version_info[:2])), effort=effort)
    rows = "".join(_row(entry, reports[id]) for id, entry in entries.items())
    return head + rows + "".join(_section(entry, reports[id]) for id, entry in entries.items())


def _row(entry: Entry, report: Report | None) -> str:
    name = f"{entry.distribution} [{entry.title}](#{entry.id})"
    if report is None:
        cells = [name, entry.profile, "not installed", "", ""]
    else:
        said = {d.group: _brief(d) for d in report.diagnosis}
        judged = [r for r in report.results if r.outcome not in ("skipped", "informative")]
        passed = sum(r.outcome == "passed" for r in judged)
        cells = [name, entry.profile, said.get("definite", ""), said.get("indefinite", ""), f"{passed} of {len(judged)}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _brief(found: Diagnosis) -> str:
    """The diagnosis without the fits of the other systems."""
    if found.id in ("unknown", "refused"):
        return {"unknown": "no step of the catalogue", "refused": "refused aloud"}[found.id]
    kinds = re.split(r"; (?=\d+ of \d+ steps: )", found.words)
    words = "; ".join(re.sub(r" \(elsewhere: .*", " (varies)", kind) for kind in kinds)
    return words.partition(", to ")[0].partition(", but for")[0] + f" ({found.error:.0e})"


def _section(entry: Entry, report: Report | None) -> str:
    lines = [
        f'\n## <a id="{entry.id}"></a>{entry.distribution} {entry.version or "(not installed)"}: {entry.title}\n',
        f"* `nntk crosscheck nntk.gallery:{entry.id} --profile {entry.profile}"
        + (f" --rtol {entry.rtol:g}`" if entry.rtol is not None else "`"),
        f"* Claim: {entry.claim}.",
        f"* Settings: {entry.settings}.",
    ]
    if report is not None:
        lines += [
            f"* {d.group.capitalize()} systems: {d.words}." for d in report.diagnosis if d.group in ("definite", "indefinite")
        ]
        lines += [f"* Consecutive steps: {d.words}." for d in report.diagnosis if d.group == "consecutive"]
        lines += [f"* `{r.id}` {r.outcome}: {r.finding.why}." for r in report.failed]
        lines += [f"* `{r.id}` skipped: {r.finding.why}." for r in report.results if r.outcome == "skipped"]
        lines += [f"* It {note}." for note in report.notes if note.startswith(("prints", "warns", "starts"))]
    return "\n".join(lines) + "\n"
