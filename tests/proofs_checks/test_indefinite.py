"""`indefinite` rests on its witness or its inertia, and notices planted faults."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, indefinite, run
from nntk_reference import Ball, Verdict, activations, formulas, linalg, sample_network
from tests.proofs_checks.problems import line, plane, problem


def _patched_blocks(monkeypatch: pytest.MonkeyPatch, change) -> None:
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: change(original(s, r), s))


def test_indefinite_notices_a_dropped_residual_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    _patched_blocks(monkeypatch, lambda S, s: 0 * S)
    finding = run(CLAIMS["indefinite"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED
    assert finding.number == 0


def test_indefinite_is_refuted_where_the_inertia_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    _patched_blocks(monkeypatch, lambda S, s: S + 100 * np.eye(S.shape[1], dtype=int))
    finding = run(CLAIMS["indefinite"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why


@pytest.mark.control
@pytest.mark.parametrize("name", ["cholesky", "inertia"])
def test_the_control_of_indefinite_takes_the_path_of_the_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs that always succeed make the control hold, on which the run fails."""
    always = {"cholesky": lambda A, ar: A, "inertia": lambda A, ar: linalg.Inertia(len(A), 0, 0, 0)}
    monkeypatch.setattr(indefinite, name, always[name])
    control = run(CLAIMS["indefinite"], line(), Effort.QUICK).control
    assert control.verdict is Verdict.HOLDS


@pytest.mark.control
def test_the_control_of_indefinite_is_held_against_k_minus_m() -> None:
    """k is that of the same networks before they reach the data: of all neurons, N = M + 4 and M + 1."""
    for data in (line(), line(3), plane()):
        control = indefinite.control(data, Effort.QUICK)
        assert control.verdict is Verdict.REFUTED
        assert (control.number, control.relation, control.limit) == (0.0, "≥", 4.0)


@pytest.mark.control
@pytest.mark.parametrize("what", ["0", "noise", "identity"])
def test_the_control_of_indefinite_is_not_refuted_for_another_reason(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(S: np.ndarray, s: object) -> np.ndarray:
        A = np.random.default_rng(0).standard_normal(S.shape)
        return Ball(64).array(A + A.transpose(0, 2, 1))

    changes = {"0": lambda S, s: 0 * S, "noise": noise, "identity": lambda S, s: 0 * S + np.eye(S.shape[1], dtype=int)}
    _patched_blocks(monkeypatch, changes[what])
    control = indefinite.control(line(), Effort.QUICK)
    assert control.verdict is not Verdict.REFUTED
    assert what == "noise" or "not for the reason stated" in control.why


@pytest.mark.parametrize("few", [0, 1])
def test_k_is_counted_from_its_definition(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the blocks, which are what is under test: one that is lost has to be noticed where k - M is attained."""
    monkeypatch.setattr(indefinite, "_MOST_PARAMETERS", dict.fromkeys(Effort, 0))
    _patched_blocks(monkeypatch, lambda S, s: np.concatenate([S[:few], 0 * S[few:]]))
    finding = run(CLAIMS["indefinite"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED
    assert finding.limit == 4
    assert finding.number <= 2 * few


def test_slopes_are_the_first_rows_of_the_blocks() -> None:
    data = line(5)
    net = sample_network(7, 1, beta=0.75, seed=0)
    ar = Ball(64)
    state = formulas.state(ar, net, data.X)
    r = formulas.outputs(state) - ar.array(data.y)
    wanted = formulas.residual_hessian(state, r)[:, 0, 1:] * len(data.y) / state.scale
    difference = indefinite._slopes(state, r) - wanted
    assert all(v.contains(0) and v.rad() < 1e-12 for v in difference.flat)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[2000.0], [2001.0], [2002.0]], [2e5, 2.03e5, 1.98e5]),
        ([[0.0], [0.5], [1.0]], [1e200, -2e200, 3e200]),
        ([[1e160], [2e160]], [1.0, 2.0]),
    ],
)
def test_indefinite_at_extreme_scales_has_no_internal_error(X: list[list[float]], y: list[float]) -> None:
    result = run(CLAIMS["indefinite"], problem(X, y), Effort.QUICK)
    assert result.finding.verdict is not Verdict.REFUTED
    assert "internal error" not in result.finding.why + result.control.why


def test_indefinite_needs_its_witness_or_its_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness on which H is not negative proves nothing, and the verdict says so."""
    monkeypatch.setattr(indefinite, "_witness", lambda J, S, active, count: np.eye(S.shape[0] * S.shape[1])[:, :count])
    monkeypatch.setattr(indefinite, "_MOST_PARAMETERS", dict.fromkeys(Effort, 0))
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).finding.verdict is Verdict.UNDECIDED


def test_wrong_derivative_in_an_activation_is_noticed_by_indefinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """σ' = 0 removes every negative direction: nothing is proved."""
    entry = activations.ACTIVATIONS["tanh"]
    flat = activations.Activation("tanh", lambda z, ar: (ar.tanh(z), 0 * z, 0 * z), entry.suprema)
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", flat)
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).finding.verdict is not Verdict.HOLDS
