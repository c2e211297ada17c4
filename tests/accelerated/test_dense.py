"""The M×M part against numpy: many tiles at small sizes, and one case so large that a second copy of the matrix would show."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nntk_accelerated import SingularSystemError, dense
from tests.tolerances import EPS, THRESHOLD

Array = np.ndarray
DTYPES = {"float32": torch.float32, "float64": torch.float64}
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(sorted(DTYPES))


@pytest.fixture(params=[3, 4, 512], ids=lambda tile: f"tile={tile}")
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(dense, "_TILE", request.param)
    return int(request.param)


def with_spectrum(rng: np.random.Generator, values: Array) -> Array:
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    A = (Q * values) @ Q.T
    return (A + A.T) / 2


def lower_only(A: Array, above: float = np.nan) -> Array:
    """A below, and rubbish above the diagonal."""
    return np.where(np.tri(len(A), dtype=bool), A, above)


def stored(A: Array, dtype: str, device: str = "cpu") -> torch.Tensor:
    return torch.tensor(A, dtype=DTYPES[dtype], device=device)


# -------------------------------------------------------------------------------------------------------------------- add_outer


def check_add_outer(M: int, K: int, seed: int, dtype: str, device: str = "cpu") -> None:
    rng = np.random.default_rng(seed)
    start, Y = stored(rng.standard_normal((M, M)), dtype, device), stored(rng.standard_normal((M, K)), dtype, device)
    G = start.clone()
    dense.add_outer(G, Y)
    s, y = start.double().cpu().numpy().copy(), Y.double().cpu().numpy().copy()
    # a sum of K + 1 terms in any order errs by K + 1 units roundoff of Σ|terms|, once here and once in the oracle
    limit = (K + 1) * EPS[dtype] * (abs(s) + abs(y) @ abs(y).T)
    assert (np.tril(np.abs(G.double().cpu().numpy().copy() - (s + y @ y.T)) - limit) <= 0).all()


@given(sizes, st.integers(1, 30), seeds, dtypes)
def test_add_outer_by_blas(M: int, K: int, seed: int, dtype: str) -> None:
    check_add_outer(M, K, seed, dtype)


@given(sizes, st.integers(1, 30), seeds, dtypes, st.sampled_from([2, 4, 6, 512]))
def test_add_outer_by_strips(M: int, K: int, seed: int, dtype: str, tile: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_BLAS_LIMIT", 0)
        patch.setattr(dense, "_TILE", tile)
        check_add_outer(M, K, seed, dtype)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("M", [1, 512, 513, 1024, 1025, 1100])
def test_add_outer_at_the_limits_of_its_paths(M: int, dtype: str, device: str) -> None:
    check_add_outer(M, 3, M, dtype, device)


@pytest.mark.parametrize("limit", [0, 1024], ids=["strips", "blas"])
def test_add_outer_adds_to_what_is_there(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_BLAS_LIMIT", limit)
    G, Y = torch.zeros(5, 5, dtype=torch.float64), torch.tensor([[1.0], [2], [3], [4], [5]], dtype=torch.float64)
    dense.add_outer(G, Y)
    dense.add_outer(G, Y)
    assert torch.equal(G.tril(), (2 * Y @ Y.t()).tril())


def test_mirror(tile: int) -> None:
    for M in (1, 2, 3, 4, 5, 8, 11, 13):
        A = torch.randn(M, M, dtype=torch.float64, generator=torch.Generator().manual_seed(M))
        G = A.clone()
        out = dense.mirror_(G)
        assert out is G
        assert torch.equal(G, A.tril() + A.tril(-1).t())


# --------------------------------------------------------------------------------------------------------------------- Cholesky


@pytest.mark.parametrize("above", [np.nan, 7.0], ids=["nan above", "finite above"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_cholesky_in_place(tile: int, dtype: str, above: float, device: str) -> None:
    for M in (1, 2, 3, 4, 5, 8, 9, 12, 17, 31):
        rng = np.random.default_rng(M)
        W = stored(lower_only(with_spectrum(rng, rng.uniform(0.01, 1, M)), above), dtype, device)
        A = W.double().cpu().numpy().copy()
        A = np.tril(A) + np.tril(A, -1).T
        assert dense.cholesky_(W)
        L = np.tril(W.double().cpu().numpy().copy())
        assert (np.diag(L) > 0).all()
        assert np.linalg.norm(L @ L.T - A) <= THRESHOLD * M * EPS[dtype] * np.linalg.norm(A, 2)


@pytest.mark.parametrize("pivot", [-1.0, 0.0])
def test_cholesky_refuses_at_every_place(tile: int, pivot: float) -> None:
    """Unit triangular integers: every step is exact, so the pivots are the ones put in."""
    M = 14
    L = np.tril(np.random.default_rng(1).integers(-1, 2, (M, M)), -1) + np.eye(M)
    for place in range(M):
        pivots = np.ones(M)
        pivots[place] = pivot
        W = stored(lower_only((L * pivots) @ L.T, 0.0), "float64")
        assert not dense.cholesky_(W)
    W = stored(lower_only(L @ L.T, 0.0), "float64")
    assert dense.cholesky_(W)
    assert np.array_equal(np.tril(W.numpy()), L)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cholesky_refuses_what_is_no_number(tile: int, bad: float) -> None:
    for M, row, column in ((1, 0, 0), (9, 0, 0), (9, 4, 4), (9, 8, 8), (9, 5, 0), (9, 8, 7), (9, 2, 1)):
        W = 2 * torch.eye(M, dtype=torch.float64)
        W[row, column] = bad
        factor_is_finite = dense.cholesky_(W) and bool(torch.isfinite(W.tril()).all())
        assert not factor_is_finite


@given(sizes, seeds)
def test_cholesky_on_both_sides_of_definiteness(M: int, seed: int) -> None:
    """A computed factor has LLᵀ = W + E, |E| ≤ ½(M+1) eps trace W ≤ 2 THRESHOLD M eps ‖W‖ for M ≤ 40."""
    rng = np.random.default_rng(seed)
    for sign in (1, -1):
        values = np.concatenate([[sign * 4 * THRESHOLD * M * EPS["float64"]], rng.uniform(0.5, 1, M - 1)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dense, "_TILE", 5)
            assert dense.cholesky_(stored(with_spectrum(rng, values), "float64")) == (sign > 0)


# ---------------------------------------------------------------------------------------------------------- factorize and solve


def check_solve(A: Array, dtype: str, definite: bool, negative: int, device: str = "cpu") -> dense.Factor:
    M, rng = len(A), np.random.default_rng(len(A))
    W = stored(A, dtype, device)
    A = W.double().cpu().numpy().copy()
    F = dense.factorize(W, definite=definite)
    assert F.negative == negative
    for b in (rng.standard_normal(M), rng.standard_normal((M, 3))):
        right = stored(b, dtype, device)
        x = F.solve(right)
        assert x.dtype == right.dtype
        assert x.shape == right.shape
        b, z = right.double().cpu().numpy().copy(), x.double().cpu().numpy().copy()
        # normwise backward error; for Bunch-Kaufman with its usual, small growth of elements
        assert np.linalg.norm(A @ z - b) <= THRESHOLD * M * EPS[dtype] * np.linalg.norm(A, 2) * np.linalg.norm(z)
    return F


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("M", [1, 2, 3, 7, 20, 33])
def test_solve_with_a_definite_matrix(M: int, dtype: str, tile: int, device: str) -> None:
    rng = np.random.default_rng(M)
    A = with_spectrum(rng, rng.uniform(0.01, 1, M))
    assert check_solve(A, dtype, True, 0, device).pivots is None
    assert check_solve(A, dtype, False, 0, device).pivots is not None


@given(sizes, seeds, dtypes)
def test_solve_and_inertia_of_an_indefinite_matrix(M: int, seed: int, dtype: str) -> None:
    """Eigenvalues of size 0.1 to 1 are far from 0 on the scale of M eps: their signs are the inertia."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 1, M) * rng.choice([-1, 1], M)
    check_solve(with_spectrum(rng, values), dtype, False, int((values < 0).sum()))


@given(st.integers(1, 20), seeds)
def test_pivots_of_size_two(half: int, seed: int) -> None:
    """A zero diagonal leaves no pivot of size one: [[0, B], [Bᵀ, 0]] has as many negative as positive eigenvalues."""
    rng = np.random.default_rng(seed)
    B = with_spectrum(rng, rng.uniform(0.1, 1, half) * rng.choice([-1, 1], half))
    zero = np.zeros((half, half))
    order = rng.permutation(2 * half)
    A = np.block([[zero, B], [B.T, zero]])[np.ix_(order, order)]
    F = check_solve(A, "float64", False, half)
    assert F.pivots is not None
    assert bool((F.pivots < 0).any())


@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_inertia_does_not_depend_on_the_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = np.array([-1, -0.5, 0.5, 1, 1, -1, 0.2])
    assert dense.factorize(stored(scale * with_spectrum(rng, values), "float64"), definite=False).negative == 3


def test_inertia_just_beside_a_singular_matrix() -> None:
    """LDLᵀ has a small backward error too, so eigenvalues beyond THRESHOLD M eps ‖W‖ are counted on their side."""
    M = 12
    for sign, negative in ((1, 5), (-1, 6)):
        rng = np.random.default_rng(3)
        values = np.array([sign * 2 * THRESHOLD * M * EPS["float64"], *[-1.0] * 5, *[1.0] * 6])
        assert dense.factorize(stored(with_spectrum(rng, values), "float64"), definite=False).negative == negative


SINGULAR = {
    "zero of size 1": np.zeros((1, 1)),
    "zero": np.zeros((4, 4)),
    "ones": np.ones((5, 5)),
    "diagonal": np.diag([1.0, -2.0, 0.0, 4.0]),
    "last pivot": np.diag([1.0, 2.0, 0.0]),
    "pivot of size two, and nothing": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]),
    "nan": np.diag([1.0, np.nan, 1.0]),
}


@pytest.mark.parametrize("name", sorted(SINGULAR))
@pytest.mark.parametrize("definite", [True, False])
def test_singular_matrices_are_refused(name: str, definite: bool) -> None:
    with pytest.raises(SingularSystemError):
        dense.factorize(stored(SINGULAR[name], "float64"), definite=definite)


@pytest.mark.parametrize("name", ["zero of size 1", "zero", "diagonal", "last pivot", "pivot of size two, and nothing"])
def test_a_zero_pivot_is_singular_where_the_library_does_not_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: `info` is 0 whatever is found."""
    factored = torch.linalg.ldl_factor_ex

    def silent(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        LD, pivots, info = factored(A)
        return LD, pivots, torch.zeros_like(info)

    monkeypatch.setattr(torch.linalg, "ldl_factor_ex", silent)
    with pytest.raises(SingularSystemError):
        dense.factorize(stored(SINGULAR[name], "float64"), definite=False)


def test_a_matrix_promised_to_be_definite_but_is_not() -> None:
    with pytest.raises(SingularSystemError, match="raise gamma"):
        dense.factorize(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), definite=True)


@pytest.mark.parametrize("numbers", [(1e30, 1e-30), (1e-60, 1e-90), (0.0, 1e60)])
def test_a_right_side_of_any_size_is_solved_in_a_narrower_dtype(numbers: tuple[float, float]) -> None:
    """Its largest number is what has to be within range: what is 2⁻¹²⁶ of it is lost, and nothing else."""
    factor = dense.factorize(4 * torch.eye(2), definite=True)
    b = torch.tensor(numbers, dtype=torch.float64)
    found = factor.solve(b)
    torch.testing.assert_close(found, b / 4, rtol=1e-6, atol=float(b.max()) * 2.0**-126)


def test_solve_returns_the_dtype_of_the_right_side() -> None:
    F = dense.factorize(4 * torch.eye(3), definite=True)
    x = F.solve(torch.ones(3, dtype=torch.float64))
    assert x.dtype == torch.float64
    assert torch.equal(x, torch.full((3,), 0.25, dtype=torch.float64))


# ----------------------------------------------------------------------------------------------------------------------- memory

IN_PLACE = """
import resource
import torch
from nntk_accelerated import dense

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def start(size):  # diagonally dominant, hence positive definite; only the lower triangle counts
    W = torch.rand(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    W.diagonal().add_(size)
    return W

def work(W, Y):
    dense.add_outer(W, Y)
    assert dense.cholesky_(W)

M = {M}
Y = torch.randn(M, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
work(start(1100), Y[:1100].contiguous())  # libraries take their own buffers
W = start(M)
before = peak()
work(W, Y)
extra = peak() - before
# W may not be copied to check it: one product with a vector does
x = torch.ones(M, dtype=torch.float64)
image = torch.zeros_like(x)
L = W.tril_()
image = L @ (L.t() @ x)
A = start(M)
dense.add_outer(A, Y)
A = A.tril_()
exact = A @ x + A.t() @ x - A.diagonal() * x
error = float((image - exact).norm() / (exact.norm() * M * torch.finfo(torch.float64).eps))
print(extra, error)
"""


@pytest.mark.slow
def test_a_large_matrix_is_factorized_in_place() -> None:
    """M = 4000: W takes 128 MB; a copy would show. Panels of 512 columns (16 MB each), their solution and BLAS's packing may.

    In general 3 · 8 · 512 M bytes beside 8 M². At M = 20,000 that is 0.25 GB beside 3.2 GB, and 8·10¹²/3 operations: by M³,
    125 times as long as here.
    """
    M = 4000
    done = subprocess.run(
        [sys.executable, "-c", IN_PLACE.replace("{M}", str(M))], capture_output=True, text=True, check=True, timeout=600
    )
    extra, error = (float(word) for word in done.stdout.split())
    assert extra <= 3 * 8 * 512 * M + 16 * 2**20
    assert error <= THRESHOLD
