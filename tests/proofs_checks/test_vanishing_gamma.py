"""`vanishing-gamma` holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import spectrum, stream
from nntk_accelerated.certificate import Certificate
from nntk_proofs_checks import Effort, Finding, Problem, run, vanishing_gamma
from nntk_proofs_checks.ensemble import sampled
from nntk_reference import Verdict, hessian, outputs

_X = np.linspace(0, 1, 8)
_PLANE = np.random.default_rng(5).uniform(-1, 1, (12, 2))
_LINE = 2 * _X + 0.4 * np.sin(5 * np.pi * _X)

DATA = {
    "line": Problem(_X[:, None], _LINE, "test"),
    "plane": Problem(_PLANE, _PLANE[:, 0] * _PLANE[:, 1] + 0.3, "test"),
    "two points": Problem(_X[[0, -1], None], _LINE[[0, -1]], "test"),
    "small targets": Problem(_X[:, None], 1e-3 * _LINE, "test"),
    "large targets": Problem(_X[:, None], 1e3 * _LINE, "test"),
    "far apart": Problem(np.array([[-4.0], [0.5], [6.0]]), np.array([1.0, -1.0, 2.0]), "test"),
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One β, narrow networks: a planted fault shows there, too."""
    monkeypatch.setattr(vanishing_gamma, "BETAS", (0.6,))
    monkeypatch.setattr(vanishing_gamma, "_WIDTHS", {Effort.QUICK: (2**8, 2**11)})
    monkeypatch.setattr(vanishing_gamma, "_FITTED", {Effort.QUICK: (2**8, 2**11)})


def check(data: str = "line") -> Finding:
    return run(vanishing_gamma.CLAIM, DATA[data], Effort.QUICK).finding


@pytest.mark.parametrize("data", DATA)
def test_holds_and_control_is_refuted(data: str) -> None:
    result = run(vanishing_gamma.CLAIM, DATA[data], Effort.QUICK)
    assert result.finding.verdict is Verdict.HOLDS, result.finding.why
    assert result.control.verdict is Verdict.REFUTED, result.control.why
    *diagrams, rates = result.finding.panels
    assert len(diagrams) == 3
    for diagram in diagrams:
        labels = [s.label for s in diagram.series]
        assert "positive definite" in labels
        assert "indefinite" in labels
        assert diagram.series[-1].style == "dashed"
    assert len(rates.series) == 6


def test_zero_targets_do_not_apply() -> None:
    result = run(vanishing_gamma.CLAIM, Problem(_X[:, None], 0 * _LINE, "test"), Effort.QUICK)
    assert not result.finding.applies
    assert "all targets are zero" in result.finding.why


def test_the_scale_of_the_targets_does_not_matter() -> None:
    assert run(vanishing_gamma.CLAIM, Problem(_X[:, None], 1e-12 * _LINE, "test"), Effort.QUICK).passed


@pytest.mark.usefixtures("short")
def test_short_run_holds() -> None:
    """The runs below start from a sound one."""
    assert check().verdict is Verdict.HOLDS


def test_targets_are_matched_to_the_start() -> None:
    data = DATA["plane"]
    case = vanishing_gamma._instance(sampled(data, 0.6, 64, 0), data.X, data.y)
    r = stream.outputs(case.problem) - case.problem.y
    assert r.numpy() == pytest.approx(-data.y, abs=1e-14)


@pytest.mark.parametrize("beta", [0.6, 0.9])
def test_quantile_is_an_eigenvalue_of_the_dense_hessian(beta: float) -> None:
    data = DATA["plane"]
    net = sampled(data, beta, 64, 0)
    y = data.y + outputs(net, data.X)
    k = int(np.ceil(vanishing_gamma._SHARE * 64))
    exact = -np.linalg.eigvalsh(hessian(net, data.X, y))[k - 1] * 64 ** (2 * beta - 1)
    blocks = vanishing_gamma._block_eigenvalues(net, data.X, data.y)
    for resolution in (0.1, 1e-2, 1e-5):
        found = vanishing_gamma._quantile(net, data.X, data.y, blocks, resolution, confirm=True)
        assert found == pytest.approx(exact, rel=resolution)


def test_column_has_three_values() -> None:
    def cell(verdict: str, width: int = 4) -> vanishing_gamma._Cell:
        return vanishing_gamma._Cell(0.6, 0.5, width, 1.0, verdict, "")

    def verdict(*cells: vanishing_gamma._Cell, settled: bool = True) -> Verdict:
        return vanishing_gamma._column(cells, "positive definite", [0.5], settled=settled).verdict

    good, bad, open_ = cell("positive definite"), cell("indefinite"), cell("undecided")
    assert verdict(good, cell("indefinite", width=2)) is Verdict.HOLDS  # narrow networks do not count
    assert verdict(good, bad) is Verdict.REFUTED
    assert verdict(good, bad, settled=False) is Verdict.UNDECIDED
    assert verdict(good, open_) is Verdict.UNDECIDED
    assert vanishing_gamma._column([good], "positive definite", []).verdict is Verdict.UNDECIDED


# ------------------------------------------------------------------------------------------------------------- planted faults


@pytest.mark.usefixtures("short")
def test_damping_that_ignores_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanishing_gamma, "damping", lambda net, gamma: gamma)
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("verdict", ["positive definite", "indefinite"])
def test_certificate_that_says_one_thing_is_noticed(monkeypatch: pytest.MonkeyPatch, verdict: Any) -> None:
    monkeypatch.setattr(vanishing_gamma, "certify", lambda *a, **k: Certificate(verdict, None, 1, 0.0, "planted"))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_certificate_that_proves_nothing_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanishing_gamma, "certify", lambda *a, **k: Certificate("undecided", None, 0, 0.0, "planted"))
    assert check().verdict is Verdict.UNDECIDED


@pytest.mark.usefixtures("short")
def test_dropped_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = stream.residual_blocks
    monkeypatch.setattr(stream, "residual_blocks", lambda P, r: 1e-3 * original(P, r))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_biased_bound_is_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    original = spectrum.rho_bound
    monkeypatch.setattr(spectrum, "rho_bound", lambda P: factor * original(P))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_curvature_with_another_power_of_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """S and its bound N^0.3 times too large: no single network shows it, but the exponent and the diagram do."""
    blocks, sufficient = stream.residual_blocks, vanishing_gamma.sufficient_gamma
    own = vanishing_gamma._block_eigenvalues

    def scaled(P: Any, r: torch.Tensor) -> torch.Tensor:
        return blocks(P, r) * P.net.width**0.3

    monkeypatch.setattr(stream, "residual_blocks", scaled)
    monkeypatch.setattr(vanishing_gamma, "sufficient_gamma", lambda net, X, y: sufficient(net, X, y) * net.width**0.3)
    monkeypatch.setattr(vanishing_gamma, "_block_eigenvalues", lambda net, X, y: own(net, X, y) * net.width**0.3)
    monkeypatch.setattr(vanishing_gamma, "_ceiling", lambda X, y: np.inf)
    finding = check()
    assert finding.verdict is Verdict.REFUTED
    assert "exponent" in finding.why
