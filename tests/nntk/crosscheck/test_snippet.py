"""The program in a failure shows it by itself."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from nntk.crosscheck import Report, check_optimizer

ROOT = Path(__file__).parents[3]


def test_a_snippet_shows_the_failure_by_itself(refused: Report) -> None:
    failure = refused["step-matches"].failure
    assert failure is not None
    assert failure.number is not None
    run = subprocess.run([sys.executable, "-c", failure.snippet], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(run.stdout.split()[-1]) == pytest.approx(failure.number, rel=1e-6)


@pytest.mark.parametrize("id", ["function_half_residual", "object_gradient", "passes_nan_on"])
def test_snippets_of_other_forms_run(id: str) -> None:
    check = "non-finite" if id == "passes_nan_on" else "step-matches"
    report = check_optimizer(f"tests.nntk.optimizers:{id}", effort="quick", only=[check], diagnose=False)
    failure = report[check].failure
    assert failure is not None
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(failure.snippet, "snippet", "exec"), {})
    told = shown.getvalue()
    assert "nan" in told if id == "passes_nan_on" else float(told.split()[-1]) > 1e-6
