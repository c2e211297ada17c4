"""`nntk bench`: the tables as they are filled, their verdicts, and the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nntk.bench import TABLES, run
from nntk.bench.measuring import Measurement
from nntk.bench.tables import Table
from nntk.cli import app
from nntk_reference import InputError
from tests.nntk.claims import strict


def fill(met: bool | None, number: float = 4.0) -> Any:
    def table(device: str, rounds: int, quick: bool) -> list[Measurement]:
        assert (device, rounds, quick) == ("cpu", 3, True)
        return [
            Measurement("title", "good", 0.5, 2.0, "s", "≤ 3", True),
            Measurement("title", "bad", 0.5, number, "s", "≤ 3", met),
        ]

    return table


def bench(*args: str) -> Result:
    return CliRunner().invoke(app, ["bench", "step", "--quick", *args], env={"NO_COLOR": "1"})


def test_a_table_its_verdict_and_its_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for wish, code in ((True, 0), (None, 0), (False, 1)):
        monkeypatch.setitem(TABLES, "rates", Table("rates", "what it says", fill(wish)))
        result = bench("--only", "rates", "--json", str(path))
        assert result.exit_code == code
        assert ("NOT MET" in result.stdout) == (wish is False)
        report = strict(path)
        assert (report["schema"], report["command"], report["effort"], report["seed"]) == (2, "bench", "quick", None)
        assert (report["complete"], report["passed"], report["left_out"]) == (True, code == 0, {})
        assert report["summary"] == {True: "2 limits met", None: "1 limit met", False: "1 of 2 limits met"}[wish]
        (table,) = report["results"]
        assert (table["id"], table["statement"], table["title"]) == ("rates", "what it says", "title")
        assert [row["met"] for row in table["measurements"]] == [True, wish]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_has_not_is_null(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: float) -> None:
    path = tmp_path / "report.json"
    monkeypatch.setitem(TABLES, "rates", Table("rates", "s", fill(False, number)))
    assert bench("--only", "rates", "--json", str(path)).exit_code == 1
    assert [row["number"] for row in strict(path)["results"][0]["measurements"]] == [2.0, None]


def test_report_is_written_at_the_start_and_after_each_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    seen: list[Any] = []

    def look(device: str, rounds: int, quick: bool) -> list[Measurement]:
        seen.append(strict(path))
        return fill(True)("cpu", 3, True)

    def stop(device: str, rounds: int, quick: bool) -> list[Measurement]:
        seen.append(strict(path))
        raise KeyboardInterrupt

    for id, table in (("rates", look), ("inertia", look), ("ranks", stop)):
        monkeypatch.setitem(TABLES, id, Table(id, "s", table))
    result = bench("--only", "ranks, inertia", "--only", "rates", "--json", str(path))
    assert result.exit_code == 130
    assert result.stderr == "nntk: interrupted\n"
    ids = ["rates", "inertia", "ranks"]
    assert strict(path) == seen[-1]
    for done, report in enumerate(seen):
        assert [table["id"] for table in report["results"]] == ids[:done]
        assert report["left_out"] == dict.fromkeys(ids[done:], "not finished")
        assert (report["complete"], report["passed"]) == (False, False)


def test_on_a_gpu_some_tables_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setitem(TABLES, "rates", Table("rates", "s", lambda device, rounds, quick: fill(True)("cpu", rounds, quick)))
    assert bench("--device", "cuda", "--only", "rates,ranks", "--json", str(path)).exit_code == 0
    report = strict(path)
    assert (report["complete"], report["device"], report["machine"]["machine"]) == (True, "cuda", "a GPU")
    assert report["left_out"] == {"ranks": "says nothing about a GPU"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nonsense"], "--only: expected one of rates, inertia, others, ranks, precisions, large-m, got 'nonsense'"),
        (["--only", "rates, intertia"], "got 'intertia' (did you mean 'inertia'?)"),
        (["--only", "rates,"], "got an empty id"),
        (["--device", "abacus"], "--device: expected cpu, or cuda where torch finds a GPU, got 'abacus'"),
        (["--json", "/no/such/folder/report.json"], "--json: expected a file that can be written"),
    ],
)
def test_bad_arguments_end_with_2_before_any_work(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for id in TABLES:
        monkeypatch.setitem(TABLES, id, None)  # filling one would be an AttributeError
    result = bench(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_table_has_a_statement() -> None:
    assert list(TABLES) == ["rates", "inertia", "others", "ranks", "precisions", "large-m"]
    assert all(table.id == id and table.statement for id, table in TABLES.items())
    assert [id for id, table in TABLES.items() if table.cpu_only] == ["ranks", "large-m"]
    assert run.TABLES is TABLES


def test_a_run_that_would_measure_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="only: expected a table that says something about a GPU, got ranks"):
        run.bench(["ranks"], device="cuda")
