"""The schemas of the reports: they describe every key of real reports, and refuse what is none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from typer.testing import CliRunner

import nntk.crosscheck.battery
import nntk.crosscheck.options
import nntk.planning.plan
import nntk_proofs_checks
from nntk.bench import TABLES
from nntk.bench.measuring import Measurement
from nntk.bench.tables import Table
from nntk.cli import app
from nntk.crosscheck import CHECKS
from nntk_proofs_checks import Claim, Finding, Panel, Series
from nntk_reference import Verdict
from tests.nntk.claims import HOLDS, NOT_MET, REFUTED, UNDECIDED, claim, strict

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
NAMES = ["envelope", "verify", "plan", "crosscheck", "bench", "gpu"]


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8")))


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema, and every schema in it."""
    if isinstance(schema, dict):
        yield schema
        for entry in schema.values():
            yield from parts(entry)
    elif isinstance(schema, list):
        for entry in schema:
            yield from parts(entry)


def closed(name: str) -> dict[str, Any]:
    """The schema, with no key admitted that it does not describe; it leaves that open, for keys that come later."""
    made = schema(name)
    for part in parts(made):
        if part.get("type") == "object" and "properties" in part and (part is not made or name != "envelope"):
            # of the envelope only what is in its definitions: the commands add to the rest
            part["unevaluatedProperties"] = False
    if name == "envelope":
        del made["properties"]["results"]["items"]["unevaluatedProperties"]
    return made


def validator(name: str) -> jsonschema.Draft202012Validator:
    resources = {f"{other}.schema.json": Resource.from_contents(closed(other)) for other in NAMES}
    checks = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(
        closed(name), registry=Registry().with_resources(resources.items()), format_checker=checks
    )


# --- the reports -----------------------------------------------------------------------------------------------------

PANEL = Panel("t", "N", "λ", (Series("s", (1.0, 2.0), (0.5, float("nan")), (0.0, float("-inf")), colour=3),), "xy", 2)


def stopped(id: str) -> Claim:
    return claim(id, KeyboardInterrupt())


def verified(*claims: Claim) -> Callable[[pytest.MonkeyPatch], list[str]]:
    def prepare(patch: pytest.MonkeyPatch) -> list[str]:
        patch.setattr(nntk_proofs_checks, "CLAIMS", {c.id: c for c in claims})
        return ["verify", "--quick"]

    return prepare


def planned(*options: str, stop: str = "") -> Callable[[pytest.MonkeyPatch], list[str]]:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    def prepare(patch: pytest.MonkeyPatch) -> list[str]:
        patch.setattr(nntk.planning.plan, "_TIMED_WIDTH", 256)
        if stop:
            patch.setattr(nntk.planning.plan, stop, interrupt)
        return ["plan", "--data", "points.csv", "--activation", "erf", "--largest-width", "64", *options]

    return prepare


def benched(*fills: Any) -> Callable[[pytest.MonkeyPatch], list[str]]:
    def fill(outcome: Any) -> Any:
        def rows(device: str, rounds: int, quick: bool) -> list[Measurement]:
            if outcome is KeyboardInterrupt:
                raise KeyboardInterrupt
            return [Measurement("t", "c", 0.5, number, "s", "≤ 3", met) for number, met in outcome]

        return rows

    def prepare(patch: pytest.MonkeyPatch) -> list[str]:
        for id, outcome in zip(TABLES, fills, strict=False):
            patch.setitem(TABLES, id, Table(id, "s", fill(outcome)))
        return ["bench", "step", "--quick", "--only", ",".join(list(TABLES)[: len(fills)])]

    return prepare


def measured(patch: pytest.MonkeyPatch) -> list[str]:
    """A table that is really filled."""
    return ["bench", "step", "--quick", "--only", "large-m"]


def crosschecked(optimizer: str, *options: str, stop: str = "") -> Callable[[pytest.MonkeyPatch], list[str]]:
    """A quick cross-check; with `stop` interrupted in the check of this id."""

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    def prepare(patch: pytest.MonkeyPatch) -> list[str]:
        if stop:
            patch.setattr(nntk.crosscheck.battery, "CHECKS", {**CHECKS, stop: replace(CHECKS[stop], examine=interrupt)})
            patch.setattr(nntk.crosscheck.options, "CHECKS", nntk.crosscheck.battery.CHECKS)
        only = "step-matches,damping-honoured,scheduler,deterministic"
        place = ["--in-process"] if stop else []  # where the check is replaced
        return ["crosscheck", f"tests.nntk.optimizers:{optimizer}", "--quick", "--only", only, *place, *options]

    return prepare


ODD = Finding(Verdict.UNDECIDED, float("nan"), "≤", float("inf"), 3, "w")
RUNS: dict[str, tuple[Callable[[pytest.MonkeyPatch], list[str]], int]] = {
    "verify": (verified(claim("a", replace(HOLDS, panels=(PANEL,))), claim("b")), 0),
    "verify, a claim that fails": (verified(claim("a"), claim("b", REFUTED), claim("c", ODD), claim("d", HOLDS, UNDECIDED)), 1),
    "verify, a claim that does not apply": (verified(claim("a", NOT_MET)), 1),
    "verify, incomplete": (verified(claim("a"), stopped("b"), claim("c")), 130),
    "plan, feasible": (planned("--gamma", "10", "--largest-width", "1000"), 0),
    "plan, not feasible": (planned("--gamma", "1e-9"), 1),
    "plan, beyond float64": (planned("--gamma", "1e-8", "--beta", "0.98"), 1),
    "plan, no guarantee": (planned("--activation", "relu"), 1),
    "plan, another law": (planned("--law", "normal"), 1),
    "plan, nothing finished": (planned(stop="_enclosed"), 130),
    "plan, incomplete": (planned(stop="_cost"), 130),
    "crosscheck": (crosschecked("right_numpy", "--only", "mode-rates"), 0),
    "crosscheck, refused": (crosschecked("half_residual", "--profile", "approximate-newton"), 1),
    "crosscheck, incomplete": (crosschecked("right_numpy", stop="scheduler"), 130),
    "bench": (benched([(1.0, True), (2.0, None)]), 0),
    "bench, a table": (measured, 0),
    "bench, a wish that is not met": (benched([(float("nan"), False)]), 1),
    "bench, incomplete": (benched([(1.0, True)], KeyboardInterrupt), 130),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of every run."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "points.csv").write_text("x,y\n0,1\n1,-2\n")
    made = {}
    for name, (prepare, code) in RUNS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            result = CliRunner().invoke(app, [*prepare(patch), "--json", "report.json"])
        assert result.exit_code == code, (name, result.output)
        made[name] = strict(folder / "report.json")
    return made


@pytest.mark.parametrize("name", RUNS)
def test_a_real_report_has_the_keys_of_its_schema_and_no_others(reports: dict[str, Any], name: str) -> None:
    report = reports[name]
    assert report["complete"] == ("incomplete" not in name and "nothing" not in name)
    assert report["passed"] == (RUNS[name][1] == 0)
    validator(report["command"]).validate(report)


@pytest.mark.parametrize("name", ["verify", "plan, not feasible", "crosscheck", "bench"])
def test_a_report_with_a_fault_is_refused(reports: dict[str, Any], name: str) -> None:
    whole = reports[name]
    check = validator(whole["command"])
    for key in whole:
        assert not check.is_valid({k: v for k, v in whole.items() if k != key}), f"without {key}"
    for change in (
        {"another": 1},
        {"schema": 1},
        {"command": "sweep"},
        {"left_out": ["a"]},
        {"complete": False, "passed": True},
        {"started": "yesterday"},
        {"seconds": None},
        {"results": [{"statement": "no id"}]},
    ):
        assert not check.is_valid({**whole, **change}), change
    for key in whole["results"][0]:
        broken = copy.deepcopy(whole)
        del broken["results"][0][key]
        assert not check.is_valid(broken), f"a result without {key}"


# --- the schemas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_describes_every_key(name: str) -> None:
    made = schema(name)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(made)
    for part in parts(made):
        for key, entry in part.get("properties", {}).items():
            if isinstance(entry, dict) and key not in ("complete", "passed"):  # these stand in a condition, too
                assert entry.get("description", "").endswith((".", "?")), key
        if part.get("type") == "object" and "properties" in part:
            assert set(part["required"]) == set(part["properties"])


def test_there_are_no_other_schemas() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == sorted(f"{name}.schema.json" for name in NAMES)
