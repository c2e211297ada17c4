"""What the measured claims are measured on: networks, training, constants and quantities, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flint import arb, ctx

from nntk_proofs_checks import (
    CLAIMS,
    Effort,
    Evidence,
    Problem,
    ensemble,
    initial_fluctuations,
    limit_equation,
    sharp_rate,
    training_runs,
)
from nntk_proofs_checks.ensemble import Setup, damping, draw, one_thread, sampled, standardized
from nntk_proofs_checks.initial_fluctuations import constants, starts
from nntk_reference import InputError, Verdict, formulas, gaussian, limit_trajectory, newton_step
from nntk_reference.activations import activation
from nntk_reference.finite import jacobian, outputs, residual_hessian


def line(points: int = 6, scale: float = 1.0) -> Problem:
    x = np.linspace(0, 1, points)
    return Problem(x[:, None], scale * (2 * x + 0.4 * np.sin(5 * np.pi * x)), "test")


TINY = Setup(0.75, (8, 16), 2, steps=2, features=True)


def test_the_same_arguments_give_the_same_runs_and_another_seed_others() -> None:
    problem = standardized(line())
    first = ensemble.ensemble(problem, TINY)
    ensemble.cache_clear()
    again = ensemble.ensemble(problem, TINY)
    other = ensemble.ensemble(Problem(problem.X, problem.y, "", seed=1), TINY)
    assert first[0][0].outputs.tolist() == again[0][0].outputs.tolist()
    assert first[0][0].outputs.tolist() != other[0][0].outputs.tolist()
    assert first[0][0].outputs.tolist() != first[0][1].outputs.tolist()
    assert [len(column) for column in first] == [2, 2]


def test_training_is_that_of_the_reference() -> None:
    """Two steps of one small network, from the definitions."""
    problem = standardized(line())
    run = ensemble.ensemble(problem, TINY)[0][1]
    net, gamma = sampled(problem, 0.75, 8, 1), damping(problem, TINY)
    J, path = jacobian(net, problem.X), [net]
    updates = []
    for _ in range(2):
        step = newton_step(path[-1], problem.X, problem.y, gamma)
        updates.append(np.sqrt((step.update**2).sum(1).mean()))
        path.append(path[-1].moved(step.update))
    f = [outputs(n, problem.X) for n in path]
    np.testing.assert_allclose(run.outputs, f, rtol=1e-10)
    np.testing.assert_allclose(run.updates, updates, rtol=1e-8)
    moved = np.concatenate([path[-1].c - net.c, (path[-1].w - net.w).ravel(), path[-1].eta - net.eta])
    order = np.concatenate([J[:, :, 0], J[:, :, 1], J[:, :, 2]], axis=1)
    np.testing.assert_allclose(run.taylor, np.linalg.norm(f[-1] - f[0] - order @ moved), rtol=1e-8)
    B = run.kernel
    np.testing.assert_allclose(B, 8 ** (2 * 0.75 - 1) * np.einsum("mip,nip->mn", J, J) / 6, rtol=1e-12)
    linear = [f[0]]
    for _ in range(2):
        linear.append(linear[-1] + B @ np.linalg.inv(B + gamma * np.eye(6)) @ (problem.y - linear[-1]))
    np.testing.assert_allclose(run.linear, linear, rtol=1e-8)
    assert run.drift > 0


def test_matched_targets_start_at_minus_y() -> None:
    problem = standardized(line())
    run = ensemble.ensemble(problem, Setup(0.75, (8,), 1, steps=1, matched=True))[0][0]
    B, gamma = run.kernel, damping(problem, Setup(0.75, (8,), 1))
    np.testing.assert_allclose(run.linear[1] - run.linear[0], np.linalg.solve(B + gamma * np.eye(6), B @ problem.y), rtol=1e-9)
    assert np.isnan(run.taylor)


def test_the_limit_trajectory_is_the_references() -> None:
    problem = standardized(line())
    ours = limit_equation._trajectory(ensemble.kernel(problem), 0.7, problem.y, np.zeros(6))
    theirs = limit_trajectory(problem.X, problem.y, 0.7, limit_equation._STEPS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_strength_is_what_it_says() -> None:
    """The root mean square of ‖S‖_F / γ_N over a fresh, wide network at residual -y."""
    problem, setup = standardized(line()), Setup(0.75, (2**14,), 1, strength=0.3)
    net = sampled(problem, 0.75, 2**14, 7)
    S = residual_hessian(net, problem.X, outputs(net, problem.X) + problem.y)  # the residual is -y
    gamma_n = damping(problem, setup) * float(2**14) ** (1 - 2 * 0.75)
    assert np.sqrt((S**2).sum(axis=(1, 2)).mean()) / gamma_n == pytest.approx(0.3, rel=0.05)


def test_laws() -> None:
    problem = standardized(line())
    symmetric, asymmetric = sampled(problem, 0.75, 4000, 0), sampled(problem, 0.75, 4000, 0, "asymmetric")
    np.testing.assert_allclose(asymmetric.c, symmetric.c + 1)
    np.testing.assert_allclose(asymmetric.eta, symmetric.eta + 1)
    assert abs(symmetric.c.mean()) < 0.05
    assert draw(symmetric).c.detach().numpy().tolist() == symmetric.c.tolist()


@pytest.mark.parametrize(
    "problem",
    [
        line(40, 1e6),
        line(3, 1e-200),
        Problem(1e4 + np.arange(5.0)[:, None], np.arange(5.0), ""),
        Problem(1e3 + np.linspace(0, 1, 5)[:, None], np.arange(5.0), ""),
        Problem(np.full((2, 3), 7.0), np.array([0.0, -2.0]), ""),
    ],
    ids=["many, large", "tiny targets", "far apart", "far away", "equal inputs"],
)
def test_standardized_data_are_of_moderate_size(problem: Problem) -> None:
    data = standardized(problem)
    assert len(data.y) <= 16
    assert np.sqrt((data.y**2).mean()) == pytest.approx(1)
    assert np.linalg.norm(data.X, axis=1).max() <= 1 + 1e-12


def test_data_of_moderate_inputs_keep_them() -> None:
    assert standardized(line()).X.tolist() == line().X.tolist()


def test_zero_targets_do_not_apply() -> None:
    zero = Problem(line().X, np.zeros(6), "test")
    for name in ("limit-equation", "linearization", "sharp-rate", "vanishing-updates", "vanishing-gamma"):
        finding = CLAIMS[name].check(zero, Effort.QUICK)
        assert not finding.applies
        assert "targets are zero" in finding.why


def test_the_seed_is_checked() -> None:
    with pytest.raises(InputError, match="seed"):
        Problem(line().X, line().y, "", seed=-1)


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with one_thread(8):
            inside.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [1]
    assert torch.get_num_threads() == before


# ------------------------------------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize("X", [np.linspace(0, 1, 4)[:, None], np.array([[0.3, -0.5], [1.0, 0.2], [0.3, -0.5]])])
def test_the_constant_of_e19_is_the_enclosed_one(X: np.ndarray) -> None:
    found = constants(X)
    assert found is not None
    with ctx.workprec(128):
        inputs = formulas.augmented(np.array([[arb(v) for v in row] for row in X.tolist()], dtype=object))
        value = gaussian.expectations(activation("tanh"), inputs, 64).value
    np.testing.assert_allclose(found.second, [float(value[m, m].mid()) / 3 for m in range(len(X))], rtol=1e-9)


def test_the_constant_of_e20_by_simulation_of_single_neurons() -> None:
    X = np.linspace(0, 1, 3)[:, None]
    found = constants(X)
    assert found is not None
    rng, n = np.random.default_rng(0), 400_000
    c, w, eta = rng.uniform(-1, 1, n), rng.standard_normal(n), rng.standard_normal(n)
    s = np.tanh(X[:, 0, None] * w + eta)
    slope = 1 - s * s
    inputs = np.concatenate([X, np.ones((3, 1))], axis=1)
    K = (s[:, None] * s[None] + c**2 * slope[:, None] * slope[None] * (inputs @ inputs.T)[:, :, None]) / 3
    assert K.var(axis=2).sum() == pytest.approx(found.variance, rel=0.02)


def test_constants_out_of_reach_are_not_made_up() -> None:
    assert constants(np.array([[0.0], [1e6]])) is None


@pytest.mark.parametrize(
    "X",
    [np.linspace(0, 10, 8)[:, None], np.array([[-1.0], [0.0], [1.0]]), np.random.default_rng(9).standard_normal((30, 6))],
    ids=["far apart", "opposite", "six dimensions"],
)
def test_the_two_points_of_the_finite_width_runs_have_modes_that_differ(X: np.ndarray) -> None:
    case = training_runs._case(Problem(X, np.ones(len(X)), ""))
    assert case is not None
    assert 0 < case.slow <= 0.35 * case.fast
    assert case.width < 2**16


def test_equal_inputs_have_no_such_points() -> None:
    same = Problem(np.ones((3, 2)), np.arange(3.0), "")
    assert training_runs._case(same) is None
    assert not training_runs.newton_runs(same, Effort.QUICK).applies


def test_copies_halve_the_independent_neurons() -> None:
    doubled = starts(line(), 2, copies=2)[0][0].kernel
    single = starts(line(), 2)[0][0].kernel
    assert doubled.shape == single.shape
    assert not np.array_equal(doubled, single)


# -------------------------------------------------------------------------------------------------------------------- verdicts


def test_the_direction_of_one_half_comes_from_the_other() -> None:
    """Pure noise has no mean along a direction that it did not choose itself."""
    rng = np.random.default_rng(4)

    class Fake:
        def __init__(self) -> None:
            self.outputs, self.linear = np.zeros((2, 16)), rng.standard_normal((2, 16))

    runs = [[Fake() for _ in range(200)] for _ in range(3)]
    values = np.concatenate(sharp_rate._projected(runs, 0.75, (256, 1024, 4096)))  # type: ignore[arg-type]
    assert abs(values.mean()) < 5 / np.sqrt(600)


@pytest.mark.parametrize("name", [n for n, c in CLAIMS.items() if c.evidence is Evidence.MEASURED])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_measured_claims_hold_for_other_networks(name: str, seed: int) -> None:
    x = np.linspace(0, 1, 12)
    problem = Problem(x[:, None], np.cos(3 * x), "test", seed)
    assert CLAIMS[name].check(problem, Effort.QUICK).verdict is Verdict.HOLDS
    assert CLAIMS[name].control(problem, Effort.QUICK).verdict is Verdict.REFUTED


def test_the_intervals_of_a_run_are_fewer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module that makes intervals, counted in the sources of the largest effort: β times quantities."""
    from nntk_proofs_checks import statistics

    made = []
    original = statistics.Rate.__init__

    def counted(self, *args, **kwargs):
        made.append(args)
        original(self, *args, **kwargs)

    monkeypatch.setattr(statistics.Rate, "__init__", counted)
    for name in ("linearization", "limit-equation", "sharp-rate", "initial-fluctuations", "vanishing-updates", "exponential"):
        monkeypatch.setitem(ensemble.SEEDS, Effort.QUICK, 3)
        monkeypatch.setitem(ensemble.WIDTHS, Effort.QUICK, (8, 16))
        monkeypatch.setitem(sharp_rate._SEEDS, Effort.QUICK, (3, 3))
        monkeypatch.setitem(sharp_rate._WIDTHS, Effort.QUICK, (8, 16))
        monkeypatch.setitem(initial_fluctuations._RUNS, Effort.QUICK, 9)
        CLAIMS[name].check(line(), Effort.QUICK)
        CLAIMS[name].control(line(), Effort.QUICK)
    assert 20 < len(made) < statistics.MOST_INTERVALS / 2
