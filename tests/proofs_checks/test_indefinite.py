"""`indefinite` rests on its witness or its inertia, and notices planted faults."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, indefinite, run
from nntk_reference import Verdict, activations, formulas, linalg
from tests.proofs_checks.problems import line, problem


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


def test_the_control_of_indefinite_rests_on_the_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indefinite, "inertia", lambda A, ar: linalg.Inertia(0, 0, 0, len(A)))
    assert run(CLAIMS["indefinite"], line(), Effort.QUICK).control.verdict is Verdict.UNDECIDED


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
