"""`nntk bench`: the peers it measures solve the same system, and the command line tells what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from nntk import bench
from nntk.cli import app
from nntk_accelerated import newton_step
from tests.tolerances import EPS, THRESHOLD


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch.func's own
def test_conjugate_gradients_solve_the_same_system() -> None:
    net, X, y = bench.default_problem(300, 12)
    step = newton_step(net, X, y, 1.0)
    left, done = bench.conjugate_gradients(net, X, y, step.damping, rtol=1e-12, most=200)
    assert left <= 1e-11
    assert 1 < done < 200
    left, done = bench.conjugate_gradients(net, X, y, step.damping, rtol=0, most=2)
    assert done == 2
    assert left > 1e-6  # two iterations are not a solution


def test_the_dense_step_is_the_same_step() -> None:
    net, X, y = bench.default_problem(40, 12)
    step = newton_step(net, X, y, 10.0)
    dense = bench._dense_step(net, X, y, step.damping)[:, 0]
    # the dense one orders its parameters c, w, η, tensor by tensor
    ours = torch.cat([step.update[:, 0], step.update[:, 1:-1].reshape(-1), step.update[:, -1]])
    condition = 1 + 40 / 10.0  # |H| < 40 at this size, the damping is 10 N^(-1/2)
    assert (dense - ours).norm() <= THRESHOLD * 120 * EPS["float64"] * condition * 40**0.5 * ours.norm()


def test_a_table_its_verdict_and_its_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def table(device: str, rounds: int, quick: bool) -> list[bench.Measurement]:
        assert (device, rounds, quick) == ("cpu", 3, True)
        return [
            bench.Measurement("title", "good", 0.5, 2.0, "s", "≤ 3", True),
            bench.Measurement("title", "bad", 0.5, 4.0, "s", "≤ 3", wish),
        ]

    monkeypatch.setitem(bench.TABLES, "rates", table)
    report = tmp_path / "report.json"
    for wish, code in ((True, 0), (None, 0), (False, 1)):
        result = CliRunner().invoke(app, ["bench", "step", "--quick", "--only", "rates", "--json", str(report)])
        assert result.exit_code == code
        assert ("NOT MET" in result.stdout) == (wish is False)
        rows = json.loads(report.read_text())["measurements"]
        assert [row["met"] for row in rows] == [True, wish]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "nonsense"], "--only"),
        (["--device", "abacus"], "--device"),
        (["--json", "/no/such/folder/report.json"], "--json"),
    ],
)
def test_bad_arguments_end_with_2_before_any_work(arguments: list[str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TABLES", dict.fromkeys(bench.TABLES))  # calling one would be a TypeError
    result = CliRunner().invoke(app, ["bench", "step", *arguments])
    assert result.exit_code == 2
    assert named in result.stderr


def test_the_gemm_rate_is_a_rate() -> None:
    assert bench.gemm_rate(size=64) > 0
