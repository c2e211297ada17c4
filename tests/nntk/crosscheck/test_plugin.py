"""`pytest --nntk-optimizer` as a user runs it: items, outcomes, reports, bad usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nntk.crosscheck import CHECKS, Diagnosis, Report, check_optimizer, diagnosis, testing
from nntk.crosscheck.case import Case
from nntk.crosscheck.setting import Setting
from nntk_reference import Verdict
from tests.nntk import optimizers

ROOT = Path(__file__).parents[3]
QUICK = ("--nntk-effort", "quick")
INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
"""


def given(*names: str) -> list[str]:
    return [word for name in names for word in ("--nntk-optimizer", f"tests.nntk.optimizers:{name}")]


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


def cases(pytester: pytest.Pytester) -> dict[str, ElementTree.Element]:
    found = ElementTree.parse(pytester.path / "j.xml").getroot().iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": case for case in found}


def properties(case: ElementTree.Element) -> dict[str | None, str]:
    return {p.get("name"): p.get("value") or "" for p in case.iter("property")}


# --- which items ---------------------------------------------------------------------------------------------------------


def test_one_item_for_each_check_of_the_profile_in_an_empty_folder(pytester: pytest.Pytester) -> None:
    options = ("--nntk-profile", "first-order", "--collect-only", "-q")
    result = pytester.runpytest_inprocess(*given("gradient", "object_gradient", "gradient"), *options)
    assert result.ret == 0
    found = [line for line in result.outlines if "::" in line]
    assert found == [
        f"nntk::tests.nntk.optimizers:{name}::{id}" for name in ("gradient", "object_gradient") for id in ids("first-order")
    ]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (("-k", "right_dense and permutation"), {"neuron-permutation", "data-permutation"}),
        (("nntk::tests.nntk.optimizers:right_dense::cost",), {"cost"}),
        (("nntk::tests.nntk.optimizers:right_dense",), set(ids())),
        (("-m", "crosscheck"), set(ids())),
        (("-m", "not crosscheck"), {"test_host"}),
        (("--deselect", "nntk::tests.nntk.optimizers:right_dense::cost"), {"test_host"} | set(ids()) - {"cost"}),
        (("test_host.py", "nntk::tests.nntk.optimizers:right_dense::cost"), {"test_host", "cost"}),
        ((), {"test_host"} | set(ids())),
    ],
)
def test_selection_beside_a_hosts_own_tests(pytester: pytest.Pytester, select: tuple[str, ...], expected: set[str]) -> None:
    pytester.makepyfile(test_host="def test_host():\n    pass\n")
    result = pytester.runpytest_inprocess(*given("right_dense"), "--collect-only", "-q", *select)
    assert {line.split("::")[-1] for line in result.outlines if "::" in line} == expected


# --- how they come out ---------------------------------------------------------------------------------------------------


def test_pass_fail_error_and_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosed = []
    diagnose = diagnosis.diagnose

    def counted(setting: Setting, failures: Sequence[tuple[str, Case, int]]) -> list[Diagnosis]:
        diagnosed.append((setting.subject.name, [name for name, _, _ in failures]))
        return diagnose(setting, failures)

    monkeypatch.setattr(diagnosis, "diagnose", counted)
    names = ("half_residual", "right_numpy", "raises_in_third_step")
    result = pytester.runpytest_inprocess(
        *given(*names), *QUICK, "-k", "scheduler or precision or cost", "--junitxml", "j.xml", "-rs"
    )
    result.assert_outcomes(failed=3, skipped=1, passed=5)
    subject = "tests.nntk.optimizers:half_residual"
    assert sorted(diagnosed) == [(subject, ["precision"]), (subject, ["scheduler"])]  # once each, of the case that failed
    # A failure says what, how small, what it is instead, and how to see it; and nothing of our own frames.
    result.stdout.fnmatch_lines_random(
        [
            "*_ scheduler of tests.nntk.optimizers:half_residual _*",
            "failed: learning rate *",
            "scheduler of tests.nntk.optimizers:half_residual: A learning-rate scheduler acts on the step (number *, limit *",
            "definite: Newton with half the residual term S, to *",
            "smallest case: N = *",
            "*import half_residual",
            "error: ValueError: the third step went wrong",
            "ValueError: the third step went wrong",
            "SKIPPED * it is no torch.optim.Optimizer, which schedulers need",
        ]
    )
    result.stdout.no_fnmatch_line("*crosscheck/*.py*")
    assert result.outlines.count("error: ValueError: the third step went wrong") == 1

    found = cases(pytester)
    told = properties(found["nntk.tests.nntk.optimizers:half_residual.scheduler"])
    assert told["nntk-outcome"] == "failed"
    assert float(told["nntk-number"]) > float(told["nntk-limit"]) > 0
    assert int(told["nntk-cases"]) > 0
    assert "learning rate" in told["nntk-why"]
    assert "half the residual" in told["nntk-diagnosis"]
    passed = properties(found["nntk.tests.nntk.optimizers:right_numpy.precision"])
    assert passed["nntk-outcome"] == "passed"
    assert float(passed["nntk-number"]) <= float(passed["nntk-limit"])
    assert passed["nntk-diagnosis"] == ""
    informative = properties(found["nntk.tests.nntk.optimizers:half_residual.cost"])
    assert informative["nntk-outcome"] == "informative"
    assert float(informative["nntk-number"]) > 0
    assert informative["nntk-limit"] == ""
    assert properties(found["nntk.tests.nntk.optimizers:right_numpy.scheduler"])["nntk-outcome"] == "skipped"
    assert properties(found["nntk.tests.nntk.optimizers:raises_in_third_step.scheduler"])["nntk-outcome"] == "error"

    # The summary counts the same.
    for name, counts in zip(
        names,
        ("2 failed, 1 informative", "1 passed, 1 skipped, 1 informative", "1 passed, 1 error, 1 informative"),
        strict=True,
    ):
        total = sum(int(properties(found[key])["nntk-cases"]) for key in found if f":{name}." in key)
        result.stdout.fnmatch_lines(
            [
                f"=* cross-check of tests.nntk.optimizers:{name} as exact-newton =*",
                f"3 of {len(ids())} checks ran, on {total} cases: {counts}",
                "not run: step-matches, *",
            ],
            consecutive=False,
        )
    result.stdout.fnmatch_lines(["failed: scheduler, precision", "indefinite: Newton with half the residual term S, to *"])
    result.stdout.fnmatch_lines(["skipped scheduler: it is no torch.optim.Optimizer, which schedulers need"])


def test_options_reach_the_checks(pytester: pytest.Pytester) -> None:
    options = ("--nntk-profile", "approximate-newton", "--nntk-rtol", "0.05", "--nntk-seed", "5", "--nntk-dtype", "float32")
    result = pytester.runpytest_inprocess(*given("step_size_off", "gradient"), *QUICK, *options, "-k", "scheduler")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "scheduler of *:gradient*approximate-newton, rtol 0.05, dtype float32, device cpu, effort quick, seed 5)",
            "=* cross-check of tests.nntk.optimizers:step_size_off as approximate-newton =*",
            "left out, not part of the profile approximate-newton: precision",
        ]
    )


def test_undecided_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def undecided(*args: object, **kwargs: object) -> Report:
        report = check_optimizer(*args, **kwargs)
        results = [
            replace(r, outcome="undecided", finding=replace(r.finding, verdict=Verdict.UNDECIDED, why="nothing to see"))
            for r in report.results
        ]
        return replace(report, results=tuple(results))

    monkeypatch.setattr(testing, "check_optimizer", undecided)
    result = pytester.runpytest_inprocess(*given("right_numpy"), *QUICK, "-k", "data-duplication")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["undecided: nothing to see", "definite: exact Newton, to *", "undecided: data-duplication"])


def test_expected_failures_are_strict(pytester: pytest.Pytester) -> None:
    (pytester.path / "known.txt").write_text("# known\nscheduler: half of S by design\ncost: too slow\n")
    args = (*given("half_residual", "right_dense"), *QUICK, "--nntk-xfail", "known.txt", "-rx", "--junitxml", "j.xml")
    result = pytester.runpytest_inprocess(*args, "-k", "scheduler or cost")
    result.assert_outcomes(xfailed=1, failed=1, passed=2)  # cost is informative: it cannot fail, nor unexpectedly pass
    result.stdout.fnmatch_lines(
        [
            "*_ scheduler of tests.nntk.optimizers:right_dense _*",
            "[[]XPASS(strict)[]] half of S by design",
            "xfailed scheduler: half of S by design",
            "definite: Newton with half the residual term S, to *",
            "xpassed: scheduler",
            "XFAIL nntk::tests.nntk.optimizers:half_residual::scheduler - half of S by design",
        ]
    )
    found = {name: properties(case)["nntk-outcome"] for name, case in cases(pytester).items()}
    assert found["nntk.tests.nntk.optimizers:half_residual.scheduler"] == "xfailed"
    assert found["nntk.tests.nntk.optimizers:right_dense.scheduler"] == "xpassed"
    assert found["nntk.tests.nntk.optimizers:right_dense.cost"] == "informative"


def test_errors_are_expected_only_where_the_reason_says_so(pytester: pytest.Pytester) -> None:
    (pytester.path / "known.txt").write_text("precision: to be done\ntrajectory: error: to be done\n")
    (pytester.path / "unfinished.py").write_text("def step(theta, X, y, damping, problem):\n    raise NotImplementedError\n")
    args = ("--nntk-optimizer", "unfinished:step", *QUICK, "--nntk-xfail", "known.txt", "-k", "precision or trajectory")
    result = pytester.runpytest_inprocess(*args)
    result.assert_outcomes(failed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*_ precision of unfinished:step _*", "error: NotImplementedError", "error: precision"])


def test_findings_about_behaviour_fail_where_that_is_asked_for(pytester: pytest.Pytester) -> None:
    args = (*given("passes_nan_on"), *QUICK, "-k", "non-finite")
    pytester.runpytest_inprocess(*args).assert_outcomes(xfailed=1)
    pytester.runpytest_inprocess(*args, "--nntk-strict").assert_outcomes(failed=1)


def test_a_form_that_is_given_reaches_the_optimizer(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*given("right_dense"), *QUICK, "--nntk-form", "function")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected step(theta, X, y, damping, problem), got tests.nntk.optimizers:right_dense*"])


def test_two_processes(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        mine="""
        def gradient(theta, X, y, damping, problem):
            return theta - problem.gradient(theta)

        def unfinished(theta, X, y, damping, problem):
            raise NotImplementedError("to be done")
        """
    )
    args = (
        "--nntk-optimizer",
        "mine:gradient",
        "--nntk-optimizer",
        "mine:unfinished",
        *QUICK,
        "-n",
        "2",
        "--junitxml",
        "j.xml",
    )
    result = pytester.runpytest_inprocess(*args, "-k", "scheduler or precision")
    result.assert_outcomes(failed=2, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "=* cross-check of mine:gradient as exact-newton =*",
            f"2 of {len(ids())} checks ran, on * cases: *",
            "failed: precision",
            "skipped scheduler: *",
            "definite: a gradient step, to *",
            "=* cross-check of mine:unfinished as exact-newton =*",
            "error: precision",
        ]
    )
    found = {name: properties(case)["nntk-outcome"] for name, case in cases(pytester).items()}
    assert found == {
        "nntk.mine:gradient.precision": "failed",
        "nntk.mine:gradient.scheduler": "skipped",
        "nntk.mine:unfinished.precision": "error",
        "nntk.mine:unfinished.scheduler": "skipped",
    }


# --- bad usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--nntk-optimizer", "nowhere:factory"), "*--nntk-optimizer nowhere:factory: *no module 'nowhere'*"),
        (("--nntk-optimizer", "tests.nntk.optimizers:half_residuel"), "*did you mean 'half_residual'*"),
        (("--nntk-optimizer", "optimizers"), "*expected package.module:factory*"),
        (given("takes_two_arguments"), "*factory(model, X, y, damping)*"),
        (given("right_numpy", "returns_none"), "*--nntk-optimizer tests.nntk.optimizers:returns_none: *got None*"),
        ((*given("right_numpy"), "--nntk-profile", "exact"), "*profile: expected one of exact-newton*'exact'*"),
        ((*given("right_numpy"), "--nntk-rtol", "0.1"), "*rtol: *approximate-newton*"),
        ((*given("right_numpy"), "--nntk-dtype", "float16"), "*dtype: expected one of *'float16'*"),
        ((*given("right_numpy"), "--nntk-device", "meteor"), "*device: expected *'meteor'*"),
        ((*given("right_numpy"), "--nntk-seed", "-1"), "*seed: expected *"),
        ((*given("right_numpy"), "--nntk-xfail", "nowhere.txt"), "*nowhere.txt*"),
        (
            (*given("right_numpy"), "nntk::tests.nntk.optimizers:right_numpy::no-such"),
            "*not found: nntk::tests.nntk.optimizers:right_numpy::no-such*",
        ),
    ],
)
def test_bad_usage_ends_the_run_before_collection(pytester: pytest.Pytester, args: tuple[str, ...], message: str) -> None:
    result = pytester.runpytest_inprocess(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: nntk: {message}"])
    result.stdout.no_fnmatch_line("collect*")


def test_a_bad_line_of_expected_failures_is_named(pytester: pytest.Pytester) -> None:
    (pytester.path / "known.txt").write_text("cost: too slow\nstep-match: half of S\n")
    result = pytester.runpytest_inprocess(*given("right_numpy"), "--nntk-xfail", "known.txt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*line 2: 'step-match' (did you mean 'step-matches'?)*"])
