"""The tests' model of the jets' rounding errors holds, is nearly attained, and is exceeded where a jet or z is worse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import ACTIVATIONS
from nntk_accelerated.activations import ERROR
from tests.jet_errors import block_terms, jet_errors, terms
from tests.tolerances import EPS

Array = np.ndarray
SMOOTH = [name for name in ACTIVATIONS if name != "relu"]
U = EPS["float32"] / 2


def numbers(dim: int, reach: float) -> tuple[Array, Array, Array]:
    """(w, η, X) that float32 holds, with |w||x| + |η| up to about `reach`."""
    rng = np.random.default_rng(dim)
    size = (reach / (dim + 1)) ** 0.5
    made = (
        size * rng.uniform(-1, 1, (200, dim)),
        reach / (dim + 1) * rng.uniform(-1, 1, 200),
        size * rng.uniform(-1, 1, (50, dim)),
    )
    w, eta, X = (a.astype(np.float32).astype(np.float64) for a in made)
    return w, eta, X


def computed(name: str, w: Array, eta: Array, X: Array, *, worse_z: float = 0.0, worse_jet: float = 0.0) -> tuple[Array, ...]:
    """The jets in float32; `worse_z` and `worse_jet` further errors, in units roundoff of what each is relative to."""
    w32, eta32, X32 = (torch.tensor(a, dtype=torch.float32) for a in (w, eta, X))
    z = torch.addmm(eta32, X32, w32.t())
    z = z + worse_z * U * (X32.abs() @ w32.abs().t() + eta32.abs())
    jets = ACTIVATIONS[name].jets(z, 2)
    return tuple((jet.double() + worse_jet * U * jet.double().abs().clamp_min(1)).numpy() for jet in jets)


def ratios(name: str, dim: int, reach: float, **worse: float) -> list[float]:
    """For σ, σ' and σ'', the largest error over its bound. The truth is in float64, whose errors are 2^-29 of these."""
    w, eta, X = numbers(dim, reach)
    truth: tuple[Any, ...] = ACTIVATIONS[name].jets(torch.tensor(X @ w.T + eta), 2)
    bounds = jet_errors(name, w, eta, X).bounds(EPS["float32"])
    found = computed(name, w, eta, X, **worse)
    return [float((np.abs(a - b.numpy()) / c).max()) for a, b, c in zip(found, truth, bounds, strict=True)]


@pytest.mark.parametrize("reach", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("name", SMOOTH)
def test_the_bound_holds(name: str, dim: int, reach: float) -> None:
    assert max(ratios(name, dim, reach)) <= 1


@pytest.mark.parametrize("order", [0, 1, 2])
def test_it_is_nearly_attained_through_z(order: int) -> None:
    # the sine's derivatives are all of size 1; far out, nearly all of its error is that of z
    assert ratios("sin", 1, 200.0)[order] >= 0.25


@pytest.mark.parametrize("order", [0, 1, 2])
def test_it_is_nearly_attained_by_a_jet_as_bad_as_the_table_allows(order: int) -> None:
    assert 0.8 <= ratios("sin", 1, 1e-3, worse_jet=ERROR - 1)[order] <= 1


@pytest.mark.parametrize("worse", [{"worse_jet": 2 * ERROR}, {"worse_z": 12.0}], ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_worse_jet_and_a_worse_z_exceed_it(order: int, worse: dict[str, float]) -> None:
    assert ratios("sin", 1, 1e-3 if "worse_jet" in worse else 200.0, **worse)[order] > 1


def test_beside_z_the_kink_of_relu_errs_as_well() -> None:
    # where rounding decides on which side of 0 z lies, no bound holds: there σ' is off by 1
    w, eta, X = np.array([[1 / 3]]), np.array([-1.0]), np.array([[3.0]])
    below, above = (ACTIVATIONS["relu"].jets(torch.tensor([[z]]), 2)[1] for z in (-1e-30, 1e-30))
    assert abs(float(below) - float(above)) > jet_errors("relu", w, eta, X).bounds(EPS["float64"])[1][0, 0]


class Net:
    """A network's parameters, without either package."""

    def __init__(self, w: Array, eta: Array, c: Array, activation: str) -> None:
        self.w, self.eta, self.c, self.activation, self.beta, self.width = w, eta, c, activation, 0.75, len(c)


def blocks(net: Net, X: Array, r: Array) -> Array:
    """S_i (N, d+2, d+2) by its definition (E4)."""
    _, slope, bend = (jet.numpy() for jet in ACTIVATIONS[net.activation].jets(torch.tensor(X @ net.w.T + net.eta), 2))
    unit, x1 = net.width**-net.beta / len(X), np.column_stack([X, np.ones(len(X))])
    S = np.zeros((net.width, X.shape[1] + 2, X.shape[1] + 2))
    S[:, 0, 1:] = S[:, 1:, 0] = unit * (r[:, None] * slope).T @ x1
    S[:, 1:, 1:] = unit * np.einsum("m,mi,mk,ml->ikl", r, net.c * bend, x1, x1)
    return S


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("name", SMOOTH)
def test_the_block_terms_bound_a_block_and_its_parts(name: str, dim: int) -> None:
    """For residuals of any signs, each part alone and the whole in both norms; and one point alone attains much of them."""
    w, eta, X = numbers(dim, 3.0)
    rng = np.random.default_rng(dim)
    net = Net(w, eta, rng.uniform(-1, 1, len(w)), name)
    for some in (X, X[:1]):
        r = rng.uniform(-1, 1, len(some))
        S, (row, rest) = blocks(net, some, r), block_terms(net, some, r)
        for size, bound in (
            (np.linalg.norm(S[:, 0], axis=1), row),
            (np.linalg.norm(S[:, 1:, 1:], axis=(1, 2)), rest),
            (np.linalg.norm(S, 2, (1, 2)), row + rest),
            (np.linalg.norm(S, axis=(1, 2)), 2**0.5 * row + rest),
        ):
            assert (size <= bound * (1 + 1e-12)).all()
            assert len(some) > 1 or (size / bound).max() >= 0.02


@pytest.mark.parametrize("name", SMOOTH)
def test_the_block_terms_grow_with_the_residuals(name: str) -> None:
    """They are linear in |r|, so that errors of r may stand in its place; `Terms.blocks` has them at the terms of r."""
    w, eta, X = numbers(2, 3.0)
    net, r = Net(w, eta, np.linspace(-1, 1, len(w)), name), np.linspace(-1, 2, len(X))
    once, thrice, found = block_terms(net, X, r), block_terms(net, X, -3 * torch.tensor(r)), terms(net, X, r)
    for a, b in zip(once, thrice, strict=True):
        np.testing.assert_allclose(b, 3 * a, rtol=1e-13)
    row, rest = block_terms(net, X, found.outputs)
    np.testing.assert_allclose(found.blocks, 2 * row + rest, rtol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_terms_bound_what_is_summed(name: str) -> None:
    """|f|, ‖S_i‖ and ‖J_i‖ by their definitions stay below their terms, and are not small beside them."""
    w, eta, X = numbers(2, 3.0)
    rng = np.random.default_rng(0)
    c = rng.uniform(-1, 1, len(w))
    value, slope = (jet.numpy() for jet in ACTIVATIONS[name].jets(torch.tensor(X @ w.T + eta), 1))
    scale, x1 = len(c) ** -0.75, np.column_stack([X, np.ones(len(X))])
    r = np.ones(len(X))  # of one sign, so that little cancels
    y = scale * value @ c - r
    J = scale * np.concatenate([value[:, :, None], (c * slope)[:, :, None] * x1[:, None]], 2)
    S = blocks(Net(w, eta, c, name), X, r)
    found = terms(Net(w, eta, c, name), X, y)
    for size, bound in (
        (np.abs(r), found.outputs),
        (np.linalg.norm(S, 2, (1, 2)), found.blocks),
        (np.sqrt(np.square(J).sum((0, 2))), found.jacobian),
    ):
        assert (size <= bound * (1 + 1e-12)).all()
        assert (size / bound).max() >= 0.02
