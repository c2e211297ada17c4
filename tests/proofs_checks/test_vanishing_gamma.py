"""`vanishing-gamma` holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from nntk_accelerated import PreparedNetwork, bounds, stream
from nntk_proofs_checks import Effort, Finding, run, vanishing_gamma
from nntk_proofs_checks.ensemble import draw_network, standardized
from nntk_reference import Verdict, hessian, outputs, regularization, residual_hessian
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


# --------------------------------------------------------------------------------------------------------- what is run and told


def _cell(multiple: float, verdict: str = "", theory: str = "", *, width: int = 8, gamma: float = 1.0) -> vanishing_gamma._Cell:
    return vanishing_gamma._Cell(0.6, multiple, width, gamma, verdict, theory)


def test_all_networks_start_from_the_largest_of_a_few_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked, made = DATA["line"], [], []

    def threshold(data: Any, beta: float, width: int, k: int) -> float:
        asked.append((beta, width, k))
        return [2.0, 5.0, 3.0][k]

    def cells(data: Any, beta: float, width: int, k: int, start: float, first: int, multiples: Any) -> Any:
        made.append((beta, width, k, start, first, multiples))
        return [_cell(float(k), width=width)], "broken" if len(made) == most else ""

    monkeypatch.setattr(vanishing_gamma, "_threshold", threshold)
    monkeypatch.setattr(vanishing_gamma, "_network_cells", cells)
    most = 0
    widths = (2**8, 2**11, 2**14)
    found, broken = vanishing_gamma._cells(data, Effort.QUICK, 0.9, (0.5, 2.0))
    assert asked == [(0.9, 2**8, k) for k in range(3)]
    assert made == [(0.9, width, k, 5.0, 2**8, (0.5, 2.0)) for width in widths for k in range(2)]
    assert [(c.width, c.multiple) for c in found] == [(width, k) for width in widths for k in range(2)]
    assert broken == ""
    made.clear()
    most = 3
    found, broken = vanishing_gamma._cells(data, Effort.QUICK, 0.9)
    assert (len(found), broken) == (3, "broken")
    assert made[0][-1] == vanishing_gamma._MULTIPLES


def test_what_theory_says_of_a_network() -> None:
    """Positive definite beyond (E16), indefinite where more than M blocks' eigenvalues are below -γ_N; else nothing."""
    data, beta, width, start, first = standardized(DATA["plane"]), 0.6, 128, 3.0, 32
    multiples = tuple(k / 8 for k in range(65))
    cells, broken = vanishing_gamma._network_cells(data, beta, width, 1, start, first, multiples)
    assert broken == ""
    net = draw_network(data, beta, width, 1)
    y = data.y + outputs(net, data.X)
    blocks = np.linalg.eigvalsh(residual_hessian(net, data.X, y)).ravel()
    H = hessian(net, data.X, y)
    sufficient = vanishing_gamma._prepared(net, data.X, data.y).sufficient_gamma
    said = set()
    for cell, multiple in zip(cells, multiples, strict=True):
        gamma = start * 4 ** (-multiple * 0.4)
        assert (cell.beta, cell.multiple, cell.width) == (beta, multiple, width)
        assert cell.gamma == pytest.approx(gamma, rel=1e-12)
        damping = regularization(gamma, width, beta)
        assert cell.verdict == ("positive definite" if np.linalg.eigvalsh(H)[0] + damping > 0 else "indefinite")
        many = (blocks < -damping).sum() > len(data.y)
        assert cell.theory == ("positive definite" if gamma > sufficient else "indefinite" if many else "")
        said.add(cell.theory)
    assert said == {"positive definite", "indefinite", ""}


def test_a_network_that_breaks_e16_or_its_bound_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = standardized(DATA["plane"])
    original, arguments = vanishing_gamma._ceiling, (data, 0.6, 64, 0, 1.0, 64, (0.5,))
    net = draw_network(data, 0.6, 64, 0)
    rho = vanishing_gamma._prepared(net, data.X, data.y).sufficient_gamma * 64**0.4
    for ceiling, breaks in ((rho * (1 - 1e-5), True), (rho * (1 + 1e-5), False)):
        monkeypatch.setattr(vanishing_gamma, "_ceiling", lambda X, y, ceiling=ceiling: ceiling)
        cells, broken = vanishing_gamma._network_cells(*arguments)
        assert (cells == []) is breaks
        assert broken.startswith("(E16) gives ρ = ") is breaks
    monkeypatch.setattr(vanishing_gamma, "_ceiling", original)
    seen = []
    monkeypatch.setattr(vanishing_gamma, "_verdict", lambda case, net, gamma: (seen.append(gamma), "indefinite")[1])
    cells, broken = vanishing_gamma._network_cells(*arguments)
    assert len(cells) == 1
    assert broken.startswith("indefinite just beyond (E16)")
    assert 1 < seen[-1] / (rho / 64**0.4) < 1 + 2e-6


@pytest.mark.parametrize("count", [0, 30, 60, 200])
def test_how_probable_a_negative_block_is_is_bounded_from_below(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clopper and Pearson, by its definition: with that probability, so many or more are seen in one of 10⁸ samples."""
    data, beta, n = DATA["line"], 0.75, 1000
    lowest = np.concatenate([np.full(count, -2.0), np.zeros(n - count)])
    drawn = []
    monkeypatch.setattr(vanishing_gamma, "_spectra", lambda net, X, y: np.stack([lowest, lowest + 9], 1))
    monkeypatch.setattr(vanishing_gamma, "_ceiling", lambda X, y: 1e9)
    monkeypatch.setattr(vanishing_gamma, "draw_network", lambda data, beta, width, k: drawn.append((beta, width, k)))
    cells = [vanishing_gamma._Cell(beta, m, width, 1.0, "", "") for m in (0.5, 1.0, 2.0) for width in (10, n)]
    found = vanishing_gamma._decided(data, cells)
    assert drawn == [(beta, n, 5)]  # a network of its own
    sure, seen = vanishing_gamma._SURE, set()
    for multiple in (0.5, 1.0, 2.0):
        a = multiple * 0.25
        size = 10**a * n ** (0.25 - a)
        k = int((lowest < -size).sum())
        low = optimize.brentq(lambda p, k=k: stats.binom.sf(k - 1, n, p) - sure, 1e-12, 1 - 1e-12) if k else 0.0
        if multiple >= 1 and stats.binom.cdf(len(data.y), n, low) <= sure:
            seen.add(multiple)
    assert found == seen
    assert bool(seen) is (count == 200)


def test_columns_far_enough_from_the_line_are_on_a_side() -> None:
    """By a factor of 1.5 at the largest width, or where they are decided."""
    cells = [_cell(m, width=width) for m in (0.0, 0.5, 0.9, 1.0, 1.1, 1.5) for width in (4, 16, 64)]
    growth = 16**0.4  # 3.03: to the power of 0.5 it is above 1.5, of 0.1 below
    assert growth**0.5 > 1.5 > growth**0.1
    assert vanishing_gamma._sides(cells, ()) == ([0.0, 0.5], [1.5])
    assert vanishing_gamma._sides(cells, {0.9, 1.1, 1.0}) == ([0.0, 0.5, 0.9], [1.1, 1.5])
    assert vanishing_gamma._sides(cells, (), 1.45) == ([0.0, 0.5, 0.9, 1.0], [])
    assert vanishing_gamma._sides(cells, (), 0.55) == ([0.0], [1.0, 1.1, 1.5])
    exact = [vanishing_gamma._Cell(0.5, m, width, 1.0, "", "") for m in (0.0, 2.0) for width in (4, 9)]
    assert vanishing_gamma._sides(exact, ()) == ([0.0], [2.0])  # 1.5 exactly


def test_a_column_says_what_was_seen() -> None:
    good, bad, open_ = (_cell(0.5, verdict) for verdict in ("positive definite", "indefinite", "undecided"))

    def column(*cells: vanishing_gamma._Cell, decided: Any = ()) -> Finding:
        return vanishing_gamma._column([*cells, _cell(0.25, "indefinite")], "positive definite", [0.5], decided)

    found = column(good, good)
    assert (found.verdict, found.number, found.limit, found.cases) == (Verdict.HOLDS, 1.0, 1.0, 2)
    assert found.why == "all 2 positive definite at N = 8, a/(1-β) from 0.5 to 0.5"
    found = column(good, bad, open_, good)
    assert (found.verdict, found.number, found.relation, found.limit, found.cases) == (Verdict.UNDECIDED, 0.5, "=", 1.0, 4)
    assert found.why.startswith("2 of 4 are not positive definite yet at N = 8: β = 0.6, a = 0.5(1-β)")
    found = column(good, bad, open_, good, decided=[0.5])
    assert (found.verdict, found.number, found.cases) == (Verdict.REFUTED, 0.5, 4)
    assert found.why.startswith("proved indefinite: ")
    assert column(open_, decided=[0.5]).verdict is Verdict.UNDECIDED


def test_what_contradicts_theory_is_told() -> None:
    said = ("positive definite", "positive definite"), ("indefinite", "indefinite"), ("indefinite", "")
    cells = [_cell(0.5, *one) for one in said]
    found = vanishing_gamma._contradictions(cells, "")
    assert (found.verdict, found.number, found.limit, found.cases) == (Verdict.HOLDS, 0.0, 0.0, 3)
    assert found.why == "2 of 3 certificates had to come out as they did"
    found = vanishing_gamma._contradictions([*cells, _cell(0.5, "undecided", "indefinite")], "")
    assert (found.verdict, found.cases) == (Verdict.UNDECIDED, 4)
    found = vanishing_gamma._contradictions([*cells, _cell(0.5, "positive definite", "indefinite")], "")
    assert (found.verdict, found.number, found.cases) == (Verdict.REFUTED, 1.0, 4)
    assert found.why.startswith("positive definite where theory proves it indefinite: ")
    assert vanishing_gamma._contradictions(cells[2:], "").verdict is Verdict.UNDECIDED
    assert vanishing_gamma._contradictions([], "broken").cases == 0


# ---------------------------------------------------------------------------------------------------------------- the exponent


def test_a_quantile_that_theory_forbids_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the lower end at least k are negative, at the upper end fewer; looked at only where that is to be confirmed."""
    data = DATA["plane"]
    net = draw_network(data, 0.6, 64, 0)
    blocks = vanishing_gamma._block_eigenvalues(net, data.X, data.y)
    k, M, unit = int(np.ceil(0.4 * 64)), len(data.y), 64.0**-0.6
    original = vanishing_gamma._negative
    for change in (-1, 1):
        seen: list[float] = []

        def wrong(case: Any, damping: float, change: int = change, seen: list[float] = seen) -> int:
            seen.append(damping)
            count = original(case, damping)
            return min(count, k - 1) if change < 0 else max(count, k)

        monkeypatch.setattr(vanishing_gamma, "_negative", wrong)
        assert vanishing_gamma._quantile(net, data.X, data.y, blocks, 1e-2, confirm=True) is None
        assert seen[0] == pytest.approx(-blocks[k + M - 1] * unit, rel=1e-4)
        assert change < 0 or seen[1] == pytest.approx(-blocks[k - 1] * unit, rel=1e-4)
        assert vanishing_gamma._quantile(net, data.X, data.y, blocks, 1e-2, confirm=False) is not None


def test_where_the_blocks_say_enough_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DATA["plane"]
    net = draw_network(data, 0.6, 64, 0)
    blocks = vanishing_gamma._block_eigenvalues(net, data.X, data.y)
    monkeypatch.setattr(vanishing_gamma, "_negative", None)
    k, M = int(np.ceil(0.4 * 64)), len(data.y)
    found = vanishing_gamma._quantile(net, data.X, data.y, blocks, 1e3, confirm=False)
    middle = -(blocks[k - 1] + blocks[k + M - 1]) / 2 * 64.0**-0.6
    assert found == pytest.approx(middle / regularization(1.0, 64, 0.6), rel=1e-12)


def test_quantiles_of_a_network_at_every_beta(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = DATA["line"], []

    def quantile(net: Any, X: Any, y: Any, blocks: Any, resolution: float, *, confirm: bool) -> float:
        seen.append((net.beta, net.width, resolution, confirm))
        assert blocks == pytest.approx(vanishing_gamma._block_eigenvalues(net, X, y))  # the same for every β
        return net.beta

    monkeypatch.setattr(vanishing_gamma, "_quantile", quantile)
    for k in (0, 1, 2):
        assert vanishing_gamma._quantiles(data, Effort.QUICK, 16, k) == [0.6, 0.75, 0.9]
        assert seen[-3:] == [(beta, 16, 0.01, k < 2) for beta in (0.6, 0.75, 0.9)]


@pytest.mark.parametrize("power", [1.0, 0.0, 2.0])
def test_the_exponent_is_told_from_none_and_from_twice(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def quantiles(data: Any, effort: Effort, width: int, k: int) -> list[float]:
        return [width ** (power * (beta - 1)) * (1 + 1e-3 * (k % 4)) for beta in vanishing_gamma.BETAS]

    judged = []
    original = vanishing_gamma.judge
    monkeypatch.setattr(vanishing_gamma, "_quantiles", quantiles)
    monkeypatch.setattr(vanishing_gamma, "judge", lambda rates, *rest: (judged.append(rates), original(rates, *rest))[1])
    found = vanishing_gamma._exponents(DATA["line"], Effort.QUICK)
    assert found.verdict is (Verdict.HOLDS if power == 1 else Verdict.REFUTED)
    assert found.cases == 3 * 2 * 16
    for rate, beta in zip(judged[0], vanishing_gamma.BETAS, strict=True):
        assert (rate.relation, rate.claimed) == ("≈", beta - 1)
        assert rate.alternatives == (0.0, 2 * (beta - 1))
        assert rate.interval.value == pytest.approx(power * (beta - 1), abs=1e-3)


def test_one_inertia_against_theory_refutes_the_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    def quantiles(data: Any, effort: Effort, width: int, k: int) -> list[float | None]:
        return [1.0, None if (width, k) == (2**9, 5) else 1.0, 1.0]

    monkeypatch.setattr(vanishing_gamma, "_quantiles", quantiles)
    found = vanishing_gamma._exponents(DATA["line"], Effort.QUICK)
    assert (found.verdict, found.cases) == (Verdict.REFUTED, 3 * 2 * 16)
    assert found.why.endswith("β = 0.75, N = 512")
