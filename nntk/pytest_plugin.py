"""The pytest plugin: options of `pytest --pyargs nntk_proofs_checks`, and `pytest --nntk-optimizer package.module:factory`.

It imports only pytest until its fixtures are used, or an optimizer is given.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nntk.crosscheck.testing import Candidate
    from nntk_proofs_checks import Effort, Problem
    from nntk_reference import InputError

EFFORTS = ("quick", "default", "full")

_MARKERS = {
    "exact": "a claim that rests on rational or symbolic identities, or its control",
    "certified": "a claim that rests on enclosures, or its control",
    "measured": "a claim that rests on statistics, or its control",
    "control": "a negative control, which must be refuted",
    "crosscheck": "a check of an optimizer given by --nntk-optimizer",
}

_OPTIONS = {
    **{name: f"--nntk-{name}" for name in ("data", "profile", "rtol", "residual", "form", "effort", "seed", "device", "dtype")},
    "expected_failures": "--nntk-xfail",
}
"""The options that arguments of Python come from."""

_ROOT = "nntk"
"""The first part of the items' node ids, where those of other tests have a file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Effort and seed; the data set of the verification; the optimizers to cross-check, and how."""
    group = parser.getgroup("nntk", "verification of the regularized Newton method's theory, and cross-check of optimizers")
    group.addoption("--nntk-effort", choices=EFFORTS, default="default", help="how many cases, and how large")
    group.addoption("--nntk-data", metavar="FILE", help="CSV (last column y) or NPZ (X, y); default: 16 points of a curve")
    group.addoption("--nntk-seed", type=int, default=0, metavar="INT", help="which networks are drawn (default: 0)")
    group.addoption(
        "--nntk-optimizer",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="cross-check this optimizer, one test for each check, marked crosscheck; may be repeated",
    )
    group.addoption(
        "--nntk-profile",
        default="exact-newton",
        metavar="NAME",
        help="what the optimizers claim to be: exact-newton (default), gauss-newton, approximate-newton or first-order",
    )
    group.addoption(
        "--nntk-rtol",
        type=float,
        metavar="FLOAT",
        help="relative error that a step may have (approximate-newton; default: 1e-3)",
    )
    group.addoption("--nntk-residual", type=float, metavar="FLOAT", help="what |A step + g| / |g| may be (approximate-newton)")
    group.addoption("--nntk-form", metavar="NAME", help="what the factories are: torch, object or function (default: guessed)")
    group.addoption("--nntk-strict", action="store_true", help="findings about behaviour fail as well (default: xfail)")
    group.addoption(
        "--nntk-xfail",
        metavar="FILE",
        help="lines `check: reason` or `check: error: reason`, of checks that the optimizers are known to fail",
    )
    group.addoption("--nntk-dtype", default="float64", metavar="NAME", help="float64 (default) or float32")
    group.addoption("--nntk-device", default="cpu", metavar="NAME", help="where torch computes (default: cpu)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the cross-check if there is an optimizer to check."""
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if config.getoption("nntk_optimizer"):
        config.pluginmanager.register(_CrossCheck(config), "nntk-crosscheck")


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
        pytest.exit(f"nntk: {_told(error)}", returncode=pytest.ExitCode.USAGE_ERROR)


def _told(error: InputError) -> str:
    """The complaint, under the name of the option that the argument came from."""
    return _OPTIONS.get(error.argument, error.argument) + str(error).removeprefix(error.argument)


# --- the cross-check -----------------------------------------------------------------------------------------------------


class _CrossCheck:
    """The hooks of a run with --nntk-optimizer. Raises UsageError for options that are at fault."""

    def __init__(self, config: pytest.Config) -> None:
        self.candidates = _candidates(config)
        self.chosen = _take_node_ids(config.args, [_node_id(c.name, id) for c in self.candidates for id in c.ids])
        self.results: dict[tuple[str, str], dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the checks to what the session collects, whatever files there are."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result.append(OptimizersCollector.from_parent(collector, name=_ROOT, nodeid=_ROOT, plugin=self))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what the summary needs; the reports come from other processes, too."""
        told = dict(report.user_properties)
        if report.when == "call" and "nntk-check" in told:
            self.results[str(told["nntk-optimizer"]), str(told["nntk-check"])] = told

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A section for each optimizer of which a check was run."""
        for candidate in self.candidates:
            keys = {id: (candidate.name, id) for id in candidate.ids}
            results = {id: self.results[key] for id, key in keys.items() if key in self.results}
            if results:
                terminalreporter.section(f"cross-check of {candidate.name} as {candidate.arguments['profile']}")
                for line in _summary(candidate, results):
                    terminalreporter.write_line(line)


def _candidates(config: pytest.Config) -> list[Candidate]:
    from nntk.crosscheck import FactoryError, read_expected_failures
    from nntk.crosscheck.testing import candidate
    from nntk_reference import InputError

    names = ("profile", "rtol", "residual", "form", "effort", "seed", "device", "dtype", "strict")
    arguments = {name: config.getoption(f"nntk_{name}") for name in names}
    found, name = [], ""
    try:
        expected = read_expected_failures(config.getoption("nntk_xfail"))
        for name in dict.fromkeys(config.getoption("nntk_optimizer")):
            found.append(candidate(name, expected_failures=expected, **arguments))
    except FactoryError as error:
        raise pytest.UsageError(f"nntk: --nntk-optimizer {name}: {error}") from error
    except InputError as error:
        raise pytest.UsageError(f"nntk: {_told(error)}") from error
    return found


def _node_id(*parts: str) -> str:
    return "::".join((_ROOT, *parts))


def _take_node_ids(args: list[str], known: Sequence[str]) -> list[str]:
    """The checks that the command line selects by node id, or all. Taken off `args`, where pytest would look for files."""
    given = [arg for arg in args if arg.startswith(f"{_ROOT}::")]
    for arg in given:
        if not any(f"{id}::".startswith(f"{arg}::") for id in known):
            raise pytest.UsageError(f"nntk: not found: {arg}")
        args.remove(arg)
    return [id for id in known if not given or any(f"{id}::".startswith(f"{arg}::") for arg in given)]


class OptimizersCollector(pytest.Collector):
    """Every optimizer given by --nntk-optimizer."""

    def __init__(self, *, plugin: _CrossCheck, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin = plugin

    def collect(self) -> Iterator[OptimizerCollector]:
        for candidate in self.plugin.candidates:
            yield OptimizerCollector.from_parent(
                self, name=candidate.name, nodeid=_node_id(candidate.name), candidate=candidate, chosen=self.plugin.chosen
            )


class OptimizerCollector(pytest.Collector):
    """The checks of one optimizer."""

    def __init__(self, *, candidate: Candidate, chosen: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate, self.chosen = candidate, chosen

    def collect(self) -> Iterator[CheckItem]:
        for id in self.candidate.ids:
            if _node_id(self.name, id) in self.chosen:
                yield CheckItem.from_parent(self, name=id, nodeid=_node_id(self.name, id), candidate=self.candidate)


class CheckItem(pytest.Item):
    """One check of one optimizer."""

    def __init__(self, *, candidate: Candidate, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.add_marker(pytest.mark.crosscheck)

    def runtest(self) -> None:
        result = self.candidate.run(self.name)
        self.user_properties += self.candidate.properties(result)
        if result.outcome == "skipped":
            pytest.skip(result.finding.why)
        if self.name in self.candidate.expected and result.outcome != "error":  # one that the reason covers is xfailed
            self.add_marker(pytest.mark.xfail(reason=self.candidate.expected[self.name], strict=True))
        if complaint := self.candidate.complaint(result):
            if self.candidate.tolerates(result):
                pytest.xfail(complaint)
            pytest.fail(complaint, pytrace=False)  # it says everything; a traceback would show our own frames

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.rootpath / _ROOT, None, f"{self.name} of {self.candidate.name}"


_OUTCOMES = ("passed", "failed", "undecided", "error", "xpassed", "xfailed", "skipped", "informative")


def _summary(candidate: Candidate, results: dict[str, dict[str, Any]]) -> Iterator[str]:
    ids = {outcome: [id for id, told in results.items() if told["nntk-outcome"] == outcome] for outcome in _OUTCOMES}
    cases = sum(int(told["nntk-cases"]) for told in results.values())
    counts = ", ".join(f"{len(found)} {outcome}" for outcome, found in ids.items() if found)
    yield f"{len(results)} of {len(candidate.ids)} checks ran, on {cases} cases: {counts}"
    for outcome in ("failed", "undecided", "error", "xpassed"):
        if ids[outcome]:
            yield f"{outcome}: {', '.join(ids[outcome])}"
    for id, told in results.items():
        reason = candidate.expected[id] if told["nntk-outcome"] == "xfailed" else told["nntk-why"]
        if told["nntk-outcome"] in ("xfailed", "skipped", "informative"):
            yield f"{told['nntk-outcome']} {id}: {reason}"
    if missing := [id for id in candidate.ids if id not in results]:
        yield f"not run: {', '.join(missing)}"
    for why in dict.fromkeys(candidate.left_out.values()):
        yield f"left out, {why}: {', '.join(id for id, reason in candidate.left_out.items() if reason == why)}"
    diagnoses = [told["nntk-diagnosis"] for told in results.values() if told["nntk-diagnosis"]]
    if diagnoses:
        yield from diagnoses[0].splitlines()
