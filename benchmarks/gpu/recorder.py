"""A pytest plugin for `run.py`: it sends each test as it is done, stops in time, and says which module wants what is missing.

Only test modules that speak of a device are looked at; importing the others takes long.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PIPE, UNTIL = int(os.environ["NNTK_GPU_PIPE"]), float(os.environ["NNTK_GPU_UNTIL"])
ROOT = Path(__file__).resolve().parents[2]

NOT_INSTALLED = {
    "flint": "python-flint is not installed: compared with float64 autograd instead",
    "hypothesis": "hypothesis is not installed, which draws these tests' cases",
}
MESSAGE = 2000
"""Characters kept of what a failed test says; the log has all."""


def send(**line: Any) -> None:
    """A line of JSON to `run.py`. Without it there is nobody to run for: the error ends this process."""
    left = json.dumps(line).encode() + b"\n"
    while left:
        left = left[os.write(PIPE, left) :]


def _pin() -> None:
    """Make `tests` this project's folder, whatever else of that name is installed: a package with an __init__ would win."""
    spec = importlib.util.find_spec("tests")
    if spec is None or str(ROOT / "tests") not in list(spec.submodule_search_locations or [])[:1]:
        package = ModuleType("tests")
        package.__path__ = [str(ROOT / "tests")]
        sys.modules["tests"] = package


_pin()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Skip a test module that speaks of no device."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text("utf-8")
    return None if "gpu" in text or "device" in text else True


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that cannot be imported for want of a package is skipped, not an error."""
    report = yield
    if report.outcome == "failed":
        name = missing(report)
        if name is not None:
            why = NOT_INSTALLED.get(name, f"{name} is not installed")
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"Skipped: {why}")
            send(tests=[{"id": report.nodeid, "outcome": "skipped", "seconds": 0.0, "why": why}])
        else:
            why = str(report.longrepr)[-MESSAGE:]
            send(tests=[{"id": report.nodeid or "collection", "outcome": "failed", "seconds": 0.0, "why": why}])
    return report


def missing(report: pytest.CollectReport) -> str | None:
    """The package whose absence made an import fail; None for any other failure."""
    call = getattr(report, "call", None)
    error: BaseException | None = call.excinfo.value if call is not None and call.excinfo is not None else None
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            # A module of this project that is not found is a fault, not a missing package.
            return None if package in ("tests", "nntk", "nntk_reference", "nntk_accelerated", "nntk_proofs_checks") else package
        error = error.__cause__ or error.__context__
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs nothing but torch comes first."""
    items.sort(key=lambda item: "autograd" not in item.nodeid)  # stable


def pytest_collection_finish(session: pytest.Session) -> None:
    send(selected=len(session.items))


def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Before each test: is there time?"""
    if time.monotonic() > UNTIL and not item.session.shouldstop:
        item.session.shouldstop = "out of time"


_done: dict[str, dict[str, Any]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Join set-up, call and tear-down of a test; send it after the last."""
    test = _done.setdefault(report.nodeid, {"id": report.nodeid, "outcome": "passed", "seconds": 0.0, "why": ""})
    test["seconds"] += report.duration
    if report.failed:
        test |= {"outcome": "failed", "why": str(report.longrepr)[-MESSAGE:]}
    elif report.skipped and test["outcome"] == "passed":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        test |= {"outcome": "skipped", "why": why.removeprefix("Skipped: ")}
    if report.when == "teardown":
        send(tests=[_done.pop(report.nodeid)])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.shouldstop:
        send(why=f"{session.shouldstop}: some of the {len(session.items)} tests were not reached")
