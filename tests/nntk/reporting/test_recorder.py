"""What a run keeps: a report written after each part, whoever reads stdout; one that cannot be written is said at the end."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nntk.bench import TABLES
from nntk.bench.measuring import Measurement
from nntk.bench.tables import Table
from nntk.cli import app
from nntk.reporting.recorder import Recorder
from nntk.reporting.terminal import console
from nntk_reference import InputError
from tests.nntk.claims import strict


def recorder(file: Path | None, record: Any = dict) -> Recorder:
    return Recorder(console(io.StringIO()), record, json=file)


def test_what_is_finished_is_written_each_time(tmp_path: Path) -> None:
    file, finished = tmp_path / "r.json", dict[str, int]()
    kept = recorder(file, lambda: finished)
    for k in range(3):
        kept.keep()
        assert strict(file) == finished
        finished[str(k)] = k
    kept.close()
    assert strict(file) == {"0": 0, "1": 1, "2": 2}


def test_a_file_that_cannot_be_written_is_said_at_the_end_only(tmp_path: Path) -> None:
    kept = recorder(tmp_path / "no" / "r.json")
    kept.keep()
    with pytest.raises(InputError, match="json: expected a file that can be written"):
        kept.close()
    recorder(None).close()  # nothing to write


@pytest.mark.parametrize("gone", [BrokenPipeError, SystemExit])
def test_a_stdout_that_has_gone_ends_a_run_that_keeps_nothing(tmp_path: Path, gone: type[BaseException]) -> None:
    for kept, ends in ((recorder(None), True), (recorder(tmp_path / "r.json"), False)):
        try:
            with kept.printing():
                raise gone
        except gone:
            assert ends
        else:
            assert not ends


PROGRAM = """
import os, sys
from pathlib import Path
import nntk_proofs_checks
from nntk.bench import TABLES
from nntk.bench.measuring import Measurement
from nntk.bench.tables import Table
from nntk.cli import app
from tests.nntk.claims import claim

folder = Path(sys.argv[1])
(folder / "points.csv").write_text("0,1\\n1,-2\\n")
nntk_proofs_checks.CLAIMS = {"first": claim("first"), "second": claim("second")}
TABLES["fake"] = Table("fake", "s", lambda *_: [Measurement("t", "a", 0.5, 2.0, "s", "", True)])
RUNS = {
    "verify": ["verify"],
    "plan": ["plan", "--data", str(folder / "points.csv"), "--activation", "erf", "--largest-width", "16"],
    "crosscheck": ["crosscheck", "tests.nntk.optimizers:right_numpy", "--quick", "--only", "deterministic,sign-symmetry"],
    "bench": ["bench", "step", "--quick", "--only", "fake"],
}
for name, arguments in RUNS.items():
    pid = os.fork()
    if not pid:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        try:
            app([*arguments, "--json", str(folder / f"{name}.json")], standalone_mode=False)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""


def test_every_command_finishes_its_report_though_nobody_reads_stdout(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, timeout=120, stdout=subprocess.PIPE)
    for name, results in (("verify", 2), ("plan", 4), ("crosscheck", 2), ("bench", 1)):
        report = strict(tmp_path / f"{name}.json")
        assert report["command"] == name
        assert report["complete"] is True, name
        assert len(report["results"]) + sum(why != "not selected" for why in report["left_out"].values()) >= results, name


@pytest.mark.parametrize("letters", ["γ ≤ 3 ± Δ"])
def test_bench_prints_on_a_terminal_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch, letters: str) -> None:
    rows = [Measurement(letters, letters, 0.5, 2.0, "× ours", letters, True, letters)]
    monkeypatch.setitem(TABLES, "rates", Table("rates", "s", lambda *_: rows))
    result = CliRunner(charset="ascii").invoke(app, ["bench", "step", "--quick", "--only", "rates"])
    assert result.exit_code == 0, result.output
    assert result.stdout.isascii()
    assert "gamma <= 3 +- Delta" in result.stdout
