"""The compiled loops against the torch passes they stand in for, and their exponential against mpmath."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from nntk_accelerated import ACTIVATIONS, ShallowNet, newton_step, stream
from nntk_accelerated.activations import ERROR
from nntk_accelerated.instance import Instance, instance
from tests.jet_errors import terms
from tests.tolerances import EPS, THRESHOLD

fused = pytest.importorskip("nntk_accelerated.fused", reason="numba is not installed")


def example(name: str, width: int, dim: int, points: int, chunk: int | None = None) -> tuple[Instance, torch.Tensor]:
    generator = torch.Generator().manual_seed(width + 10 * dim + points)
    net = ShallowNet(width, dim, beta=0.75, activation=name, generator=generator)
    X = torch.randn(points, dim, dtype=torch.float64, generator=generator)
    y = torch.randn(points, dtype=torch.float64, generator=generator)
    task = instance(net, X, y, chunk=chunk)
    return task, stream.outputs(replace(task, fused=None)) - y


SIZES = [(1, 1, 3), (21, 2, 1), (63, 1, 16), (200, 1, 128), (130, 2, 31), (97, 5, 20), (40, 16, 9), (33, 1, 1000)]
KINDS = {name: entry.compiled for name, entry in ACTIVATIONS.items() if entry.compiled is not None}
CASES = [(name, *size) for name in KINDS for size in SIZES]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_jets_are_as_accurate_as_the_certificates_take_them_for(name: str, order: int) -> None:
    generator = np.random.default_rng(order)
    z = np.concatenate([[0.0, 1e-300, -1e-9, 1e-9, 19.0, -19.0, 37.0, -45.0, 50.0, -50.0], generator.normal(0, 4, 500)])
    out = [np.full_like(z, np.nan) for _ in range(3)]
    fused._jets(KINDS[name], order, z.copy(), *out)
    u = EPS["float64"] / 2
    with mpmath.workdps(40):
        exact = {
            "tanh": [mpmath.tanh, lambda t: mpmath.sech(t) ** 2, lambda t: -2 * mpmath.tanh(t) * mpmath.sech(t) ** 2],
            "logistic": [
                lambda t: 1 / (1 + mpmath.exp(-t)),
                lambda t: 1 / (2 + mpmath.exp(t) + mpmath.exp(-t)),
                lambda t: -mpmath.tanh(t / 2) / (2 + mpmath.exp(t) + mpmath.exp(-t)),
            ],
            "relu": [lambda t: max(t, 0), lambda t: int(t > 0), lambda t: 0],
            "square": [lambda t: t * t, lambda t: 2 * t, lambda t: 2],
        }[name]
        for function, values in zip(exact[: order + 1], out, strict=False):
            for t, value in zip(z, values, strict=True):
                true = mpmath.mpf(function(mpmath.mpf(float(t))))
                assert abs(mpmath.mpf(float(value)) - true) <= ERROR / 2 * u * max(1, abs(true)), (name, order, t, value)


@pytest.mark.parametrize("name", ["tanh", "logistic"])
def test_jets_have_their_limits_where_the_exponential_has_left_its_range(name: str) -> None:
    for size in (400.0, 1e4, 1e300):
        value, slope, curvature = (np.full(2, np.nan) for _ in range(3))
        fused._jets(KINDS[name], 2, np.array([-size, size]), value, slope, curvature)
        np.testing.assert_allclose(value, [-1 if name == "tanh" else 0, 1], atol=1e-30)
        np.testing.assert_allclose(slope, 0, atol=1e-30)
        np.testing.assert_allclose(curvature, 0, atol=1e-30)


def test_the_exponential_is_right_to_two_units_over_its_whole_range() -> None:
    from numba import njit

    @njit(error_model="numpy")
    def _all(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = fused._exp(x[i])

    x = np.concatenate([np.linspace(-700, 700, 4001), np.linspace(-1, 1, 2001)])
    out = np.empty_like(x)
    _all(x, out)
    with mpmath.workdps(40):
        errors = [abs(mpmath.mpf(float(v)) / mpmath.exp(mpmath.mpf(float(t))) - 1) for t, v in zip(x, out, strict=True)]
    assert max(errors) <= 2 * EPS["float64"]


@pytest.mark.parametrize(("name", "width", "dim", "points"), CASES)
@pytest.mark.parametrize("chunk", [None, 50])
def test_outputs_blocks_and_gram_matrix(name: str, width: int, dim: int, points: int, chunk: int | None) -> None:
    task, r = example(name, width, dim, points, chunk)
    slow, fast = replace(task, fused=None), replace(task, fused=KINDS[name])
    eps = EPS["float64"]
    found = terms(task.net, task.X1[:, 1:], task.y)
    n = task.depth + points + dim + 2
    outputs = torch.from_numpy(found.outputs)
    assert ((stream.outputs(slow) - stream.outputs(fast)).abs() <= THRESHOLD * eps * n * outputs).all()
    for damping in (10.0, 1e-3):
        one, other = stream.gram(slow, damping, r=r), stream.gram(fast, damping, r=r)
        assert one.S is not None
        assert other.S is not None
        # entry by entry: the norm of a block's terms bounds each of its entries
        assert ((one.S - other.S).abs() <= THRESHOLD * eps * n * torch.from_numpy(found.blocks)).all()
        assert set(one.odd.tolist()) == set(other.odd.tolist())
        # G: D⁻¹ carries S's error over the smallest eigenvalue that is kept, 1e-4 γ_N, twice
        inverse = 1 / (1e-4 * damping)
        bound = THRESHOLD * eps * n * float((found.jacobian**2 * inverse * (1 + found.blocks * inverse)).sum())
        assert (one.G - other.G).tril().abs().max() <= bound


@pytest.mark.parametrize(("name", "width", "dim", "points"), CASES)
def test_solve(name: str, width: int, dim: int, points: int) -> None:
    """Δ = D⁻¹Jᵀv, JΔ and the probes: the loops beside the torch pass, on the same blocks.

    Each of the two rounds each operation by eps/2 of its size, so that they differ by eps times the operations: `entry` lead to
    an entry of J, `points` more to one of Jᵀv, `depth` to a sum over the neurons. Solving is judged by THRESHOLD.
    """
    task, r = example(name, width, dim, points)
    slow, fast = replace(task, fused=None), replace(task, fused=KINDS[name])
    damping, eps = 10.0, EPS["float64"]
    K = stream.gram(slow, damping, r=r)
    assert K.definite  # no border: t is empty
    v, t = torch.linspace(-1, 2, points, dtype=torch.float64), task.zeros(0)
    one, other = task.zeros(task.p, task.local), task.zeros(task.p, task.local)
    first, second = stream.solve(slow, K, v, t, one, r=r), stream.solve(fast, K, v, t, other, r=r)

    entry, depth = ERROR + 2 * task.p, task.depth + task.p
    eigenvalues = torch.linalg.eigvalsh(stream.block(task, K.S, slice(0, width), damping).permute(2, 0, 1))
    rows = torch.from_numpy(terms(task.net, task.X1[:, 1:], task.y).jacobian)
    J, D = float(rows.norm()), eigenvalues[:, -1]
    right = eps * (points + entry)  # of Jᵀv, relative to J's terms and |v|
    moved = (right * rows * v.norm() + THRESHOLD * eps * task.p * D * one.norm(dim=0)) / eigenvalues[:, 0]
    assert ((one - other).norm(dim=0) <= moved).all()
    apart = float(moved.norm())
    assert abs(first.length - second.length) <= apart + eps * depth * first.length
    assert (first.image - second.image).norm() <= J * (apart + eps * (depth + entry) * first.length)
    assert abs(first.gradient - second.gradient) <= right * J * float(r.norm()) + eps * depth * first.gradient
    # the Rayleigh quotient at q = Jᵀ1/√M, which errs by `right` J: by twice the relative error of q, and its own sums'
    q = stream.solve(slow, K, v, t, torch.zeros_like(one), r=torch.full_like(v, points**-0.5)).gradient
    size = float(D.max()) * task.p**0.5 + J**2 / points
    assert abs(first.operator - second.operator) <= 2 * size * (right * J / q + eps * (depth + entry))


@pytest.mark.parametrize("gamma", [1.0, 1e-3])
@pytest.mark.parametrize("name", KINDS)
def test_a_large_step_goes_through_the_loops_and_agrees(name: str, gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example(name, 400, 2, 64)[0].fused is None  # too small to be worth it, whatever ran before
    monkeypatch.setattr("nntk_accelerated.instance._FUSED_FROM", 400 * 64)
    task, _ = example(name, 400, 2, 64)
    assert task.fused == KINDS[name]
    net, X, y = task.net, task.X1[:, 1:].contiguous(), task.y
    fast = newton_step(net, X, y, gamma)
    monkeypatch.setattr("nntk_accelerated.instance._fused", lambda *_: None)
    slow = newton_step(net, X, y, gamma)
    assert fast.negative_eigenvalues == slow.negative_eigenvalues
    assert fast.certificate.verdict == slow.certificate.verdict
    assert max(fast.residual, slow.residual) <= 1024 * EPS["float64"]


def test_every_kind_is_an_activation() -> None:
    assert sorted(KINDS.values()) == list(range(len(KINDS)))
    assert all(8 <= fused.block_size(M) <= 64 for M in (1, 16, 128, 1024))
