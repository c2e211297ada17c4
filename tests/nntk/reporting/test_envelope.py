"""The envelope of every report: JSON's own types, never NaN, and a file that is whole whenever the run is killed."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nntk.reporting.envelope import NOT_FINISHED, envelope, plain, unfinished, write
from nntk_proofs_checks import Effort
from nntk_reference import InputError, Verdict
from tests.nntk.claims import strict

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def made(**changes: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"complete": True, "passed": True, "started": WHEN, "seconds": 1.5, "effort": "quick", "seed": 3}
    return envelope("verify", **{**common, "left_out": {}, "results": [], **changes})


def test_the_keys_and_their_order() -> None:
    report = made(results=[{"id": "a"}], left_out={"b": NOT_FINISHED}, summary="s")
    keys = "schema command complete passed started seconds environment effort seed left_out results summary"
    assert list(report) == keys.split()
    assert report["started"] == "2026-01-02T03:04:05+00:00"
    assert report["results"] == [{"id": "a"}]
    assert report["left_out"] == {"b": "not finished"}


def test_an_incomplete_report_does_not_pass() -> None:
    assert made()["passed"] is True
    assert made(passed=False)["passed"] is False
    assert made(complete=False)["passed"] is False


def test_what_is_not_finished() -> None:
    assert unfinished(["a", "b", "c"], [{"id": "b"}]) == {"a": NOT_FINISHED, "c": NOT_FINISHED}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float64(0.5), 0.5),
        (np.float32(math.inf), None),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (torch.tensor(0.5), 0.5),
        (2**70, 2**70),
        (Verdict.HOLDS, "holds"),
        (Effort.FULL, 2),
        (WHEN, "2026-01-02T03:04:05+00:00"),
        ((1, [math.nan], {"k": (None,)}), [1, [None], {"k": [None]}]),
    ],
)
def test_plain(value: Any, wanted: Any) -> None:
    result = plain(value)
    assert result == wanted
    assert type(result) is type(wanted) or isinstance(value, str | int)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_anything_is_written_as_json(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    write(path, made(value=value))
    assert strict(path)["schema"] == 2


def test_nan_that_slips_past_is_refused_not_written(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, {"x": math.nan})
    assert path.read_text() == "old"


def test_a_file_that_cannot_be_written_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^json: expected a file that can be written"):
        write(tmp_path / "no" / "r.json", made())


# --- killed ----------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys, time
from pathlib import Path

import nntk_proofs_checks as p
import nntk.bench, nntk.crosscheck.options, nntk.planning.plan, nntk.planning.report, nntk.verification
from nntk.bench.tables import TABLES, Table
from nntk.cli import app
from tests.nntk.claims import claim

folder = Path(sys.argv[1])
(folder / "points.csv").write_text("0,1\\n1,-2\\n")


def stall(*args):
    Path("stalled").touch()
    time.sleep(60)


def verify(*ids):
    claims = [claim(id) for id in ids]
    object.__setattr__(claims[-1], "check", stall)
    p.CLAIMS = {c.id: c for c in claims}
    return ["verify"]


def plan(name):
    setattr(nntk.planning.plan, name, stall)
    return ["plan", "--data", str(folder / "points.csv"), "--activation", "erf", "--largest-width", "16"]


def bench(*ids):
    TABLES["stalled"] = Table("stalled", "s", stall)
    return ["bench", "step", "--quick", "--only", ",".join([*ids, "stalled"])]


def crosscheck(*ids):
    checks = nntk.crosscheck.options.CHECKS
    object.__setattr__(checks[ids[-1]], "examine", stall)
    # in this process, where the check is replaced
    return ["crosscheck", "tests.nntk.optimizers:right_numpy", "--in-process", "--quick", "--only", ",".join(ids)]


RUNS = {
    "verify-0": lambda: verify("first"),
    "verify-2": lambda: verify("first", "second", "third"),
    "plan-0": lambda: plan("_enclosed"),
    "plan-2": lambda: plan("_cost"),
    "crosscheck-0": lambda: crosscheck("step-matches"),
    "crosscheck-1": lambda: crosscheck("step-matches", "deterministic"),
    "bench-0": lambda: bench(),
    "bench-1": lambda: bench("large-m"),
}
for name, arguments in RUNS.items():
    (folder / name).mkdir()
    pid = os.fork()
    if not pid:
        os.chdir(folder / name)
        app([*arguments(), "--json", "report.json"], standalone_mode=False)
        os._exit(1)
    while not (folder / name / "stalled").exists():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), name
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each run that was killed while a part of it was at work, with its report."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], check=True, timeout=120, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="fork and kill are for POSIX")
@pytest.mark.parametrize(
    ("run", "finished", "left_out"),
    [
        ("verify-0", [], ["first"]),
        ("verify-2", ["first", "second"], ["third"]),
        ("plan-0", [], ["spectrum", "widths", "cost", "alternatives"]),
        ("plan-2", ["spectrum", "widths"], ["cost", "alternatives"]),
        ("crosscheck-0", [], ["step-matches"]),
        ("crosscheck-1", ["step-matches"], ["deterministic"]),
        ("bench-0", [], ["stalled"]),
        ("bench-1", ["large-m"], ["stalled"]),
    ],
)
def test_a_killed_run_leaves_what_was_finished(killed: Path, run: str, finished: list[str], left_out: list[str]) -> None:
    report = strict(killed / run / "report.json")
    assert report["command"] == run.partition("-")[0]
    assert [result["id"] for result in report["results"]] == finished
    assert [id for id, why in report["left_out"].items() if why == NOT_FINISHED] == left_out
    assert report["command"] == "crosscheck" or len(report["left_out"]) == len(left_out)
    assert (report["complete"], report["passed"]) == (False, False)
