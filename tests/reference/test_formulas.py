"""`formulas` against symbolic differentiation, for an unspecified σ; and exact identities over the rationals.

A `State` takes any numbers, sympy's expressions among them, so the very code that computes floats is compared with derivatives
of the loss, term by term and without rounding: there is no tolerance in this file.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from nntk_reference import FLOAT64, Ball, Multiprecision, Network, formulas


class sigma2(sp.Function):
    """σ'', of which nothing is known."""


class sigma1(sp.Function):
    """σ', whose derivative is σ''."""

    def fdiff(self, argindex: int = 1) -> Any:
        return sigma2(self.args[0])


class sigma(sp.Function):
    """σ, whose derivative is σ'."""

    def fdiff(self, argindex: int = 1) -> Any:
        return sigma1(self.args[0])


class Symbolic:
    """N neurons at M points of R^d, all of them symbols, with the network and its loss written out by hand (E1, E2)."""

    def __init__(self, width: int, count: int, dim: int) -> None:
        self.width, self.count, self.dim = width, count, dim
        self.scale = sp.Symbol("s")  # N^(-β)
        self.c = sp.symbols(f"c:{width}")
        self.w = [sp.symbols(f"w{i}_:{dim}") for i in range(width)]
        self.eta = sp.symbols(f"eta:{width}")
        self.X = [sp.symbols(f"x{m}_:{dim}") for m in range(count)]
        self.y = sp.symbols(f"y:{count}")
        self.theta = [v for i in range(width) for v in (self.c[i], *self.w[i], self.eta[i])]
        z = [[sum(a * b for a, b in zip(self.w[i], x, strict=True)) + self.eta[i] for i in range(width)] for x in self.X]
        self.f = [self.scale * sum(self.c[i] * sigma(z[m][i]) for i in range(width)) for m in range(count)]
        self.r = [f - y for f, y in zip(self.f, self.y, strict=True)]
        self.loss = sum(r**2 for r in self.r) / (2 * count)

        def table(function: Any) -> np.ndarray:
            return np.array([[function(v) for v in row] for row in z], dtype=object)

        inputs = np.array([[*x, sp.Integer(1)] for x in self.X], dtype=object)
        c = np.array(self.c, dtype=object)
        self.state = formulas.State(self.scale, c, inputs, table(sigma), table(sigma1), table(sigma2))
        self.residuals = np.array(self.r, dtype=object)


CASES = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 2), (2, 2, 2)]


@pytest.fixture(params=CASES, ids=lambda case: "N={} M={} d={}".format(*case), scope="module")
def symbolic(request: pytest.FixtureRequest) -> Symbolic:
    return Symbolic(*request.param)


def same(a: Any, b: Any) -> bool:
    """Are two expressions equal as polynomials in the symbols and in the values of σ, σ', σ''?"""
    return bool(sp.expand(a - b) == 0)


def test_augmented_appends_a_one(symbolic: Symbolic) -> None:
    X = np.array(symbolic.X, dtype=object)
    assert formulas.augmented(X).tolist() == symbolic.state.inputs.tolist()


def test_outputs_are_e1(symbolic: Symbolic) -> None:
    assert all(same(a, b) for a, b in zip(formulas.outputs(symbolic.state), symbolic.f, strict=True))


def test_loss_is_e2(symbolic: Symbolic) -> None:
    assert same(formulas.loss(symbolic.residuals), symbolic.loss)


def test_jacobian_is_the_derivative_of_the_outputs(symbolic: Symbolic) -> None:
    J = formulas.jacobian(symbolic.state)
    assert J.shape == (symbolic.count, symbolic.width, symbolic.dim + 2)
    for row, f in zip(J.reshape(symbolic.count, -1), symbolic.f, strict=True):
        assert all(same(entry, sp.diff(f, v)) for entry, v in zip(row, symbolic.theta, strict=True))


def test_gradient_is_the_derivative_of_the_loss(symbolic: Symbolic) -> None:
    g = formulas.gradient(symbolic.state, symbolic.residuals)
    assert g.shape == (symbolic.width, symbolic.dim + 2)
    assert all(same(entry, sp.diff(symbolic.loss, v)) for entry, v in zip(g.flat, symbolic.theta, strict=True))


def test_hessian_is_the_second_derivative_of_the_loss(symbolic: Symbolic) -> None:
    H = formulas.hessian(symbolic.state, symbolic.residuals)
    for a, row in zip(symbolic.theta, H, strict=True):
        slope = sp.diff(symbolic.loss, a)
        for b, entry in zip(symbolic.theta, row, strict=True):
            assert same(entry, sp.diff(slope, b)), (a, b)


def test_residual_hessian_is_the_average_of_r_times_the_hessian_of_f(symbolic: Symbolic) -> None:
    # S, block by block, and nothing between neurons: with r held fixed, S is the second derivative of Σ r f / M
    S = formulas.residual_hessian(symbolic.state, symbolic.residuals)
    for i, block in enumerate(S):
        size = symbolic.dim + 2
        own = symbolic.theta[i * size : (i + 1) * size]
        for a, row in zip(own, block, strict=True):
            for b, entry in zip(own, row, strict=True):
                expected = sum(r * sp.diff(f, a, b) for r, f in zip(symbolic.r, symbolic.f, strict=True)) / symbolic.count
                assert same(entry, expected), (i, a, b)
        for b in (v for v in symbolic.theta if v not in own):
            assert all(sp.diff(f, a, b) == 0 for f in symbolic.f for a in own)


def test_gauss_newton_and_ntk_are_products_of_the_jacobian(symbolic: Symbolic) -> None:
    J = sp.Matrix(symbolic.count, len(symbolic.theta), lambda m, k: sp.diff(symbolic.f[m], symbolic.theta[k]))
    for ours, expected in (
        (formulas.gauss_newton_matrix(symbolic.state), J.T * J / symbolic.count),
        (formulas.ntk(symbolic.state), J * J.T / symbolic.count),
    ):
        assert ours.shape == expected.shape
        assert all(same(a, b) for a, b in zip(ours.flat, list(expected), strict=True))


# --- states of networks, whose numbers are exact here ------------------------------------------------------------------------


def numbers_of(ar: Any) -> type:
    return type(ar.array([1.0])[0])


@pytest.mark.parametrize("ar", [FLOAT64, Multiprecision(20), Ball(64)], ids=str)
def test_the_state_is_that_of_the_network_at_the_inputs(ar: Any) -> None:
    """z² with small integers: 2/4 and 3/2 are exact in binary; β = 1, so that N^(-β) is, too."""
    c, w, eta, X = [3, -1], [[1, -2, 0], [0, 1, 3]], [1, -1], [[1, 1, 1], [2, 0, -1], [-3, 1, 2]]
    s = formulas.state(ar, Network(c, w, eta, 1.0, "square", negative_control=True), np.array(X, dtype=float))
    z = [[sum(a * b for a, b in zip(x, row, strict=True)) + shift for row, shift in zip(w, eta, strict=True)] for x in X]
    assert s.scale == 0.5
    assert s.c.tolist() == c
    assert s.inputs.tolist() == [[*x, 1] for x in X]
    assert s.value.tolist() == [[v * v for v in row] for row in z]
    assert s.slope.tolist() == [[2 * v for v in row] for row in z]
    assert s.curvature.tolist() == [[2, 2]] * 3
    assert {type(v) for part in s[1:] for v in part.flat} == {numbers_of(ar)}  # no other numbers creep in


@pytest.mark.parametrize("ar", [FLOAT64, Multiprecision(20), Ball(64)], ids=str)
def test_regularization_is_e5_where_powers_are_exact(ar: Any) -> None:
    for width, beta, expected in (
        (16, 0.75, 0.75),
        (16, 0.5, 3.0),
        (16, 1.0, 0.1875),
        (1, 0.75, 3.0),
        (2**20, 0.75, 3 / 2**10),
    ):
        assert abs(formulas.regularization(ar, 3.0, width, beta) - expected) <= 1e-14 * expected


# --- identities over the rationals -------------------------------------------------------------------------------------------

rationals = st.fractions(min_value=-3, max_value=3, max_denominator=12)


@st.composite
def rational_states(draw: st.DrawFn, dim: int | None = None) -> tuple[formulas.State, np.ndarray]:
    """A state whose σ, σ', σ'' are arbitrary rational numbers, and residuals: nothing but algebra can make an identity hold."""
    width, count = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dim = draw(st.integers(1, 3)) if dim is None else dim

    def numbers(*shape: int) -> np.ndarray:
        out = np.empty(shape, dtype=object)
        for k in range(out.size):
            out.reshape(-1)[k] = draw(rationals)
        return out

    inputs = np.concatenate([numbers(count, dim), np.full((count, 1), Fraction(1), dtype=object)], axis=1)
    values = [numbers(count, width) for _ in range(3)]
    return formulas.State(draw(rationals), numbers(width), inputs, *values), numbers(count)


# An exact rotation with rational entries, and no dyadic ones.
ROTATION = np.array([[Fraction(3, 5), Fraction(-4, 5)], [Fraction(4, 5), Fraction(3, 5)]], dtype=object)


@given(rational_states(dim=2))
def test_rotating_inputs_and_weights_together_rotates_gradient_and_hessian(case: tuple[formulas.State, np.ndarray]) -> None:
    s, r = case
    # z = w·x is unchanged when both are rotated, so the state changes in its inputs only
    turned = s._replace(inputs=np.concatenate([s.inputs[:, :2] @ ROTATION.T, s.inputs[:, 2:]], axis=1))
    block = np.full((4, 4), Fraction(0), dtype=object)
    block[0, 0] = block[3, 3] = Fraction(1)
    block[1:3, 1:3] = ROTATION
    assert (formulas.outputs(turned) == formulas.outputs(s)).all()
    assert (formulas.gradient(turned, r) == formulas.gradient(s, r) @ block.T).all()
    assert (formulas.ntk(turned) == formulas.ntk(s)).all()
    whole = np.full((4 * len(s.c),) * 2, Fraction(0), dtype=object)
    for i in range(len(s.c)):
        whole[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = block
    assert (formulas.hessian(turned, r) == whole @ formulas.hessian(s, r) @ whole.T).all()


@given(rational_states())
def test_hessian_is_symmetric_and_splits_as_e4_says(case: tuple[formulas.State, np.ndarray]) -> None:
    s, r = case
    H, G, S = formulas.hessian(s, r), formulas.gauss_newton_matrix(s), formulas.residual_hessian(s, r)
    assert (H == H.T).all()
    rest = H - G
    size = S.shape[1]
    for i, block in enumerate(S):
        own = slice(i * size, (i + 1) * size)
        assert (rest[own, own] == block).all()
        assert block[0, 0] == 0  # f is linear in c
        rest[own, own] -= block
    assert not rest.any()


@given(rational_states())
def test_hessian_without_residuals_is_gauss_newton(case: tuple[formulas.State, np.ndarray]) -> None:
    s, r = case
    assert (formulas.hessian(s, 0 * r) == formulas.gauss_newton_matrix(s)).all()
    assert not formulas.gradient(s, 0 * r).any()


@given(rational_states(), rationals)
def test_add_diagonal_adds_to_the_diagonal_of_a_copy(case: tuple[formulas.State, np.ndarray], damping: Fraction) -> None:
    s, r = case
    H = formulas.hessian(s, r)
    before = H.copy()
    shifted = formulas.add_diagonal(H, damping)
    assert (before == H).all()
    assert (shifted - H == damping * np.eye(len(H), dtype=int)).all()
