"""The cross-check on optimizers whose faults are known (optimizers.py): each is told, and by the check that should."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from nntk.cli import app
from nntk.crosscheck import CHECKS, EXPLANATIONS, PROFILES, FactoryError, Report, check_optimizer, read_expected_failures
from nntk.crosscheck.case import EPS, family, ladder, normal_data
from nntk.crosscheck.report import as_text, card, record
from nntk_reference import InputError, Network, gauss_newton_step, newton_step
from tests.nntk import optimizers

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def told(report: Report) -> str:
    return "\n".join([*(d.words for d in report.diagnosis), *(r.finding.why for r in report.failed)])


# --- right ones are accepted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [id for id in optimizers.RIGHT if id != "right_sharded"])
def test_right_optimizers_are_accepted(id: str) -> None:
    entry = optimizers.RIGHT[id]
    report = check_optimizer(entry.factory, entry.profile, effort="quick")
    assert report.passed, as_text(report)
    judged = [r for r in report.results if r.outcome == "passed"]
    assert len(judged) >= len(PROFILES) * 4  # of 21 that judge; forms without a learning rate or a state skip some
    assert {d.id for d in report.diagnosis} <= {"newton", "gauss-newton", "refused"}


def test_a_right_sharded_optimizer_is_accepted() -> None:
    # In a process of its own: a process group is global state, which other tests of this process may have made.
    only = "step-matches,trajectory,whole-data,neuron-permutation,mode-rates"
    options = "crosscheck", "optimizers:right_sharded", "--quick", "--only", only
    run = subprocess.run([sys.executable, "-m", "nntk", *options], cwd=FOLDER, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 checks on " in run.stdout


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) for id in optimizers.RIGHT if "sharded" not in id])
def test_no_false_alarm_over_thirty_fresh_seeds(id: str) -> None:
    entry = optimizers.RIGHT[id]
    for seed in range(1000, 1030):
        report = check_optimizer(entry.factory, entry.profile, effort="quick", seed=seed, skip=["cost"])
        assert report.passed, f"seed {seed}\n{as_text(report)}"


def test_float32_is_judged_by_its_own_limits() -> None:
    assert check_optimizer(optimizers.right_dense, effort="quick", dtype="float32", skip=["cost"]).passed
    report = check_optimizer(optimizers.half_residual, effort="quick", dtype="float32", only=["step-matches"])
    assert not report.passed
    assert "half the residual" in told(report)


@pytest.mark.gpu
def test_right_on_a_gpu() -> None:
    report = check_optimizer(optimizers.right_object, effort="quick", device="cuda")
    assert report.passed, as_text(report)


# --- wrong ones are refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", optimizers.FAULTS)
def test_faults_are_refused_by_the_check_that_should(id: str) -> None:
    fault = optimizers.FAULTS[id]
    report = check_optimizer(fault.factory, effort="quick", only=fault.refused_by, name=f"optimizers:{id}")
    assert not report.passed
    for check in fault.refused_by:
        assert report[check].outcome in ("failed", "error"), f"{check}: {report[check].finding.why}"
    assert fault.diagnosis.lower() in told(report).lower(), told(report)


def test_there_are_enough_faults_and_every_check_refuses_one() -> None:
    assert len(optimizers.FAULTS) >= 25
    refusing = {check for fault in optimizers.FAULTS.values() for check in fault.refused_by}
    # width-exponent and mode-rates compare numbers with the exact step's: below, on the gradient.
    assert set(CHECKS) - refusing <= {"width-exponent", "mode-rates", "cost"}


def test_a_gradient_step_has_another_width_exponent_and_other_mode_rates() -> None:
    report = check_optimizer(optimizers.gradient, effort="quick", only=["width-exponent,mode-rates"], diagnose=False)
    assert [r.outcome for r in report.results] == ["failed", "failed"]


def test_a_snippet_shows_the_failure_by_itself(tmp_path: Path) -> None:
    report = check_optimizer("optimizers:half_residual", effort="quick", only=["step-matches"], diagnose=False)
    failure = report["step-matches"].failure
    assert failure is not None
    run = subprocess.run([sys.executable, "-c", failure.snippet], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert float(run.stdout.split()[-1]) == pytest.approx(failure.number, rel=1e-6)


@pytest.mark.parametrize("id", ["function_half_residual", "object_gradient", "passes_nan_on"])
def test_snippets_of_other_forms_run(id: str) -> None:
    check = "non-finite" if id == "passes_nan_on" else "step-matches"
    report = check_optimizer(f"optimizers:{id}", effort="quick", only=[check], diagnose=False)
    failure = report[check].failure
    assert failure is not None
    run = subprocess.run([sys.executable, "-c", failure.snippet], cwd=FOLDER, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "nan" in run.stdout if id == "passes_nan_on" else float(run.stdout.split()[-1]) > 1e-6


# --- those that cannot be used -------------------------------------------------------------------------------------------

UNUSABLE = {"returns_none", "returns_list", "takes_two_arguments"}


@pytest.mark.parametrize("id", optimizers.BAD)
def test_bad_subjects_are_named_and_end_no_run(id: str, capfd: pytest.CaptureFixture[str]) -> None:
    bad = optimizers.BAD[id]
    only = ["step-matches,step-size-honoured,trajectory"]
    if id in UNUSABLE:
        with pytest.raises(FactoryError, match=bad.says.replace("(", r"\(").replace(")", r"\)")):
            check_optimizer(bad.factory, effort="quick", only=only)
        return
    report = check_optimizer(bad.factory, effort="quick", only=only, time_limit=0.5 if id in ("sleeps", "spins") else 60)
    assert report.complete
    text = as_text(report)
    assert bad.says in text
    assert capfd.readouterr().out == ""  # what it prints does not reach the caller
    if id == "prints":
        assert "prints: " in text
        assert report.passed
        return
    assert not report.passed
    assert any(r.outcome == "error" for r in report.results)


def test_a_traceback_is_shown_once_and_has_the_users_frames_only() -> None:
    report = check_optimizer(optimizers.raises_in_third_step, effort="quick", only=["trajectory,fresh-curvature"])
    text = as_text(report)
    assert text.count("raise error\n") == 1
    trace = report["trajectory"].trace
    assert "optimizers.py" in trace
    assert "crosscheck" not in trace
    assert "torch/optim" not in trace


def test_global_state_is_restored() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    for id in ("seeds_torch", "sets_default_dtype", "sets_threads"):
        check_optimizer(optimizers.FAULTS[id].factory, effort="quick", only=["no-side-effects"], diagnose=False)
    after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


# --- profiles, options, expected failures --------------------------------------------------------------------------------


def test_profiles_say_which_checks_run_and_why_others_do_not() -> None:
    report = check_optimizer(optimizers.gradient, "first-order", effort="quick", skip=["cost"])
    assert report.passed, as_text(report)
    assert report.left_out["step-matches"] == "not part of the profile first-order"
    assert report.left_out["cost"] == "skipped on request"
    assert {r.outcome for r in report.results if r.id in ("width-exponent", "mode-rates")} == {"informative"}
    assert all(d.id == "gradient" for d in report.diagnosis)


def test_an_approximate_newton_is_held_against_rtol() -> None:
    fault = optimizers.FAULTS["noise"].factory  # a relative error of 1e-5
    skip = ["cost", "deterministic", "state-dict"]
    assert check_optimizer(fault, "approximate-newton", rtol=1e-3, effort="quick", skip=skip).passed
    report = check_optimizer(fault, "approximate-newton", rtol=1e-6, effort="quick", only=["step-matches"])
    assert report["step-matches"].outcome == "failed"


def test_gauss_newton_is_refused_as_newton_and_accepted_as_itself() -> None:
    factory = optimizers.RIGHT["right_gauss_newton"].factory
    assert not check_optimizer(factory, effort="quick", only=["step-matches"], diagnose=False).passed
    assert check_optimizer(factory, "gauss-newton", effort="quick", only=["step-matches"], diagnose=False).passed


def test_expected_failures_are_strict(tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    file.write_text("# known\nstep-matches: Gauss-Newton by design  \n\ndeterministic: by mistake\n")
    factory = optimizers.FAULTS["gauss_newton"].factory
    report = check_optimizer(factory, effort="quick", only=["step-matches,deterministic"], expected_failures=file)
    assert report["step-matches"].outcome == "xfailed"
    assert report["step-matches"].expected == "Gauss-Newton by design"
    assert report["deterministic"].outcome == "xpassed"
    assert not report.passed
    assert check_optimizer(
        factory, effort="quick", only=["step-matches"], expected_failures={"step-matches": "by design"}, diagnose=False
    ).passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step-matches", "no reason"),
        ("stepmatches: why", "no such check"),
        ("step-matches: a\nstep-matches: b", "again"),
        (b"\xff\xfe", "xfail"),
    ],
)
def test_bad_files_of_expected_failures(text: str | bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=words):
        read_expected_failures(file)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "newton"}, "profile"),
        ({"only": ["step-match"]}, "did you mean 'step-matches'"),
        ({"skip": ["nothing"]}, "skip"),
        ({"effort": "huge"}, "effort"),
        ({"dtype": "float16"}, "dtype"),
        ({"device": "cuda:99"}, "device"),
        ({"rtol": 1e-3}, "approximate-newton"),
        ({"profile": "approximate-newton", "rtol": 2.0}, "below 1"),
        ({"seed": -1}, "seed"),
        ({"time_limit": 0.0}, "time_limit"),
        ({"profile": "first-order", "only": ["precision"]}, "first-order"),
        ({"expected_failures": {"unknown": "x"}}, "no such check"),
    ],
)
def test_bad_options_are_named_before_any_work(options: dict[str, object], words: str) -> None:
    def untouched(model: object, X: object, y: object, damping: float) -> None:
        raise AssertionError("made before the options were looked at")

    with pytest.raises(InputError, match=words):
        check_optimizer(untouched, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module:make", "no module 'no_such_module'"),
        ("optimizers:no_such_name", "no_such_name"),
        ("optimizers:right_dens", "did you mean 'right_dense'"),
        ("optimizers", "package.module:factory"),
        ("optimizers:ACTIVATIONS", "callable"),
    ],
)
def test_factories_that_cannot_be_found(path: str, words: str) -> None:
    with pytest.raises(FactoryError, match=words):
        check_optimizer(path)


# --- what the limits rest on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("kind", ["definite", "indefinite", "ascent", "nearly singular"])
def test_cases_are_of_their_kind(kind: str, dtype: str) -> None:
    for seed in range(3):
        for at in ladder(kind, seed, dtype):
            point = at.start
            assert (point.negative > 0) == (kind in ("indefinite", "ascent")) or kind == "nearly singular"
            assert (point.newton.step @ point.gradient > 0) == (kind == "ascent") or kind in ("indefinite", "nearly singular")
            assert point.newton.limit(dtype) < (1e-4 if dtype == "float64" else 0.2)
            if dtype == "float64":
                assert point.newton.arbiter(point.newton.step) <= point.newton.limit(dtype) / 30
            else:
                assert np.array_equal(at.theta, at.theta.astype(np.float32))


def test_the_targets_are_the_references_steps() -> None:
    at = family(8, *normal_data(2, 4, 3, "float64"), seed=3, dtype="float64")
    p, theta = at.problem, at.theta
    net = Network(theta[:, 0], theta[:, 1:-1], theta[:, -1], p.beta, p.activation)
    for target, step in ((at.start.newton, newton_step), (at.start.gauss_newton_target, gauss_newton_step)):
        expected = step(net, p.X, p.y, 1.0).update.reshape(-1)
        assert target.error(expected) <= target.limit("float64")


@pytest.mark.parametrize("dtype", EPS)
def test_both_sides_of_the_limit(dtype: str) -> None:
    for at in ladder("definite", 0, dtype):
        target = at.start.newton
        direction = np.ones(at.theta.size) / math.sqrt(at.theta.size) * np.linalg.norm(target.step)
        limit = target.limit(dtype)
        assert target.error(target.step + 0.9 * limit * direction) <= limit
        assert target.error(target.step + 1.1 * limit * direction) > limit


def test_no_two_explanations_share_an_id() -> None:
    ids = [e.id for e in EXPLANATIONS]
    assert len(ids) == len(set(ids))
    assert [e.fitted for e in EXPLANATIONS] == sorted(e.fitted for e in EXPLANATIONS)


# --- reports -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refused() -> Report:
    return check_optimizer("optimizers:half_residual", effort="quick", skip=["cost"])


def test_json_holds_what_its_table_says(refused: Report) -> None:
    from nntk.crosscheck import report as module

    made = json.loads(json.dumps(record(refused), allow_nan=False))
    rows = [line.split("|")[1].strip() for line in (module.__doc__ or "").splitlines() if line.startswith("| ")][1:]
    top = {key for row in rows if not row.startswith("–") for key in row.replace(" ", "").split(",")}
    inner = {key for row in rows if row.startswith("–") for key in row.removeprefix("–").replace(" ", "").split(",")}
    assert set(made) == top
    assert all(set(check) == inner for check in made["checks"])
    assert made["passed"] is False
    assert made["diagnosis"][0]["id"] == "residual-share"


def test_text_has_every_check_the_diagnosis_and_a_program(refused: Report) -> None:
    text = as_text(refused)
    for result in refused.results:
        assert f"\n{result.id} " in text
    assert "Newton with half the residual term S" in text
    assert "from optimizers import half_residual" in text
    assert text.splitlines()[-1].startswith("refused: 21 checks on ")


def test_card_is_whole_and_escaped(refused: Report) -> None:
    page = card(refused)
    assert page.startswith("<!doctype html>")
    assert "half the residual term" in page
    assert page.count("<svg") >= 4  # damping, trajectory, width exponent, spectral bias
    for id in ("damping-honoured", "trajectory", "width-exponent", "mode-rates"):
        assert f'<section id="{id}">' in page


# --- the command line ----------------------------------------------------------------------------------------------------


def crosscheck(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["crosscheck", *arguments])


def test_command_line(tmp_path: Path) -> None:
    files = tmp_path / "card.json", tmp_path / "card.html"
    options = "--quick", "--only", "step-matches,damping-honoured", "--json", str(files[0]), "--html", str(files[1])
    run = crosscheck("optimizers:gauss_newton", *options)
    assert run.exit_code == 1, run.stderr
    assert run.stderr == ""
    assert "definite: Gauss–Newton (no residual term S), to " in run.stdout
    assert "refused: 2 checks on " in run.stdout
    made = json.loads(files[0].read_text())
    assert [check["outcome"] for check in made["checks"]] == ["failed", "failed"]
    assert files[1].read_text().startswith("<!doctype html>")
    options = "crosscheck", "optimizers:right_gauss_newton", "--quick", "--profile", "gauss-newton", "--only", "step-matches"
    again = subprocess.run([sys.executable, "-m", "nntk", *options], cwd=FOLDER, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "accepted: 1 check on " in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere:make",), "nntk: factory: expected"),
        (("optimizers:takes_two_arguments",), "factory(model, X, y, damping)"),
        (("optimizers:returns_none",), "got None"),
        (("optimizers:right_dense", "--only", "nothing"), "did you mean"),
        (("optimizers:right_dense", "--profile", "sgd"), "profile"),
        (("optimizers:right_dense", "--device", "cuda:99"), "device"),
        (("optimizers:right_dense", "--xfail", "no/such/file"), "xfail"),
        (("optimizers:right_dense", "--quick", "--full"), "--quick"),
        (("optimizers:right_dense", "--json", "no/such/folder/x.json"), "--json"),
    ],
)
def test_bad_usage_ends_in_one_line_and_code_2(arguments: tuple[str, ...], words: str) -> None:
    run = crosscheck(*arguments)
    assert run.exit_code == 2, run.stdout + run.stderr
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert words in run.stderr


def test_the_guide_lists_every_check_and_profile() -> None:
    guide = (FOLDER.parents[1] / "docs" / "crosscheck.md").read_text("utf-8")
    for id, check in CHECKS.items():
        assert f"| `{id}` | {check.statement}" in guide
    assert all(f"| `{name}`" in guide for name in PROFILES)
