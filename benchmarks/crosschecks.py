"""How often right optimizers are accepted, and what is said of wrong ones: those of the tests, in `tests/nntk`.

    python benchmarks/crosschecks.py --effort quick --seeds 30     # every right one, at fresh seeds
    python benchmarks/crosschecks.py --planted                     # every planted one, at quick effort and seed 0
    python benchmarks/crosschecks.py --table                       # results/crosschecks.md anew, from what was run

Every run is a line of `results/crosschecks/WHAT.jsonl` as soon as it is known; the same command goes on where it was. Each
line holds a hash of the code that decides it; those of other code are run again. Each run has a core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

import nntk_accelerated
import nntk_reference
from nntk import crosscheck
from nntk.crosscheck import Report, check_optimizer
from nntk.crosscheck.report import first_cause
from nntk_proofs_checks.trials import one_thread, processes

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from tests.nntk import optimizers, right_optimizers  # noqa: E402 - which are not installed

RESULTS = HERE / "results" / "crosschecks"
RIGHT = optimizers.RIGHT | right_optimizers.MORE_RIGHT | right_optimizers.COMPILED
PLANTED = {id: fault.factory for id, fault in optimizers.FAULTS.items()} | {
    id: named.factory for id, named in optimizers.NAMED.items()
}
TIME_LIMIT = 3600.0
"""Seconds a check: what it takes is told, and decides nothing."""


def code() -> str:
    """Hash of the sources that decide a run."""
    digest = hashlib.sha256()
    for package in (nntk_accelerated, nntk_reference, crosscheck):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder.parent)).encode() + path.read_bytes())
    for module in (optimizers, right_optimizers):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]


def right(id: str, effort: str, seed: int, now: str) -> dict[str, Any]:
    """One run of a right one."""
    entry = RIGHT[id]
    begin = time.perf_counter()
    with one_thread():
        report = check_optimizer(entry.factory, entry.profile, effort=effort, seed=seed, time_limit=TIME_LIMIT, name=id)
    seconds = time.perf_counter() - begin
    return {"id": id, "seed": seed, **_told(report), "profile": entry.profile, "seconds": round(seconds, 1), "code": now}


def planted(id: str, now: str) -> dict[str, Any]:
    """The run of a planted one."""
    begin = time.perf_counter()
    with one_thread():
        report = check_optimizer(PLANTED[id], effort="quick", time_limit=TIME_LIMIT, name=id)
    return {"id": id, "seed": 0, **_told(report), "seconds": round(time.perf_counter() - begin, 1), "code": now}


def _told(report: Report) -> dict[str, Any]:
    cause = first_cause(report)
    return {
        "accepted": report.accepted,
        "failed": [r.id for r in report.failed if r.check.about == "step" and not r.follows],
        "follow": [r.id for r in report.failed if r.check.about == "step" and r.follows],
        "undecided": [r.id for r in report.results if r.outcome == "undecided"],
        "findings": [r.id for r in report.findings],
        "diagnosis": {d.group: d.words for d in report.diagnosis},
        "cause": "" if cause is None or cause.failure is None else cause.failure.why,
        "cases": sum(r.finding.cases for r in report.results),
    }


def read(path: Path) -> list[dict[str, Any]]:
    """The last row of each optimizer and seed."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return list({(row["id"], row["seed"]): row for row in rows}.values())


def table() -> str:
    """What was run, as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    now = code()
    yield from (
        "# What the cross-check says of optimizers that are known",
        "",
        "`python benchmarks/crosschecks.py --table` writes this page from the runs in `crosschecks/`.",
        f"Times are those of one core ({platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}), "
        "with other work beside it.",
    )
    for effort in ("quick", "default"):
        rows = read(RESULTS / f"right-{effort}.jsonl")
        if not rows:
            continue
        refused = [row for row in rows if not row["accepted"]]
        seeds = sorted({row["seed"] for row in rows})
        yield from (
            "",
            f"## Right ones, {effort} effort: {len(refused)} of {len(rows)} runs refused",
            "",
            f"Seeds {seeds[0]} to {seeds[-1]}; {_old(rows, now)}.",
            "",
            "| optimizer | profile | accepted | findings | median time |",
            "|---|---|---:|---|---:|",
        )
        for id in RIGHT:
            of = [row for row in rows if row["id"] == id]
            if of:
                times = sorted(row["seconds"] for row in of)
                findings = ", ".join(sorted({finding for row in of for finding in row["findings"]}))
                accepted = f"{sum(row['accepted'] for row in of)} of {len(of)}"
                yield f"| {id} | {of[0]['profile']} | {accepted} | {findings} | {times[len(times) // 2]:g} s |"
        yield from ([""] if refused else [])
        for row in refused:
            yield f"* {row['id']}, seed {row['seed']}: {', '.join(row['failed'] + row['undecided'])}: {row['cause']}"
    rows = read(RESULTS / "planted.jsonl")
    if rows:
        yield from (
            "",
            f"## Planted ones, quick effort, seed 0: {sum(not row['accepted'] for row in rows)} of {len(rows)} refused",
            "",
            f"The others have findings about their behaviour; {_old(rows, now)}.",
            "",
            "| optimizer | step | failing checks (how many follow) | definite systems | indefinite | consecutive | time |",
            "|---|---|---|---|---|---|---:|",
        )
        for row in rows:
            said = "accepted" if row["accepted"] else "refused"
            failing = ", ".join(row["failed"] + row["findings"] + row["undecided"]) or "-"
            failing += f" ({len(row['follow'])})" if row["follow"] else ""
            words = [row["diagnosis"].get(group, "") for group in ("definite", "indefinite", "consecutive")]
            cells = [row["id"], said, failing, *words, f"{row['seconds']:g} s"]
            yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _old(rows: Sequence[dict[str, Any]], now: str) -> str:
    old = sum(row["code"] != now for row in rows)
    return f"{old} of the runs are of other code" if old else "all by the code as it is"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", choices=["quick", "default"], default="quick")
    parser.add_argument("--seeds", type=int, default=30, help="so many, from --first")
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], help="ids of optimizers")
    parser.add_argument("--planted", action="store_true", help="the planted ones")
    parser.add_argument("--jobs", type=int, default=None, help="runs at a time")
    parser.add_argument("--table", action="store_true", help="write the page, and run nothing")
    options = parser.parse_args(arguments)
    if not options.table:
        RESULTS.mkdir(parents=True, exist_ok=True)
        now = code()
        path = RESULTS / ("planted.jsonl" if options.planted else f"right-{options.effort}.jsonl")
        known = {(row["id"], row["seed"]) for row in read(path) if row["code"] == now}
        seeds = [0] if options.planted else range(options.first, options.first + options.seeds)
        chosen = [id for id in (PLANTED if options.planted else RIGHT) if not options.only or id in options.only]
        wanted = [(id, seed) for seed in seeds for id in chosen if (id, seed) not in known]
        if options.planted:
            work = [joblib.delayed(planted)(id, now) for id, _ in wanted]
        else:
            work = [joblib.delayed(right)(id, options.effort, seed, now) for id, seed in wanted]
        with path.open("a", encoding="utf-8") as file:
            for row in joblib.Parallel(n_jobs=processes(options.jobs), return_as="generator_unordered", batch_size=1)(work):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                print(row["id"], row["seed"], "accepted" if row["accepted"] else f"refused: {row['cause']}", flush=True)
    (HERE / "results" / "crosschecks.md").write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
