"""The pytest plugin: options of `pytest --pyargs nntk_proofs_checks`. It imports only pytest until its fixtures are used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nntk_proofs_checks import Effort, Problem

EFFORTS = ("quick", "default", "full")

_MARKERS = {
    "exact": "a claim that rests on rational or symbolic identities, or its control",
    "certified": "a claim that rests on enclosures, or its control",
    "measured": "a claim that rests on statistics, or its control",
    "control": "a negative control, which must be refuted",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Effort, data set and seed of the verification."""
    group = parser.getgroup("nntk", "verification of the regularized Newton method's theory")
    group.addoption("--nntk-effort", choices=EFFORTS, default="default", help="how many cases, and how large")
    group.addoption("--nntk-data", metavar="FILE", help="CSV (last column y) or NPZ (X, y); default: 16 points of a curve")
    group.addoption("--nntk-seed", type=int, default=0, metavar="INT", help="which networks are drawn (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that the claims carry."""
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture(scope="session")
def nntk_effort(pytestconfig: pytest.Config) -> Effort:
    """How many cases, and how large."""
    from nntk_proofs_checks import Effort

    return Effort[pytestconfig.getoption("--nntk-effort").upper()]


@pytest.fixture(scope="session")
def nntk_problem(pytestconfig: pytest.Config) -> Problem:
    """The data set. A fault in it ends the run, with what is wrong and where."""
    from nntk_proofs_checks.data import default_data, load
    from nntk_reference import InputError

    path = pytestconfig.getoption("--nntk-data")
    try:
        return replace(default_data() if path is None else load(path), seed=pytestconfig.getoption("--nntk-seed"))
    except InputError as error:
        pytest.exit(f"nntk: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
