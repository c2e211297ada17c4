"""`nntk.parametrize_with_checks` as a user writes it, and the candidate behind it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import torch

import nntk
from nntk.crosscheck import CHECKS, check_optimizer
from nntk.crosscheck.testing import CheckFailed, candidate
from nntk_reference import InputError
from tests.nntk import optimizers

ROOT = Path(__file__).parents[3]
INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
"""


def ids(profile: str = "exact-newton") -> list[str]:
    return [id for id, check in CHECKS.items() if profile in check.profiles]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Import what torch imports late: pytester forgets the modules that a run brings, and torch stands no second import."""
    check_optimizer(optimizers.right_dense, only=["deterministic"], effort="quick")


@pytest.fixture(autouse=True)
def host(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that treats warnings as errors, from which the optimizers can be imported."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makeini(INI)


def test_the_program_in_a_failure_runs_as_it_is() -> None:
    one = candidate("tests.nntk.optimizers:half_residual", effort="quick")
    with pytest.raises(CheckFailed) as failed:
        one.check("precision")
    program = str(failed.value).partition("a program that shows it:\n\n")[2]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(program, "program", "exec"), {})
    (error,) = (float(line.rpartition(" ")[2]) for line in shown.getvalue().splitlines())
    assert error > 1e-6


DECORATED = """
import nntk
from tests.nntk import optimizers

@nntk.parametrize_with_checks([optimizers.right_numpy], only=["deterministic"], effort="quick")
def test_mine(check):
    check()
"""


def test_without_the_plugin_the_decorator_works(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_host=DECORATED)
    result = pytester.runpytest_inprocess("-p", "no:nntk", "-p", "no:xdist", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_mine[[]right_numpy-deterministic[]] PASSED*"])


def test_parametrize_with_checks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_mine="""
import nntk
from tests.nntk import optimizers

CHOSEN = {"only": ["scheduler", "precision"], "effort": "quick"}

@nntk.parametrize_with_checks([optimizers.half_residual, "tests.nntk.optimizers:right_numpy"], **CHOSEN)
def test_list(check):
    check()

@nntk.parametrize_with_checks(
    {"half": optimizers.half_residual}, expected_failures={"scheduler": "half of S", "precision": "known"}, **CHOSEN
)
def test_mapping(check):
    check()

@nntk.parametrize_with_checks([optimizers.right_dense], expected_failures={"scheduler": "by design"}, **CHOSEN)
def test_strict(check):
    check()
"""
    )
    result = pytester.runpytest_inprocess("-v", "-rs")
    result.assert_outcomes(failed=3, passed=2, skipped=1, xfailed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_list[[]half_residual-scheduler[]] FAILED*",
            "*::test_list[[]half_residual-precision[]] FAILED*",
            "*::test_list[[]right_numpy-scheduler[]] SKIPPED*",
            "*::test_list[[]right_numpy-precision[]] PASSED*",
            "*::test_mapping[[]half-scheduler[]] XFAIL*",
            "*::test_mapping[[]half-precision[]] XFAIL*",
            "*::test_strict[[]right_dense-scheduler[]] FAILED*",
            "*::test_strict[[]right_dense-precision[]] PASSED*",
            ">       check()",
            "E       nntk.crosscheck.testing.CheckFailed: failed: *",
            "E       definite: Newton with half the residual term S, to *",
            "E       from tests.nntk.optimizers import half_residual",
            "[[]XPASS(strict)[]] by design",
        ]
    )
    result.stdout.no_fnmatch_line("*crosscheck/*.py:*CheckFailed*")


@pytest.mark.parametrize(
    ("factories", "options", "message"),
    [
        ([], {}, "factories: expected a list of factories"),
        ("tests.nntk.optimizers:right_numpy", {}, "factories: expected a list of factories"),
        (optimizers.right_numpy, {}, "factories: expected a list of factories"),
        ([optimizers.right_numpy, "tests.nntk.optimizers:right_numpy"], {}, "'right_numpy' twice"),
        ([3], {}, "factory: expected a callable, got int"),
        (["tests.nntk.optimizers:nobody"], {}, "nobody"),
        ([optimizers.right_numpy], {"profile": "newton"}, "profile: expected one of"),
        ([optimizers.right_numpy], {"effort": "some"}, "effort: expected one of"),
        ([optimizers.right_numpy], {"only": ["step-match"]}, "did you mean 'step-matches'"),
        ([optimizers.right_numpy], {"expected_failures": {"step-matches": ""}}, "without a reason"),
        ([optimizers.right_numpy], {"device": "meteor"}, "device: expected"),
        ([optimizers.right_numpy], {"time_limit": 0}, "time_limit"),
    ],
)
def test_bad_arguments_are_refused_by_the_decorator(factories: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nntk.parametrize_with_checks(factories, **options)


def test_a_name_for_each(pytester: pytest.Pytester) -> None:
    mark = nntk.parametrize_with_checks([{"a": optimizers.right_numpy}, "tests.nntk.optimizers:right_dense"], skip=ids()[1:])
    assert [parameter.id for parameter in mark.args[1]] == [f"a-{ids()[0]}", f"right_dense-{ids()[0]}"]


def test_ctrl_c_is_not_swallowed() -> None:
    asked = []

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    def interrupted_later(at: optimizers.Point, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        asked.append(b)
        return torch.linalg.solve(A, b) if len(asked) == 1 else interrupted()  # type: ignore[return-value]

    for factory in (lambda model, X, y, damping: interrupted(), optimizers.dense(solve=interrupted)):
        with pytest.raises(KeyboardInterrupt):
            candidate(factory, effort="quick")
    one = candidate(optimizers.dense(solve=interrupted_later), effort="quick")  # which takes one step
    with pytest.raises(KeyboardInterrupt):
        one.check("deterministic")
