"""`indefinite` rests on its witness or its inertia, and notices planted faults."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, Finding, indefinite, run
from nntk_proofs_checks.tried import of_networks
from nntk_reference import Ball, Network, Verdict, activations, formulas, linalg, sample_network
from nntk_reference.arithmetic import NotProved
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
    """Proofs that always succeed contradict others, so that the control is undecided, on which the run fails."""
    always = {"cholesky": lambda A, ar: A, "inertia": lambda A, ar: linalg.Inertia(len(A), 0, 0, 0)}
    monkeypatch.setattr(indefinite, name, always[name])
    control = run(CLAIMS["indefinite"], line(), Effort.QUICK).control
    assert control.verdict is Verdict.UNDECIDED
    assert "eigenvalues proved" in control.why


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


# ------------------------------------------------------------------------------------------------------------- word by word


def _claims(monkeypatch: pytest.MonkeyPatch, claimed) -> Verdict:
    monkeypatch.setattr(indefinite, "_claimed", claimed)
    return indefinite.check(line(), Effort.QUICK).verdict


@pytest.mark.parametrize("claimed", [lambda k, M: k - M + 1, lambda k, M: k - 1, lambda k, M: k, lambda k, M: k - M // 2])
def test_more_than_k_minus_m_is_refuted(claimed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _claims(monkeypatch, claimed) is Verdict.REFUTED


@pytest.mark.parametrize("claimed", [lambda k, M: k - M - 1, lambda k, M: k - 2 * M])
def test_less_than_k_minus_m_is_no_longer_the_statement(claimed, monkeypatch: pytest.MonkeyPatch) -> None:
    """States made to attain it do not."""
    monkeypatch.setattr(indefinite, "_claimed", claimed)
    assert indefinite._over_rationals(Effort.QUICK).verdict is Verdict.UNDECIDED


def test_states_that_attain_it_have_neurons_without_a_slope() -> None:
    rng = np.random.default_rng(1)
    for M in (1, 2, 3, 4):
        state, r = indefinite._attained(rng, M, M + 2, 1)
        g = indefinite._slopes(state, r)
        assert [not indefinite._zero(row) for row in g] == [True] * (M + 2) + [False] * 2
        balanced = [v != 0 for v in state.slope[:, -1]]
        assert balanced == [M > 1] * min(M, 2) + [False] * (M - min(M, 2))


@pytest.mark.parametrize(
    ("least", "most", "required", "verdict"),
    [
        (3, 5, 3, Verdict.HOLDS),
        (2, 5, 3, Verdict.UNDECIDED),
        (0, 3, 3, Verdict.UNDECIDED),
        (0, 2, 3, Verdict.REFUTED),
        (6, 5, 3, Verdict.UNDECIDED),  # proofs that contradict each other
    ],
)
def test_verdict_of_a_case(least: int, most: int, required: int, verdict: Verdict) -> None:
    assert indefinite._Case(least, most, required, "").verdict is verdict


def test_an_inertia_that_is_wrong_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By exact arithmetic: one eigenvalue moved from the positive to the negative, or back."""
    for by in (1, -1):

        def wrong(A: np.ndarray, ar: Ball, by: int = by) -> linalg.Inertia:
            counts = linalg.inertia(A, ar)
            most = counts.negative + counts.undecided
            return counts._replace(negative=counts.negative + 1 if by > 0 else most - 1, undecided=0)

        monkeypatch.setattr(indefinite, "inertia", wrong)
        assert indefinite._over_rationals(Effort.QUICK).verdict is Verdict.REFUTED


def test_the_inertia_bounds_from_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indefinite, "inertia", lambda A, ar: linalg.Inertia(2, 0, len(A) - 3, 1))
    monkeypatch.setattr(indefinite, "_proved_negative", lambda *args: 0)
    data, net = line(), sample_network(12, 1, beta=0.75, seed=0)
    found = indefinite._case(net, data.X, data.y, 128, net.parameters)
    assert (found.least, found.most, found.required) == (2, 3, 4)
    wide = indefinite._case(net, data.X, data.y, 128, net.parameters - 1)
    assert wide.least == 0
    assert wide.most > 3


@pytest.mark.control
def test_the_control_of_indefinite_is_not_refuted_where_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    original = indefinite._case
    monkeypatch.setattr(indefinite, "_case", lambda *args, reached: original(*args, reached=False))
    assert indefinite.control(line(), Effort.QUICK).verdict is Verdict.HOLDS


def test_efforts_reach_what_is_documented() -> None:
    """Out of reach beyond 64, 96 and 256 points; 13, 13 and 13 neurons of a line by inertia, too."""
    assert not indefinite.check(line(65), Effort.QUICK).applies
    assert indefinite._MOST_POINTS == {Effort.QUICK: 64, Effort.DEFAULT: 96, Effort.FULL: 256}
    assert min(indefinite._DRAWS.values()) >= 2 * 3 * 2 * 2


def test_the_directions_are_negative_however_large_the_curvature_is() -> None:
    rng = np.random.default_rng(0)
    for size in (1e-3, 1.0, 1e3):
        g = rng.standard_normal((5, 3))
        B = rng.standard_normal((5, 3, 3)) * size
        S = np.zeros((5, 4, 4))
        S[:, 0, 1:] = S[:, 1:, 0] = g
        S[:, 1:, 1:] = B @ B.transpose(0, 2, 1)
        v = indefinite._negative_directions(S, g)
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-14)
        assert (np.einsum("ni,nij,nj->n", v, S, v) < 0).all()


def test_what_is_divided_by_the_largest_may_be_zero() -> None:
    zeros = Ball(64).array(np.zeros((2, 3)))
    assert indefinite._float(zeros).tolist() == np.zeros((2, 3)).tolist()
    assert indefinite._float(Ball(64).array([[0.0, -4.0], [1.0, 2.0]])).tolist() == [[0.0, -1.0], [0.25, 0.5]]


@pytest.mark.parametrize(
    ("cases", "number"),
    [
        ([(7, 9), (4, 9), (5, 9)], 4.0),  # what is nearest to k - M is what is told
        ([(0, 2), (0, 1), (0, 3)], 1.0),  # and where it is refuted, what is farthest from it
    ],
)
def test_the_worst_case_is_told(cases: list[tuple[int, int]], number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = itertools.cycle(indefinite._Case(*case, 4, "") for case in cases)
    monkeypatch.setattr(indefinite, "_case", lambda *args, **options: next(seen))
    found = indefinite._run(line(), Effort.QUICK)
    assert (found.number, found.limit) == (number, 4.0)
    assert found.verdict is (Verdict.HOLDS if number == 4 else Verdict.REFUTED)


def test_as_many_points_as_are_in_reach_are_in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, applies in ((4, True), (3, False)):
        monkeypatch.setitem(indefinite._MOST_POINTS, Effort.QUICK, most)
        assert indefinite.check(line(4), Effort.QUICK).applies is applies


def test_a_slope_counts_by_any_of_its_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """At x = 0 only that of the bias is not 0; and a witness that is not found leaves nothing proved, not less."""
    net = sample_network(6, 1, beta=0.75, seed=0)
    found = indefinite._case(net, np.zeros((1, 1)), np.ones(1), 128, net.parameters)
    assert found.required == 5
    assert found.verdict is Verdict.HOLDS

    def none(*args: object) -> int:
        raise NotProved("planted")

    monkeypatch.setattr(indefinite, "_proved_negative", none)
    wide = indefinite._case(net, np.zeros((1, 1)), np.ones(1), 128, 0)
    assert wide.least == 0
    assert wide.reason.endswith(": planted")


def test_networks_have_one_and_four_neurons_more_than_points(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def case(net: Network, X: np.ndarray, y: np.ndarray, bits: int, most: int, *, reached: bool) -> indefinite._Case:
        seen.append((net.activation, net.width, net.dim, net.beta, len(X), most, reached))
        return indefinite._Case(4, 4, 4, "")

    monkeypatch.setattr(indefinite, "_case", case)
    for data, reached in ((line(5), False), (plane(), True)):
        seen.clear()
        found = indefinite._run(data, Effort.QUICK, reached=reached)
        M, d = data.X.shape
        names, most = of_networks(Effort.QUICK), indefinite._MOST_PARAMETERS[Effort.QUICK]
        assert seen == [(name, M + extra, d, 0.75, M, most, reached) for name in names for extra in (1, 4)]
        assert (found.cases, found.relation) == (2 * len(names), "≥")
        assert found.why == "at least 4 negative eigenvalues of H proved where k - M = 4 are claimed, N = M + 1 and M + 4"


def test_states_that_attain_it_are_told_with_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = indefinite._over_rationals(Effort.QUICK)
    n = indefinite._DRAWS[Effort.QUICK]
    assert (found.verdict, found.number, found.relation, found.limit, found.cases) == (Verdict.HOLDS, 0.0, "≥", 0.0, n)
    assert found.why == f"of states made to have k - M negative eigenvalues, {n} of {n} have, the least 0 more"
    drawn_ = []
    original = indefinite._attained

    def attained(rng: np.random.Generator, M: int, active: int, d: int):
        drawn_.append((M, active - M, d))
        return original(rng, M, active, d)

    monkeypatch.setattr(indefinite, "_attained", attained)
    indefinite._over_rationals(Effort.QUICK)
    assert drawn_ == list(itertools.islice(itertools.cycle(itertools.product((1, 2, 3), (1, 2), (1, 2))), n))


def test_states_that_attain_it_are_made_as_documented() -> None:
    """rₘcᵢσ'' > 0, small slopes and smaller residuals, two neurons more with σ = 0, two points with the same input."""
    rng = np.random.default_rng(3)
    for M, active, d in itertools.product((1, 2, 3), (4, 5), (1, 2)):
        state, r = indefinite._attained(rng, M, active, d)
        assert state.curvature.shape == (M, active + 2)
        assert len(state.c) == active + 2
        assert (state.inputs[: min(M, 2)] == state.inputs[0]).all()
        curved = [r[m] * state.c[i] * state.curvature[m, i] for m in range(M) for i in range(active)]
        assert all(v > 0 for v in curved if v != 0)
        assert 0 < max(abs(float(v)) for v in state.slope.flat) < 1e-1
        assert 0 < max(abs(float(v)) for v in r) < 1e-6
        assert indefinite._zero(state.value[:, active:])
        assert not indefinite._zero(state.value[:, :active])


@pytest.mark.control
def test_the_control_is_of_eight_points_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def stub(problem_, effort: Effort, *, reached: bool = False) -> Finding:
        seen.append((len(problem_.X), len(problem_.y), problem_.seed, reached))
        return Finding(verdicts[reached], 1.0, "≥", 4.0, 3, "why")

    monkeypatch.setattr(indefinite, "_run", stub)
    for broken, before, wanted in (
        (Verdict.REFUTED, Verdict.HOLDS, Verdict.REFUTED),
        (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (Verdict.REFUTED, Verdict.REFUTED, Verdict.UNDECIDED),
        (Verdict.HOLDS, Verdict.HOLDS, Verdict.HOLDS),
        (Verdict.HOLDS, Verdict.UNDECIDED, Verdict.HOLDS),
    ):
        verdicts = {True: broken, False: before}
        found = indefinite.control(replace(line(20), seed=5), Effort.QUICK)
        assert (found.verdict, found.cases) == (wanted, 3)
    assert set(seen) == {(8, 8, 5, True), (8, 8, 5, False)}
