"""What the tests of the accelerated step measure with: the reference's matrices, residuals over balls, sizes of errors.

A float32 net is compared with the float64 network of the same, rounded parameters, so that both compute on the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flint import arb, arb_mat, ctx

import nntk_reference as reference
from nntk_accelerated import ACTIVATIONS, ShallowNet, stream
from nntk_accelerated.instance import Instance, instance
from nntk_reference import Ball, Network
from tests.jet_errors import jet_errors

DTYPES = {"float32": torch.float32, "float64": torch.float64}
KINDS = {"float32": np.float32, "float64": np.float64}
PRECISE = Ball(256)
Example = tuple[Network, np.ndarray, np.ndarray, float]
"""What `nntk.strategies.problems` draws: a network, X, y and γ."""


@dataclass(frozen=True)
class Case:
    """A network and its data, for both packages, and what reproduces them."""

    net: Network
    X: np.ndarray
    y: np.ndarray
    told: str

    def torch(self, dtype: str = "float64", device: str = "cpu") -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
        """(net, X, y) for the accelerated package. In float32 only for a case that `rounded` made."""

        def tensor(values: np.ndarray) -> torch.Tensor:
            t = torch.tensor(values, dtype=DTYPES[dtype], device=device)
            assert np.array_equal(t.double().cpu().numpy(), values), "the two packages would get different numbers"
            return t

        net = ShallowNet.from_arrays(
            tensor(self.net.c),
            tensor(self.net.w),
            tensor(self.net.eta),
            beta=self.net.beta,
            activation=self.net.activation,
            negative_control=self.net.negative_control,
        )
        return net, tensor(self.X), tensor(self.y)


def rounded(net: Network, X: Any, y: Any, dtype: str = "float64", told: str = "") -> Case:
    """The case with all its numbers rounded to `dtype`."""
    kind = KINDS[dtype]

    def keep(values: Any) -> np.ndarray:
        return np.asarray(values, dtype=np.float64).astype(kind).astype(np.float64)

    small = Network(keep(net.c), keep(net.w), keep(net.eta), net.beta, net.activation, negative_control=net.negative_control)
    X, y = keep(X), keep(y)
    described = f"Network({small.c.tolist()}, {small.w.tolist()}, {small.eta.tolist()}, {small.beta!r}, {small.activation!r})"
    return Case(small, X, y, told or f"{described}, X = {X.tolist()}, y = {y.tolist()}")


def seeded(
    seed: int,
    width: int,
    dim: int,
    count: int,
    *,
    activation: str = "tanh",
    beta: float = 0.75,
    dtype: str = "float64",
    size: float = 1.0,
) -> Case:
    """A generic case: the paper's law, x ~ N(0, I), y ~ N(0, size²)."""
    rng = np.random.default_rng(seed)
    net = reference.sample_network(width, dim, beta=beta, activation=activation, seed=rng)
    X, y = rng.standard_normal((count, dim)), size * rng.standard_normal(count)
    return rounded(net, X, y, dtype, f"seeded({seed}, {width}, {dim}, {count}, {activation=}, {beta=}, {dtype=}, {size=})")


Parts = tuple[Network, np.ndarray, np.ndarray]


def random_case(seed: int, N: int, d: int, M: int, activation: str = "tanh", beta: float = 0.75) -> Parts:
    """Network, X and y of numbers that float32 holds exactly, so that both dtypes see one problem."""
    rng = np.random.default_rng(seed)
    drawn = (
        rng.uniform(-1, 1, N),
        rng.standard_normal((N, d)),
        rng.standard_normal(N),
        rng.standard_normal((M, d)),
        rng.standard_normal(M),
    )
    c, w, eta, X, y = (a.astype(np.float32).astype(float) for a in drawn)
    return Network(c, w, eta, beta, activation), X, y


def tensors(case: Parts, dtype: str = "float64", device: str = "cpu") -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
    """The same for the accelerated package."""
    net, *data = case
    theta, X, y = (torch.tensor(a, dtype=DTYPES[dtype], device=device) for a in (net.theta, *data))
    return ShallowNet.from_theta(theta, beta=net.beta, activation=net.activation), X, y


def adversarial(seed: int) -> Parts:
    """Small networks with graded weights, large targets, or residuals near 0; a quarter with fewer parameters than points."""
    rng, names = np.random.default_rng(seed), sorted(ACTIVATIONS)
    N, d, M = (int(rng.integers(1, most)) for most in (6, 3, 7))
    if rng.random() < 0.25:
        N, d, M = 1, 1, int(rng.integers(4, 10))
    net, X, y = random_case(seed, N, d, M, names[rng.integers(len(names))])
    kind = rng.integers(4)
    c = net.c * 10.0 ** rng.uniform(-kind * 3, kind * 3, N) if kind < 3 else net.c
    y = y * 10.0 ** rng.uniform(-3, 6) if kind == 3 else y
    net = reference.Network(c.astype(np.float32).astype(float), net.w, net.eta, net.beta, net.activation)
    if rng.random() < 0.3:
        y = reference.outputs(net, X) + 10.0 ** rng.uniform(-14, -2) * y
    return net, X, y.astype(np.float32).astype(float)


HARSH = ("graded", "denormal", "near a block", "no residual", "few parameters", "wide")


def harsh(seed: int, dtype: str = "float64") -> tuple[Case, float]:
    """(case, γ_N) of the kind `HARSH[seed % 6]`, in numbers of the dtype.

    graded          all of c, w, η and y over 24 orders of magnitude.
    denormal        c and y below the normal numbers or just above, so that r, S and the gradient are.
    near a block    γ_N within 1e-17 … 1e-3 of an eigenvalue of a block, where that block is singular.
    no residual     y = f(x) but for rounding, or for 1e-14 of it.
    few parameters  P ≤ M.
    wide            many neurons, γ_N tiny.
    """
    rng, kind = np.random.default_rng(seed), HARSH[seed % len(HARSH)]
    N, d, M = (int(rng.integers(1, most)) for most in (5, 3, 6))
    if kind == "few parameters":
        N, d, M = 1, 1, int(rng.integers(3, 8))
    if kind == "wide":
        N, d, M = int(rng.integers(20, 31)), 1, int(rng.integers(1, 5))
    names = [name for name in sorted(ACTIVATIONS) if name != "relu"]
    net, X, y = random_case(seed, N, d, M, names[int(rng.integers(len(names)))])
    c, w, eta = net.c, net.w, net.eta
    damping = 10.0 ** rng.uniform(-6, 2)
    if kind == "graded":
        c, w, eta, y = (v * 10.0 ** rng.uniform(-12, 12, v.shape) for v in (c, w, eta, y))
        w, eta = np.clip(w, -50, 50), np.clip(eta, -50, 50)
        damping = 10.0 ** rng.uniform(-12, 12)
    if kind == "denormal":
        tiny = float(np.finfo(KINDS[dtype]).tiny)
        size = tiny * 10.0 ** rng.uniform(-3, 3)
        c, y = c * size, y * size
        damping = tiny * 10.0 ** rng.uniform(0, 6)
    net = Network(c, w, eta, net.beta, net.activation)
    case = rounded(net, X, y, dtype, f"harsh({seed}, {dtype!r})")
    if kind == "no residual":
        noise = 10.0 ** -rng.integers(14, 20) * (rng.random() < 0.5)
        case = rounded(case.net, case.X, reference.outputs(case.net, case.X) * (1 + noise), dtype, case.told)
    if kind in ("near a block", "wide"):
        values = np.linalg.eigvalsh(reference.residual_hessian(case.net, case.X, case.y)).reshape(-1)
        value = float(rng.choice(-values[values < 0])) if (values < 0).any() else damping
        near = value * (1 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-17, -3))
        damping = near if kind == "near a block" else 10.0 ** rng.uniform(-14, -6)
    return case, damping


@dataclass(frozen=True)
class Truth:
    """A, g, J and r of the reference in float64, and the sizes of the errors that floating point makes in them.

    A_error  in units of eps: a bound of the 2-norm of the rounding errors of A's entries, to first order
    g_error  likewise for g
    r_error  likewise for r
    """

    A: np.ndarray
    g: np.ndarray
    J: np.ndarray
    r: np.ndarray
    eigenvalues: np.ndarray
    A_error: float
    g_error: float
    r_error: float

    @property
    def norm(self) -> float:
        return float(np.abs(self.eigenvalues).max())

    def doubtful(self, eps: float) -> float:
        """Eigenvalues below this size have no sign in arithmetic of `eps`: their own computation errs by n eps ‖A‖."""
        return eps * (len(self.A) * self.norm + self.A_error)


def truth(case: Case, damping: float, *, curvature: bool = True) -> Truth:
    """Dense, from the reference, with first-order error sizes from absolute values."""
    net, X, y = case.net, case.X, case.y
    N, M, scale = net.width, len(X), float(net.width) ** -net.beta
    J = reference.jacobian(net, X)
    flat = J.reshape(M, -1)
    S = reference.residual_hessian(net, X, y) if curvature else np.zeros((N, net.dim + 2, net.dim + 2))
    A = flat.T @ flat / M
    p = net.dim + 2
    for i in range(N):
        A[i * p : (i + 1) * p, i * p : (i + 1) * p] += S[i]
    A[np.diag_indices(len(A))] += damping
    r = reference.outputs(net, X) - y
    g = reference.gradient(net, X, y).reshape(-1)

    # sizes of the errors, in units of eps (a rounding is half of that): of σ, σ', σ'', r, J, S
    jets = jet_errors(net.activation, net.w, net.eta, X)
    value, slope, bend = jets.values
    d_value, d_slope, d_bend = jets.bounds()
    c, q = np.abs(net.c), np.sqrt(1 + (X * X).sum(1))
    dr = scale * ((d_value + (N + 8) / 2 * value) @ c) + 2 * (np.abs(r) + np.abs(y))
    few = 4 + p  # operations on top of the jets in one entry
    dJ2 = scale**2 * ((d_value + few * value) ** 2 + (c * q[:, None] * (d_slope + few * slope)) ** 2)  # per (m, i)
    dJ, J_size = np.sqrt(dJ2.sum()), norm(flat)
    cross = scale / M * ((dr[:, None] * slope + np.abs(r)[:, None] * (d_slope + M * slope)) * q[:, None]).sum(0)
    curved = scale / M * c * ((dr[:, None] * bend + np.abs(r)[:, None] * (d_bend + M * bend)) * q[:, None] ** 2).sum(0)
    dS = float((cross + curved).max()) if curvature else 0.0
    A_error = 2 * J_size * dJ / M + J_size**2 + dS + damping
    g_error = (dJ * norm(r) + J_size * norm(dr)) / M + J_size * norm(r)
    return Truth(A, g, flat, r, np.linalg.eigvalsh(A), float(A_error), float(g_error), norm(dr))


def reached(case: Case) -> float:
    """The largest |wᵢ||xₘ| + |ηᵢ|: how far from 0 an activation is looked at."""
    return float((np.linalg.norm(case.X, axis=1).max() * np.linalg.norm(case.net.w, axis=1) + np.abs(case.net.eta)).max())


def exact(values: Any) -> np.ndarray:
    """float64 numbers as the balls that they are."""
    return np.vectorize(lambda v: arb(float(v)), otypes=[object])(np.asarray(values, dtype=np.float64))


def ball_matrix(case: Case, damping: Any, *, curvature: bool = True) -> np.ndarray:
    """A = H + damping I over balls of 256 bits; the damping is the exact float."""
    with ctx.workprec(PRECISE.bits):
        if curvature:
            A = reference.hessian(case.net, case.X, case.y, arithmetic=PRECISE).copy()
        else:
            J = reference.jacobian(case.net, case.X, arithmetic=PRECISE).reshape(len(case.X), -1)
            A = J.T @ J / len(J)
        A[np.diag_indices(len(A))] += arb(damping)
    return A


def ball_residual(case: Case, damping: float, update: np.ndarray, alpha: float, *, curvature: bool = True) -> float:
    """‖AΔ + αg‖₂ for the exact A and g and the update as stored, rounded up."""
    with ctx.workprec(PRECISE.bits):
        A = ball_matrix(case, damping, curvature=curvature)
        g = reference.gradient(case.net, case.X, case.y, arithmetic=PRECISE).reshape(-1)
        left = A @ exact(update.reshape(-1)) + arb(alpha) * g
        return float(sum((v * v for v in left), arb(0)).sqrt().upper())


def ball_inertia(case: Case, damping: Any) -> reference.Inertia:
    """Proved inertia of H + damping I."""
    with ctx.workprec(PRECISE.bits):
        return reference.inertia(ball_matrix(case, damping), PRECISE)


def spectral_norm_upper(E: np.ndarray) -> float:
    """The spectral norm of a small symmetric ball matrix, from above: (trace of E⁶⁴)^(1/64), at most n^(1/64) too large."""
    with ctx.workprec(PRECISE.bits):
        power = arb_mat(E.tolist())
        for _ in range(6):  # E^64
            power = power * power
        trace = sum((power[i, i] for i in range(power.nrows())), arb(0))
        return float(abs(trace).upper() ** (arb(1) / 64)) if abs(trace).upper() > 0 else 0.0


def norm(values: Any) -> float:
    """The 2-norm without underflow or overflow of squares."""
    flat = np.abs(np.asarray(values, dtype=np.float64)).reshape(-1)
    size = float(flat.max(initial=0.0))
    return size * float(np.linalg.norm(flat / size)) if 0 < size < np.inf else size


MODES = {
    "float64": ("float64", None),
    "mixed": ("float64", "mixed"),
    "float32": ("float32", None),
    "float32 net in float64": ("float32", "float64"),
}
"""(dtype of the network, precision asked for)."""


def prepared(
    case: Case, mode: str, *, chunk: int | None = None, device: str = "cpu"
) -> tuple[Instance, torch.Tensor, torch.Tensor]:
    """(task, r, S) as the package computes them."""
    dtype, precision = MODES[mode]
    task = instance(*case.torch(dtype, device), precision=precision, chunk=chunk)
    with torch.no_grad():
        r = stream.outputs(task) - task.y
        return task, r, stream.residual_blocks(task, r)
