"""What the measured claims are measured on: networks and their training, against independent computations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, Evidence, Problem, ensemble
from nntk_proofs_checks.data import default_data
from nntk_proofs_checks.ensemble import Setup, draw_network, standardized, suitable_gamma, to_torch
from nntk_reference import Verdict, jacobian, limit_ntk, newton_step, nntk, outputs, regularization, residual_hessian
from tests.proofs_checks.problems import line

TINY = Setup(0.75, (8, 16), 2, steps=2, features=True)


def test_the_same_arguments_give_the_same_runs_and_another_seed_others() -> None:
    problem = standardized(line(6))
    first = ensemble.ensemble(problem, TINY)
    ensemble.cache_clear()
    again = ensemble.ensemble(problem, TINY)
    other = ensemble.ensemble(Problem(problem.X, problem.y, "", seed=1), TINY)
    assert first[0][0].outputs.tolist() == again[0][0].outputs.tolist()
    assert first[0][0].outputs.tolist() != other[0][0].outputs.tolist()
    assert first[0][0].outputs.tolist() != first[0][1].outputs.tolist()
    assert [len(column) for column in first] == [2, 2]


def test_runs_are_made_once_whatever_other_widths_and_seeds_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made, train = [], ensemble._train
    monkeypatch.setattr(ensemble, "_train", lambda *args: (made.append(args[2:4]), train(*args))[1])
    ensemble.cache_clear()
    problem = line(3)
    few = ensemble.ensemble(problem, replace(TINY, widths=(16, 32), seeds=2))
    more = ensemble.ensemble(problem, replace(TINY, widths=(16, 64), seeds=3))
    assert sorted(made) == [(16, 0), (16, 1), (16, 2), (32, 0), (32, 1), (64, 0), (64, 1), (64, 2)]
    assert more[0][:2] == few[0]
    ensemble.ensemble(problem, replace(TINY, widths=(32, 64), seeds=2))  # another γ, from the smallest width
    assert len(made) == 12


def test_training_is_that_of_the_reference() -> None:
    """Two steps of one small network, from the definitions."""
    problem = standardized(line(6))
    run = ensemble.ensemble(problem, TINY)[0][1]
    net, gamma = draw_network(problem, 0.75, 8, 1), suitable_gamma(problem, TINY)
    J, path = jacobian(net, problem.X), [net]
    updates = []
    for _ in range(2):
        step = newton_step(path[-1], problem.X, problem.y, gamma)
        updates.append(np.sqrt((step.update**2).sum(1).mean()))
        path.append(path[-1].moved(step.update))
    f = [outputs(n, problem.X) for n in path]
    np.testing.assert_allclose(run.outputs, f, rtol=1e-10)
    np.testing.assert_allclose(run.updates, updates, rtol=1e-8)
    moved = np.einsum("mip,ip->m", J, path[-1].theta - net.theta)
    np.testing.assert_allclose(run.taylor, np.linalg.norm(f[-1] - f[0] - moved), rtol=1e-8)
    B = run.kernel
    np.testing.assert_allclose(B, np.einsum("mip,nip->mn", J, J) / 6 / regularization(1.0, 8, 0.75), rtol=1e-12)
    linear = [f[0]]
    for _ in range(2):
        linear.append(linear[-1] + B @ np.linalg.inv(B + gamma * np.eye(6)) @ (problem.y - linear[-1]))
    np.testing.assert_allclose(run.linear, linear, rtol=1e-8)
    before, after = (nntk(n, problem.X, problem.y, gamma) for n in (net, path[-1]))
    np.testing.assert_allclose(run.drift, np.linalg.norm(after - before, 2), rtol=1e-6)


def test_matched_targets_start_at_minus_y() -> None:
    problem = standardized(line(6))
    run = ensemble.ensemble(problem, Setup(0.75, (8,), 1, steps=1, matched=True))[0][0]
    B, gamma = run.kernel, suitable_gamma(problem, Setup(0.75, (8,), 1))
    np.testing.assert_allclose(run.linear[1] - run.linear[0], np.linalg.solve(B + gamma * np.eye(6), B @ problem.y), rtol=1e-9)
    assert run.taylor is None
    with pytest.raises(ValueError, match="measured where Setup"):
        ensemble.collect([[run]], lambda run: run.taylor)
    with pytest.raises(ValueError, match="measured where Setup"):  # by any of them
        ensemble.collect([[replace(run, taylor=1.0)], [replace(run, taylor=1.0), run]], lambda run: run.taylor)


def test_curvature_ratio_is_what_it_says() -> None:
    """The root mean square of ‖S‖_F / γ_N over a fresh, wide network at residual -y."""
    problem, setup = standardized(line(6)), Setup(0.75, (2**14,), 1, curvature_ratio=0.3)
    net = draw_network(problem, 0.75, 2**14, 7)
    S = residual_hessian(net, problem.X, outputs(net, problem.X) + problem.y)  # the residual is -y
    damping = regularization(suitable_gamma(problem, setup), 2**14, 0.75)
    assert np.sqrt((S**2).sum(axis=(1, 2)).mean()) / damping == pytest.approx(0.3, rel=0.05)


def test_laws() -> None:
    problem = standardized(line(6))
    symmetric, asymmetric = draw_network(problem, 0.75, 4000, 0), draw_network(problem, 0.75, 4000, 0, symmetric=False)
    np.testing.assert_allclose(asymmetric.c, symmetric.c + 1)
    np.testing.assert_allclose(asymmetric.eta, symmetric.eta + 1)
    assert abs(symmetric.c.mean()) < 0.05
    assert to_torch(symmetric).c.detach().numpy().tolist() == symmetric.c.tolist()


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
    assert standardized(line(6)).X.tolist() == line(6).X.tolist()


def test_zero_targets_do_not_apply() -> None:
    zero = Problem(line(6).X, np.zeros(6), "test")
    for name in ("limit-equation", "linearization", "sharp-rate", "vanishing-updates", "vanishing-gamma"):
        finding = CLAIMS[name].check(zero, Effort.QUICK)
        assert not finding.applies
        assert "targets are zero" in finding.why


@pytest.mark.parametrize("name", [n for n, c in CLAIMS.items() if c.evidence is Evidence.MEASURED])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_measured_claims_hold_for_other_networks(name: str, seed: int) -> None:
    x = np.linspace(0, 1, 12)
    problem = Problem(x[:, None], np.cos(3 * x), "test", seed)
    assert CLAIMS[name].check(problem, Effort.QUICK).verdict is Verdict.HOLDS
    assert CLAIMS[name].control(problem, Effort.QUICK).verdict is Verdict.REFUTED


def test_standardized_data_are_spread_over_the_file_and_scaled() -> None:
    rng = np.random.default_rng(0)
    X, y = 3 + 2 * rng.standard_normal((40, 2)), 1e5 * rng.standard_normal(40)
    for most in (16, 5):
        data = standardized(Problem(X, y, "kept", 7), most)
        chosen = [round(39 * k / (most - 1)) for k in range(most)]
        middle = (X[chosen].min(axis=0) + X[chosen].max(axis=0)) / 2
        moved = X[chosen] - middle
        longest = max(np.linalg.norm(x) for x in moved)
        np.testing.assert_allclose(data.X, moved / max(1, longest), rtol=1e-12)
        np.testing.assert_allclose(data.y, y[chosen] / np.sqrt(np.mean(y[chosen] ** 2)), rtol=1e-12)
        assert (data.source, data.seed) == ("kept", 7)
    near = np.array([[1.4, 0.0], [1.6, 0.0]])  # outside of the unit ball, and inside once they are moved
    assert standardized(Problem(near, np.ones(2), "")).X.tolist() == pytest.approx(np.array([[-0.1, 0], [0.1, 0]]))
    edge = np.array([[1.0, 0.0], [0.0, -1.0]])
    assert standardized(Problem(edge, np.ones(2), "")).X.tolist() == edge.tolist()


def test_gamma_is_the_curvature_at_the_smallest_width_over_the_ratio() -> None:
    problem = standardized(line(6))
    for symmetric in (True, False):
        net = draw_network(replace(problem, seed=0), 1.0, 4096, 0, symmetric=symmetric)
        S = residual_hessian(net, problem.X, outputs(net, problem.X) + problem.y) * 4096  # the residual is -y
        size = np.sqrt((S**2).sum() / 4096)
        assert ensemble.curvature(replace(problem, seed=5), symmetric=symmetric) == pytest.approx(size, rel=1e-9)
        setup = Setup(0.9, (64, 512), 3, curvature_ratio=0.2, symmetric=symmetric)
        assert suitable_gamma(problem, setup) == pytest.approx(size * 64**-0.1 / 0.2, rel=1e-9)


def test_networks_are_told_apart_by_seed_width_and_number() -> None:
    problem = line(6)
    net = draw_network(problem, 0.75, 16, 3)
    assert net.theta.tolist() == draw_network(problem, 0.6, 16, 3).theta.tolist()
    others = (
        draw_network(problem, 0.75, 16, 2),
        draw_network(replace(problem, seed=1), 0.75, 16, 3),
        draw_network(problem, 0.75, 17, 3),
    )
    assert all(other.theta[0].tolist() != net.theta[0].tolist() for other in others)
    assert draw_network(problem, 1.0, 4, 0).beta == 1  # as controls have it
    assert (net.width, net.dim, net.activation) == (16, 1, "tanh")


@pytest.mark.parametrize("seeds", [2, (2, 1)])
def test_there_are_as_many_runs_as_were_asked_for(seeds: int | tuple[int, ...]) -> None:
    problem = standardized(line(4))
    columns = ensemble.ensemble(problem, Setup(0.75, (8, 16), seeds, steps=1))
    assert [len(column) for column in columns] == ([2, 2] if seeds == 2 else [2, 1])
    assert all(run.outputs.shape == (2, 4) and run.updates.shape == (1,) for column in columns for run in column)


def test_the_kernel_is_the_limit_one() -> None:
    problem = line(5)
    np.testing.assert_allclose(ensemble.kernel(problem), limit_ntk(problem.X), rtol=1e-14)


def test_the_controls_data_are_the_default_ones_with_the_seed_of_the_problem() -> None:
    data = ensemble.textbook(replace(line(7), seed=9))
    assert data.seed == 9
    assert data.X.tolist() == standardized(default_data()).X.tolist()
    assert data.y.tolist() == standardized(default_data()).y.tolist()
