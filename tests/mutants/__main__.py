"""`python -m tests.mutants`: plant changes in the modules, run the tests of each, and say which nobody noticed."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.runner import Place, jobs_of, rendered, rows, run, sample
from tests.mutants.table import ROOT, Target, targets


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "--module", action="append", default=[], metavar="NAME", help="only modules of this name, its last part, or package"
    )
    parser.add_argument("--changed", metavar="REV", help="only modules that differ, or whose tests do, from this revision")
    parser.add_argument("--sample", type=int, metavar="COUNT", help="so many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time; changes no result")
    parser.add_argument("--results", type=Path, default=ROOT / ".mutants" / "results.jsonl", help="where a run goes on from")
    parser.add_argument("--list", action="store_true", help="list the mutants and run nothing")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="exit with 1 below this score")
    return parser


def _named(target: Target, names: Sequence[str]) -> bool:
    dotted = f".{target.module}."
    return not names or any(f".{name}." in dotted for name in names)


def _changed(revision: str) -> set[str]:
    """Files that differ from the revision, those that git does not know yet included."""
    commands = (["diff", "--name-only", revision, "--"], ["ls-files", "--others", "--exclude-standard"])
    done = [subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True) for command in commands]
    return {line for one in done for line in one.stdout.splitlines()}


def main(arguments: Sequence[str] | None = None) -> int:
    given = options().parse_args(arguments)
    chosen = [target for target in targets() if _named(target, given.module)]
    if given.changed is not None:
        changed = _changed(given.changed)
        chosen = [target for target in chosen if changed & {target.source, *target.tests}]
    place = Place(ROOT, loops=given.results.parent / "numba")
    jobs = jobs_of(place, chosen)
    if given.sample is not None:
        jobs = sample(jobs, given.sample, given.seed)
    if not jobs:
        print("no mutants: no module that is mutated was chosen")
        return 0
    if given.list:
        for job in jobs:
            print(f"{job.target.source}:{job.mutant.line} {job.mutant.operator}: {job.mutant.after(job.source)}")
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as Ctrl-C: what runs is ended
    results, refused = run(
        place, jobs, given.results, workers=given.jobs, say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(rendered(jobs, results, EQUIVALENT))
    for reason in refused:
        print(f"not tried: {reason}")
    return int(bool(refused) or rows(jobs, results, EQUIVALENT)[-1].score < given.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
