"""`positive-definite` holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import Certificate, bounds, newton_step, required_gamma, step, stream, sufficient_gamma
from nntk_accelerated import activations as accelerated_activations
from nntk_proofs_checks import Effort, Finding, Problem, positive_definite, run
from nntk_proofs_checks.ensemble import draw_network, to_torch
from nntk_reference import Ball, Verdict, formulas, hessian
from tests.proofs_checks.problems import DATA, SCALES, SHAPES, passed

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One narrow network, small ones of six neurons, and two steps: a planted fault shows there, too."""
    monkeypatch.setattr(positive_definite, "_WIDTHS", {Effort.QUICK: (2**8,)})
    monkeypatch.setattr(positive_definite, "_STEPS", {Effort.QUICK: 2})
    monkeypatch.setattr(positive_definite, "_PARAMETERS", {Effort.QUICK: 18})


@pytest.mark.parametrize("data", [*SHAPES, *SCALES])
def test_holds_and_control_is_refuted(data: str) -> None:
    result = passed(positive_definite.CLAIM, DATA[data])
    assert result.finding.number is not None
    assert result.finding.number > 0
    assert result.control.number is not None
    assert result.control.number >= 1
    margins, needed = result.finding.panels
    assert len(margins.series) == 4
    assert any(s.style == "dashed" for s in needed.series)


@pytest.mark.usefixtures("short")
def test_another_seed_draws_other_networks() -> None:
    line = DATA["line"]
    findings = [positive_definite.check(Problem(line.X, line.y, "test", seed), Effort.QUICK) for seed in (0, 0, 1)]
    assert findings[0].number == findings[1].number != findings[2].number
    assert all(f.verdict is Verdict.HOLDS for f in findings)


@pytest.mark.usefixtures("short")
def test_many_dimensions_leave_out_the_balls_and_say_so() -> None:
    rng = np.random.default_rng(0)
    finding = positive_definite.check(Problem(rng.standard_normal((6, 40)), rng.standard_normal(6), "test"), Effort.QUICK)
    assert finding.verdict is Verdict.HOLDS
    assert "40 dimensions" in finding.why


@pytest.mark.usefixtures("short")
def test_it_says_of_how_many_small_networks_h_itself_is_indefinite() -> None:
    width, X, y = positive_definite._points(DATA["line"], Effort.QUICK)
    nets = [draw_network(Problem(X, y, "test", 0), beta, width, 0) for beta in positive_definite._BETAS]
    negative = sum(bool(np.linalg.eigvalsh(hessian(net, X, y))[0] < 0) for net in nets)
    found = positive_definite._small(Problem(DATA["line"].X, DATA["line"].y, "test", 0), Effort.QUICK)
    assert found is not None
    assert f"H itself is indefinite in {negative} of {len(nets)} networks" in found.why
    assert negative == len(nets)


def test_bound_from_the_definitions_is_the_accelerated_one() -> None:
    data = DATA["plane"]
    net = draw_network(data, 0.75, 12, 0)
    fast = sufficient_gamma(to_torch(net), torch.tensor(data.X), torch.tensor(data.y))
    assert positive_definite._bound(net, data.X, data.y) == pytest.approx(fast, rel=1e-12)


def test_failing_condition_restarts_with_a_larger_gamma() -> None:
    def state(sufficient: float) -> positive_definite._State:
        return positive_definite._State(sufficient, Verdict.HOLDS, 0.1, 0, "")

    def train(gamma: float) -> tuple[positive_definite._State, ...]:
        return state(1.0), state(3.0 if gamma < 3 else 2.0)

    found = positive_definite._beyond("test", 1.0, train)
    assert (found.gamma, found.restarts) == (3.75, 1)
    growing = positive_definite._beyond("test", 1.0, lambda gamma: (state(2 * gamma),))
    assert positive_definite._finding([growing]).verdict is Verdict.UNDECIDED


def test_a_refutation_without_negative_eigenvalues_has_no_number() -> None:
    def finding(negative: int) -> Finding:
        state = positive_definite._State(1.0, Verdict.REFUTED, 0.0, negative, "another damping")
        return positive_definite._finding([positive_definite._Run("test", 2.0, (state,))])

    assert finding(3).number == 3
    assert finding(0).verdict is Verdict.REFUTED
    assert finding(0).number is None
    assert finding(0).limit is None


# ------------------------------------------------------------------------------------------------------------- planted faults


def _check() -> Verdict:
    return run(positive_definite.CLAIM, DATA["line"], Effort.QUICK).finding.verdict


@pytest.mark.usefixtures("short")
def test_wrong_sign_of_the_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = accelerated_activations.ACTIVATIONS["tanh"]

    def jets(z: torch.Tensor, order: int) -> tuple[torch.Tensor, ...]:
        values = entry.jets(z, order)
        return (*values[:2], -values[2]) if order == 2 else values

    monkeypatch.setitem(accelerated_activations.ACTIVATIONS, "tanh", replace(entry, jets=jets))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_dropped_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = stream.residual_blocks
    monkeypatch.setattr(stream, "residual_blocks", lambda task, r: 0 * original(task, r))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_damping_that_ignores_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "damping_of", lambda net, gamma, scaling="width": float(gamma))
    assert _check() is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", [0.3, 0.9])
def test_bound_that_is_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    original = bounds.rho_bound
    monkeypatch.setattr(bounds, "rho_bound", lambda *a: factor * original(*a))
    assert _check() is Verdict.REFUTED


def _certificates(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    monkeypatch.setattr(step, "certify", lambda *args, **options: certificate)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "certificate", [Certificate("positive definite", 0, 0, 1.0, "planted"), Certificate("indefinite", 1, 1, 0.0, "planted")]
)
def test_certificate_that_always_says_the_same_is_noticed(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the claim, on either side of the threshold that balls confirm; and the control then refutes nothing."""
    _certificates(monkeypatch, certificate)
    result = run(positive_definite.CLAIM, DATA["line"], Effort.QUICK)
    assert result.finding.verdict is Verdict.REFUTED
    assert result.control.verdict is not Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("part", ["_wide", "_small"])
def test_a_statement_five_percent_too_strong_is_refuted_by_either_part(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """(E16) is attained within 4 % on a line, so each part notices by itself, though both packages agree on the bound."""
    rho, bound = bounds.rho_bound, positive_definite._bound
    monkeypatch.setattr(bounds, "rho_bound", lambda *args: 0.95 * rho(*args))
    monkeypatch.setattr(positive_definite, "_bound", lambda *args: 0.95 * bound(*args))
    monkeypatch.setattr(positive_definite, "_WIDTHS", {Effort.QUICK: (10**4,)})
    monkeypatch.setattr(positive_definite, "_PARAMETERS", {Effort.QUICK: 36})
    found = getattr(positive_definite, part)(positive_definite.standardized(DATA["line"]), Effort.QUICK)
    assert found.verdict is Verdict.REFUTED, found.why


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", [1 - 1e-8, 1 + 1e-8, 1.05])
@pytest.mark.parametrize("package", ["accelerated", "definitions"])
def test_both_packages_have_the_same_bound(package: str, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = (bounds, "rho_bound") if package == "accelerated" else (positive_definite, "_bound")
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: factor * original(*args))
    assert _check() is Verdict.REFUTED


@pytest.mark.parametrize(("error", "verdict"), [(1e-13, Verdict.HOLDS), (1e-11, Verdict.REFUTED), (-1e-11, Verdict.REFUTED)])
def test_the_damping_is_held_to_its_rounding(error: float, verdict: Verdict) -> None:
    data = positive_definite.standardized(DATA["line"])
    net, X, y = to_torch(draw_network(data, 0.75, 64, 0)), torch.tensor(data.X), torch.tensor(data.y)
    needed = required_gamma(net, X, y, rtol=0.01)
    gamma = 1.25 * needed.sufficient
    taken = newton_step(net, X, y, gamma)
    state = positive_definite._state(net, gamma, needed, replace(taken, damping=taken.damping * (1 + error)))
    assert state.verdict is verdict
    if verdict is Verdict.HOLDS:  # the exact λ_min/γ_N, from either end of the threshold
        assert 1 - needed.upper / gamma <= state.margin <= 1 - needed.lower / gamma


def test_small_networks_have_several_points() -> None:
    """Half as many as neurons, so that H can be indefinite; the first and the last of the data among them."""
    width, X, y = positive_definite._points(DATA["line"], Effort.QUICK)
    assert (width, len(X), len(y)) == (12, 6, 6)
    assert {0.0, 1.0} <= set(X[:, 0])


# ---------------------------------------------------------------------------------------------------------------- the control


@pytest.mark.control
@pytest.mark.usefixtures("short")
def test_the_control_is_not_refuted_where_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """With γ beyond (E16) its code finds what the check finds."""
    monkeypatch.setattr(positive_definite, "_BELOW", 1 / positive_definite._BEYOND)
    monkeypatch.setattr(positive_definite, "_HALVINGS", 0)
    control = positive_definite.control(DATA["line"], Effort.QUICK)
    assert control.verdict is Verdict.HOLDS, control.why


@pytest.mark.control
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("size", [0.0, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("package", ["accelerated", "reference"])
def test_the_control_is_not_refuted_by_0_or_noise(package: str, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of S: 0, or noise from far below γ_N to beyond it."""
    rng = np.random.default_rng(0)
    if package == "accelerated":

        def store(task: Any, S: torch.Tensor, part: slice, *_: Any) -> None:
            S[:, part] = size * task.scale * torch.tensor(rng.standard_normal(S[:, part].shape))

        monkeypatch.setattr(stream, "_store", store)
    else:

        def blocks(s: formulas.State, r: np.ndarray) -> np.ndarray:
            A = size * float(s.scale) * rng.standard_normal((len(s.c), *[s.inputs.shape[1] + 1] * 2))
            return Ball(128).array(A + A.transpose(0, 2, 1))

        monkeypatch.setattr(formulas, "residual_hessian", blocks)
    assert positive_definite.control(DATA["line"], Effort.QUICK).verdict is not Verdict.REFUTED


@pytest.mark.control
def test_the_control_does_what_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """1/50 of (E16), halved at most ten times, after a look at 1.25 times (E16): in the code, the report and the documents."""
    seen: list[float] = []

    def train(gamma: float) -> tuple[positive_definite._State, ...]:
        seen.append(gamma)
        return (positive_definite._State(1.0, Verdict.HOLDS, 0.1, 0, ""),)

    assert positive_definite._below("test", 1.0, train).verdict is Verdict.HOLDS
    assert seen == [1.25, *(1 / 50 / 2**k for k in range(11))]
    row = "γ is 1/50 of what E16 asks for, or that halved at most 10 times, until H + γ_N I is proved indefinite at the start"
    assert f"| positive-definite | {row} |" in (DOCS / "verdicts.md").read_text(encoding="utf-8")
    assert "1/50 of E16, halved at most 10 times" in (DOCS / "theory.md").read_text(encoding="utf-8")
    assert "1/50 of (E16), or that halved at most 10 times" in positive_definite.CLAIM.control_reason


@pytest.mark.control
def test_the_control_stops_where_it_is_indefinite() -> None:
    def train(gamma: float) -> tuple[positive_definite._State, ...]:
        below = gamma < 1 / 150
        return (positive_definite._State(1.0, Verdict.REFUTED if below else Verdict.HOLDS, 0.1, 3 * below, ""),)

    found = positive_definite._below("test", 1.0, train)
    assert found.verdict is Verdict.REFUTED
    assert found.number == 3
    assert "γ = 0.005 " in found.why
    broken = positive_definite._below("test", 1.0, lambda gamma: train(0.0))
    assert broken.verdict is Verdict.UNDECIDED
    assert "not for the reason stated" in broken.why
    other = positive_definite._State(1.0, Verdict.REFUTED, 0.1, 0, "another damping")
    assert positive_definite._below("test", 1.0, lambda gamma: (other,)).verdict is Verdict.UNDECIDED


# -------------------------------------------------------------------------------------------------- certificates, once more


@pytest.mark.usefixtures("short")
def test_certificate_that_never_proves_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "certify", lambda *a, **k: Certificate("undecided", None, 0, 0.0, "planted"))
    assert _check() is Verdict.UNDECIDED
    width, X, y = positive_definite._points(DATA["line"], Effort.QUICK)
    net = draw_network(Problem(X, y, "test", 0), 0.75, width, 0)
    found = positive_definite._threshold(net, X, y, "test")
    assert (found.verdict, found.cases) == (Verdict.UNDECIDED, 1)
    assert "no certificate at γ" in found.why
