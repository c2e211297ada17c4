"""The battery on optimizers whose faults are known (optimizers.py): each is told, and by the check that should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nntk.crosscheck import CHECKS, PROFILES, FactoryError, Report, check_optimizer, diagnosis
from nntk.crosscheck.battery import plan
from nntk.crosscheck.report import as_text
from nntk.reporting.envelope import NOT_FINISHED
from nntk_reference import InputError
from tests.nntk import optimizers

ROOT = Path(__file__).parents[3]


def told(report: Report) -> str:
    return "\n".join([*(d.words for d in report.diagnosis), *(r.finding.why for r in report.failed)])


# --- right ones are accepted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [id for id in optimizers.RIGHT if id != "right_sharded"])
def test_right_optimizers_are_accepted(id: str) -> None:
    entry = optimizers.RIGHT[id]
    report = check_optimizer(entry.factory, entry.profile, effort="quick")
    assert report.passed, as_text(report)
    judged = [r for r in report.results if r.outcome == "passed"]
    assert len(judged) >= len(PROFILES) * 4  # of all that judge; forms without a learning rate or a state skip some
    assert {d.id for d in report.diagnosis} <= {"newton", "gauss-newton", "refused"}


def test_a_right_sharded_optimizer_is_accepted() -> None:
    # In a process of its own: a process group is global state, which other tests of this process may have made.
    only = "step-matches,trajectory,whole-data,neuron-permutation,mode-rates"
    options = "crosscheck", "tests.nntk.optimizers:right_sharded", "--quick", "--only", only
    run = subprocess.run([sys.executable, "-m", "nntk", *options], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 checks on " in run.stdout


def test_float32_is_judged_by_its_own_limits() -> None:
    assert check_optimizer(optimizers.right_dense, effort="quick", dtype="float32", skip=["cost"]).passed
    report = check_optimizer(optimizers.half_residual, effort="quick", dtype="float32", only=["step-matches"])
    assert not report.passed
    assert "half the residual" in told(report)


def test_right_whatever_the_default_device() -> None:
    """Here "meta", on which nothing can be computed: what forgets to say where it belongs fails as it would on a GPU."""
    with torch.device("meta"):
        report = check_optimizer(optimizers.right_object, effort="quick", skip=["cost"])
    assert report.passed, as_text(report)


@pytest.mark.gpu
def test_right_on_a_gpu() -> None:
    report = check_optimizer(optimizers.right_object, effort="quick", device="cuda")
    assert report.passed, as_text(report)


# --- wrong ones are refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", optimizers.FAULTS)
def test_faults_are_refused_by_the_check_that_should(id: str) -> None:
    fault = optimizers.FAULTS[id]
    name, about = f"tests.nntk.optimizers:{id}", {CHECKS[check].about for check in fault.refused_by}
    report = check_optimizer(fault.factory, effort="quick", only=fault.refused_by, name=name, strict=True)
    assert (report.passed, report.accepted) == (False, about == {"behaviour"})
    for check in fault.refused_by:
        assert report[check].outcome in ("failed", "error"), f"{check}: {report[check].finding.why}"
    assert fault.diagnosis.lower() in told(report).lower(), told(report)


def test_the_diagnosis_has_a_vote() -> None:
    """Every check that is run passes, and the steps are not the profile's."""
    half = optimizers.half_residual
    report = check_optimizer(half, effort="quick", only=["deterministic"])
    assert report["deterministic"].outcome == "passed"
    assert (report.accepted, [d.group for d in report.wrong_steps]) == (False, ["definite", "indefinite", "consecutive"])
    assert "the step: refused (by what the diagnosis saw: definite, indefinite, consecutive)" in as_text(report)
    assert check_optimizer(half, effort="quick", only=["deterministic"], diagnose=False).passed
    assert check_optimizer(half, "first-order", effort="quick", only=["deterministic"]).passed  # which prescribes no step
    assert check_optimizer(optimizers.right_dense, effort="quick", only=["deterministic"]).passed


def test_steps_that_could_not_be_diagnosed_are_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a check that ends in an error: what was not seen has no vote for it."""
    right = optimizers.right_dense

    def broken(*args: object) -> None:
        raise ZeroDivisionError("planted")

    assert check_optimizer(right, effort="quick", only=["deterministic"]).accepted
    monkeypatch.setattr(diagnosis, "diagnose", broken)
    report = check_optimizer(right, effort="quick", only=["deterministic"])
    assert report["deterministic"].outcome == "passed"
    assert (report.accepted, [d.words for d in report.wrong_steps]) == (False, ["internal error: ZeroDivisionError: planted"])


def test_what_is_expected_of_a_check_is_expected_of_the_same_steps_in_the_diagnosis() -> None:
    half, known = optimizers.half_residual, {"step-matches": "known"}
    only = ["step-matches,deterministic"]
    report = check_optimizer(half, effort="quick", only=only, expected_failures=known)
    assert report.passed
    assert report.wrong_steps == ()
    assert {d.group for d in report.diagnosis if d.refuses} == {"definite", "indefinite", "consecutive", "step-matches"}
    report = check_optimizer(half, effort="quick", only=["trajectory"], expected_failures={"trajectory": "known"})
    assert [d.group for d in report.wrong_steps] == ["definite", "indefinite"]


def test_the_smallest_failing_case_of_each_check_is_diagnosed() -> None:
    report = check_optimizer(optimizers.half_residual, effort="quick", only=["step-matches,scheduler,sign-symmetry"])
    of_checks = {d.group: d.words for d in report.diagnosis if d.group in CHECKS}
    assert of_checks.keys() == {"step-matches", "scheduler"}
    assert all(words.startswith("Newton with half the residual term S, to ") for words in of_checks.values())


def test_there_are_enough_faults_and_every_check_refuses_one() -> None:
    assert len(optimizers.FAULTS) >= 25
    refusing = {check for fault in optimizers.FAULTS.values() for check in fault.refused_by}
    # width-exponent and mode-rates compare numbers with the exact step's: below, on the gradient. The last two judge nothing.
    assert set(CHECKS) - refusing <= {"width-exponent", "mode-rates", "cost", "evaluations"}


def test_a_gradient_step_has_another_width_exponent_and_other_mode_rates() -> None:
    report = check_optimizer(optimizers.gradient, effort="quick", only=["width-exponent,mode-rates"], diagnose=False)
    assert [r.outcome for r in report.results] == ["failed", "failed"]


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


# --- profiles, expected failures, interrupts -----------------------------------------------------------------------------


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
    ("options", "words"),
    [
        ({"profile": "newton"}, "profile"),
        ({"only": ["step-match"]}, "did you mean 'step-matches'"),
        ({"skip": ["nothing"]}, "skip"),
        ({"effort": "huge"}, "effort"),
        ({"dtype": "float16"}, "dtype"),
        ({"device": "cuda:99"}, "device"),
        ({"rtol": 1e-3}, "approximate-newton"),
        ({"residual": 1e-3}, "residual: expected none, unless the profile is approximate-newton"),
        ({"form": "closure"}, "form"),
        ({"profile": "approximate-newton", "rtol": 2.0}, "below 1"),
        ({"seed": -1}, "seed: expected an integer from 0 to 4294967295, got -1"),
        ({"time_limit": 0.0}, "time_limit"),
        ({"profile": "first-order", "only": ["precision"]}, "first-order"),
        ({"expected_failures": {"unknown": "x"}}, "expected_failures: expected one of .* got 'unknown'"),
    ],
)
def test_bad_options_are_named_before_any_work(options: dict[str, object], words: str) -> None:
    def untouched(model: object, X: object, y: object, damping: float) -> None:
        raise AssertionError("made before the options were looked at")

    with pytest.raises(InputError, match=words):
        check_optimizer(untouched, **options)  # type: ignore[arg-type]


def test_what_was_not_finished_is_left_out_and_says_so() -> None:
    """Interrupted in its second check: one result, kept on the way, and reasons for all the others."""
    seen: list[Report] = []

    def interrupt(id: str) -> None:
        if id == "data-permutation":
            raise KeyboardInterrupt

    ids = "neuron-permutation,data-permutation,sign-symmetry"
    report = check_optimizer(optimizers.right_numpy, only=[ids], effort="quick", progress=interrupt, kept=seen.append)
    assert not report.complete
    assert not report.passed
    assert [r.id for r in report.results] == ["neuron-permutation"]
    assert {id for id, why in report.left_out.items() if why == NOT_FINISHED} == {"data-permutation", "sign-symmetry"}
    assert set(report.left_out) | {"neuron-permutation"} == set(CHECKS)
    assert list(report.left_out) == [id for id in CHECKS if id in report.left_out]
    assert [len(r.results) for r in seen] == [0, 1]
    assert not any(r.complete or r.passed for r in seen)


def test_planning_makes_no_optimizer() -> None:
    def untouched(model: object, X: object, y: object, damping: float) -> None:
        raise AssertionError("made")

    made = plan(untouched, only=["cost"], expected_failures={"cost": "slow"}, seed=3)
    assert [check.id for check in made.checks] == ["cost"]
    assert set(made.left_out) == set(CHECKS) - {"cost"}
    assert made.expected == {"cost": "slow"}
    assert made.setting(made.subject()).seed == 3
