"""How often the claims hold: every claim with its control, for many seeds, one effort and one data set.

    python benchmarks/verdicts.py --effort quick --seeds 100                  # the default data
    python benchmarks/verdicts.py --effort default --seeds 20 --data plane    # a file of benchmarks/data
    python benchmarks/verdicts.py --table                                     # results/verdicts.md anew, from what was run

Every seed is a line of `results/verdicts/EFFORT-DATA.jsonl` as soon as it is known; the same command goes on where it was. Each
claim in it holds a hash of the code that decides it; those of other code are run again. With one job, trials are shared out to
the cores and the times are those of `nntk verify`; with more, each seed has a core.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import torch

import nntk_accelerated
import nntk_proofs_checks
import nntk_reference
from nntk_proofs_checks import CLAIMS, Effort, Problem, registry, run
from nntk_proofs_checks.data import default_data, load
from nntk_proofs_checks.trials import in_processes, one_thread, processes

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "verdicts"
DATA = {"default": None} | {path.stem: path for path in sorted((HERE / "data").glob("*.csv"))}


def codes() -> dict[str, str]:
    """{claim: hash} of the sources that decide each claim, and of the data.

    Those are all of the reference and the accelerated package, and of the checks the claim's module with all that it imports.
    """
    checks = Path(str(nntk_proofs_checks.__file__)).parent
    shared = hashlib.sha256()
    for package in (nntk_accelerated, nntk_reference):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            shared.update(str(path.relative_to(folder.parent)).encode() + path.read_bytes())
    for path in filter(None, DATA.values()):
        shared.update(path.read_bytes())
    out = {}
    for module in registry._MODULES:
        digest = shared.copy()
        for path in sorted(imported(checks / f"{module.__name__.rpartition('.')[2]}.py")):
            digest.update(path.name.encode() + path.read_bytes())
        out[module.CLAIM.id] = digest.hexdigest()[:12]
    return out


def imported(path: Path) -> set[Path]:
    """The module, and those of its folder that it imports, and that these import."""
    found, waiting = set[Path](), [path]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        for node in ast.walk(ast.parse(one.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nntk_proofs_checks"):
                names = [node.module.partition(".")[2]] if "." in node.module else [alias.name for alias in node.names]
                waiting += [other for name in names if (other := one.parent / f"{name}.py").is_file()]
    return found


def problem(name: str, seed: int) -> Problem:
    path = DATA[name]
    return replace(default_data() if path is None else load(path), seed=seed)


def verdicts(effort: str, name: str, seed: int, jobs: int, codes: dict[str, str], known: dict[str, Any]) -> dict[str, Any]:
    """One run of everything: verdict, control, seconds and, where it did not come out as it must, why; what is known stays."""
    out = {}
    with one_thread(), in_processes(jobs):
        for id, claim in CLAIMS.items():
            if known.get(id, {}).get("code") == codes[id]:
                out[id] = known[id]
                continue
            result = run(claim, problem(name, seed), Effort[effort.upper()])
            if jobs > 1:
                print(f"  {id}: {result.finding.verdict.value}, {result.seconds:.1f} s", file=sys.stderr, flush=True)
            found, control = result.finding, result.control
            out[id] = {
                "verdict": found.verdict.value if found.applies else "not applicable",
                "control": control.verdict.value if found.applies else "-",
                "seconds": round(result.seconds, 2),
                "why": "" if result.passed else f"{found.why} | {control.why}",
                "code": codes[id],
            }
    seconds = round(sum(claim["seconds"] for claim in out.values()), 1)
    return {"seed": seed, "seconds": seconds, "jobs": jobs, "machine": machine(), "claims": out}


def machine() -> str:
    return f"{platform.machine()}, {joblib.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def read(path: Path) -> list[dict[str, Any]]:
    """The last row of each seed."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return list({row["seed"]: row for row in rows}.values())


def passed(row: dict[str, Any]) -> bool:
    """Is this a run that `nntk verify` ends with 0?"""
    claims = [claim for claim in row["claims"].values() if claim["verdict"] != "not applicable"]
    return bool(claims) and all(claim["verdict"] == "holds" and claim["control"] == "refuted" for claim in claims)


def table() -> str:
    """What was run, as Markdown."""
    lines = [
        "# How often the claims hold",
        "",
        "`python benchmarks/verdicts.py --table` writes this page from the runs in `verdicts/`.",
        "Each seed draws other networks; a run passes if every claim that applies holds and every control is refuted.",
        "Where a run has one process, its time is that of one core, most of them with other work beside it; "
        "what `nntk verify` takes on two is in the README.",
    ]
    for path in sorted(RESULTS.glob("*.jsonl")):
        effort, _, name = path.stem.partition("-")
        rows = sorted(read(path), key=lambda row: row["seed"])
        seconds = sorted(row["seconds"] for row in rows)
        jobs, machines = (", ".join(sorted({str(row[key]) for row in rows})) for key in ("jobs", "machine"))
        now = codes()
        old = sum(any(claim["code"] != now[id] for id, claim in row["claims"].items()) for row in rows)
        code = f"{old} of them by other code" if old else "all by the code as it is"
        lines += [
            "",
            f"## {effort} effort, {name} data: {sum(map(passed, rows))} of {len(rows)} seeds pass",
            "",
            f"Median time {seconds[len(seconds) // 2]:g} s (processes a run: {jobs}; {machines}; {code}).",
            "",
            "| claim | holds | undecided | refuted | not applicable | control refuted | median time |",
            "|---|---|---|---|---|---|---|",
        ]
        for id in CLAIMS:
            of = [row["claims"][id] for row in rows]
            counts, times = Counter(claim["verdict"] for claim in of), sorted(claim["seconds"] for claim in of)
            shown = [counts[verdict] for verdict in ("holds", "undecided", "refuted", "not applicable")]
            shown.append(sum(claim["control"] == "refuted" for claim in of))
            lines.append(f"| {id} | " + " | ".join(map(str, shown)) + f" | {times[len(times) // 2]:g} s |")
        failed = [(row["seed"], id, claim) for row in rows for id, claim in row["claims"].items() if claim["why"]]
        lines += [""] * bool(failed)
        for seed, id, claim in failed:
            told = f"{claim['verdict']}, control {claim['control']}: {claim['why'][:300]}"
            lines.append(f"* seed {seed}, {id}: {told}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", choices=["quick", "default", "full"], default="quick")
    parser.add_argument("--data", choices=sorted(DATA), default="default")
    parser.add_argument("--seeds", type=int, default=100, help="so many, from --first")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=None, help="seeds at a time; 1 shares out the trials of each")
    parser.add_argument("--table", action="store_true", help="write the page, and run nothing")
    options = parser.parse_args(arguments)
    if not options.table:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{options.effort}-{options.data}.jsonl"
        now, known = codes(), {row["seed"]: row["claims"] for row in read(path)}
        wanted = range(options.first, options.first + options.seeds)
        seeds = [seed for seed in wanted if any(known.get(seed, {}).get(id, {}).get("code") != now[id] for id in CLAIMS)]
        jobs = processes(options.jobs)
        inner = processes(None) if jobs == 1 else 1
        work = (joblib.delayed(verdicts)(options.effort, options.data, seed, inner, now, known.get(seed, {})) for seed in seeds)
        with path.open("a", encoding="utf-8") as file:
            for row in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)(work):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                print(row["seed"], "passes" if passed(row) else "does not pass", row["seconds"], "s", flush=True)
    (HERE / "results" / "verdicts.md").write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
