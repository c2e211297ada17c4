"""`vanishing-gamma` holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import PreparedNetwork, bounds, stream
from nntk_proofs_checks import Effort, Finding, run, vanishing_gamma
from nntk_proofs_checks.ensemble import draw_network, standardized
from nntk_reference import Verdict, hessian, outputs, regularization
from tests.proofs_checks.problems import DATA, SCALES, SHAPES, line, passed


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One β, narrow networks: a planted fault shows there, too."""
    monkeypatch.setattr(vanishing_gamma, "BETAS", (0.6,))
    monkeypatch.setattr(vanishing_gamma, "_WIDTHS", {Effort.QUICK: (2**8, 2**11)})
    monkeypatch.setattr(vanishing_gamma, "_FITTED", {Effort.QUICK: (2**8, 2**11)})


def check(data: str = "line") -> Finding:
    return run(vanishing_gamma.CLAIM, DATA[data], Effort.QUICK).finding


@pytest.mark.parametrize("data", [*SHAPES, *SCALES])
def test_holds_and_control_is_refuted(data: str) -> None:
    result = passed(vanishing_gamma.CLAIM, DATA[data])
    *diagrams, rates = result.finding.panels
    assert len(diagrams) == 3
    for diagram in diagrams:
        labels = [s.label for s in diagram.series]
        assert "positive definite" in labels
        assert "indefinite" in labels
        assert diagram.series[-1].style == "dashed"
    assert len(rates.series) == 6


def test_zero_targets_do_not_apply() -> None:
    result = run(vanishing_gamma.CLAIM, DATA["zero targets"], Effort.QUICK)
    assert not result.finding.applies
    assert "all targets are zero" in result.finding.why


def test_the_scale_of_the_targets_does_not_matter() -> None:
    passed(vanishing_gamma.CLAIM, line(scale=1e-12))


@pytest.mark.usefixtures("short")
def test_short_run_holds() -> None:
    """The runs below start from a sound one."""
    assert check().verdict is Verdict.HOLDS


def test_the_ceiling_of_rho_is_e16_at_its_largest() -> None:
    """For c = 1 and the largest |σ'| and |σ''|: κ = |cσ''||x̃|² and s = |σ'||x̃| at each point, weighted by |r|."""
    X, y = np.array([[0.0, 0.5], [3.0, -4.0]]), np.array([-1.0, 2.0])
    bend = 4 / (3 * 3**0.5)
    roots = [(bend * q2 + ((bend * q2) ** 2 + 4 * q2) ** 0.5) / 2 for q2 in (1.25, 26.0)]
    assert vanishing_gamma._ceiling(X, y) == pytest.approx((roots[0] + 2 * roots[1]) / 2, rel=1e-12)


def test_targets_are_matched_to_the_start() -> None:
    data = DATA["plane"]
    case = vanishing_gamma._prepared(draw_network(data, 0.6, 64, 0), data.X, data.y)
    assert case.residual.numpy() == pytest.approx(-data.y, abs=1e-14)


@pytest.mark.parametrize("beta", [0.6, 0.9])
def test_quantile_is_an_eigenvalue_of_the_dense_hessian(beta: float) -> None:
    data = DATA["plane"]
    net = draw_network(data, beta, 64, 0)
    y = data.y + outputs(net, data.X)
    k = int(np.ceil(vanishing_gamma._SHARE * 64))
    exact = -np.linalg.eigvalsh(hessian(net, data.X, y))[k - 1] / regularization(1.0, 64, beta)
    blocks = vanishing_gamma._block_eigenvalues(net, data.X, data.y)
    for resolution in (0.1, 1e-2, 1e-5):
        found = vanishing_gamma._quantile(net, data.X, data.y, blocks, resolution, confirm=True)
        assert found == pytest.approx(exact, rel=resolution)


def test_column_has_three_values() -> None:
    def cell(verdict: str, width: int = 4) -> vanishing_gamma._Cell:
        return vanishing_gamma._Cell(0.6, 0.5, width, 1.0, verdict, "")

    def verdict(*cells: vanishing_gamma._Cell, decided: tuple[float, ...] = (0.5,)) -> Verdict:
        return vanishing_gamma._column(cells, "positive definite", [0.5], decided).verdict

    good, bad, open_ = cell("positive definite"), cell("indefinite"), cell("undecided")
    assert verdict(good, cell("indefinite", width=2)) is Verdict.HOLDS  # narrow networks do not count
    assert verdict(good, bad) is Verdict.REFUTED
    assert verdict(good, bad, decided=()) is Verdict.UNDECIDED
    assert verdict(good, open_) is Verdict.UNDECIDED
    assert vanishing_gamma._column([good], "positive definite", [], ()).verdict is Verdict.UNDECIDED


def test_only_networks_that_contradict_theory_are_counted() -> None:
    def cell(verdict: str) -> vanishing_gamma._Cell:
        return vanishing_gamma._Cell(0.6, 0.5, 4, 1.0, verdict, "positive definite")

    good, bad = cell("positive definite"), cell("indefinite")
    assert vanishing_gamma._contradictions([good], "").verdict is Verdict.HOLDS
    assert vanishing_gamma._contradictions([good, bad, bad], "").number == 2
    broken = vanishing_gamma._contradictions([good], "(E16) is wrong")
    assert broken.verdict is Verdict.REFUTED
    assert broken.number is None
    assert broken.why == "(E16) is wrong"


# ---------------------------------------------------------------------------------------------------- the line and the control


def test_the_law_decides_where_it_has_to() -> None:
    """Beyond the bound of ρ: positive definite. Where more than M blocks are sure to be negative: indefinite. Between: open."""
    data, beta, ceiling = DATA["plane"], 0.75, vanishing_gamma._ceiling(DATA["plane"].X, DATA["plane"].y)

    def decided(size: float, multiple: float) -> bool:
        """For γN^(1-β) of that size at the largest width."""
        start = size * 2.0 ** (11 * (beta - 1)) * 8 ** (multiple * (1 - beta))
        cells = [vanishing_gamma._Cell(beta, multiple, width, start, "", "") for width in (2**8, 2**11)]
        return bool(vanishing_gamma._decided(data, cells))

    net = draw_network(data, beta, 2**11, 99)
    lowest = np.sort(vanishing_gamma._spectra(net, data.X, data.y)[:, 0])
    for multiple in (0.0, 0.9, 1.0):  # γN^(1-β) does not fall
        assert decided(1.01 * ceiling, multiple)
        assert not decided(0.99 * ceiling, multiple)
    for multiple in (1.0, 1.25):  # it does not grow
        assert not decided(-lowest[len(data.y)], multiple)  # M neurons are as likely as not
        assert decided(-lowest[200], multiple)
    assert len(data.y) == 12
    # What may be otherwise at greater widths is open: what grows and is not beyond yet, what falls and is not below.
    assert not decided(-lowest[200], 0.9)
    assert not decided(1.01 * ceiling, 1.1)


@pytest.mark.parametrize("beta", vanishing_gamma.BETAS)
def test_another_line_is_refuted(beta: float) -> None:
    data = standardized(DATA["line"])
    cells, broken = vanishing_gamma._cells(data, Effort.QUICK, beta)
    assert not broken
    decided = vanishing_gamma._decided(data, cells)

    def below(line: float) -> Verdict:
        columns = vanishing_gamma._sides(cells, decided, line)[0]
        return vanishing_gamma._column(cells, "positive definite", columns, decided).verdict

    def above(line: float) -> Verdict:
        columns = vanishing_gamma._sides(cells, decided, line)[1]
        return vanishing_gamma._column(cells, "indefinite", columns, decided).verdict

    low, high = vanishing_gamma._sides(cells, decided)
    assert set(low) >= {0.0, 0.25, 0.5}  # at β = 0.9, too, not the outermost ones alone
    assert set(high) >= {1.25, 1.5, 2.0}
    assert below(1.0) is above(1.0) is Verdict.HOLDS
    assert below(1.3) is Verdict.REFUTED
    assert above(0.45) is Verdict.REFUTED
    assert beta == 0.9 or above(0.7) is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("factor", "side"), [(-1.0, "above"), (0.0, "above"), (0.5, "above"), (2.0, "below")])
def test_a_power_of_wrong_sign_or_size_is_refuted_by_the_diagram(
    factor: float, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = vanishing_gamma._schedule
    monkeypatch.setattr(vanishing_gamma, "_schedule", lambda start, first, width, a: original(start, first, width, factor * a))
    finding = check()
    assert finding.verdict is Verdict.REFUTED
    assert f"{side}: proved" in finding.why


@pytest.mark.control
def test_the_control_is_refuted_for_every_beta_and_holds_for_the_true_line() -> None:
    data = DATA["line"]
    control = vanishing_gamma.control(data, Effort.QUICK)
    assert control.verdict is Verdict.REFUTED
    for beta in vanishing_gamma.BETAS:
        assert f"β = {beta}: proved indefinite" in control.why
        assert vanishing_gamma._wrong_line(standardized(data), beta, 1.0).verdict is Verdict.HOLDS


@pytest.mark.control
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("what", ["indefinite", "positive definite", "undecided", "noise"])
def test_the_control_is_not_refuted_for_another_reason(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def verdict(*_: Any) -> str:
        return str(rng.choice(["indefinite", "positive definite"])) if what == "noise" else what

    assert vanishing_gamma.control(DATA["line"], Effort.QUICK).verdict is Verdict.REFUTED
    monkeypatch.setattr(vanishing_gamma, "_verdict", verdict)
    assert vanishing_gamma.control(DATA["line"], Effort.QUICK).verdict is not Verdict.REFUTED


# ------------------------------------------------------------------------------------------------------------- planted faults


@pytest.mark.usefixtures("short")
def test_damping_that_ignores_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanishing_gamma, "_verdict", lambda case, net, gamma: case.certificate(gamma).verdict)
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("verdict", ["positive definite", "indefinite"])
def test_certificate_that_says_one_thing_is_noticed(monkeypatch: pytest.MonkeyPatch, verdict: Any) -> None:
    monkeypatch.setattr(vanishing_gamma, "_verdict", lambda *a: verdict)
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_certificate_that_proves_nothing_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanishing_gamma, "_verdict", lambda *a: "undecided")
    assert check().verdict is Verdict.UNDECIDED


@pytest.mark.usefixtures("short")
def test_dropped_curvature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = stream.residual_blocks
    monkeypatch.setattr(stream, "residual_blocks", lambda task, r: 1e-3 * original(task, r))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_biased_bound_is_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    original = bounds.rho_bound
    monkeypatch.setattr(bounds, "rho_bound", lambda *a: factor * original(*a))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.usefixtures("short")
def test_curvature_with_another_power_of_the_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """S and its bound N^0.3 times too large: no single network shows it, but the exponent and the diagram do."""
    blocks, sufficient = stream.residual_blocks, vars(PreparedNetwork)["sufficient_gamma"].fget
    own = vanishing_gamma._block_eigenvalues

    def scaled(task: Any, r: torch.Tensor) -> torch.Tensor:
        return blocks(task, r) * task.net.width**0.3

    def enlarged(case: PreparedNetwork) -> float:
        return sufficient(case) * case.instance.net.width**0.3

    monkeypatch.setattr(stream, "residual_blocks", scaled)
    monkeypatch.setattr(PreparedNetwork, "sufficient_gamma", property(enlarged))
    monkeypatch.setattr(vanishing_gamma, "_block_eigenvalues", lambda net, X, y: own(net, X, y) * net.width**0.3)
    monkeypatch.setattr(vanishing_gamma, "_ceiling", lambda X, y: np.inf)
    finding = check()
    assert finding.verdict is Verdict.REFUTED
    assert "exponent" in finding.why
