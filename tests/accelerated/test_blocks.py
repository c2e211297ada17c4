"""Component-wise Cholesky and Jacobi against numpy.linalg, one matrix at a time; failures must stay with their own matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nntk_accelerated import blocks
from tests.tolerances import EPS, THRESHOLD

Array = np.ndarray
ROTATED = 7
"""Largest p for the rotations here: their sweeps are p² short operations."""
DTYPES = {"float32": torch.float32, "float64": torch.float64}

# Ratios are ‖error‖_F / (p eps ‖D‖₂). A Jacobi sweep or a Cholesky factorization does O(p) operations on every entry.


def orthogonal(rng: np.random.Generator, p: int) -> Array:
    return np.linalg.qr(rng.standard_normal((p, p)))[0]


def with_spectrum(rng: np.random.Generator, values: Array) -> Array:
    Q = orthogonal(rng, len(values))
    D = (Q * values) @ Q.T
    return (D + D.T) / 2


def graded(rng: np.random.Generator, p: int) -> Array:
    """Entries from 1e-20 to 1e20 of either sign: rows and columns on scales of their own."""
    A = rng.standard_normal((p, p))
    scales = 10.0 ** rng.uniform(-10, 10, p)
    return (A + A.T) * scales[:, None] * scales


KINDS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "definite": lambda rng, p: with_spectrum(rng, rng.uniform(0.1, 1, p)),
    "indefinite": lambda rng, p: with_spectrum(rng, rng.standard_normal(p)),
    "singular": lambda rng, p: with_spectrum(rng, rng.standard_normal(p) * (np.arange(p) % 2)),
    "graded": graded,
    "diagonal": lambda rng, p: np.diag(rng.standard_normal(p)),
    "repeated eigenvalues": lambda rng, p: with_spectrum(rng, np.where(np.arange(p) % 2, 1.0, -0.5)),
    "nearly repeated eigenvalues": lambda rng, p: with_spectrum(rng, 1 + 1e-15 * rng.standard_normal(p)),
    "integer": lambda rng, p: np.asarray(sum(a + a.T for a in [rng.integers(-2, 3, (p, p))]), dtype=float),
    "all ones": lambda rng, p: np.ones((p, p)),
    "multiple of identity": lambda rng, p: 3 * np.eye(p),
    "zero": lambda rng, p: np.zeros((p, p)),
}


def batch(matrices: list[Array], dtype: str, device: str = "cpu") -> tuple[torch.Tensor, list[Array]]:
    """(p, p, n), and each matrix as it was stored."""
    D = torch.tensor(np.stack(matrices, axis=-1), dtype=DTYPES[dtype], device=device)
    return D, [D[:, :, i].double().cpu().numpy().copy() for i in range(len(matrices))]


def each(A: torch.Tensor) -> list[Array]:
    return [A[..., i].double().cpu().numpy().copy() for i in range(A.shape[-1])]


def check_eigh(matrices: list[Array], dtype: str, device: str = "cpu") -> None:
    """What is called, and the rotations for matrices that it would not decompose."""
    p, n = len(matrices[0]), len(matrices)
    for decomposed in [blocks.eigh, blocks._jacobi][: 1 + (p <= ROTATED)]:
        D, stored = batch(matrices, dtype, device)
        values, Q = decomposed(D)
        assert values.shape == (p, n)
        assert Q.shape == (p, p, n)
        for A, lam, q in zip(stored, each(values), each(Q), strict=True):
            unit = p * EPS[dtype]
            size = np.linalg.norm(A, 2)
            assert np.linalg.norm(q.T @ q - np.eye(p)) <= THRESHOLD * unit
            assert np.linalg.norm((q * lam) @ q.T - A) <= THRESHOLD * unit * size
            assert np.abs(np.sort(lam) - np.linalg.eigvalsh(A)).max() <= THRESHOLD * unit * size


def check_inverse_cholesky(matrices: list[Array], dtype: str, device: str = "cpu") -> None:
    """D = LLᵀ + E with |E| ≤ ½(p+1) eps trace D, so the answer is forced where |λ_min| exceeds THRESHOLD p eps ‖D‖ (p ≤ 20)."""
    D, stored = batch(matrices, dtype, device)
    inverse, ok = blocks.inverse_cholesky(D)
    p = len(matrices[0])
    for A, X, good in zip(stored, each(inverse), ok.tolist(), strict=True):
        values = np.linalg.eigvalsh(A)
        margin = THRESHOLD * p * EPS[dtype] * np.abs(values).max()
        if values[0] > margin:
            assert good
        if values[0] < -margin or not A.any():
            assert not good
        if good:
            assert np.array_equal(X, np.tril(X))
            assert (np.diag(X) > 0).all()
            if values[0] > margin:
                # X L = I + F, |F| ≤ p eps |X||L|, and X E Xᵀ: together p eps κ(D)
                condition = values[-1] / values[0]
                assert np.linalg.norm(X @ A @ X.T - np.eye(p)) <= THRESHOLD * p * EPS[dtype] * condition
        else:
            assert not X.any()


batches = st.tuples(
    st.integers(1, 20),
    st.integers(1, 50),
    st.sampled_from(sorted(DTYPES)),
    st.sampled_from(sorted(KINDS)),
    st.integers(0, 2**32),
)


@given(batches, st.sampled_from([-100, -30, 0, 30, 100]))
def test_eigh_of_any_batch(case: tuple[int, int, str, str, int], exponent: int) -> None:
    p, n, dtype, kind, seed = case
    rng = np.random.default_rng(seed)
    scale = 10.0 ** (exponent if dtype == "float64" else np.sign(exponent) * 10 * (kind != "graded"))
    # one kind, and a few others beside it: they must not disturb each other
    kinds = [kind] * max(n - 3, 1) + [str(k) for k in rng.choice(sorted(KINDS), size=min(3, n - 1))]
    check_eigh([KINDS[k](rng, p) * (scale if dtype == "float64" or k != "graded" else 1e-5) for k in kinds], dtype)


@given(batches, st.sampled_from([-100, -30, 0, 30, 100]))
def test_inverse_cholesky_of_any_batch(case: tuple[int, int, str, str, int], exponent: int) -> None:
    p, n, dtype, kind, seed = case
    rng = np.random.default_rng(seed)
    scale = 10.0 ** (exponent if dtype == "float64" else np.sign(exponent) * 10)
    kinds = [kind] * max(n - 3, 1) + [str(k) for k in rng.choice(sorted(KINDS), size=min(3, n - 1))]
    check_inverse_cholesky([KINDS[k](rng, p) * (scale if dtype == "float64" or k != "graded" else 1e-5) for k in kinds], dtype)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("p", [1, 3, 10, 16, 17])
def test_every_kind_on_every_device(p: int, dtype: str, device: str) -> None:
    rng = np.random.default_rng(p)
    matrices = [make(rng, p) * (1e-5 if kind == "graded" else 1) for kind, make in KINDS.items()]
    check_eigh(matrices, dtype, device)
    check_inverse_cholesky(matrices, dtype, device)


@pytest.mark.parametrize("p", range(1, 21))
def test_inverse_cholesky_decides_just_inside_and_just_outside_definiteness(p: int) -> None:
    rng = np.random.default_rng(p)
    edge = 2 * THRESHOLD * p * EPS["float64"]
    for sign in (1, -1):
        values = np.concatenate([[sign * edge], rng.uniform(0.5, 1, p - 1)])
        D, _ = batch([with_spectrum(rng, values) for _ in range(8)], "float64")
        _, ok = blocks.inverse_cholesky(D)
        assert ok.tolist() == [sign > 0] * 8


@pytest.mark.parametrize("p", [1, 2, 5, 12])
def test_inverse_cholesky_does_not_feel_the_scales_of_rows(p: int) -> None:
    """Cholesky commutes with diagonal scaling: S D S gives L⁻¹ S⁻¹, row by row to rounding, however far apart the scales."""
    rng = np.random.default_rng(p)
    D = with_spectrum(rng, rng.uniform(0.1, 1, p))
    S = 2.0 ** rng.integers(-160, 160, p)  # entries from 1e-96 to 1e96
    plain, scaled = (blocks.inverse_cholesky(batch([A], "float64")[0]) for A in (D, D * S[:, None] * S))
    assert plain[1].all()
    assert scaled[1].all()
    np.testing.assert_allclose(scaled[0][:, :, 0].numpy() * S, plain[0][:, :, 0].numpy(), rtol=THRESHOLD * p * EPS["float64"])


BAD = {"nan": np.nan, "overflow": 1e300}


@pytest.mark.parametrize("bad", sorted(BAD))
@pytest.mark.parametrize("where", [(0, 0), (1, 1), (1, 0)])
@pytest.mark.parametrize("p", [2, 4, 16, 18])
def test_inverse_cholesky_masks_what_is_no_number_and_leaves_neighbours_alone(p: int, where: tuple[int, int], bad: str) -> None:
    rng = np.random.default_rng(p)
    fine = [with_spectrum(rng, rng.uniform(0.5, 1, p)) for _ in range(3)]
    broken = fine[0].copy()
    broken[where] = broken[where[::-1]] = BAD[bad]
    alone, _ = blocks.inverse_cholesky(batch(fine, "float64")[0])
    beside, ok = blocks.inverse_cholesky(batch([*fine, broken], "float64")[0])
    definite = bad == "overflow" and where[0] == where[1]  # a huge diagonal entry is harmless
    assert ok.tolist() == [True] * 3 + [definite]
    # torch may sum in another order where the batch is larger: p products of numbers of size ‖L⁻¹‖ ≤ 1/√0.5
    assert float((beside[:, :, :3] - alone).abs().max()) <= 2 * p * EPS["float64"]
    assert definite or not beside[:, :, 3].any()


@pytest.mark.parametrize("where", [(0, 0), (1, 1), (1, 0)])
def test_inverse_cholesky_refuses_infinity(where: tuple[int, int]) -> None:
    D = np.eye(3)
    D[where] = D[where[::-1]] = np.inf
    inverse, ok = blocks.inverse_cholesky(batch([D, np.eye(3)], "float64")[0])
    assert ok.tolist() == [False, True]
    assert not inverse[:, :, 0].any()


@pytest.mark.parametrize("jacobi", [False, True])
@pytest.mark.parametrize("p", [2, 4, 16, 18])
def test_eigh_lets_no_nan_reach_a_neighbour(p: int, jacobi: bool) -> None:
    decomposed = blocks._jacobi if jacobi else blocks.eigh
    rng = np.random.default_rng(p)
    fine = [with_spectrum(rng, rng.standard_normal(p)) for _ in range(3)]
    broken = np.full((p, p), np.nan)
    values, Q = decomposed(batch([*fine, broken], "float64")[0])
    alone_values, alone_Q = decomposed(batch(fine, "float64")[0])
    torch.testing.assert_close(values[:, :3], alone_values, rtol=0, atol=p * EPS["float64"] * 10)
    torch.testing.assert_close(Q[:, :, :3], alone_Q, rtol=0, atol=p * EPS["float64"] * 1e3)
    assert values[:, 3].isnan().all()  # and the failure is not hidden


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("p", [2, 4, 5, 7, 9])
def test_eigh_of_entries_of_any_size_is_finite(p: int, dtype: str) -> None:
    """LAPACK does not converge on some of these, which says nothing of those beside them."""
    rng, reach = np.random.default_rng(p), 300 if dtype == "float64" else 36
    upper = rng.standard_normal((p, p, 600)) * 10.0 ** rng.uniform(-reach, reach, (p, p, 600))
    matrices = [np.tril(A) + np.tril(A, -1).T for A in np.moveaxis(upper, 2, 0)]
    D, stored = batch(matrices, dtype)
    values, Q = blocks.eigh(D)
    for A, lam, q in zip(stored, each(values), each(Q), strict=True):
        size = np.abs(A).max()
        assert np.linalg.norm(q.T @ q - np.eye(p)) <= THRESHOLD * p * EPS[dtype]
        assert np.linalg.norm((q * (lam / size)) @ q.T - A / size) <= THRESHOLD * p * EPS[dtype]


@pytest.mark.parametrize("raises", [True, False])
def test_a_matrix_that_lapack_fails_on_is_rotated_and_its_neighbours_are_not(
    raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a failure of LAPACK, told by an error or by nan."""
    rng, lapack = np.random.default_rng(0), torch.linalg.eigh
    matrices = [with_spectrum(rng, rng.standard_normal(4)) * 10.0**k for k in (0, 200, 1)]
    expected_values, expected_Q = blocks.eigh(batch(matrices, "float64")[0])

    def failing(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        failed = A.abs().amax((1, 2)) > 1e100
        if raises and failed.any():
            raise torch.linalg.LinAlgError("planted")
        values, vectors = lapack(A)
        return torch.where(failed[:, None], torch.nan, values), torch.where(failed[:, None, None], torch.nan, vectors)

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    D, stored = batch(matrices, "float64")
    values, Q = blocks.eigh(D)
    assert torch.equal(values[:, [0, 2]], expected_values[:, [0, 2]])
    assert torch.equal(Q[:, :, [0, 2]], expected_Q[:, :, [0, 2]])
    np.testing.assert_allclose(np.sort(each(values)[1]), each(expected_values)[1], rtol=1e-13)
    lam, q = each(values)[1], each(Q)[1]
    np.testing.assert_allclose((q * lam) @ q.T, stored[1], rtol=0, atol=1e-14 * np.abs(stored[1]).max())


@pytest.mark.parametrize("p", [2, 5])
def test_eigh_of_very_many(p: int, device: str) -> None:
    """More than cuSOLVER takes at once, and than one call here; the last are decomposed as if they were alone."""
    rng = np.random.default_rng(p)
    last = [with_spectrum(rng, rng.standard_normal(p)) for _ in range(3)]
    D = torch.zeros(p, p, 2**17 + 3, dtype=torch.float64, device=device)
    D[:, :, -3:] = batch(last, "float64", device)[0]
    values, Q = blocks.eigh(D.clone())
    assert not values[:, :-3].any()
    back = blocks.matmul(Q * values[None], Q.transpose(0, 1))
    assert float((back - D).abs().max()) <= THRESHOLD * p * EPS["float64"] * max(np.linalg.norm(A, 2) for A in last)


def test_no_call_takes_so_many_that_cusolver_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses 65,536 of them."""
    lapack, calls = torch.linalg.eigh, []

    def counted(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(A))
        values, vectors = lapack(A)
        return values, vectors

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    for count in (1, 2**15, 2**16, 2**17 + 3):
        calls.clear()
        values, _ = blocks.dense_eigh(torch.arange(float(count))[:, None, None])
        assert torch.equal(values[:, 0], torch.arange(float(count)))
        assert sum(calls) == count
        assert max(calls) < 2**16


@pytest.mark.parametrize("p", [16, 17, 40])
def test_vectors_of_one_eigenvalue_are_orthonormal(p: int, device: str) -> None:
    """The matrix of ones, for which cuSOLVER's are not."""
    ones = torch.ones(2, p, p, dtype=torch.float64, device=device)
    values, Q = blocks.dense_eigh(ones)
    assert float((Q.mT @ Q - torch.eye(p, device=device)).abs().max()) <= THRESHOLD * p * EPS["float64"]
    assert float((Q @ (values[:, :, None] * Q.mT) - ones).abs().max()) <= THRESHOLD * p * EPS["float64"] * p


WRONG: dict[str, Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {
    "not orthogonal": lambda values, Q: (values, torch.roll(Q[..., :1], 1, 2).expand_as(Q).contiguous()),
    "not normalized": lambda values, Q: (values, Q * (1 + 1e-10)),
    "of another matrix": lambda values, Q: (values, Q.flip(2)),
    "eigenvalue off": lambda values, Q: (values * (1 + 1e-10), Q),
    "nan": lambda values, Q: (torch.full_like(values, torch.nan), Q),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_what_a_solver_gets_wrong_is_solved_again(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a wrong answer for the second of three; the others keep theirs."""
    rng, lapack, calls = np.random.default_rng(1), torch.linalg.eigh, []
    matrices = torch.tensor(np.stack([with_spectrum(rng, rng.standard_normal(4)) for _ in range(3)]))
    expected = lapack(matrices)

    def once(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(A))
        values, Q = (t.clone() for t in lapack(A))
        if len(calls) == 1:
            values[1:2], Q[1:2] = WRONG[wrong](values[1:2], Q[1:2])
        return values, Q

    monkeypatch.setattr(torch.linalg, "eigh", once)
    monkeypatch.setattr(blocks, "_TRUSTED", frozenset())
    values, Q = blocks.dense_eigh(matrices)
    assert calls == [3, 1]
    assert torch.equal(values, expected[0])
    assert torch.equal(Q, expected[1])


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize(("share", "right"), [(0.4, True), (2.5, False)])
def test_an_answer_may_be_off_by_its_roundings_and_no_more(share: float, right: bool, dtype: str) -> None:
    """Columns longer by δ: QᵀQ is off by 2δ, and QΛQᵀ by 2δ of the matrix."""
    p = 6
    A = torch.diag(torch.arange(1.0, p + 1)).to(DTYPES[dtype])[None]
    Q = torch.eye(p, dtype=DTYPES[dtype])[None] * (1 + share * blocks._ROUNDINGS * p * EPS[dtype] / 2)
    assert blocks._right(A, A.diagonal(0, 1, 2), Q).item() is right


@pytest.mark.parametrize("size", [1e-310, 1e-160, 1e160, 1e300])
def test_a_right_answer_is_known_as_right_at_any_size(size: float) -> None:
    A = torch.tensor([[[2.0, 1.0], [1.0, -3.0]]], dtype=torch.float64) * size
    assert blocks._right(A, *torch.linalg.eigh(A)).all()


def test_rotations_leave_a_diagonal_matrix_as_it_is() -> None:
    rng = np.random.default_rng(0)
    diagonal = rng.standard_normal(7) * 10.0 ** rng.integers(-100, 100, 7)
    values, Q = blocks._jacobi(batch([np.diag(diagonal)], "float64")[0])
    np.testing.assert_array_equal(values[:, 0].numpy(), diagonal)
    np.testing.assert_array_equal(Q[:, :, 0].numpy(), np.eye(7))


@given(st.tuples(*[st.integers(1, 9)] * 4), st.integers(0, 2**32), st.sampled_from(sorted(DTYPES)))
def test_products(shape: tuple[int, int, int, int], seed: int, dtype: str) -> None:
    p, q, r, n = shape
    rng = np.random.default_rng(seed)
    A, B, x = (torch.tensor(rng.standard_normal(s), dtype=DTYPES[dtype]) for s in ((p, q, n), (q, r, n), (q, n)))
    a, b, v = (t.double().numpy() for t in (A, B, x))
    # q products and sums, entry by entry, here and in the oracle
    for ours, exact, size in (
        (blocks.matmul(A, B), np.einsum("pqn,qrn->prn", a, b), np.einsum("pqn,qrn->prn", abs(a), abs(b))),
        (blocks.matvec(A, x), np.einsum("pqn,qn->pn", a, v), np.einsum("pqn,qn->pn", abs(a), abs(v))),
    ):
        assert (np.abs(ours.double().numpy() - exact) <= (q + 1) * EPS[dtype] * size).all()


def test_norms_of_matrices_of_any_size() -> None:
    """Also of zeros, and where squares over- or underflow."""
    A = torch.randn(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A[1] = 0.0
    wanted = torch.tensor([float(torch.linalg.matrix_norm(one)) for one in A], dtype=torch.float64)
    for size in (1e-200, 1.0, 1e200):
        torch.testing.assert_close(blocks.norms(A * size), wanted * size, rtol=1e-14, atol=0)
    assert blocks.norms(torch.zeros(2, 4, 4)).tolist() == [0, 0]
