"""The constants of (E19) and (E20), against enclosures and simulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx

from nntk_proofs_checks import Effort, initial_fluctuations, initial_networks
from nntk_proofs_checks.ensemble import standardized
from nntk_proofs_checks.initial_fluctuations import constants
from nntk_reference import Verdict, activation, formulas, gaussian
from tests.proofs_checks.problems import line

DATA = standardized(line())


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two narrow widths: (E19) and (E20) are equalities at any. What is planted in the networks is forgotten."""
    for module in (initial_networks, initial_fluctuations):
        monkeypatch.setattr(module, "WIDTHS", (2**6, 2**8))
    monkeypatch.setattr(initial_fluctuations, "_CONTROL_RUNS", 80)
    initial_networks.cache_clear()
    yield
    initial_networks.cache_clear()


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


def test_the_constant_of_e20_by_another_rule() -> None:
    """Gauss-Hermite over (w, η), at inputs that are not 0, where z has a variance above 1."""
    x = np.array([0.7, -1.3])
    found = constants(x[:, None])
    assert found is not None
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = weights / weights.sum()
    s = np.tanh(x[:, None, None] * nodes[:, None] + nodes)  # (M, w, η)
    p = s[:, None] * s[None]
    q = (1 - s * s)[:, None] * (1 - s * s)[None] * (1 + x[:, None] * x)[:, :, None, None]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.einsum("mnij,i,j->mn", values, weights, weights)

    second, fourth = 1 / 3, 1 / 5  # of c on (-1, 1)
    variance = mean(p * p + 2 * second * p * q + fourth * q * q) - mean(p + second * q) ** 2
    assert found.variance == pytest.approx(variance.sum() / 4, rel=1e-6)


def test_constants_out_of_reach_are_not_made_up() -> None:
    assert constants(np.array([[0.0], [1e6]])) is None


# ---------------------------------------------------------------------------------------------------------------- the control


def test_the_constants_off_centre_by_simulation_of_single_neurons() -> None:
    X = np.linspace(0, 1, 3)[:, None]
    found = constants(X, (1.0, 1.0))
    assert found is not None
    rng, n = np.random.default_rng(0), 400_000
    c, w, eta = rng.uniform(0, 2, n), rng.standard_normal(n), 1 + rng.standard_normal(n)
    s = np.tanh(X[:, 0, None] * w + eta)
    inputs = np.concatenate([X, np.ones((3, 1))], axis=1)
    slope = 1 - s * s
    K = (s[:, None] * s[None] + c**2 * slope[:, None] * slope[None] * (inputs @ inputs.T)[:, :, None]) / 3
    np.testing.assert_allclose(found.first, (c * s).mean(axis=1), rtol=0.01)
    np.testing.assert_allclose(found.second, ((c * s) ** 2).mean(axis=1), rtol=0.01)
    assert K.var(axis=2).sum() == pytest.approx(found.variance, rel=0.02)


@pytest.mark.control
def test_the_control_is_refuted_and_says_by_how_much() -> None:
    found = initial_fluctuations.control(line(), Effort.QUICK)
    assert found.verdict is Verdict.REFUTED
    assert "constant with (E c E σ)²" in found.why
    assert "N / 2 V" in found.why


@pytest.mark.control
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_e19_is_not_refuted_where_the_neurons_outputs_have_mean_zero(shift: tuple[float, float]) -> None:
    """c about 0, or tanh of z about 0: either is enough."""
    expected = constants(DATA.X, shift)
    assert expected is not None
    assert np.abs(expected.first).max() < 1e-15
    assert initial_fluctuations._off_centre(DATA, shift).verdict is not Verdict.REFUTED
    columns = initial_networks.starts(DATA, 80, shift=shift)
    means = initial_fluctuations._outputs_rates(columns, expected, Effort.QUICK)[:3]
    assert {rate.verdict for rate in means} <= {Verdict.HOLDS, Verdict.UNDECIDED}


@pytest.mark.control
@pytest.mark.usefixtures("narrow")
def test_e20_holds_for_single_neurons_in_the_control() -> None:
    expected = constants(DATA.X)
    assert expected is not None
    assert initial_fluctuations._copied(DATA, 1, expected).verdict is Verdict.HOLDS
    assert initial_fluctuations._copied(DATA, 2, expected).verdict is Verdict.REFUTED


def _noise(like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(int(like.abs().sum() * 1e6)), dtype=like.dtype)


REPLACED = {"0": lambda v: 0 * v, "noise": _noise, "a thousandfold": lambda v: 1000 * v}


@pytest.mark.control
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("what", REPLACED)
@pytest.mark.parametrize("name", ["outputs", "ntk"])
def test_the_control_is_not_refuted_for_another_reason(name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(initial_networks, name)
    assert _part(name).verdict is Verdict.REFUTED
    initial_networks.cache_clear()

    def replaced(*args: Any, **options: Any) -> torch.Tensor:
        return REPLACED[what](original(*args, **options))

    monkeypatch.setattr(initial_networks, name, replaced)
    found = _part(name)
    assert found.verdict is Verdict.UNDECIDED
    assert "not for the reason stated" in found.why or "too wide" in found.why


def _part(name: str) -> Any:
    expected = constants(DATA.X)
    assert expected is not None
    if name == "ntk":
        return initial_fluctuations._copied(DATA, 2, expected)
    return initial_fluctuations._off_centre(DATA, (1.0, 1.0))


@pytest.mark.usefixtures("narrow")
def test_the_distance_of_the_kernels_is_held_against_its_own_exponent() -> None:
    expected = constants(DATA.X)
    assert expected is not None
    rate = initial_fluctuations._measure(DATA, Effort.QUICK, expected, 40, 1)[0][-1]
    assert (rate.relation, rate.claimed, rate.alternatives) == ("≈", -1.0, (-1.2, -0.8))
    assert rate.verdict is not Verdict.REFUTED


@pytest.mark.control
@pytest.mark.usefixtures("narrow")
def test_off_centre_the_mean_square_has_n_minus_one_squares_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """E f₀² N^(2β-1) = E g² + (N - 1)(E g)², g = cσ of a neuron: the pairs of different ones."""
    asked: list[Any] = []
    original = initial_fluctuations._outputs_ratios
    monkeypatch.setattr(
        initial_fluctuations, "_outputs_ratios", lambda columns, of: (asked.append(of), original(columns, of))[1]
    )
    initial_fluctuations._off_centre(DATA, (1.0, 1.0))
    expected = constants(DATA.X, (1.0, 1.0))
    assert expected is not None
    exact, claimed = asked
    for N in (64, 256):
        np.testing.assert_allclose(claimed(N), expected.second, rtol=1e-12)
        np.testing.assert_allclose(exact(N), expected.second + (N - 1) * expected.first**2, rtol=1e-12)


@pytest.mark.usefixtures("narrow")
def test_the_check_holds_and_counts_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(initial_fluctuations._RUNS, Effort.QUICK, (80,))
    found = initial_fluctuations.check(line(), Effort.QUICK)
    assert found.applies
    assert found.verdict is not Verdict.REFUTED
    assert found.cases == sum(map(len, initial_networks.starts(DATA, 80)))
    monkeypatch.setattr(initial_fluctuations, "constants", lambda X, shift=(0.0, 0.0): None)
    for part in (initial_fluctuations.check, initial_fluctuations.control):
        assert not part(line(), Effort.QUICK).applies
