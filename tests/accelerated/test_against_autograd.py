"""The accelerated quantities against dense float64 autograd on the CPU, which needs nothing but torch.

Each is judged in the precision that it was asked for, on the CPU and on a GPU. The truth is made of J, g and H of

    L(θ) = |f(X) - y|²/(2M),   f(x) = N^(-β) Σᵢ cᵢ σ(wᵢ·x + ηᵢ)

by torch.autograd. A step is judged by its residual AΔ + αg, A = H + γ_N I, which no ill-conditioned entry spoils:

    ‖AΔ + αg‖ ≤ k·eps (‖A‖‖Δ‖ + α‖g‖ + αB‖r‖/M) + THRESHOLD·eps (a‖Δ‖ + αb).

The first term is what the package promises: it refines to k = 32, and refuses above k = 1024; B is its bound of ‖J‖_F. The
second is how far A and g as computed may lie from the exact ones: sizes of terms times numbers of operations (`errors`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nntk_accelerated import (
    ACTIVATIONS,
    NewtonStep,
    RegularizedNewton,
    ShallowNet,
    gauss_newton_nntk,
    gauss_newton_step,
    inertia,
    loss,
    min_eigenvalue,
    newton_step,
    nntk,
    ntk,
    outputs,
    regularization,
)
from tests.jet_errors import block_terms, terms
from tests.tolerances import EPS, THRESHOLD

TARGET = 32.0
BETA = 0.75
STEPS = {"newton": newton_step, "gauss-newton": gauss_newton_step}
# name: dtype of the net, that of its residual, that of the M×M sums
PRECISIONS = {
    "float64": (torch.float64, "float64", "float64"),
    "mixed": (torch.float64, "float64", "float32"),
    "float32": (torch.float32, "float32", "float32"),
}

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


@dataclass(frozen=True, eq=False)
class Case:
    """θ (N, d+2), X (M, d) and y (M,) in float64, of numbers that float32 holds exactly."""

    theta: Tensor
    X: Tensor
    y: Tensor
    activation: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, d, M)."""
        return self.theta.shape[0], self.X.shape[1], self.X.shape[0]

    @property
    def scale(self) -> float:
        return float(len(self.theta)) ** -BETA

    def at(self, precision: str = "float64", device: str = "cpu") -> tuple[ShallowNet, Tensor, Tensor]:
        """(net, X, y) for the package."""
        dtype = PRECISIONS[precision][0]
        theta, X, y = (t.to(dtype).to(device) for t in (self.theta, self.X, self.y))
        return ShallowNet.from_theta(theta, beta=BETA, activation=self.activation), X, y

    def f(self, theta: Tensor) -> Tensor:
        """The outputs (E1), differentiable."""
        sigma = ACTIVATIONS[self.activation].function
        return self.scale * (sigma(self.X @ theta[:, 1:-1].t() + theta[:, -1]) @ theta[:, 0])

    def loss(self, theta: Tensor) -> Tensor:
        """(E2), differentiable."""
        return (self.f(theta) - self.y).square().sum() / (2 * len(self.y))


@cache
def case(seed: int, N: int, d: int, M: int, activation: str = "tanh") -> Case:
    g = torch.Generator().manual_seed(seed)
    c, w = 2 * torch.rand(N, 1, generator=g) - 1, torch.randn(N, d + 1, generator=g)
    X, y = torch.randn(M, d, generator=g), torch.randn(M, generator=g)
    return Case(torch.cat([c, w], 1).double(), X.double(), y.double(), activation)


@dataclass(frozen=True)
class Errors:
    """In units of THRESHOLD·eps: what f (M,), JJᵀ/M, S (of its blocks) and g may be off by in their 2-norms; J = ‖J‖_F's size.

    They are `terms` times numbers of operations: some d+2 lead to an entry of J, N more to one of f, M to a sum over the
    data.
    """

    f: Tensor
    J: float
    JJ: float
    S: float
    g: float

    @property
    def H(self) -> float:
        return self.JJ + self.S


def residual_hessian_size(k: Case, r: Tensor) -> float:
    """A bound of ‖S‖₂, of the sums of its terms' sizes, for residuals of the sizes r (M,)."""
    row, rest = block_terms(*k.at()[:2], r)
    return float((row + rest).max())


def errors(k: Case) -> Errors:
    N, d, M = k.shape
    net, X, y = k.at()
    sizes, r = terms(net, X, y), (k.f(k.theta) - k.y).abs()
    f, J = (N + d + 2) * torch.from_numpy(sizes.outputs), float(np.linalg.norm(sizes.jacobian))
    S = residual_hessian_size(k, (M + d + 2) * r + f)
    g = J * ((M + d + 2) * float(r.norm()) + float(f.norm())) / M
    return Errors(f, J, (M + d + 2) * J * J / M, S, g)


@dataclass(frozen=True)
class Truth:
    """J (M, P), g (P,), H (P, P) and r (M,) by autograd."""

    J: Tensor
    g: Tensor
    H: Tensor
    r: Tensor
    error: Errors

    @property
    def M(self) -> int:
        return len(self.r)


@cache
def truth(k: Case) -> Truth:
    N, d, M = k.shape
    J: Any = torch.autograd.functional.jacobian(k.f, k.theta)
    H: Any = torch.autograd.functional.hessian(k.loss, k.theta)
    r = k.f(k.theta) - k.y
    J, H = J.reshape(M, -1), H.reshape(N * (d + 2), -1)
    return Truth(J, J.t() @ r / M, H, r, errors(k))


def off_by(errors: Any, precision: str, place: int = 1) -> Any:
    """The absolute error that these allow."""
    return THRESHOLD * eps_of(precision, place) * errors


def loss_error(t: Truth, precision: str) -> float:
    """Of |r|²/(2M), from the errors of r and of a sum of M squares."""
    r = t.r.abs()
    return float((off_by(t.error.f, precision) * (r + off_by(t.error.f, precision)) + off_by(t.M, precision) * r * r).mean())


def eps_of(precision: str, place: int = 1) -> float:
    return EPS[PRECISIONS[precision][place]]


def host(t: Tensor) -> Tensor:
    return t.detach().double().cpu()


def gaps(H: Tensor) -> Iterator[tuple[float, int]]:
    """(γ_N, neg(H + γ_N I)) midway between neighbouring negative eigenvalues, the widest gaps first."""
    values = torch.linalg.eigvalsh(H)
    below = values[: int((values < 0).sum()) + 1]
    for i in (below[1:] - below[:-1]).argsort(descending=True).tolist():
        damping = -float(below[i] + below[i + 1]) / 2
        if damping > 0:
            yield damping, i + 1


def judged(k: Case, step: NewtonStep, precision: str, *, curvature: bool = True, alpha: float = 1.0) -> tuple[Tensor, float]:
    """(A, the bound of ‖AΔ + αg‖ in the module's docstring, which the step kept), after all that the step says of itself."""
    t = truth(k)
    H = t.H if curvature else t.J.t() @ t.J / t.M
    A, update = H + step.damping * torch.eye(len(H), dtype=torch.float64), host(step.update).reshape(-1)
    values = torch.linalg.eigvalsh(A)
    size = float(values.abs().max()) * float(update.norm()) + alpha * float(t.g.norm())
    data = off_by((t.error.H + step.damping) * float(update.norm()) + alpha * t.error.g, precision)
    most = TARGET * eps_of(precision) * (size + alpha * t.error.J * float(t.r.norm()) / t.M) + data
    left = float((A @ update + alpha * t.g).norm())
    assert left <= most
    assert step.residual >= 0
    assert left <= step.residual * size + data + off_by(size, precision)
    assert abs(step.gradient_norm - float(t.g.norm())) <= off_by(t.error.g, precision)
    assert abs(step.loss - float(k.loss(k.theta))) <= loss_error(t, precision)
    assert step.certificate.verdict != ("indefinite" if float(values[0]) > 0 else "positive definite")
    assert float(values.abs().min()) > off_by(t.error.H + step.damping, precision), "no case: an eigenvalue without a sign"
    assert step.negative_eigenvalues == int((values < 0).sum())
    return A, most


# --- outputs and kernels -----------------------------------------------------------------------------------------------------


@every_precision
@every_activation
def test_outputs_and_loss(activation: str, precision: str, device: str) -> None:
    k = case(1, 23, 3, 9, activation)
    t, (net, X, y) = truth(k), k.at(precision, device)
    f = outputs(net, X, precision=precision, chunk=5)
    assert f.device.type == device
    assert bool(((host(f) - k.f(k.theta)).abs() <= off_by(t.error.f, precision)).all())
    assert bool(((host(net(X)) - k.f(k.theta)).abs() <= off_by(t.error.f, precision)).all())
    L = float(loss(net, X, y, precision=precision))
    assert abs(L - float(k.loss(k.theta))) <= loss_error(t, precision)


@every_precision
@every_activation
def test_kernels(activation: str, precision: str, device: str) -> None:
    """K = B(γ_N + B)⁻¹ moves with B by at most ‖δB‖/γ_N; 𝓑 = JA⁻¹Jᵀ/M by what δJ, δA and the blocks' inverses bring."""
    gamma, k = 5.0, case(2, 17, 2, 7, activation)
    t, (net, X, y) = truth(k), k.at(precision, device)
    damping = regularization(gamma, 17, BETA)
    B, eye = t.J @ t.J.t() / t.M, torch.eye(t.M, dtype=torch.float64)
    found = host(ntk(net, X, precision=precision, chunk=5))
    error, size = off_by(t.error.JJ, precision, 2), t.error.J**2 / t.M
    assert float(torch.linalg.matrix_norm(found - B, 2)) <= error
    found = host(gauss_newton_nntk(net, X, gamma, precision=precision, chunk=5))
    error += off_by(t.M + size, precision, 2)  # of the M×M system's solution
    assert float(torch.linalg.matrix_norm(found - B @ torch.linalg.inv(B + damping * eye), 2)) <= error / min(1, damping)
    A = t.H + damping * torch.eye(len(t.H), dtype=torch.float64)
    inverse = float(1 / torch.linalg.eigvalsh(A).abs().min())
    error = off_by((1 + size * inverse) * (t.error.H + damping) * inverse + t.M, precision, 2)
    found = host(nntk(net, X, y, gamma, precision=precision, chunk=5))
    exact = t.J @ torch.linalg.solve(A, t.J.t()) / t.M
    assert float(torch.linalg.matrix_norm(found - exact, 2)) <= error * (1 + size / (1e-4 * damping))


# --- steps -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STEPS)
@every_precision
@every_activation
def test_a_step_at_a_damping_that_makes_it_definite(activation: str, precision: str, kind: str, device: str) -> None:
    k = case(3, 19, 2, 7, activation)
    step = STEPS[kind](*k.at(precision, device), 10.0, alpha=0.5, precision=precision)
    assert step.update.device.type == device
    assert step.update.dtype == PRECISIONS[precision][0]
    judged(k, step, precision, curvature=kind == "newton", alpha=0.5)
    assert step.negative_eigenvalues == 0


@every_precision
@every_activation
def test_the_exact_step_of_an_indefinite_system(activation: str, precision: str, device: str) -> None:
    k = case(4, 19, 2, 7, activation)
    damping, negative = next(gaps(truth(k).H))
    step = newton_step(*k.at(precision, device), damping, scaling="fixed", precision=precision)
    judged(k, step, precision)
    assert step.negative_eigenvalues == negative


@pytest.mark.parametrize("seed", range(3))
def test_a_nearly_singular_block(seed: int, device: str) -> None:
    """γ_N just above minus an eigenvalue of a block: it goes to the border, and the step stays exact."""
    k = case(seed, 10, 2, 5)
    t = truth(k)
    S = (t.H - t.J.t() @ t.J / t.M).reshape(10, 4, 10, 4)
    lowest = min(float(torch.linalg.eigvalsh(S[i, :, i])[0]) for i in range(10))
    step = newton_step(*k.at("float64", device), -lowest * (1 + 1e-9), scaling="fixed")
    assert step.border >= 1
    judged(k, step, "float64")


@every_precision
@pytest.mark.parametrize("kind", STEPS)
def test_both_devices_take_the_same_step(kind: str, precision: str, device: str) -> None:
    """Of two vectors with residuals below a and b, the distance is at most (a + b)‖A⁻¹‖."""
    k = case(5, 19, 3, 7)
    steps = [
        STEPS[kind](*k.at(precision, where), 10.0, precision=precision, chunk=chunk)
        for where, chunk in (("cpu", None), (device, 5))
    ]
    (A, a), (_, b) = (judged(k, step, precision, curvature=kind == "newton") for step in steps)
    apart = float((host(steps[0].update) - host(steps[1].update)).norm())
    assert apart <= (a + b) / float(torch.linalg.eigvalsh(A).abs().min())


@every_precision
@pytest.mark.parametrize("activation", [next(iter(ACTIVATIONS)), next(reversed(ACTIVATIONS))])
def test_a_wide_net_whose_hessian_is_not_formed(activation: str, precision: str, device: str) -> None:
    """AΔ by a Hessian-vector product; ‖A‖ ≤ γ_N + the sizes of S and of JᵀJ/M."""
    k = case(6, 3000, 2, 40, activation)
    step = newton_step(*k.at(precision, device), 10.0, precision=precision)
    theta = k.theta.clone().requires_grad_()
    (g,) = torch.autograd.grad(k.loss(theta), theta, create_graph=True)
    update = host(step.update)
    (product,) = torch.autograd.grad(g, theta, update)
    error, length, g, r = errors(k), float(update.norm()), g.detach(), k.f(k.theta) - k.y
    size = (error.J**2 / 40 + residual_hessian_size(k, r) + step.damping) * length + float(g.norm())
    promised = TARGET * eps_of(precision) * (size + error.J * float(r.norm()) / 40)
    left = float((product + step.damping * update + g).norm())
    assert left <= promised + off_by((error.H + step.damping) * length + error.g, precision)
    assert left <= 1e-2 * float(g.norm())  # where Δ = 0 leaves ‖g‖
    assert step.certificate.verdict == "positive definite"


# --- spectra -----------------------------------------------------------------------------------------------------------------


@every_activation
def test_inertia_between_eigenvalues(activation: str, device: str) -> None:
    k = case(7, 19, 2, 7, activation)
    t = truth(k)
    values = torch.linalg.eigvalsh(t.H)
    doubt = off_by(t.error.H, "float64")
    looked = 0
    for damping, negative in list(gaps(t.H))[:6]:
        if float((values + damping).abs().min()) > doubt:
            found = inertia(*k.at("float64", device), damping, scaling="fixed")
            assert (found.negative, found.positive) == (negative, len(values) - negative)
            assert found.certificate.negative in (None, negative)
            looked += 1
    assert looked >= 2


@every_activation
def test_the_smallest_eigenvalue(activation: str, device: str) -> None:
    k = case(8, 19, 2, 7, activation)
    t = truth(k)
    least = float(torch.linalg.eigvalsh(t.H)[0])
    doubt = off_by(t.error.H, "float64")
    found = min_eigenvalue(*k.at("float64", device), rtol=1e-6)
    assert found.lower - doubt <= least <= found.upper + doubt
    assert found.converged
    assert found.upper - found.lower <= 4e-6 * abs(least)
    # proofs take a bound on the change of σ'', which a kink has not
    finite = all(np.isfinite(float(torch.as_tensor(b).max())) for b in ACTIVATIONS[activation].bounds(torch.ones(1)))
    assert found.proved == finite


# --- the optimizer -----------------------------------------------------------------------------------------------------------


@every_precision
def test_the_optimizer_takes_these_steps(precision: str, device: str) -> None:
    """Each of three steps moves θ by lr times the exact update at the θ before it, rounded once to θ's dtype."""
    k = case(9, 19, 2, 7)
    net, X, y = k.at(precision, device)
    optimizer = RegularizedNewton(net, 10.0, lr=0.5, precision=precision)
    for _ in range(3):
        before = host(net.theta)
        step = optimizer.step(X, y)
        judged(Case(before, k.X, k.y, k.activation), step, precision)
        moved = before + 0.5 * host(step.update)
        assert bool(((host(net.theta) - moved).abs() <= eps_of(precision) * moved.abs()).all())


# --- settings of the surroundings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["mixed", "float32"])
def test_coarse_products_asked_for_elsewhere_change_nothing(precision: str, device: str) -> None:
    """TF32 and bfloat16 products have 2^13 and 2^16 times float32's error; the bounds know nothing of them."""
    k = case(10, 64, 2, 32)
    plain = newton_step(*k.at(precision, device), 10.0, precision=precision)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        coarse = newton_step(*k.at(precision, device), 10.0, precision=precision)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(plain.update, coarse.update)
