"""`push-through` notices wrong blocks, Jacobians and Gram matrices."""

from __future__ import annotations

import pytest

from nntk_proofs_checks import CLAIMS, Effort, run
from nntk_reference import Verdict, formulas
from tests.proofs_checks.problems import line


def _negate_curvature(S, s):
    S[:, 1:, 1:] = -S[:, 1:, 1:]
    return S


def _drop_mixed(S, s):
    S[:, 0, 1:] = S[:, 1:, 0] = 0 * S[:, 0, 1:]
    return S


BLOCK_FAULTS = {
    "wrong sign of σ''": _negate_curvature,
    "missing 1/M": lambda S, s: S * len(s.inputs),
    "scale applied twice": lambda S, s: S * s.scale,
    "no mixed derivatives": _drop_mixed,
    "half the residual term": lambda S, s: S / 2,
}


@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_push_through_notices_wrong_blocks(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: BLOCK_FAULTS[fault](original(s, r), s))
    finding = run(CLAIMS["push-through"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why
    assert "(E4)" in finding.why


@pytest.mark.parametrize("fault", ["missing c", "transposed", "without 1/M"])
def test_push_through_notices_a_wrong_jacobian_or_gram_matrix(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jacobian, gram = formulas.jacobian, formulas.gauss_newton_matrix
    if fault == "missing c":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s._replace(c=s.c * 0 + 1)))
    elif fault == "transposed":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s)[:, ::-1])
    else:
        monkeypatch.setattr(formulas, "gauss_newton_matrix", lambda s: gram(s) * len(s.inputs))
    assert run(CLAIMS["push-through"], line(), Effort.QUICK).finding.verdict is Verdict.REFUTED
