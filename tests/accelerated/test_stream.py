"""The streaming passes against the reference's dense matrices: blocks (E4), Gram matrix, border (E13), inertia (E14), lanes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import ACTIVATIONS, ShallowNet, SingularSystemError, stream
from nntk_accelerated.instance import Instance, instance
from tests.jet_errors import Terms, terms
from tests.tolerances import EPS, THRESHOLD

Array = np.ndarray
Case = tuple[reference.Network, Array, Array, float]
EPS64 = EPS["float64"]
FEW = settings(max_examples=max(settings().max_examples // 3, 10))  # Jacobi at this size is all overhead


def random_case(seed: int, N: int, d: int, M: int, activation: str = "tanh", beta: float = 0.75) -> Case:
    rng = np.random.default_rng(seed)
    net = reference.Network(rng.uniform(-1, 1, N), rng.standard_normal((N, d)), rng.standard_normal(N), beta, activation)
    return net, rng.standard_normal((M, d)), rng.standard_normal(M), 1.0


def ours(case: Case, chunk: int | None = None, device: str = "cpu") -> Instance:
    net, X, y, _ = case
    copy = [torch.tensor(a, device=device) for a in (net.c, net.w, net.eta, X, y)]
    return instance(ShallowNet.from_arrays(*copy[:3], beta=net.beta, activation=net.activation), *copy[3:], chunk=chunk)


def public(blocks_: torch.Tensor) -> Array:
    """(p, p, n) in the inner order (η, w, c) → (n, p, p) in (c, w, η)."""
    p = blocks_.shape[0]
    order = [p - 1, *range(1, p - 1), 0]
    return blocks_[order][:, order].permute(2, 0, 1).cpu().numpy()


def sizes_of(case: Case) -> Terms:
    """How large the numbers are that sum up to an output, a block, a row of J: what rounding errors are relative to."""
    return terms(*case[:3])


def operations(case: Case) -> int:
    net, X, _, _ = case
    return net.width + len(X) + net.dim + 2


cases = st.builds(
    random_case,
    st.integers(0, 2**32),
    st.integers(1, 12),
    st.integers(1, 8),
    st.integers(1, 12),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from([0.6, 0.75, 0.95]),
)
small_cases = st.builds(
    random_case,
    st.integers(0, 2**32),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from(sorted(ACTIVATIONS)),
)
chunks = st.sampled_from([3, 5, 7, None])


# ----------------------------------------------------------------------------------------------------------------------- blocks


def check_blocks(case: Case, chunk: int | None, device: str = "cpu") -> None:
    net, X, y, _ = case
    task = ours(case, chunk, device)
    r = stream.outputs(task) - task.y
    limit = THRESHOLD * operations(case) * EPS64
    assert (np.abs(r.cpu().numpy() - (reference.outputs(net, X) - y)) <= limit * sizes_of(case).outputs).all()
    exact = reference.residual_hessian(net, X, y)
    one_pass = stream.gram(task, 1.0, r=r).S
    assert one_pass is not None
    for S in (stream.residual_blocks(task, r), one_pass):
        error = public(stream.block(task, S, slice(0, task.local), 0.0)) - exact
        assert (np.linalg.norm(error, axis=(1, 2)) <= limit * sizes_of(case).blocks).all()


@given(cases, chunks)
def test_blocks_of_random_networks(case: Case, chunk: int | None) -> None:
    check_blocks(case, chunk)


@given(problems(extreme=False), chunks)
def test_blocks_of_special_networks(case: Case, chunk: int | None) -> None:
    check_blocks(case, chunk)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("d", range(1, 9))
def test_blocks_of_every_activation_and_dimension(name: str, d: int, device: str) -> None:
    check_blocks(random_case(d, 7, d, 5, name), 3, device)


def test_block_takes_slices_and_lists_of_neurons() -> None:
    case = random_case(0, 9, 3, 4)
    task = ours(case)
    S = stream.residual_blocks(task, stream.outputs(task) - task.y)
    every = stream.block(task, S, slice(0, 9), 0.25)
    assert torch.equal(stream.block(task, S, slice(2, 5), 0.25), every[:, :, 2:5])
    assert torch.equal(stream.block(task, S, torch.tensor([7, 0, 7]), 0.25), every[:, :, [7, 0, 7]])
    assert torch.equal(every, every.transpose(0, 1))
    assert torch.equal(
        stream.block(task, None, slice(0, 2), 0.5), 0.5 * torch.eye(5, dtype=torch.float64)[:, :, None].repeat(1, 1, 2)
    )


# ------------------------------------------------------------------------------------------------------------------ Gram matrix


def schur(task: Instance, K: stream.Gram) -> Array:
    """J D⁻¹ Jᵀ from D' and the border."""
    G = np.tril(K.G.double().cpu().numpy())
    G = G + np.tril(G, -1).T
    if K.border is not None:
        JV, values = K.border.JV.cpu().numpy(), K.border.values.cpu().numpy()
        G = G + (JV / values) @ JV.T
    return G


def check_gram(case: Case, shift: float, chunk: int | None, device: str = "cpu") -> stream.Gram:
    net, X, y, _ = case
    task = ours(case, chunk, device)
    K = stream.gram(task, shift, r=stream.outputs(task) - task.y)
    J = reference.jacobian(net, X)
    D = reference.residual_hessian(net, X, y) + shift * np.eye(net.dim + 2)
    exact = np.einsum("mia,iab,nib->mn", J, np.linalg.inv(D), J)
    # δ(D⁻¹) = D⁻¹ δD D⁻¹ with δD from S, μ and the factorization; δJ relative to J's terms
    inverse = np.linalg.norm(np.linalg.inv(D), 2, axis=(1, 2))
    sizes = sizes_of(case).blocks + np.linalg.norm(D, 2, axis=(1, 2))
    limit = THRESHOLD * operations(case) * EPS64 * (sizes_of(case).jacobian ** 2 * inverse * (1 + inverse * sizes)).sum()
    assert np.abs(schur(task, K) - exact).max() <= limit
    return K


@FEW
@given(small_cases, chunks, st.sampled_from([0.3, 1.0, 30.0]))
def test_gram_of_random_networks(case: Case, chunk: int | None, shift: float) -> None:
    check_gram(case, shift, chunk)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("d", [1, 2, 3])
def test_gram_of_every_activation(name: str, d: int, device: str) -> None:
    case = random_case(d, 10, d, 6, name)
    assert check_gram(case, 100.0, 3, device).definite
    check_gram(case, -0.1, 4, device)


@pytest.mark.parametrize("block", [1, 4, 10])
def test_gram_does_not_depend_on_whether_eigenvectors_are_kept(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more odd neurons than a block holds, they are computed twice."""
    case = random_case(3, 10, 2, 6)
    whole = check_gram(case, -0.1, 4)
    assert whole.odd.shape[0] == 10
    monkeypatch.setattr(Instance, "block", block)
    parts = check_gram(case, -0.1, 4)
    assert parts.negative == whole.negative
    torch.testing.assert_close(parts.G, whole.G, rtol=1e-12, atol=1e-12)


def test_gauss_newton_gram_has_no_odd_neurons(device: str) -> None:
    net, X, _, _ = case = random_case(5, 11, 2, 7)
    task = ours(case, 4, device)
    K = stream.gram(task, 0.5)
    J = reference.jacobian(net, X).reshape(7, -1)
    assert K.definite
    assert K.border is None
    assert K.odd.shape[0] == 0
    limit = THRESHOLD * operations(case) * EPS64 * (sizes_of(case).jacobian ** 2).sum() / 0.5
    assert np.abs(schur(task, K) - J @ J.T / 0.5).max() <= limit


def near_block(case: Case, share: float, rank: int = 0) -> float:
    """μ that leaves one eigenvalue of one block at `share` of its size."""
    values = np.linalg.eigvalsh(reference.residual_hessian(*case[:3]))
    value = np.sort(values.reshape(-1))[rank]
    return float(-value * (1 - share))


@pytest.mark.parametrize("seed", range(10))
def test_a_nearly_singular_block_goes_to_the_border(seed: int, device: str) -> None:
    case = random_case(seed, 10, 1 + seed % 4, 6)
    K = check_gram(case, near_block(case, 1e-6), 3, device)
    assert K.border is not None
    assert not K.definite


@pytest.mark.parametrize("share", [0.5e-4, 1e-3])
def test_the_border_takes_what_lies_below_its_limit_and_nothing_else(share: float) -> None:
    """μ is the size here: the limit is 1e-4 μ, or of the blocks' root mean square, which the single neuron shares."""
    case = random_case(3, 1, 2, 4)
    values = np.linalg.eigvalsh(reference.residual_hessian(*case[:3])[0])
    size = max(abs(values[0]), np.linalg.norm(values))
    task = ours(case)
    K = stream.gram(task, float(-values[0] + share * size), r=stream.outputs(task) - task.y)
    assert (K.border is not None) == (share < 1e-4)


@pytest.mark.parametrize("near", [1, 4, 5, 7])
def test_the_border_takes_the_smallest_M_directions(near: int) -> None:
    """M = 4: all of so many that lie near, and of more the four smallest, the fourth among them."""
    task = ours(random_case(0, 10, 1, 4))
    sizes = np.full(30, 1.0)
    sizes[np.random.default_rng(near).permutation(30)[:near]] = -(2.0 ** -np.arange(20, 20 + near))
    values = torch.tensor(sizes).view(3, 10)
    taken = stream._smallest(task, values, 1e-4)
    wanted = np.sort(np.abs(sizes))[: min(near, 4)]
    assert sorted(values[taken].abs().tolist()) == wanted.tolist()


def test_as_many_singular_directions_as_data_points_are_all_moved() -> None:
    """M copies of one neuron, each with one nearly singular direction, the only ones."""
    net, X, y, gamma = random_case(3, 1, 2, 4)
    copies = reference.Network(*(np.repeat(a, 4, axis=0) for a in (net.c, net.w, net.eta)), net.beta)
    case = copies, X, y, gamma
    K = check_gram(case, near_block(case, 1e-6), 3)
    assert K.border is not None
    assert K.border.values.shape[0] == 4


# ---------------------------------------------------------------------------------------------------------------------- inertia


def count_tolerance(case: Case, shift: float) -> float:
    """How far an eigenvalue of A must be from 0 for its sign to be certain, from the errors of D, of J, and of W's corner.

    An error E of the corner M I + J D'⁻¹ Jᵀ acts on A as Jᵀ E J / M²; ‖E‖ ≤ n eps ‖J‖²/(near · s) with near = 1e-4,
    s = max(|μ|, rms ‖S_i‖).
    """
    net, X, y, _ = case
    S = reference.residual_hessian(net, X, y)
    s = max(abs(shift), float(np.sqrt((S**2).sum() / net.width)))
    B = float((reference.jacobian(net, X) ** 2).sum()) / len(X)
    amplified = B * B / (1e-4 * s) if s > 0 else np.inf
    own = float(sizes_of(case).blocks.max()) + abs(shift) + float((sizes_of(case).jacobian ** 2).sum()) / len(X)
    return THRESHOLD * operations(case) * EPS64 * (own + amplified)


def check_count(case: Case, shift: float, chunk: int | None, device: str = "cpu") -> None:
    """Neg(A) = neg(D') + |V| - neg(W), against the eigenvalues of the dense matrix."""
    task = ours(case, chunk, device)
    r = stream.outputs(task) - task.y
    values = np.linalg.eigvalsh(reference.hessian(*case[:3])) + shift
    tol = count_tolerance(case, shift)
    surely, perhaps = int((values < -tol).sum()), int((values < tol).sum())
    try:
        _, negative = stream.factor(task, stream.gram(task, shift, r=r))
    except SingularSystemError:
        assert surely < perhaps
    else:
        assert surely <= negative <= perhaps


def middle_of_a_gap(case: Case, share: float) -> float:
    """-μ in a gap of the spectrum of H, so that A is indefinite but not singular."""
    values = np.linalg.eigvalsh(reference.hessian(*case[:3]))
    k = round(share * (len(values) - 2))
    return float(-(values[k] + values[k + 1]) / 2)


@FEW
@given(small_cases, chunks, st.floats(0, 1))
def test_inertia_in_the_gaps_of_the_spectrum(case: Case, chunk: int | None, share: float) -> None:
    check_count(case, middle_of_a_gap(case, share), chunk)


@FEW
@given(small_cases, chunks, st.integers(0, 10**6), st.sampled_from([0.0, 1e-14, -1e-9, 1e-6, -1e-3]))
def test_inertia_at_nearly_singular_blocks(case: Case, chunk: int | None, rank: int, share: float) -> None:
    net = case[0]
    check_count(case, near_block(case, share, rank % (net.width * (net.dim + 2))), chunk)


@FEW
@given(problems(extreme=False, max_dim=3), chunks, st.floats(0, 1))
def test_inertia_of_special_networks(case: Case, chunk: int | None, share: float) -> None:
    check_count(case, middle_of_a_gap(case, share), chunk)
    check_count(case, case[3] * case[0].width ** (1 - 2 * case[0].beta), chunk)


@pytest.mark.parametrize("repeats", [2, 4, 10])
def test_inertia_with_more_singular_directions_than_data_points(repeats: int, device: str) -> None:
    """Equal neurons give equal blocks: all of them nearly singular at once."""
    net, X, y, gamma = random_case(repeats, 3, 2, 4)
    copies = reference.Network(*(np.repeat(a, repeats, axis=0) for a in (net.c, net.w, net.eta)), net.beta)
    case = copies, X, y, gamma
    for share in (1e-12, -1e-7, 1e-5, 1e-2, -1e-2):
        for rank in (0, repeats, 5 * repeats):
            check_count(case, near_block(case, share, rank), 3, device)


@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_count_that_no_matrix_has_is_refused(off: int, border: bool) -> None:
    """Planted: rounding errors that outweigh what there is to count."""
    case = random_case(1, 3, 1, 4)
    task = ours(case)
    r, parameters = stream.outputs(task) - task.y, 3 * 3
    K = stream.gram(task, near_block(case, 1e-6, 0) if border else 5.0, r=r)
    assert (K.border is not None) == border
    _, negative = stream.factor(task, replace(K, G=K.G.clone()))
    least, most = -negative, parameters - negative
    for wrong, edge in (((least if off < 0 else most) + off, False), (least if off < 0 else most, True)):
        planted = replace(K, G=K.G.clone(), negative=K.negative + wrong)
        if edge:
            assert stream.factor(task, planted)[1] == (0 if off < 0 else parameters)
            continue
        with pytest.raises(SingularSystemError, match="lost among rounding errors"):
            stream.factor(task, planted)


def test_inertia_tells_the_two_sides_of_an_eigenvalue() -> None:
    case = random_case(1, 10, 2, 6)
    task = ours(case)
    r = stream.outputs(task) - task.y
    values = np.linalg.eigvalsh(reference.hessian(*case[:3]))
    for k in (0, 1, 5, 20, 39):
        step = 2 * count_tolerance(case, float(-values[k]))
        assert step < 1e-6 * np.abs(values).max()
        counts = [stream.factor(task, stream.gram(task, float(-(values[k] + x)), r=r))[1] for x in (-step, step)]
        assert counts == [int((values < values[k] + x).sum()) for x in (-step, step)]
        assert counts[0] < counts[1]


# ------------------------------------------------------------------------------------------------------------------------ solve

SPLIT = {
    # μ, from the case: every block by Cholesky, some by their eigenvalues, one of them at the border, all by their eigenvalues
    "safe": lambda case: 100.0,
    "mixed": lambda case: near_block(case, 0.3, 3),
    "border": lambda case: near_block(case, 1e-6, 1),
    "negative": lambda case: -0.1,
}


def moved(update: torch.Tensor) -> Array:
    """An update (p, n), rows (c, w, η), as the reference's vector (P,)."""
    return update.t().reshape(-1).cpu().numpy()


@dataclass(frozen=True)
class Dense:
    """A = H + μI, or JᵀJ/M + μI, of the reference, its parts, and what a solution of A may be off by, relative to it."""

    A: Array
    D: Array
    J: Array
    error: float


def dense(case: Case, shift: float, curvature: bool = True) -> Dense:
    """The errors of A, of D and of the sum over D'⁻¹, magnified by the condition of A; as in `count_tolerance`."""
    net, X, y, _ = case
    J = reference.jacobian(net, X).reshape(len(X), -1)
    D = shift * np.eye(net.parameters)
    p = net.dim + 2
    for i, block in enumerate(reference.residual_hessian(net, X, y) if curvature else []):
        D[i * p : i * p + p, i * p : i * p + p] += block
    A = D + J.T @ J / len(X)
    least = float(np.abs(np.linalg.eigvalsh(A)).min())
    return Dense(A, D, J, count_tolerance(case, shift) / least)


def check_solve(case: Case, shift: float, chunk: int | None, *, curvature: bool = True, device: str = "cpu") -> stream.Gram:
    """The step for a right side h that is not the residual, the probes for r, and the correction of any other step."""
    task = ours(case, chunk, device)
    r = stream.outputs(task) - task.y
    K = stream.gram(task, shift, r=r) if curvature else stream.gram(task, shift)
    truth, M, rng = dense(case, shift, curvature), task.M, np.random.default_rng(1)
    assert truth.error < 1e-3  # not vacuous
    F, _ = stream.factor(task, K)
    h = torch.tensor(rng.standard_normal(M), device=device)
    k = 0 if K.border is None else K.border.values.shape[0]

    update = task.zeros(task.p, task.local)
    solution = F.solve(torch.cat([h, task.zeros(k)]))
    found = stream.solve(task, K, solution[:M].contiguous(), solution[M:], update, r=r)
    wanted = np.linalg.solve(truth.A, truth.J.T @ h.cpu().numpy() / M)
    size = float(np.linalg.norm(wanted))
    assert np.linalg.norm(moved(update) - wanted) <= truth.error * size
    check_image(truth, found, moved(update))
    own = THRESHOLD * operations(case) * EPS64 * (np.linalg.norm(truth.D, 2) + np.linalg.norm(truth.J) ** 2) * size
    assert found.local <= own + truth.error * size
    # the probes: the Rayleigh quotient of A at Jᵀ1, and ‖Jᵀr‖
    q, g = truth.J.sum(0), truth.J.T @ r.cpu().numpy()
    unit = THRESHOLD * operations(case) * EPS64
    assert abs(found.operator - abs(q @ truth.A @ q) / (q @ q)) <= unit * np.abs(truth.A).sum()
    assert abs(found.gradient - np.linalg.norm(g)) <= unit * np.linalg.norm(np.abs(truth.J).T @ np.abs(r.cpu().numpy()))
    plain = stream.solve(task, K, solution[:M].contiguous(), solution[M:], task.zeros(task.p, task.local))
    assert (plain.operator, plain.gradient) == (0, 0)
    check_image(truth, plain, moved(update))

    other = torch.tensor(rng.standard_normal(update.shape), device=device)
    start = moved(other)
    v = (h - torch.tensor(truth.J @ start, device=device)) / M
    rho = truth.J.T @ v.cpu().numpy() - truth.D @ start
    norm, right = stream.residual(task, K, other, v)
    assert abs(norm - np.linalg.norm(rho)) <= unit * np.linalg.norm(np.abs(truth.J).T @ np.abs(v.cpu().numpy())) + unit * (
        np.linalg.norm(np.abs(truth.D) @ np.abs(start))
    )
    for _ in range(2):  # once more, for what the first has left
        corrected = stream.correct(task, K, other, v, F.solve(right))
        check_image(truth, corrected, moved(other))
        v = (h - corrected.image) / M
        _, right = stream.residual(task, K, other, v)
    assert np.linalg.norm(moved(other) - wanted) <= truth.error * size
    return K


def check_image(truth: Dense, found: stream.Pass, update: Array) -> None:
    unit = THRESHOLD * len(truth.A) * EPS64
    limit = unit * (np.abs(truth.J) @ np.abs(update))
    assert (np.abs(found.image.cpu().numpy() - truth.J @ update) <= limit).all()
    assert abs(found.length - np.linalg.norm(update)) <= unit * np.linalg.norm(update)


@pytest.mark.parametrize(("chunk", "block"), [(3, None), (None, None), (3, 1), (4, 4)])
@pytest.mark.parametrize("split", SPLIT)
def test_solve_and_correct_against_the_dense_matrix(
    split: str, chunk: int | None, block: int | None, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if block is not None:
        monkeypatch.setattr(Instance, "block", block)
    for seed, dim in ((3, 1), (5, 3)):
        case = random_case(seed, 10, dim, 6)
        K = check_solve(case, SPLIT[split](case), chunk, device=device)
        odd = K.odd.shape[0]
        assert {"safe": odd == 0, "negative": odd == 10}.get(split, 0 < odd < 10)
        assert (K.border is not None) == (split == "border")


@pytest.mark.parametrize("chunk", [3, None])
def test_gauss_newton_solve_against_the_dense_matrix(chunk: int | None, device: str) -> None:
    for dim in (1, 2, 3):
        check_solve(random_case(dim, 10, dim, 6), 0.5, chunk, curvature=False, device=device)


def test_directions_at_the_border_of_several_chunks_are_moved(device: str) -> None:
    """Neurons that are nearly equal, apart from one another: each has a direction in which its block is nearly singular."""
    net, X, y, gamma = random_case(3, 1, 2, 4)
    others = random_case(4, 6, 2, 4)[0]
    places = [0, 2, 3, 4, 1, 5, 6, 0, 0]
    c, w, eta = (np.concatenate([a, b])[places] for a, b in ((net.c, others.c), (net.w, others.w), (net.eta, others.eta)))
    rng = np.random.default_rng(0)
    case = reference.Network(c, w + 1e-3 * rng.standard_normal(w.shape), eta, net.beta), X, y, gamma
    values = np.linalg.eigvalsh(reference.residual_hessian(*case[:3]))[:, 0]
    K = check_solve(case, float(-values[0]), 2, device=device)
    assert K.border is not None
    assert K.border.values.shape[0] >= 2


# --------------------------------------------------------------------------------------------------------------- compiled loops


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the largest networks, whatever the size."""
    pytest.importorskip("numba")
    monkeypatch.setattr("nntk_accelerated.instance._FUSED_FROM", 1)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", ["tanh", "logistic", "square"])
@pytest.mark.parametrize("chunk", [3, None])
def test_compiled_passes_against_the_dense_matrix(chunk: int | None, name: str) -> None:
    for seed, dim in ((3, 1), (5, 3)):
        case = random_case(seed, 10, dim, 6, name)
        assert ours(case).fused is not None
        check_blocks(case, chunk)
        for split in SPLIT:
            shift = SPLIT[split](case)
            check_gram(case, shift, chunk)
            if name == "tanh":
                check_solve(case, shift, chunk)
        check_solve(case, 0.5, chunk, curvature=False)


# ------------------------------------------------------------------------------------------------------------------------ lanes


@pytest.fixture
def several_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_lanes_agree_with_one_another(several_threads: int) -> None:
    case = random_case(0, 50, 2, 8)
    task = ours(case, 4)
    assert task.lanes == several_threads
    r = stream.outputs(task) - task.y
    K = stream.gram(task, 1.0, r=r)
    again = stream.gram(task, 1.0, r=r)
    assert torch.equal(K.G.tril(), again.G.tril())  # sums do not depend on timing
    assert torch.equal(r, stream.outputs(task) - task.y)

    torch.set_num_threads(1)
    Q = ours(case, 4)
    assert Q.lanes == 1
    unit = THRESHOLD * operations(case) * EPS64
    assert (np.abs((stream.outputs(Q) - Q.y - r).numpy()) <= unit * sizes_of(case).outputs).all()
    L = stream.gram(Q, 1.0, r=r)
    assert K.S is not None
    assert L.S is not None
    assert np.abs(public(stream.block(Q, K.S - L.S, slice(0, 50), 0.0))).max() <= unit * sizes_of(case).blocks.max()
    sizes = sizes_of(case).jacobian ** 2 * (1 + 4 * sizes_of(case).blocks)  # ‖D⁻¹‖ ≤ 2, checked next
    assert np.linalg.eigvalsh(reference.residual_hessian(*case[:3])).min() > -0.5
    assert np.abs(schur(task, K) - schur(Q, L)).max() <= unit * 2 * sizes.sum()


def test_threads_are_as_before_after_a_sweep(several_threads: int) -> None:
    task = ours(random_case(0, 50, 2, 8), 4)
    inside = task.sweep(lambda chunks: torch.get_num_threads())
    assert inside == [1] * several_threads
    assert torch.get_num_threads() == several_threads

    def fails(chunks: list[slice]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        task.sweep(fails)
    assert torch.get_num_threads() == several_threads


def test_every_neuron_is_visited_once(several_threads: int) -> None:
    for N in (1, 4, 5, 12, 13, 50):
        for chunk in (1, 4, 7, 100):
            task = ours(random_case(0, N, 1, 3), chunk)
            seen = [i for lane in task.sweep(lambda chunks: chunks) for part in lane for i in range(part.start, part.stop)]
            assert sorted(seen) == list(range(N))
