"""Outputs, loss, kernels and modes against the reference's dense definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nntk_reference as reference
from nntk_accelerated import ACTIVATIONS, InputError, RangeError, ShallowNet, gauss_newton_nntk, loss, modes, nntk, ntk, outputs
from tests.accelerated.comparison import Parts, random_case, tensors
from tests.jet_errors import terms
from tests.tolerances import EPS, THRESHOLD

Array = np.ndarray
DTYPES = {"float32": torch.float32, "mixed": torch.float64, "float64": torch.float64}
PRODUCT_EPS = {"float32": EPS["float32"], "mixed": EPS["float32"], "float64": EPS["float64"]}


def ours(case: Parts, precision: str, device: str = "cpu") -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
    return tensors(case, "float32" if precision == "float32" else "float64", device)


def array(t: torch.Tensor) -> Array:
    return t.double().cpu().numpy()


def sizes(case: Parts) -> tuple[Array, float]:
    """What the outputs (M,) and ‖J‖² are sums of."""
    found = terms(case[0], case[1])
    return found.outputs, float((found.jacobian**2).sum())


def operations(case: Parts) -> int:
    net, X, _ = case
    return net.width * (net.dim + 2) + len(X)


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_outputs_and_loss(name: str, precision: str, device: str) -> None:
    case = random_case(2, 23, 3, 9, name)
    net, X, y = ours(case, precision, device)
    size, _ = sizes(case)
    limit = THRESHOLD * operations(case) * EPS["float32" if precision == "float32" else "float64"]  # mixed: products only
    f = outputs(net, X, precision=precision, chunk=5)
    assert f.dtype == DTYPES[precision]
    assert (np.abs(array(f) - reference.outputs(case[0], case[1])) <= limit * size).all()
    L = loss(net, X, y, precision=precision, chunk=5)
    assert L.shape == ()
    r = np.abs(reference.outputs(case[0], case[1]) - case[2])
    terms = ((r + limit * size) * (size + np.abs(case[2])) + r**2).mean()
    assert abs(float(L) - reference.loss(*case)) <= limit * terms


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_ntk(name: str, precision: str, device: str) -> None:
    case = random_case(3, 17, 2, 7, name)
    net, X, _ = ours(case, precision, device)
    _, J2 = sizes(case)
    for normalized in (False, True):
        B = ntk(net, X, normalized=normalized, precision=precision, chunk=4)
        exact = reference.ntk(case[0], case[1], normalized=normalized)
        unit = case[0].width ** (2 * case[0].beta - 1) if normalized else 1.0
        assert torch.equal(B, B.t())
        assert B.dtype == DTYPES[precision]
        assert np.abs(array(B) - exact).max() <= THRESHOLD * operations(case) * PRODUCT_EPS[precision] * unit * J2 / 7


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize("gamma", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_gauss_newton_nntk(name: str, gamma: float, precision: str, device: str) -> None:
    """K = B(γ_N + B)⁻¹ moves with B by at most ‖δB‖/γ_N, and lies in [0, 1): its eigenvalues are λ/(γ_N + λ)."""
    case = random_case(4, 17, 2, 7, name)
    net, X, _ = ours(case, precision, device)
    damping = float(reference.regularization(gamma, 17, 0.75))
    limit = THRESHOLD * operations(case) * PRODUCT_EPS[precision] * (1 + sizes(case)[1] / 7 / damping)
    K = gauss_newton_nntk(net, X, gamma, precision=precision, chunk=5)
    assert torch.equal(K, K.t())
    assert np.linalg.norm(array(K) - reference.gauss_newton_nntk(case[0], case[1], gamma), 2) <= limit
    values = np.linalg.eigvalsh(array(K))
    assert values[0] >= -limit
    most = np.linalg.eigvalsh(reference.ntk(case[0], case[1]))[-1]
    assert abs(values[-1] - most / (damping + most)) <= limit
    if limit < damping / (damping + most):
        assert values[-1] < 1


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_nntk(name: str, device: str) -> None:
    case = random_case(5, 13, 2, 6, name)
    for gamma in (0.05, 1.0, 50.0):
        check_nntk(case, gamma, "float64", device)


def check_nntk(case: Parts, gamma: float, precision: str, device: str = "cpu") -> Array:
    """δ𝓑 = 2 δJ A⁻¹Jᵀ/M - J A⁻¹ δA A⁻¹ Jᵀ/M, δA from S, μ and JᵀJ; through D'⁻¹ errors grow with ‖J‖²/(near μ), near = 1e-4."""
    net, X, y = ours(case, precision, device)
    K = nntk(net, X, y, gamma, precision=precision, chunk=5)
    assert torch.equal(K, K.t())
    damping = float(reference.regularization(gamma, case[0].width, case[0].beta))
    A = reference.hessian(*case) + damping * np.eye(case[0].parameters)
    inverse, J2 = np.linalg.norm(np.linalg.inv(A), 2), sizes(case)[1] / len(case[1])
    size, amplified = np.linalg.norm(A, 2), 1 + J2 / (1e-4 * damping)
    limit = THRESHOLD * operations(case) * PRODUCT_EPS[precision] * (J2 * inverse) * (1 + inverse * (size + J2)) * amplified
    error = np.linalg.norm(array(K) - reference.nntk(*case, gamma), 2)
    assert error <= limit
    return array(K)


@pytest.mark.parametrize("precision", ["mixed", "float32"])
def test_nntk_in_low_precision(precision: str, device: str) -> None:
    check_nntk(random_case(6, 30, 2, 5), 5.0, precision, device)


@pytest.mark.parametrize("seed", range(5))
def test_nntk_with_a_border(seed: int, device: str) -> None:
    """μ just above minus an eigenvalue of a block, where D is nearly singular and A, in general, is not."""
    case = random_case(seed, 10, 2, 5)
    lowest = float(np.linalg.eigvalsh(reference.residual_hessian(*case)).min())
    gamma = -lowest * (1 + 1e-9) / float(reference.regularization(1.0, 10, 0.75))
    A = reference.hessian(*case) + float(reference.regularization(gamma, 10, 0.75)) * np.eye(40)
    assert np.linalg.cond(A) < 1e8
    check_nntk(case, gamma, "float64", device)


def test_scaling_fixed_takes_gamma_as_it_is() -> None:
    case = random_case(7, 16, 2, 5)
    net, X, y = ours(case, "float64")
    fixed = float(reference.regularization(1.0, 16, 0.75))
    assert torch.equal(nntk(net, X, y, fixed, scaling="fixed"), nntk(net, X, y, 1.0))
    assert torch.equal(gauss_newton_nntk(net, X, fixed, scaling="fixed"), gauss_newton_nntk(net, X, 1.0))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_modes(name: str, device: str) -> None:
    gamma, case = 0.5, random_case(8, 19, 2, 7, name)
    net, X, y = ours(case, "float64", device)
    found = modes(net, X, y, gamma, chunk=4)
    values, V = array(found.eigenvalues), array(found.vectors)
    B = reference.ntk(case[0], case[1], normalized=True)
    unit = THRESHOLD * operations(case) * EPS["float64"]
    limit = unit * sizes(case)[1] / 7 * 19**0.5
    assert (np.diff(values) <= 0).all()
    assert (values >= 0).all()
    assert np.linalg.norm(V.T @ V - np.eye(7)) <= unit
    assert np.linalg.norm((V * values) @ V.T - B) <= limit
    r = reference.outputs(case[0], case[1]) - case[2]
    assert np.linalg.norm(V @ array(found.coefficients) - r) <= unit * np.linalg.norm(sizes(case)[0] + np.abs(case[2]))
    np.testing.assert_allclose(array(found.newton), values / (gamma + values), rtol=4 * EPS["float64"])
    # the same rates as the Gauss-Newton kernel's eigenvalues
    K = np.linalg.eigvalsh(reference.gauss_newton_nntk(case[0], case[1], gamma))[::-1]
    assert np.abs(array(found.newton) - K).max() <= limit / gamma + unit


@pytest.mark.parametrize("M", [3, 17])
def test_modes_of_equal_points(M: int, device: str) -> None:
    """The NTK is a multiple of the matrix of ones: one mode that moves, and M - 1 orthonormal ones at rest."""
    case = random_case(3, 12, 2, M)
    net, X, y = ours(case, "float64", device)
    X = X[:1].expand(M, -1).contiguous()
    found = modes(net, X, y, 0.5)
    V, values = array(found.vectors), array(found.eigenvalues)
    unit = THRESHOLD * operations(case) * EPS["float64"]
    assert np.linalg.norm(V.T @ V - np.eye(M)) <= unit
    assert np.abs(np.abs(V[:, 0]) - M**-0.5).max() <= unit
    assert values[0] > 0
    assert values[1] <= unit * values[0]


def test_modes_that_are_not_found_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(A: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("planted")

    net, X, y = ours(random_case(3, 12, 2, 4), "float64")
    monkeypatch.setattr(torch.linalg, "eigh", failing)
    with pytest.raises(RangeError, match="no eigenvalues"):
        modes(net, X, y, 0.5)


def test_modes_refuse_a_gamma_that_a_step_refuses() -> None:
    net, X, y = ours(random_case(3, 12, 2, 4), "float64")
    for gamma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="gamma"):
            modes(net, X, y, gamma)
    with pytest.raises(RangeError, match="below the normal numbers"):
        modes(net, X, y, 1e-308)
