"""(E17) holds on sound data, its control is refuted, and planted faults turn the verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb

from nntk_proofs_checks import Effort, Finding, Problem, update_bound
from nntk_proofs_checks.certify import Comparison
from nntk_proofs_checks.ensemble import draw_network
from nntk_proofs_checks.wide import states
from nntk_reference import FLOAT64, Ball, Network, Verdict, formulas, hessian, regularization
from tests.proofs_checks.problems import DATA


def check(data: str = "line") -> Finding:
    return update_bound.update_bound_findings(DATA[data], Effort.QUICK)


@pytest.mark.parametrize("data", DATA)
def test_holds_and_control_is_refuted(data: str) -> None:
    finding, control = check(data), update_bound.control(DATA[data], Effort.QUICK)
    assert finding.verdict is Verdict.HOLDS, finding.why
    assert finding.number is not None
    assert 0.9 < finding.number <= 1  # sharp: a large γ and one data point attain it to a few percent
    assert control.verdict is Verdict.REFUTED, control.why
    assert control.number is not None
    assert control.number > 1
    assert "positive definite, D is not" in control.why


@pytest.mark.slow
@pytest.mark.parametrize("effort", [Effort.DEFAULT, Effort.FULL])
def test_holds_at_greater_effort(effort: Effort) -> None:
    assert update_bound.update_bound_findings(DATA["line"], effort).verdict is Verdict.HOLDS


def test_verdict_of_proved_ends() -> None:
    """Where float64 cannot tell, nobody is told that it holds."""
    ratio = update_bound._Ratio("test", 0.5, float("inf"))
    assert update_bound._judged([ratio], 1).verdict is Verdict.UNDECIDED
    assert update_bound._judged([update_bound._Ratio("test", 1.1, 1.2)], 1).verdict is Verdict.REFUTED
    assert update_bound._judged([update_bound._Ratio("test", 0.9, float("nan"))], 1).verdict is Verdict.UNDECIDED


def test_indefinite_blocks_are_undecided_in_float64() -> None:
    data = DATA["line"]
    ratio = update_bound._ratio(draw_network(data, 0.75, 64, 0), data.X, data.y, 1e-3, 1.0, "test")
    assert update_bound._judged([ratio], 64).verdict is Verdict.UNDECIDED


def test_error_bounds_contain_the_errors() -> None:
    """The float64 residual against balls."""
    data = DATA["plane"]
    net = draw_network(data, 0.6, 300, 0)
    r = sum(formulas.outputs(s) for _, s in states(net, data.X)) - data.y
    error = update_bound._errors(net, data.X, r, data.y)
    exact = Ball(128).evaluate(lambda ar: formulas.outputs(formulas.state(ar, net, data.X)) - ar.array(data.y))
    worst = max(abs(float(a - b)) for a, b in zip(exact, r, strict=True))
    assert worst <= error.residual < 1e-10


# ------------------------------------------------------------------------------------------------------------- planted faults


def _multiplied(original: Any, factor: float) -> Any:
    def step(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        return replace(found, update=found.update * factor)

    return step


@pytest.mark.parametrize("name", ["newton_step", "reference_step"])
def test_update_that_is_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(update_bound, name, _multiplied(getattr(update_bound, name), 3))
    assert check().verdict is Verdict.REFUTED


def test_ignored_step_size_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = update_bound.reference_step
    monkeypatch.setattr(update_bound, "reference_step", lambda *a, alpha, **k: original(*a, alpha=1.0, **k))
    assert check().verdict is Verdict.REFUTED


def test_update_that_is_a_little_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is attained to within a percent, so five percent are too much."""
    monkeypatch.setattr(update_bound, "newton_step", _multiplied(update_bound.newton_step, 1.05))
    assert check().verdict is Verdict.REFUTED


@pytest.mark.parametrize(("bound", "verdict"), [(1e-3, Verdict.UNDECIDED), (1e-11, Verdict.HOLDS)])
def test_the_proved_residual_counts(bound: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the measured one, which may lie below the exact one."""
    original = update_bound.newton_step
    changed = lambda *a, **k: replace(original(*a, **k), residual=0.0, residual_bound=bound)  # noqa: E731
    monkeypatch.setattr(update_bound, "newton_step", changed)
    assert check().verdict is verdict


def test_steps_without_a_proved_residual_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = update_bound.newton_step

    def unproved(net: Any, X: Any, *args: Any, **options: Any) -> Any:
        found = original(net, X, *args, **options)
        return replace(found, residual_bound=math.inf) if len(X) in few else found

    monkeypatch.setattr(update_bound, "newton_step", unproved)
    few = {2}
    found = check()
    assert found.verdict is Verdict.HOLDS
    assert "left out: 2 steps without a proved residual" in found.why
    few = {1, 2, 8}
    found = check()
    assert found.verdict is Verdict.HOLDS  # of the small networks
    assert "left out: wide networks (no step has a proved residual)" in found.why


def test_the_ends_are_as_far_apart_as_the_proved_residual_says() -> None:
    data = DATA["line"]
    net = draw_network(data, 0.6, 256, 0)
    X, y = data.X, data.y
    gamma = 1.25 * update_bound.sufficient_gamma(update_bound.to_torch(net), torch.tensor(X), torch.tensor(y))
    original = update_bound.newton_step
    with pytest.MonkeyPatch.context() as monkeypatch:
        spread = []
        for bound in (1e-9, 1e-8):
            monkeypatch.setattr(
                update_bound, "newton_step", lambda *a, b=bound, **k: replace(original(*a, **k), residual_bound=b)
            )
            ratio = update_bound._ratio(net, X, y, gamma, 1.0, "")
            assert ratio is not None
            spread.append(ratio.high - ratio.low)
    assert spread[1] == pytest.approx(10 * spread[0], rel=0.1)


# ------------------------------------------------------------------------------------------------- states, and what is attained


def test_the_ends_contain_the_exact_ratio_of_a_step_that_errs_as_far_as_its_residual_allows() -> None:
    """An error along the weakest direction of H + γ_N I; its bound is less than twice as large.

    One neuron and one point, so that ‖J‖ is its Frobenius norm, with a small residual, so that JᵀJ is most of H.
    """
    data = DATA["line"]
    net = draw_network(data, 0.6, 1, 0)
    X = data.X[-1:]
    y = formulas.outputs(formulas.state(FLOAT64, net, X)) - 0.1
    gamma = 1.25 * update_bound._least_gamma(net, X, y)
    damping = float(regularization(gamma, net.width, net.beta))
    A = hessian(net, X, y) + damping * np.eye(net.width * 3)
    s = formulas.state(FLOAT64, net, X)
    g = formulas.jacobian(s).reshape(len(X), -1).T @ (formulas.outputs(s) - y) / len(X)
    exact = -np.linalg.solve(A, g)
    values, vectors = np.linalg.eigh(A)
    error = 3 * np.linalg.norm(exact) * vectors[:, 0]
    wrong = exact + error
    residual = values[0] * np.linalg.norm(error) / (values[-1] * np.linalg.norm(wrong) + np.linalg.norm(g))
    original = update_bound.newton_step
    with pytest.MonkeyPatch.context() as monkeypatch:
        changed = torch.tensor(wrong.reshape(-1, 3))
        monkeypatch.setattr(
            update_bound, "newton_step", lambda *a, **k: replace(original(*a, **k), update=changed, residual_bound=residual)
        )
        far = update_bound._ratio(net, X, y, gamma, 1.0, "")
    sound = update_bound._ratio(net, X, y, gamma, 1.0, "")
    assert far is not None
    assert sound is not None
    assert far.low <= sound.high
    middle, off = (far.high + far.low) / 2, (far.high - far.low) / 2
    assert middle - sound.high <= off < 2 * middle


def _ratios(data: str = "line") -> list[tuple[float, float, float]]:
    """(|Δᵢ|/bound, s̄/γ_N, λ₁(B)/γ_N) at the six states of a network of 1024 neurons."""
    problem = DATA[data]
    net = draw_network(problem, 0.9, 1024, 0)
    out = []
    for state in update_bound._states(net, problem.X, problem.y, partial(update_bound._least_gamma, net)):
        needed = update_bound._least_gamma(net, state.X, state.y)
        gamma = state.factor * max(needed, state.kernel)
        ratio = update_bound._ratio(net, state.X, state.y, gamma, state.alpha, "")
        assert ratio is not None
        assert ratio.high - ratio.low < 1e-6
        J = formulas.jacobian(formulas.state(FLOAT64, net, state.X)).reshape(len(state.X), -1)
        largest = np.linalg.norm(J, 2) ** 2 / len(state.X) * net.width ** (2 * net.beta - 1)
        out.append((ratio.high, needed / gamma, largest / gamma))
    return out


def test_states_are_what_they_are_for() -> None:
    near, further, one, curved, equal, fitted = _ratios()
    assert near[1] > 0.7
    assert near[2] > 0.5  # neither S nor JᵀJ/M may be left out of H + γ_N I
    assert 0.15 < further[1] < 0.3
    assert one[0] > 0.98
    assert max(one[1:]) < 0.02
    assert curved[0] > 0.98  # attained along the weakest direction of a Dᵢ
    assert curved[1] == pytest.approx(0.8)
    assert equal[0] > 0.95
    assert fitted[0] == pytest.approx(0.5**0.5, abs=0.01)


def test_gamma_below_the_condition_is_not_called_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_bound, "_least_gamma", lambda *a: 1e-3)
    monkeypatch.setattr(update_bound, "_kernel", lambda *a: 1e-3)
    assert check().verdict is not Verdict.HOLDS


def test_a_neuron_without_proved_signs_is_left_out_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    data, original, seen = DATA["line"], update_bound.eigenvalues, []

    def unsure(block: Any, ball: Any) -> Any:
        seen.append(block)
        values = original(block, ball)
        return [arb(0, 1000) for _ in values] if len(seen) == 1 else values

    net = draw_network(data, 0.6, 5, 0)
    monkeypatch.setattr(update_bound, "eigenvalues", unsure)
    found = update_bound._in_balls(net, data.X, data.y, 5.0, 1.0, "")
    assert [comparison.what.rpartition(" ")[2] for comparison in found.comparisons] == ["1", "2", "3", "4"]


def test_wide_networks_are_counted_neuron_by_neuron() -> None:
    finding = update_bound._wide(DATA["line"], Effort.QUICK)
    assert finding.cases == len(update_bound._BETAS) * 6 * sum(update_bound._WIDTHS[Effort.QUICK])


def test_the_ends_allow_for_the_rounding_of_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any other error: 1e-12, some thousand units, of each of the two sides in each direction."""
    data, step = DATA["line"], update_bound.newton_step
    net = draw_network(data, 0.6, 256, 0)
    monkeypatch.setattr(update_bound, "_errors", lambda net, X, r, y: update_bound._Errors(0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(update_bound, "newton_step", lambda *a, **k: replace(step(*a, **k), residual_bound=0.0))
    monkeypatch.setattr(update_bound, "_U", 0.0)
    gamma = 1.25 * update_bound._least_gamma(net, data.X, data.y)
    ratio = update_bound._ratio(net, data.X, data.y, gamma, 1.0, "")
    assert ratio is not None
    assert ratio.high / ratio.low - 1 == pytest.approx(4e-12, rel=0.05)


def test_a_neuron_that_enters_nothing_is_left_out_and_no_other() -> None:
    """Its row of the Jacobian is 0, and so are both sides."""
    data = DATA["line"]
    theta = draw_network(data, 0.6, 4, 0).theta
    theta[2] = 0.0
    found = update_bound._in_balls(Network.from_theta(theta, 0.6, "tanh"), data.X, data.y, 5.0, 1.0, "")
    assert [comparison.what.rpartition(" ")[2] for comparison in found.comparisons] == ["0", "1", "3"]


@pytest.mark.parametrize(("parameters", "some"), [(2, False), (3, True), (5, True)])
def test_one_neuron_is_a_small_network_and_none_is_not(parameters: int, some: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(update_bound._PARAMETERS, Effort.QUICK, parameters)
    assert (update_bound._small(DATA["line"], Effort.QUICK) is not None) is some


def test_the_least_gamma_is_where_the_blocks_become_definite() -> None:
    data = DATA["plane"]
    net = draw_network(data, 0.6, 20, 0)
    s = formulas.state(FLOAT64, net, data.X)
    S = formulas.residual_hessian(s, formulas.outputs(s) - data.y)
    least = regularization(update_bound._least_gamma(net, data.X, data.y), net.width, net.beta)
    assert least == pytest.approx(np.abs(np.linalg.eigvalsh(S)).max(), rel=1e-12)


@pytest.mark.control
def test_the_control_has_the_two_points_with_the_largest_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    data, original, seen = DATA["plane"], update_bound.hessian, []
    monkeypatch.setattr(update_bound, "hessian", lambda net, X, y: (seen.append((X, y)), original(net, X, y))[1])
    update_bound.control(data, Effort.QUICK)
    X, y = seen[0]
    largest = np.sort(np.abs(data.y))[-2:]
    assert np.sort(np.abs(y)).tolist() == largest.tolist()
    assert all(
        any((row == x).all() and t == v for row, t in zip(data.X, data.y, strict=True)) for x, v in zip(X, y, strict=True)
    )


# ------------------------------------------------------------------------------------------------------------- double entry

_SMALL = Problem(np.array([[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]]), np.array([1.0, -3.0, 0.5]), "test")


def _small_net() -> Network:
    return draw_network(_SMALL, 0.6, 5, 3)


def _residuals(net: Network) -> np.ndarray:
    return formulas.outputs(formulas.state(FLOAT64, net, _SMALL.X)) - _SMALL.y


def test_rounding_errors_are_those_of_the_derivation() -> None:
    """Neuron by neuron: of z = w·x + η, d + 4 operations on terms of this size; of the functions, 32; and their sums."""
    net, u = _small_net(), 2.0**-53
    r = _residuals(net)
    found = update_bound._errors(net, _SMALL.X, r, _SMALL.y)
    scale, total = 5**-0.6, 0.0
    for i in range(5):
        reach = sum(abs(net.w[i, k]) * max(abs(x[k]) for x in _SMALL.X) for k in range(2)) + abs(net.eta[i])
        jet = 6 * u * reach + 32 * u  # tanh and its first two derivatives are at most 1
        assert found.jet[i] == pytest.approx(jet, rel=1e-12, abs=0)
        assert found.curvature[i] == pytest.approx(2 * jet, rel=1e-12, abs=0)  # |tanh'''| ≤ 2
        total += abs(net.c[i]) * (jet + (5 + 64) * u)
    largest = max(abs(a) + 2 * abs(b) for a, b in zip(r, _SMALL.y, strict=True))
    assert found.most == 1
    assert found.residual == pytest.approx(1.001 * (scale * total + 8 * u * largest), rel=1e-12, abs=0)


@pytest.mark.parametrize("residual_bound", [1e-13, 1e-3])
def test_the_ends_are_those_of_the_derivation(residual_bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """(E17) neuron by neuron, with errors large enough to tell each of them: units of 2⁻²⁰ in place of 2⁻⁵³."""
    u = 2.0**-20
    net, alpha, step = _small_net(), 0.5, update_bound.newton_step
    gamma = 1.5 * update_bound._least_gamma(net, _SMALL.X, _SMALL.y)
    monkeypatch.setattr(update_bound, "_U", u)
    monkeypatch.setattr(update_bound, "newton_step", lambda *a, **k: replace(step(*a, **k), residual_bound=residual_bound))
    found = update_bound._ratio(net, _SMALL.X, _SMALL.y, gamma, alpha, "told")

    s, r = formulas.state(FLOAT64, net, _SMALL.X), _residuals(net)
    error = update_bound._errors(net, _SMALL.X, r, _SMALL.y)
    S, J = formulas.residual_hessian(s, r), formulas.jacobian(s)
    damping, scale = float(regularization(gamma, 5, 0.6)), 5**-0.6
    q = max(math.sqrt(1 + x @ x) for x in _SMALL.X)  # |x̃|
    mean = sum(abs(v) for v in r) / 3
    ends, squares, rows_off, blocks_off, sizes = [], 0.0, [], [], []
    for i in range(5):
        c, jet = abs(net.c[i]), error.jet[i]
        rows_off.append(1.001 * scale * (jet + c * q * jet + 32 * u * (1 + c * q)))
        of_sum = max(jet, error.curvature[i]) + (3 + 64) * u
        blocks = 1.001 * scale * (1.5 * q + c * q * q) * (error.residual + mean * of_sum)
        sizes.append(np.linalg.norm(S[i]))
        blocks_off.append(blocks + 16 * 4**2 * u * (sizes[i] + damping))
        squares += (max(np.linalg.norm(row) for row in J[:, i]) + rows_off[i]) ** 2
    least = [damping + np.linalg.eigvalsh(S[i])[0] for i in range(5)]
    frobenius = math.sqrt(3 * squares)
    gradient = frobenius * (np.linalg.norm(r) + math.sqrt(3) * error.residual) / 3
    A = frobenius**2 / 3 + max(sizes) + max(blocks_off) + damping
    taken = step(update_bound.to_torch(net), torch.tensor(_SMALL.X), torch.tensor(_SMALL.y), gamma, alpha=alpha).update.numpy()
    weakest = min(a - b for a, b in zip(least, blocks_off, strict=True))
    off = 1.01 * residual_bound * (A * np.linalg.norm(taken) + alpha * gradient) / weakest
    root = np.linalg.norm(r) / math.sqrt(3)
    for i in range(5):
        length, moved = max(np.linalg.norm(row) for row in J[:, i]), np.linalg.norm(taken[i])
        below = alpha * (length - rows_off[i]) * (root - error.residual) / (least[i] + blocks_off[i])
        above = alpha * (length + rows_off[i]) * (root + error.residual) / (least[i] - blocks_off[i])
        ends.append(((moved - off) / above, (moved + off) / below))
    low, high = max(ends, key=lambda end: end[1])
    assert found is not None
    assert (found.label, found.low, found.high) == ("told", pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    assert high < 1
    assert low > 0


def test_a_neuron_that_is_proved_to_break_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not one whose upper end is larger because less is known of it."""
    net, step = _small_net(), update_bound.newton_step
    gamma = 1.5 * update_bound._least_gamma(net, _SMALL.X, _SMALL.y)
    sound = update_bound._ratio(net, _SMALL.X, _SMALL.y, gamma, 1.0, "")
    assert sound is not None

    def broken(*args: Any, **options: Any) -> Any:
        found = step(*args, **options)
        return replace(found, update=found.update * 3 / sound.low)

    monkeypatch.setattr(update_bound, "newton_step", broken)
    found = update_bound._ratio(net, _SMALL.X, _SMALL.y, gamma, 1.0, "")
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(3, rel=1e-6), pytest.approx(3, rel=1e-6))


def test_the_six_states() -> None:
    net = _small_net()
    X, y = _SMALL.X, _SMALL.y
    f = formulas.outputs(formulas.state(FLOAT64, net, X))
    J = formulas.jacobian(formulas.state(FLOAT64, net, X))
    kernel = (J**2).sum() / 3 / regularization(1.0, 5, 0.6)  # the trace of (E7)
    size = max(abs(f - y))
    asked: list[tuple[Any, Any]] = []

    def least(X: np.ndarray, y: np.ndarray) -> float:
        asked.append((X, y))
        return 0.25

    states_ = update_bound._states(net, X, y, least)
    assert asked[0][0].tolist() == X[1:2].tolist()  # the point with the largest target
    assert asked[0][1] == pytest.approx(f[1:2] - size)
    wanted = [
        (X, y, 1.25, 1.0, 0.0),
        (X, y, 4.0, 0.5, 0.0),
        (X[1:2], y[1:2], 100.0, 1.0, kernel),
        (X[1:2], f[1:2] - 100 * kernel / 0.25 * size, 1.25, 1.0, 0.0),
        (X, f - size, 100.0, 0.5, kernel),
        (X[[1, 2]], f[[1, 2]] - [size, 0], 100.0, 1.0, kernel),  # and the one farthest from it
    ]
    for state, (points, targets, factor, alpha, size_) in zip(states_, wanted, strict=True):
        assert state.X.tolist() == points.tolist()
        assert state.y == pytest.approx(targets, rel=1e-12)
        assert (state.factor, state.alpha, state.kernel) == (factor, alpha, pytest.approx(size_, rel=1e-12))
    nothing = update_bound._states(net, X, f, lambda X, y: 0.0)  # fitted: residuals of 1e-3 are put in their place
    largest = np.argsort(np.abs(f))[-1:]
    assert nothing[3].y == pytest.approx(f[largest] - 1e-3, rel=1e-12)
    assert nothing[4].y == pytest.approx(f - 1e-3, rel=1e-12)


def test_the_worst_of_wide_networks_is_told() -> None:
    def judged(*ends: tuple[float, float]) -> Finding:
        return update_bound._judged([update_bound._Ratio(str(k), *end) for k, end in enumerate(ends)], 7)

    found = judged((0.1, 0.5), (0.2, 0.9), (0.3, 0.8))
    assert (found.verdict, found.number, found.relation, found.limit, found.cases) == (Verdict.HOLDS, 0.9, "≤", 1.0, 7)
    assert found.why == "(E17) holds for 7 neurons of 3 wide networks; closest: 0.9 at 1"
    found = judged((1.1, 1.2), (1.3, 1.4), (0.3, 2.0))
    assert (found.verdict, found.number, found.cases) == (Verdict.REFUTED, 1.3, 7)
    assert found.why.endswith("at 1")
    found = judged((0.1, 0.5), (0.9, 1.1), (0.3, 1.05))
    assert (found.verdict, found.cases) == (Verdict.UNDECIDED, 7)
    assert found.why == "|Δᵢ|/bound is not known better than [0.9, 1.1] at 1"
    assert judged((1.0, 1.0)).verdict is Verdict.HOLDS
    assert not update_bound._judged([None, None], 7).applies


def test_the_larger_number_of_both_parts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(number: float) -> Finding:
        return Finding(Verdict.HOLDS, number, "≤", 1.0, 2, "planted")

    for wide, small in ((0.3, 0.7), (0.8, 0.2)):
        monkeypatch.setattr(update_bound, "_wide", lambda problem, effort, wide=wide: of(wide))
        monkeypatch.setattr(update_bound, "_small", lambda problem, effort, small=small: of(small))
        assert check().number == max(wide, small)
    monkeypatch.setattr(update_bound, "_small", lambda problem, effort: None)
    assert check().number == 0.8


@pytest.mark.control
def test_the_control_goes_on_until_a_step_leaves_the_bound_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just above -λ_min(H), nearer and nearer; not where D is definite, nor where H + γ_N I is not."""
    data, seen = DATA["line"], []

    def stub(net: Network, X: Any, y: Any, gamma: float, alpha: float, label: str) -> Any:
        seen.append((net, X, y, gamma, alpha))
        k = len(seen)
        return update_bound._Case([] if k == 3 else [Comparison("", arb(9 if k == 5 else 0), "≤", arb(1))], k == 1, int(k == 2))

    monkeypatch.setattr(update_bound, "_in_balls", stub)
    found = update_bound.control(data, Effort.QUICK)
    assert found.verdict is Verdict.REFUTED
    assert len(seen) == 5
    near = []
    for net, X, y, gamma, alpha in seen:
        least = np.linalg.eigvalsh(hessian(net, X, y))[0]
        assert (net.width, len(X), alpha) == (6, 2, 1.0)
        near.append(regularization(gamma, net.width, net.beta) / -least - 1)
    assert near[:4] == pytest.approx([1e-2, 1e-4, 1e-6, 1e-8], rel=1e-5)
    assert near[4] == pytest.approx(1e-2, rel=1e-5)  # of the next network
