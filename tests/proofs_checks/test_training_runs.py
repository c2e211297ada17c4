"""`exponential` at finite width: what of the data is within reach, the rate it is held against, and what it notices.

Steps that it refutes are in `training_faults`, and run by `test_faults`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nntk_reference
from nntk_proofs_checks import Effort, Finding, Problem, training_runs
from nntk_proofs_checks.ensemble import curvature, draw_network, kernel, to_torch
from nntk_proofs_checks.trials import in_processes
from nntk_reference import Verdict, gradient, newton_step
from tests.proofs_checks.problems import DATA, problem
from tests.proofs_checks.training_faults import stepped

SPREAD = {
    "far apart": np.linspace(0, 10, 8)[:, None],
    "opposite": np.array([[-1.0], [0.0], [1.0]]),
    "six dimensions": np.random.default_rng(9).standard_normal((30, 6)),
}


def check(name: str = "line", effort: Effort = Effort.QUICK) -> Finding:
    return training_runs.newton_runs(DATA[name], effort)


@pytest.mark.parametrize("X", SPREAD.values(), ids=SPREAD)
def test_the_two_points_of_the_control_have_modes_that_differ(X: np.ndarray) -> None:
    case = training_runs._pair(problem(X, np.ones(len(X))))
    assert case is not None
    values = case.modes[0]
    assert 0 < values[0] <= 0.1 * values[1]
    descent, newton = training_runs._descent(case), training_runs._newton(case, 1.0)
    assert descent.factor(values)[0] >= 0.9 > newton.factor(values)[0] == pytest.approx(0.8)
    assert case.width < 2**14


def test_equal_inputs_have_no_such_points() -> None:
    same = problem(np.ones((3, 2)), np.arange(3.0))
    assert training_runs._pair(same) is None
    assert not training_runs.newton_runs(same, Effort.QUICK).applies
    assert not training_runs.gradient_descent_runs(same, Effort.QUICK).applies


def test_as_many_points_as_the_width_allows() -> None:
    """Each point is the furthest from those before; one more would need more neurons than there are."""
    data = problem(SPREAD["six dimensions"], np.arange(30.0))
    X = training_runs.standardized(data, 30).X
    order = training_runs._spread(X)
    for k in range(1, len(order)):
        distance = np.linalg.norm(X[:, None] - X[order[:k]], axis=2).min(axis=1)
        assert distance[order[k]] == distance.max()
    sizes = []
    for widest in (2**11, 2**13, 2**15):
        case = training_runs._within_reach(data, widest)
        assert case is not None
        M = len(case.problem.y)
        assert 4 * case.width <= widest < 4 * training_runs._of(training_runs.standardized(data, 30), order[: M + 1]).width
        assert (X[order[:M]] == case.problem.X).all()
        assert np.linalg.norm(case.problem.y) == pytest.approx(1)
        sizes.append(M)
    assert 2 < sizes[0] < sizes[1] < sizes[2]


def test_the_width_is_the_least_that_the_curvature_allows() -> None:
    """The root mean square of ‖Sᵢ‖ is that of N^β‖Sᵢ‖ over N^β, and γ_N is N^(1-2β)γ: their ratio is 0.15 there, or less."""
    data = training_runs.standardized(problem(SPREAD["six dimensions"], np.arange(30.0)), 30)
    seen = set()
    for chosen in ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]):
        case = training_runs._of(data, chosen)
        size = max(curvature(replace(case.problem, y=y)) for y in (case.slowest, case.problem.y))
        low = float(np.linalg.eigvalsh(kernel(case.problem))[0])
        assert case.gamma == pytest.approx(4 * low, rel=1e-12)  # ρ = 0.2

        def ratio(N: int, size: float = size, gamma: float = 4 * low) -> float:
            return size * N**-0.6 / (gamma * N ** (1 - 2 * 0.6))

        assert case.width >= 512
        assert isinstance(case.width, int)
        assert ratio(case.width) <= 0.15 * (1 + 1e-12)
        if case.width > 512:
            assert ratio(case.width - 1) > 0.15
        seen.add(case.width > 512)
    assert seen == {False, True}


def test_points_that_no_width_tells_apart_have_a_width_beyond_reach() -> None:
    """γ is 0 there, or rounding."""
    assert training_runs._of(problem([[0.5], [0.5]], [1, 2]), [0, 1]).width > 10**12


def test_the_widest_that_is_allowed_is_within_reach() -> None:
    data = DATA["two points"]
    case = training_runs._within_reach(data, 2**20)
    assert case is not None
    assert training_runs._within_reach(data, 4 * case.width) is not None
    assert training_runs._within_reach(data, 4 * case.width - 1) is None


def test_two_points_are_a_pair() -> None:
    assert training_runs._pair(DATA["two points"]) is not None


def test_at_most_sixteen_points_each_once() -> None:
    X = SPREAD["six dimensions"]
    assert len(set(training_runs._spread(X))) == len(training_runs._spread(X)) == 16
    assert len(training_runs._spread(np.concatenate([X[:5], X[:5]]))) == 5


@pytest.mark.parametrize("X", SPREAD.values(), ids=SPREAD)
def test_the_two_points_of_the_control_are_brought_no_nearer_than_need_be(X: np.ndarray) -> None:
    """By factors of √2 from where the data are, the last of which is needed."""
    data = problem(X, np.ones(len(X)))
    case = training_runs._pair(data)
    assert case is not None
    points = training_runs.standardized(data, len(X)).X
    steps = 2 * np.log2(np.linalg.norm(points[training_runs._spread(points)[0]]) / np.linalg.norm(case.problem.X[0]))
    assert steps == pytest.approx(round(steps), abs=1e-9)
    if steps > 0.5:
        values, _ = training_runs._Case(replace(case.problem, X=case.problem.X * math.sqrt(2))).modes
        assert values[0] > 0.1 * values[1]


def test_the_first_point_is_the_furthest_from_the_mean() -> None:
    assert training_runs._spread(np.array([[1.0], [1.1], [1.2], [-0.9], [0.8]])) == [3, 2, 4, 0, 1]


def test_all_points_are_taken_where_they_are_within_reach() -> None:
    for name, widest in (("two points", 2**12), ("far apart", 2**15)):
        case = training_runs._within_reach(DATA[name], widest)
        assert case is not None
        assert len(case.problem.y) == len(DATA[name].y)


def test_greater_efforts_reach_further() -> None:
    widest = training_runs._WIDEST
    assert widest[Effort.QUICK] < widest[Effort.DEFAULT] < widest[Effort.FULL]


def test_what_is_run_and_what_it_is_held_against(monkeypatch: pytest.MonkeyPatch) -> None:
    """α = 1/2 along the slowest mode and α = 1 for the data's own targets, each with its own rate."""
    ran, judged = [], []
    trainer, judge = training_runs._trainer, training_runs.judge
    monkeypatch.setattr(training_runs, "_trainer", lambda *args: (ran.append(args), trainer(*args))[1])
    monkeypatch.setattr(training_runs, "judge", lambda rates, *rest: (judged.extend(rates), judge(rates, *rest))[1])
    check("plane")
    (case, slow, half), (_, own, full) = ran
    assert (slow == case.slowest).all()
    assert (own == case.problem.y).all()
    values = case.modes[0]
    assert half.factor(values)[0] == pytest.approx(0.9, rel=1e-12)
    assert full.factor(values)[0] == pytest.approx(0.8, rel=1e-12)
    assert [rate.claimed for rate in judged] == pytest.approx([math.log(0.9)] * 2 + [math.log(0.8)], rel=1e-12)
    assert [rate.relation for rate in judged] == ["≈", "≈", "≲"]
    assert judged[2].alternatives == pytest.approx([math.log(1 - 1 / (1 + 4 * 1.05))], rel=1e-12)


def test_points_too_near_each_other_are_out_of_reach() -> None:
    found = training_runs.newton_runs(problem([[0.5], [0.501], [0.502]], [1, 2, 3]), Effort.QUICK)
    assert not found.applies
    assert "out of reach" in found.why


def test_the_derivative_is_that_of_the_trajectory() -> None:
    """Against a difference quotient, with α = 1/2 and for gradient descent; two eigenvalues agree but for 1e-9."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((3, 3))
    direction = direction + direction.T
    values = np.array([0.3, 0.3 + 1e-9, 1.0])
    for method in (training_runs._newton(case, 0.5), training_runs._descent(case)):

        def end(t: float, method: training_runs._Method = method) -> np.ndarray:
            found, vectors = np.linalg.eigh(np.diag(values) + t * direction)
            return (vectors * method.factor(found) ** training_runs._STEPS) @ vectors.T

        quotient = (end(1e-5) - end(-1e-5)) / 2e-5
        assert training_runs._derivative(values, method) * direction == pytest.approx(quotient, abs=1e-7)


def test_what_the_kernel_adds_is_the_derivative_of_the_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of log|φ(B̄ + tΔ)y|/T at t = 0, for targets in no single mode."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    method, y, K = training_runs._newton(case, 0.5), case.problem.y, kernel(case.problem)
    D = 1e-6 * K * np.array([[1.0, -2.0, 3.0], [-2.0, 1.0, 0.5], [3.0, 0.5, -1.0]])

    def logarithm(t: float) -> float:
        values, vectors = np.linalg.eigh(K + t * D)
        return math.log(np.linalg.norm(method.factor(values) ** 3 * (vectors.T @ y))) / 3

    monkeypatch.setattr(training_runs, "_trained", lambda *args: ([1.0] * 4, K + D))
    first = training_runs._trainer(case, y, method)(2).first
    assert first == pytest.approx((logarithm(1) - logarithm(-1)) / 2 * np.ones((2, 2)), rel=1e-5)


def test_what_the_kernel_adds_explains_most_of_the_spread() -> None:
    """By a factor of 8 at least: without it the interval could not tell γ from 1.05 γ."""
    case = training_runs._within_reach(DATA["line"], 2**12)
    assert case is not None
    runs = training_runs._trainer(case, case.slowest, training_runs._newton(case, 0.5))(12)
    assert ((runs.logs - runs.first).std(axis=1) < runs.logs.std(axis=1) / 8).all()


@pytest.mark.parametrize("power", [0.8, 1.0, 1.6, 5.0])
@pytest.mark.parametrize("size", [-1e-2, 1e-2])
def test_the_limit_is_inside_whatever_the_power(power: float, size: float) -> None:
    N, rng = np.array([1.0, 4.0]), np.random.default_rng(1)
    numbers = 0.3 + size * N[:, None] ** -power + 1e-6 * rng.standard_normal((2, 12))
    assert 0.3 in training_runs._at_infinity(numbers)


@pytest.mark.parametrize("power", [0.2, 0.4, 0.79])
def test_slower_powers_are_not_what_it_is_for(power: float) -> None:
    """A loosened interval would contain the limit here as well: E21 is used."""
    N, rng = np.array([1.0, 4.0]), np.random.default_rng(1)
    numbers = 0.3 + 1e-2 * N[:, None] ** -power + 1e-6 * rng.standard_normal((2, 12))
    assert 0.3 not in training_runs._at_infinity(numbers)


def test_the_rate_is_that_of_the_statement() -> None:
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    low, gamma = case.modes[0][0], case.gamma
    for alpha in (1.0, 0.5):
        for off in (1.0, 1.05, 1 / 1.5):
            assert training_runs._log_rate(alpha, off) == pytest.approx(math.log(1 - alpha * low / (off * gamma + low)))


@pytest.mark.parametrize("name", ["plane", "zero targets"])
def test_holds_and_says_how_many_points(name: str) -> None:
    found = check(name)
    assert found.verdict is Verdict.HOLDS, found.why
    assert f"of {len(DATA[name].y)} points within reach" in found.why


def test_the_datas_own_targets_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that learns the slowest mode at its rate and the others not at all."""
    monkeypatch.setattr(training_runs, "_newton", stepped(lambda case: {"only": case.slowest})(training_runs._newton))
    found = check()
    assert found.verdict is Verdict.REFUTED
    assert "the data's targets" in found.why


def test_a_limit_kernel_that_is_wrong_is_not_taken_away_with_the_control_variate(monkeypatch: pytest.MonkeyPatch) -> None:
    original = training_runs.kernel
    monkeypatch.setattr(training_runs, "kernel", lambda data: 1.5 * original(data))
    found = check()
    assert found.verdict is Verdict.REFUTED


def _runs_of_spread(half: float) -> training_runs._Runs:
    """Made-up runs at the rate for α = 1/2, with control variates 0, whose intervals reach that far to both sides."""
    z = np.random.default_rng(0).standard_normal(12)
    z = (z - z.mean()) / z.std(ddof=1)
    unit = np.stack([0 * z, z])
    found = training_runs._at_infinity(unit)
    logs = training_runs._log_rate(0.5) + half / ((found.high - found.low) / 2) * unit
    errors = np.exp(training_runs._STEPS * logs)[:, :, None] * np.ones(training_runs._STEPS + 1)
    return training_runs._Runs(errors, 0 * logs)


@pytest.mark.parametrize(
    ("half", "verdicts"), [(0.003, "HH"), (0.00425, "HH"), (0.0043, "UH"), (0.006, "UH"), (0.0312, "UH"), (0.0314, "UU")]
)
def test_what_the_interval_has_to_exclude(half: float, verdicts: str) -> None:
    """γ 5 % larger is log(0.9038…/0.9) = 0.00426 from the rate, 1.5 times as large 0.03125: what is wider is undecided."""
    rates = training_runs._along_slowest(_runs_of_spread(half), "", 0.5)
    assert [rate.verdict for rate in rates] == [{"H": Verdict.HOLDS, "U": Verdict.UNDECIDED}[v] for v in verdicts]


def _runs_at(rate: float, first: float, spread: float, seeds: int = 16) -> training_runs._Runs:
    """Made-up runs: what the kernels add is `first` and noise, what is left is that rate with a spread."""
    rng = np.random.default_rng(seeds)
    noise, added = spread * rng.standard_normal((2, seeds)), first + 0.005 * rng.standard_normal((2, seeds))
    logs = rate + noise - noise.mean(axis=1, keepdims=True) + added
    return training_runs._Runs(np.exp(3 * logs)[:, :, None] * np.ones(4), added)


def test_what_the_kernels_add_is_taken_away() -> None:
    runs = _runs_at(math.log(0.9), 0.5, 1e-6)
    steady, drawn = training_runs._along_slowest(runs, "", 0.5)
    assert steady.verdict is Verdict.HOLDS
    assert steady.interval.value == pytest.approx(math.log(0.9), abs=1e-12)
    assert drawn.verdict is Verdict.REFUTED
    assert drawn.interval == training_runs._at_infinity(runs.logs)


@pytest.mark.parametrize("own", [0.8, 0.79, 0.81])
@pytest.mark.parametrize("targets", [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]], ids=["some", "none"])
def test_made_up_runs_at_the_rates_hold_and_slower_ones_do_not(
    own: float, targets: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 - ρ for the data's own targets, of which one may be zero, or less; where all are, they are not learnt."""
    asked = []

    def trainer(case: training_runs._Case, y: np.ndarray, method: training_runs._Method):
        asked.append((y, float(method.factor(case.modes[0])[0])))
        rate, first = (0.9, 0.0) if len(asked) == 1 else (own, 0.5)
        return lambda seeds: _runs_at(math.log(rate), first, 1e-6, seeds)

    data = problem(DATA["plane"].X[:3], targets)
    case = training_runs._of(data, [0, 1, 2])
    monkeypatch.setattr(training_runs, "_trainer", trainer)
    monkeypatch.setattr(training_runs, "_within_reach", lambda *args: case)
    found = training_runs.newton_runs(data, Effort.QUICK)
    learns = any(targets)
    assert found.verdict is (Verdict.REFUTED if learns and own > 0.8 else Verdict.HOLDS), found.why
    assert found.cases == 2 * training_runs._SEEDS[Effort.QUICK][0] * (1 + learns)
    assert (asked[0][0] == case.slowest).all()
    assert [factor for _, factor in asked] == pytest.approx([0.9, 0.8][: 1 + learns], rel=1e-12)
    assert len(found.panels) == 1


@pytest.mark.control
def test_made_up_runs_of_the_control_are_refuted_at_their_own_factor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kernels add, here what makes them as fast as Newton."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    newton, descent = training_runs._newton(case, 1.0), training_runs._descent(case)
    factor = 1 - case.modes[0][0] / case.modes[0][-1]
    for method, rate, verdict in (
        (newton, 0.8, Verdict.HOLDS),
        (descent, factor, Verdict.REFUTED),
        (descent, factor**1.01, Verdict.UNDECIDED),
        (descent, 0.8, Verdict.HOLDS),
    ):
        runs = _runs_at(math.log(rate), math.log(0.8 / rate), 1e-6)
        monkeypatch.setattr(training_runs, "_trainer", lambda *args, runs=runs: lambda seeds: runs)
        found = training_runs._held_against_newton(case, method, (16,))
        assert found.verdict is verdict, found.why
        assert found.cases == 32
        assert len(found.panels) == 1


@pytest.mark.control
def test_the_control_is_refuted_for_its_reason() -> None:
    """Newton in the place of gradient descent is not refuted, and neither noise nor no motion counts."""
    case = training_runs._pair(DATA["line"])
    assert case is not None
    newton, descent = training_runs._newton(case, 1.0), training_runs._descent(case)
    assert training_runs._held_against_newton(case, newton, (12,)).verdict is Verdict.HOLDS
    assert training_runs._held_against_newton(case, descent, (12,)).verdict is Verdict.REFUTED
    still = replace(descent, step=lambda *args: 0 * descent.step(*args))
    assert training_runs._held_against_newton(case, still, (12,)).verdict is Verdict.UNDECIDED
    wild = replace(descent, step=lambda *args: -descent.step(*args))
    found = training_runs._held_against_newton(case, wild, (12,))
    assert found.verdict is Verdict.UNDECIDED
    assert "not for the reason stated" in found.why


def test_more_networks_are_trained_while_the_interval_is_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check().cases == 2 * 2 * training_runs._SEEDS[Effort.QUICK][0]
    monkeypatch.setattr(training_runs, "_OFF", 1.0001)
    found = check()
    assert found.verdict is Verdict.UNDECIDED
    assert found.cases == 2 * 2 * training_runs._SEEDS[Effort.QUICK][-1]


@pytest.mark.parametrize("name", ["newton", "descent"])
def test_training_is_that_of_the_reference(name: str) -> None:
    """Three steps of one small network, from the definitions: γ = 4λ_min and α = 1/2, or η̄ = 1/λ₁."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    X, y, values = case.problem.X, case.problem.y, np.linalg.eigvalsh(kernel(case.problem))
    method = training_runs._newton(case, 0.5) if name == "newton" else training_runs._descent(case)
    errors, before = training_runs._trained(X, y, 64, 1, method, 0)
    net = draw_network(replace(case.problem, seed=0), 0.6, 64, 1)
    targets = y + nntk_reference.outputs(net, X)
    assert before == pytest.approx(nntk_reference.ntk(net, X, normalized=True), rel=1e-12)
    assert len(errors) == 4
    for error in errors:
        assert error == pytest.approx(np.linalg.norm(nntk_reference.outputs(net, X) - targets), rel=1e-8)
        if name == "newton":
            update = nntk_reference.newton_step(net, X, targets, 4 * values[0], alpha=0.5).update
        else:
            update = nntk_reference.gradient_descent_step(net, X, targets, 1 / values[-1])
        net = net.moved(update)


def test_the_fastest_mode_of_gradient_descent_is_learnt_in_one_step() -> None:
    """And no mode overshoots: the factors are 1 - λ/λ₁."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    values = case.modes[0]
    assert training_runs._descent(case).factor(values) == pytest.approx(1 - values / values[-1], abs=1e-14)


def test_errors_are_relative_to_the_targets_size_and_start_at_one() -> None:
    """With targets y + f₀ of |y| = 1, at both widths and for every network; the logarithms are of the last, a step."""
    case = training_runs._of(DATA["two points"], [0, 1])
    runs = training_runs._trainer(case, case.slowest, training_runs._newton(case, 0.5))(2)
    assert runs.errors.shape == (2, 2, 4)
    assert runs.errors[:, :, 0] == pytest.approx(1, rel=1e-12)
    assert runs.logs == pytest.approx(np.log(runs.errors[:, :, 3]) / 3, rel=1e-12)
    assert runs.errors[:, :, 1:] == pytest.approx(0.9 ** np.arange(1, 4) * np.ones((2, 2, 1)), rel=0.1)


def test_runs_made_for_an_earlier_look_are_kept() -> None:
    case = training_runs._within_reach(DATA["line"], 2**12)
    assert case is not None
    trainer = training_runs._trainer(case, case.slowest, training_runs._newton(case, 0.5))
    fewer, more = trainer(3), trainer(5)
    assert (more.errors[:, :3] == fewer.errors).all()
    assert (more.first[:, :3] == fewer.first).all()
    with in_processes(2):
        again = training_runs._trainer(case, case.slowest, training_runs._newton(case, 0.5))(5)
    assert (again.errors == more.errors).all()
    assert (again.first == more.first).all()


def test_dampings_on_either_side_have_to_be_excluded() -> None:
    """5 % larger and smaller, and half as much more without the control variate."""
    numbers = np.random.default_rng(0).standard_normal((2, 20))
    runs = SimpleNamespace(logs=numbers, first=numbers[::-1])
    rates = training_runs._along_slowest(runs, "test", 0.5)  # type: ignore[arg-type]
    assert [rate.claimed for rate in rates] == [pytest.approx(math.log(1 - 0.5 * 0.2))] * 2
    for rate, off in zip(rates, (1.05, 1.5), strict=True):
        factors = [1 - 0.5 / (1 + 4 * by) for by in (off, 1 / off)]
        assert rate.alternatives == pytest.approx(np.log(factors), rel=1e-12)


def test_gradient_descent_is_that_of_the_equation() -> None:
    """(E12) at η̄ = 1/λ₁: θ moves by -η̄ N^(2β-1)∇L."""
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    net = draw_network(case.problem, 0.6, 32, 0)
    moved = training_runs._descent(case).step(to_torch(net), torch.tensor(case.problem.X), torch.tensor(case.problem.y))
    wanted = -(32**0.2) / case.modes[0][-1] * gradient(net, case.problem.X, case.problem.y)
    np.testing.assert_allclose(moved.numpy(), wanted, rtol=1e-10)


def test_newtons_step_has_its_gamma_and_its_size() -> None:
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    net, X, y = draw_network(case.problem, 0.6, 32, 0), case.problem.X, case.problem.y
    for alpha in (0.5, 1.0):
        method = training_runs._newton(case, alpha)
        assert method.name == f"Newton, α = {alpha:g}"
        moved = method.step(to_torch(net), torch.tensor(X), torch.tensor(y))
        np.testing.assert_allclose(moved.numpy(), newton_step(net, X, y, case.gamma, alpha=alpha).update, rtol=1e-8)
        values = np.array([0.1, 2.0])
        off = 1e-6
        quotient = (method.factor(values + off) - method.factor(values - off)) / (2 * off)
        np.testing.assert_allclose(method.slope(values), quotient, rtol=1e-6)


def test_errors_are_those_of_targets_that_start_at_minus_y() -> None:
    case = training_runs._of(DATA["plane"], [0, 1, 2])
    X, y = case.problem.X, case.problem.y
    errors, before = training_runs._trained(X, y, 64, 3, training_runs._newton(case, 1.0), 5)
    net = draw_network(Problem(X, y, "", 5), 0.6, 64, 3)
    targets = y + nntk_reference.outputs(net, X)
    wanted = []
    for _ in range(4):
        wanted.append(np.linalg.norm(nntk_reference.outputs(net, X) - targets))
        net = net.moved(newton_step(net, X, targets, case.gamma).update)
    np.testing.assert_allclose(errors, wanted, rtol=1e-8)
    J = nntk_reference.jacobian(draw_network(Problem(X, y, "", 5), 0.6, 64, 3), X).reshape(3, -1)
    np.testing.assert_allclose(before, J @ J.T / 3 * 64**0.2, rtol=1e-10)


def test_the_interval_reaches_over_the_wider_mean_and_what_it_is_extrapolated_to() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((2, 14))
    growth = 4**0.8  # N^(2(1-β))
    wider, beyond = numbers[1], (growth * numbers[1] - numbers[0]) / (growth - 1)
    for looks in (1, 2):
        found = training_runs._at_infinity(numbers, looks)
        ends = [training_runs.mean(values, looks=looks) for values in (wider, beyond)]
        assert found.value == pytest.approx(beyond.mean())
        assert (found.low, found.high) == (min(e.low for e in ends), max(e.high for e in ends))


def test_logs_are_per_step() -> None:
    errors = np.array([[[1.0, 0.9, 0.8, 0.5]], [[1.0, 0.9, 0.8, 0.25]]])
    runs = training_runs._Runs(errors, np.zeros((2, 1)))
    assert runs.logs == pytest.approx(np.log([[0.5], [0.25]]) / 3)
