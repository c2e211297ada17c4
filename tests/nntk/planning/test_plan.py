"""The plan: its numbers against independent computations, both sides of its bounds, its report, refusals and exit codes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from flint import arb, ctx

import nntk.planning.plan
import nntk_accelerated
import nntk_reference
from nntk.planning.numbers import Request, Size
from nntk.planning.plan import make_plan
from nntk_proofs_checks import Problem
from nntk_reference import (
    Ball,
    Multiprecision,
    PrecisionError,
    contraction_factors,
    limit_spectrum,
)

MP = mpmath.MPContext()
MP.dps = 60
TWO = Problem(np.array([[0.0], [1.0]]), np.array([1.0, -2.0]), "two points")
SIX = Problem(np.linspace(-1, 1, 6)[:, None], np.array([1.0, 0, 2, 0, 1, 3]), "six points")


def two_point_spectrum() -> tuple[Any, Any]:
    """Eigenvalues of (E9) for erf at x = 0 and 1, from the closed forms of the docstring of the design, in mpmath."""
    X = [(0, 1), (1, 1)]

    def entry(x: tuple[int, int], z: tuple[int, int]) -> Any:
        a, a2, b = (MP.mpf(u[0] * v[0] + u[1] * v[1]) for u, v in ((x, x), (z, z), (x, z)))
        s = (1 + 2 * a) * (1 + 2 * a2)
        return (2 / MP.pi * MP.asin(2 * b / MP.sqrt(s)) + 4 / MP.pi / MP.sqrt(s - 4 * b * b) * b / 3) / 2

    p, q, r = entry(X[0], X[0]), entry(X[1], X[1]), entry(X[0], X[1])
    root = MP.sqrt((p - q) ** 2 + 4 * r * r)
    return (p + q + root) / 2, (p + q - root) / 2


def close(size: Size, value: Any, digits: int = 13) -> None:
    assert size.value is not None
    assert abs(size.value - value) <= MP.mpf(10) ** -digits * abs(value)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_two_points_against_closed_forms() -> None:
    plan = make_plan(TWO, Request(activation="erf", rate=0.25, largest_width=8))
    top, bottom = two_point_spectrum()
    close(plan.spectrum.modes[0].eigenvalue, top)
    close(plan.spectrum.modes[1].eigenvalue, bottom)
    close(plan.spectrum.condition, top / bottom)
    close(plan.spectrum.gamma, 3 * bottom)
    close(plan.spectrum.stable_rate, 2 / top)
    close(plan.spectrum.best_rate, 2 / (top + bottom))
    # the two extreme modes of gradient descent's best rate are the same
    factor = (top - bottom) / (top + bottom)
    for mode in plan.spectrum.modes:
        close(mode.gradient_descent, MP.log(2) / -MP.log(factor))
    gamma = MP.mpf(plan.spectrum.gamma.value)
    for mode, value in zip(plan.spectrum.modes, (top, bottom), strict=True):
        close(mode.newton, MP.log(2) / -MP.log(1 - value / (gamma + value)))
    assert plan.spectrum.newton_steps.value == MP.ceil(MP.log(1000) / -MP.log(gamma / (gamma + bottom)))
    assert plan.spectrum.gradient_descent_steps.value == MP.ceil(MP.log(1000) / -MP.log(factor))


def test_the_bound_on_the_width_by_hand() -> None:
    plan = make_plan(TWO, Request(activation="erf", gamma=0.5, beta=0.6, largest_width=8))
    s, K = 2 / MP.sqrt(MP.pi), MP.sqrt(8 / (MP.pi * MP.e))
    h2 = [((K * q2 + MP.sqrt((K * q2) ** 2 + 4 * s * s * q2)) / 2) ** 2 for q2 in (1, 2)]
    rho = MP.sqrt(5 * sum(h2)) / 2
    assert plan.widths.rho is not None
    close(plan.widths.rho, rho)
    assert plan.widths.guaranteed is not None
    assert plan.widths.guaranteed.value == MP.floor((rho / MP.mpf(0.5)) ** (1 / (1 - MP.mpf(0.6)))) + 1


@pytest.mark.parametrize("activation", ["tanh", "erf", "sin", "logistic", "softplus", "gelu"])
def test_modes_agree_with_the_reference(activation: str) -> None:
    plan = make_plan(SIX, Request(activation=activation, rate=0.9, largest_width=4))
    assert plan.spectrum.gamma.value is not None
    assert plan.spectrum.best_rate.value is not None
    arithmetic = Multiprecision(40)
    ours = contraction_factors(SIX.X, plan.spectrum.gamma.value, activation, arithmetic, rate=plan.spectrum.best_rate.value)
    for k, mode in enumerate(plan.spectrum.modes):
        close(mode.eigenvalue, ours.eigenvalues[k])
        close(mode.newton, MP.log(2) / -MP.log(ours.newton[k]), 12)
        if 0 < k < len(plan.spectrum.modes) - 1:  # the ends turn on the last digits of the rate, here rounded to float64
            close(mode.gradient_descent, MP.log(2) / -MP.log(abs(ours.gradient_descent[k])), 10)
        assert mode.meets_rate == (1 - ours.newton[k] >= MP.mpf(0.9))
    # the ends: 1 - (λ₁-λ_M)/(λ₁+λ_M) from the eigenvalues, to forty digits
    top, bottom = ours.eigenvalues[0], ours.eigenvalues[-1]
    for mode in (plan.spectrum.modes[0], plan.spectrum.modes[-1]):
        close(mode.gradient_descent, MP.log(2) / -MP.log1p(-2 * bottom / (top + bottom)), 12)


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_gamma_lies_just_inside_the_rate(rate: float) -> None:
    plan = make_plan(SIX, Request(activation="erf", rate=rate, largest_width=1))
    assert all(mode.meets_rate for mode in plan.spectrum.modes)
    smallest = limit_spectrum(SIX.X, "erf", Ball(200))[-1]
    assert plan.spectrum.gamma.value is not None
    with ctx.workprec(200):
        gamma = arb(plan.spectrum.gamma.value)
        assert smallest / (gamma + smallest) > rate
        outside = gamma * (1 + arb(2) ** -50)
        assert smallest / (outside + smallest) < rate
    beyond = make_plan(
        SIX, Request(activation="erf", rate=rate, gamma=plan.spectrum.gamma.value * (1 + 2.0**-50), largest_width=1)
    )
    assert [mode.meets_rate for mode in beyond.spectrum.modes] == [True] * 5 + [False]


def nearby(
    problem: Problem, width: int, seed: int, law: str = "uniform"
) -> tuple[nntk_accelerated.ShallowNet, torch.Tensor, torch.Tensor, float]:
    """A sampled network, and targets at which its residual is exactly as large as the data's |y|."""
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    generator = torch.Generator().manual_seed(seed)
    net = nntk_accelerated.ShallowNet(width, X.shape[1], beta=0.75, law=law, generator=generator)
    f = nntk_accelerated.outputs(net, X)
    return net, X, f - y, float(y.norm())


@pytest.mark.parametrize("seed", range(6))
def test_a_guaranteed_width_is_certified(seed: int) -> None:
    plan = make_plan(SIX, Request(gamma=0.4, largest_width=10_000))
    assert plan.widths.guaranteed is not None
    width = plan.widths.guaranteed.value
    assert isinstance(width, int)
    assert 1000 < width < 10_000
    net, X, y, size = nearby(SIX, width, seed)
    assert float((nntk_accelerated.outputs(net, X) - y).norm()) <= size * (1 + 1e-12)
    assert float(net.c.detach().abs().max()) <= 1
    assert nntk_accelerated.inertia(net, X, y, 0.4).certificate.verdict == "positive definite"
    assert nntk_accelerated.sufficient_gamma(net, X, y) <= 0.4
    # far below the width the same networks are not: the certificate can fail
    net, X, y, _ = nearby(SIX, 200, seed)
    assert nntk_accelerated.inertia(net, X, y, 0.05).certificate.verdict == "indefinite"


def test_the_bound_covers_the_worst_neuron() -> None:
    """No network with |c| ≤ 1 and no residual of norm |y| has a larger (1/M)Σ|r|h, and some come near."""
    plan = make_plan(SIX, Request(gamma=1.0, largest_width=1))
    assert plan.widths.rho is not None
    assert plan.widths.rho.value is not None
    rng = np.random.default_rng(0)
    q2 = (SIX.X**2).sum(1) + 1
    z = np.linspace(-4, 4, 2001)[:, None]
    s, K = 1 - np.tanh(z) ** 2, np.abs(2 * np.tanh(z) * (1 - np.tanh(z) ** 2))
    h = (K * q2 + np.sqrt((K * q2) ** 2 + 4 * s * s * q2)) / 2  # every point at the same z: more than any one neuron can do
    best = 0.0
    for _ in range(200):
        r = np.abs(rng.standard_normal(6))
        best = max(best, float((h @ r).max() / 6 * np.linalg.norm(SIX.y) / np.linalg.norm(r)))
    assert 0.5 * plan.widths.rho.value < best <= plan.widths.rho.value


def test_sampled_bound_is_that_of_the_accelerated_package() -> None:
    plan = make_plan(SIX, Request(gamma=0.5, largest_width=64, seed=3))
    X, y = torch.tensor(SIX.X), torch.tensor(SIX.y)
    seen = plan.widths.observation
    found = nntk_accelerated.required_width(
        lambda N: nntk_accelerated.ShallowNet(N, 1, beta=0.75, generator=torch.Generator().manual_seed(3)),
        X,
        y,
        0.5,
        largest=64,
    )
    assert seen.first == found.first
    assert seen.verdicts == found.observed
    assert seen.sufficient is not None
    assert seen.sufficient.value == math.floor(found.sufficient) + 1


def test_memory_against_what_a_step_leaves() -> None:
    plan = make_plan(SIX, Request(gamma=0.4, largest_width=10_000))
    cost, other = plan.cost, make_plan(SIX, Request(gamma=150.0, largest_width=10_000)).cost
    assert other is not None
    assert other.measured_width == 1  # narrow enough to be measured as it is
    assert cost is not None
    assert cost.bytes.value is not None
    assert cost.measured_seconds is not None
    assert cost.seconds is not None
    N, p, M = plan.widths.planned.value, 3, 6  # type: ignore[union-attr]
    assert N is not None
    parameters, update, blocks, bounds = N * p, N * p, N * (2 + 3), N
    assert cost.bytes.value == 8 * (parameters + update + blocks + bounds) + N + 8 * M * M * (torch.get_num_threads() + 3)
    assert cost.measured_width == 256
    assert cost.seconds.value == pytest.approx(cost.measured_seconds * N / 256)


# --- out of reach -----------------------------------------------------------------------------------------------------


def test_a_width_beyond_float64() -> None:
    plan = make_plan(SIX, Request(activation="erf", gamma=1e-8, beta=0.98, largest_width=64))
    width = plan.widths.guaranteed
    assert width is not None
    assert width.value is None
    assert width.log10 is not None
    assert plan.widths.rho is not None
    assert plan.widths.rho.log10 is not None
    assert width.log10 == pytest.approx((plan.widths.rho.log10 + 8) / 0.02, rel=1e-12)
    assert width.log10 > 400
    assert re.fullmatch(r"\d\.\d·10\^4\d\d", width.text(2, up=True))
    assert not plan.widths.feasible
    assert plan.alternatives is not None
    suggestion, others = plan.alternatives.suggestion, plan.alternatives.others
    assert suggestion is not None
    assert suggestion.guaranteed_width is not None
    assert suggestion.guaranteed_width.value is not None
    assert suggestion.guaranteed_width.value <= 64
    assert 1 <= len(others) <= 6
    assert others[-1].gamma == plan.spectrum.gamma
    gammas = [a.gamma.log10 for a in others]
    assert gammas == sorted(gammas, reverse=True, key=float)  # type: ignore[arg-type]
    json.dumps(asdict(plan), allow_nan=False)


def test_a_gamma_below_float64() -> None:
    """Inputs 10^-100 apart: λ_min near 10^-400, and everything in logarithms."""
    X = np.array([[0.0], [1e-100], [2e-100]])
    plan = make_plan(Problem(X, np.ones(3), "close"), Request(activation="sin", largest_width=64))
    assert plan.spectrum.gamma.value is None
    assert plan.spectrum.gamma.log10 is not None
    assert plan.spectrum.gamma.log10 < -308
    assert plan.widths.observation.looked_up_to == 0
    assert plan.widths.observation.reason
    assert all(mode.meets_rate for mode in plan.spectrum.modes)
    assert not plan.widths.feasible
    json.dumps(asdict(plan), allow_nan=False)


def test_unbounded_derivatives_have_no_guaranteed_width() -> None:
    plan = make_plan(SIX, Request(activation="relu", largest_width=64))
    assert plan.widths.rho is None
    assert plan.widths.guaranteed is None
    assert plan.alternatives is not None
    assert plan.alternatives.suggestion is None
    assert plan.widths.observation.first is None  # relu's kink is never certified
    assert not plan.widths.feasible


def test_a_singular_kernel_is_named() -> None:
    with pytest.raises(PrecisionError, match="the kernel of 'square' on them is singular"):
        make_plan(SIX, Request(activation="square", largest_width=1))


def test_looking_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk.planning.plan, "_BUDGET", 0.0)
    plan = make_plan(SIX, Request(activation="erf", gamma=1e-6, largest_width=2**15))
    assert plan.widths.observation.looked_up_to == 512
    assert "would take more than" in plan.widths.observation.reason


# --- other laws of the output weights --------------------------------------------------------------------------------


@pytest.fixture
def wide_law(monkeypatch: pytest.MonkeyPatch) -> str:
    """c = ±2, registered in both packages."""
    one, other = nntk_reference.LAWS["rademacher"], nntk_accelerated.LAWS["rademacher"]
    moments = {"second_moment": Fraction(4), "fourth_moment": Fraction(16)}
    here = replace(one, name="wide", draw=lambda rng, n: 2 * one.draw(rng, n), bound=2.0, **moments)
    there = replace(other, name="wide", draw=lambda n, generator, device: 2 * other.draw(n, generator, device), bound=2.0)
    monkeypatch.setitem(nntk_reference.LAWS, "wide", here)
    monkeypatch.setitem(nntk_accelerated.LAWS, "wide", there)
    return "wide"


def test_the_laws_bound_enters_the_width_by_hand(wide_law: str) -> None:
    plan = make_plan(TWO, Request(activation="erf", gamma=0.5, beta=0.6, largest_width=8, law=wide_law))
    s, K = 2 / MP.sqrt(MP.pi), 2 * MP.sqrt(8 / (MP.pi * MP.e))
    h2 = [((K * q2 + MP.sqrt((K * q2) ** 2 + 4 * s * s * q2)) / 2) ** 2 for q2 in (1, 2)]
    assert plan.widths.largest_c == 2.0
    assert plan.widths.rho is not None
    close(plan.widths.rho, MP.sqrt(5 * sum(h2)) / 2)


def test_the_laws_second_moment_enters_the_spectrum(wide_law: str) -> None:
    for law in ("rademacher", "normal", wide_law):
        plan = make_plan(SIX, Request(activation="erf", largest_width=4, law=law))
        exact = limit_spectrum(SIX.X, "erf", Multiprecision(40), law=nntk_reference.InitialLaw(law))
        for mode, value in zip(plan.spectrum.modes, exact, strict=True):
            close(mode.eigenvalue, value)


@pytest.mark.parametrize("law", ["rademacher", "wide"])
def test_a_width_guaranteed_under_another_law_is_certified(wide_law: str, law: str) -> None:
    plan = make_plan(SIX, Request(gamma=0.8, largest_width=20_000, law=law))
    assert plan.widths.guaranteed is not None
    width = plan.widths.guaranteed.value
    assert isinstance(width, int)
    for seed in range(2):
        net, X, y, _ = nearby(SIX, width, seed, law)
        assert float(net.c.detach().abs().max()) == plan.widths.largest_c
        assert nntk_accelerated.sufficient_gamma(net, X, y) <= 0.8


def test_observed_networks_are_drawn_from_the_law() -> None:
    seen = make_plan(SIX, Request(gamma=0.5, largest_width=64, seed=3, law="normal")).widths.observation
    X, y = torch.tensor(SIX.X), torch.tensor(SIX.y)
    found = nntk_accelerated.required_width(
        lambda N: nntk_accelerated.ShallowNet(N, 1, beta=0.75, law="normal", generator=torch.Generator().manual_seed(3)),
        X,
        y,
        0.5,
        largest=64,
    )
    assert (seen.first, seen.verdicts) == (found.first, found.observed)


def test_an_unbounded_law_has_no_guaranteed_width() -> None:
    plan = make_plan(SIX, Request(activation="erf", gamma=10.0, largest_width=64, law="normal"))
    assert (plan.widths.largest_c, plan.widths.rho, plan.widths.guaranteed) == (None, None, None)
    assert plan.widths.observation.first is not None
    assert plan.widths.feasible  # as far as was seen
