"""Certified linear algebra against exact oracles: rational arithmetic, closed-form spectra, both sides of a threshold."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat, fmpq_poly
from hypothesis import given
from hypothesis import strategies as st

from nntk_reference import (
    FLOAT64,
    Ball,
    Inertia,
    InputError,
    Multiprecision,
    Network,
    NoiseWarning,
    PrecisionError,
    SingularSystemError,
    Verdict,
    cholesky,
    eigenvalues,
    hessian,
    inertia,
    linalg,
    positive_definite,
    solve,
)
from nntk_reference.arithmetic import Array, NotProved
from tests.tolerances import THRESHOLD
from tests.weakened import Term, check_tight, every

EPS = 2.0**-52

# --------------------------------------------------------------------------------------------------------- exact oracles


def rational(value: Any) -> fmpq:
    """The number that a float, an mpf or an exact arb is."""
    if isinstance(value, arb):
        assert value.is_exact()
        man, exp = (int(v) for v in value.man_exp())
        fraction = Fraction(man) * Fraction(2) ** exp
    elif hasattr(value, "_mpf_"):
        sign, man, exp, _ = value._mpf_
        fraction = Fraction((-1) ** sign * int(man)) * Fraction(2) ** int(exp)
    else:
        fraction = Fraction(value)
    return fmpq(fraction.numerator, fraction.denominator)


def rational_matrix(A: Array) -> fmpq_mat:
    return fmpq_mat([[rational(v) for v in row] for row in A.tolist()])


class Spectrum:
    """Eigenvalues of a symmetric rational matrix, counted exactly: for real-rooted polynomials Descartes' rule of signs is."""

    def __init__(self, A: Array) -> None:
        self.size, self.polynomial = len(A), rational_matrix(A).charpoly()

    def counts(self, q: fmpq | int = 0) -> tuple[int, int, int]:
        """How many lie below, at and above q."""
        shifted = self.polynomial(fmpq_poly([q, 1])).coeffs()
        equal = next(k for k, c in enumerate(shifted) if c != 0)
        signs = [1 if c > 0 else -1 for c in shifted if c != 0]
        above = sum(a != b for a, b in itertools.pairwise(signs))
        return self.size - equal - above, equal, above

    def assert_enclosed(self, enclosures: Array) -> None:
        """The k-th ball contains the k-th largest eigenvalue."""
        assert len(enclosures) == self.size
        for k, ball in enumerate(enclosures):
            assert ball.is_finite()
            _, _, above_upper = self.counts(rational(arb(ball.upper()).mid()))
            below_lower, _, _ = self.counts(rational(arb(ball.lower()).mid()))
            assert above_upper <= k, f"number {k + 1} is larger than {ball}"
            assert below_lower <= self.size - 1 - k, f"number {k + 1} is smaller than {ball}"


def assert_consistent(counts: Inertia, true: tuple[int, int, int]) -> None:
    """Never wrong, and complete."""
    negative, zero, positive = true
    assert counts.negative <= negative
    assert counts.zero <= zero
    assert counts.positive <= positive
    assert sum(counts) == sum(true)


@st.composite
def integer_matrices(draw: st.DrawFn, largest: int = 6, size: int = 4) -> Array:
    n = draw(st.integers(1, largest))
    entries = draw(st.lists(st.integers(-size, size), min_size=n * (n + 1) // 2, max_size=n * (n + 1) // 2))
    A = np.zeros((n, n))
    A[np.triu_indices(n)] = entries
    return A + np.triu(A, 1).T


def test_the_oracle_counts() -> None:
    A = np.diag([3.0, 3.0, 0.0, -2.0])
    assert Spectrum(A).counts() == (1, 1, 2)
    assert Spectrum(A).counts(3) == (2, 2, 0)
    assert Spectrum(A).counts(fmpq(-5, 2)) == (0, 0, 4)
    with pytest.raises(AssertionError, match="number 3 is smaller"):
        Spectrum(A).assert_enclosed(np.array([arb(3), arb(3), arb(0, 0.5) + 1, arb(-2)]))
    with pytest.raises(AssertionError, match="number 1 is larger"):
        Spectrum(A).assert_enclosed(np.array([arb(2), arb(3), arb(0), arb(-2)]))


# -------------------------------------------------------------------------------------------------------------- matrices


def exact_array(rows: Any) -> Array:
    """An object array of exact balls from integers, whatever their size."""
    out = np.empty((len(rows), len(rows)), dtype=object)
    for i, row in enumerate(rows):
        for j, v in enumerate(row):
            out[i, j] = arb(int(v))
    return out


def hilbert(n: int) -> Array:
    """Hilbert's matrix times the least common multiple of its denominators: integers, condition number about e^(3.5 n)."""
    scale = math.lcm(*range(1, 2 * n))
    return exact_array([[scale // (i + j + 1) for j in range(n)] for i in range(n)])


def second_difference(n: int) -> Array:
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def second_difference_spectrum(n: int) -> list[arb]:
    return [2 - 2 * (arb.pi() * k / (n + 1)).cos() for k in range(n, 0, -1)]


def wilkinson(n: int) -> Array:
    return np.diag(np.abs(np.arange(n) - n // 2).astype(float)) + np.eye(n, k=1) + np.eye(n, k=-1)


def graded(n: int) -> Array:
    d = 10.0 ** -np.arange(0, 3 * n, 3)
    return np.minimum.outer(d, d) + np.diag(d)


SPECIAL: dict[str, Callable[[], Array]] = {
    "1x1": lambda: np.array([[-3.5]]),
    "1x1 zero": lambda: np.array([[0.0]]),
    "zero": lambda: np.zeros((3, 3)),
    "identity": lambda: np.eye(5),
    "diagonal": lambda: np.diag([1.0, -4.0, 2.5, 2.5, 0.125]),
    "2x2 pivots only": lambda: np.kron(np.eye(3), [[0.0, 1.0], [1.0, 0.0]]),
    "empty first column": lambda: np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
    "zero diagonal": lambda: np.ones((5, 5)) - np.eye(5),
    "identity plus rank one": lambda: 3 * np.eye(6) + np.ones((6, 6)),
    "repeated block": lambda: np.kron(np.eye(3), [[2.0, 1.0], [1.0, -1.0]]),
    "hilbert": lambda: hilbert(8),
    "second difference": lambda: second_difference(9),
    "wilkinson": lambda: wilkinson(13),
    "graded": lambda: graded(6),
    "tiny": lambda: 1e-300 * second_difference(5),
    "huge": lambda: 1e300 * second_difference(5),
    "tiny and huge": lambda: np.diag([1e300, 1.0, -1e-300]) + 0.0,
    "rank one": lambda: np.outer(np.arange(1.0, 6), np.arange(1.0, 6)),
    "rank two": lambda: np.outer(np.arange(1.0, 6), np.arange(1.0, 6)) - np.ones((5, 5)),
}


# ------------------------------------------------------------------------------------------------------------ eigenvalues


@pytest.mark.parametrize("bits", [40, 128])
@pytest.mark.parametrize("name", SPECIAL)
def test_enclosures_contain_the_exact_eigenvalues(name: str, bits: int) -> None:
    A = SPECIAL[name]()
    enclosures = eigenvalues(A, Ball(bits))
    spectrum = Spectrum(A)
    spectrum.assert_enclosed(enclosures)
    nonzero = sum(spectrum.counts()[::2])
    assert sum(v.rel_accuracy_bits() >= bits / 2 for v in enclosures) >= nonzero
    assert sum(not v.contains(0) for v in enclosures) == nonzero


@given(integer_matrices())
def test_enclosures_of_random_integer_matrices(A: Array) -> None:
    enclosures = eigenvalues(A, Ball(64, max_bits=256))
    spectrum = Spectrum(A)
    spectrum.assert_enclosed(enclosures)
    negative, zero, positive = spectrum.counts()
    assert sum(bool(v > 0) for v in enclosures) == positive
    assert sum(bool(v < 0) for v in enclosures) == negative
    assert sum(v.contains(0) for v in enclosures) == zero


def test_closed_form_spectra_in_order_and_with_multiplicity() -> None:
    n = 12
    with ctx.workprec(300):
        for enclosed, true in zip(eigenvalues(second_difference(n), Ball(128)), second_difference_spectrum(n), strict=True):
            assert enclosed.overlaps(true)
            assert enclosed.rel_accuracy_bits() >= 64
            assert enclosed.rad() < arb(2) ** -60 * true
    top, *rest = eigenvalues(3 * np.eye(6) + np.ones((6, 6)), Ball(128))
    assert top.contains(9)
    assert len(rest) == 5
    assert all(v.contains(3) and not v.contains(3.0001) for v in rest)
    values = eigenvalues(1e300 * np.kron(np.eye(2), [[2.0, 1.0], [1.0, 2.0]]), Ball(128))
    assert [v.contains(1e300 * k) for v, k in zip(values, (3, 3, 1, 1), strict=True)] == [True] * 4


def test_a_cluster_is_separated_where_precision_allows() -> None:
    """The two largest eigenvalues of Wilkinson's W₂₁⁺ agree to fourteen digits."""
    A = wilkinson(21)
    first, second, *_ = eigenvalues(A, Ball(200))
    assert first > second
    assert first - second < 1e-13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoiseWarning)
        values = eigenvalues(A)
    np.testing.assert_allclose(values, [float(v.mid()) for v in eigenvalues(A, Ball(80))], atol=THRESHOLD * 21 * EPS * 10.75)


@given(integer_matrices(largest=4), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_enclosures_of_a_ball_matrix_contain_every_member(A: Array, seed: int, width: int) -> None:
    rng, n = np.random.default_rng(seed), len(A)
    radius = 2.0**-width
    wide = np.empty((n, n), dtype=object)
    for i in range(n):
        for j in range(n):
            wide[i, j] = arb(A[i, j], radius)
    enclosures = eigenvalues(wide, Ball(64))
    signs, definite = inertia(wide), positive_definite(wide)
    for _ in range(4):
        shift = rng.integers(-(2**10), 2**10 + 1, (n, n)) / 2.0**10 * radius  # the ends of the balls included
        shift[0, 0] = radius * rng.choice([-1, 1])
        member = A + np.triu(shift) + np.triu(shift, 1).T
        spectrum = Spectrum(member)
        spectrum.assert_enclosed(enclosures)
        assert_consistent(signs, spectrum.counts())
        if definite is not Verdict.UNDECIDED:
            assert (definite is Verdict.HOLDS) == (spectrum.counts()[2] == n)


def test_enclosures_of_a_wide_diagonal_reach_its_ends_and_little_further() -> None:
    wide = np.array([[arb(1, 0.25), arb(0)], [arb(0), arb(-2)]], dtype=object)
    first, second = eigenvalues(wide, Ball(64))
    for end in (0.75, 1.25):
        assert first.contains(end)
    assert second.contains(-2)
    assert first.rad() < 0.26
    assert second.rad() < 0.26  # Weyl's bound is one for all


@pytest.mark.parametrize("scale", [1.03, 0.96])
def test_a_bad_basis_gives_wide_enclosures_not_wrong_ones(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Ostrowski's factor dominates: Q = scale·I changes every eigenvalue by scale², by 6 to 8 per cent."""
    A = np.diag([5.0, 3.0, -1.0])

    def stretched(B: Array) -> list[list[arb]]:
        return [[arb(scale if i == j else 0) for j in range(len(B))] for i in range(len(B))]

    monkeypatch.setattr(linalg, "_jacobi", stretched)
    enclosures = linalg.enclose_eigenvalues(Ball(64).array(A))
    Spectrum(A).assert_enclosed(enclosures)
    assert all(0.01 < v.rad() / abs(v) < 0.2 for v in enclosures)


def test_an_undiagonalized_matrix_gives_wide_enclosures_not_wrong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weyl's term dominates: Q = I leaves the off-diagonal part, whose norm the eigenvalues of [[1, t], [t, 1]] attain."""

    def identity(B: Array) -> list[list[arb]]:
        return [[arb(int(i == j)) for j in range(len(B))] for i in range(len(B))]

    monkeypatch.setattr(linalg, "_jacobi", identity)
    for A in (np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 3.0], [3.0, 1.0]]), wilkinson(5)):
        Spectrum(A).assert_enclosed(linalg.enclose_eigenvalues(Ball(64).array(A)))


def missed(A: Array, Q: list[list[float]], true: list[float]) -> float:
    """The largest |mid - truth| over the radius, of the enclosures with the basis Q."""
    with pytest.MonkeyPatch.context() as patch, ctx.workprec(64):
        patch.setattr(linalg, "_jacobi", lambda B: [[arb(v) for v in row] for row in Q])
        found = linalg.enclose_eigenvalues(A)
        return max(float(abs(v.mid() - t) / v.rad()) for v, t in zip(found, true, strict=True))


def stretched_case() -> float:
    # Q = 1.03 I: every eigenvalue is multiplied by the defect's 1.03²
    return missed(Ball(64).array(np.diag([5.0])), [[1.03]], [5.0])


def wide_case() -> float:
    return missed(np.array([[arb(1, 0.25)]], dtype=object), [[1.0]], [1.25])


TIGHT = [
    Term(
        linalg,
        "enclose_eigenvalues",
        "(«spread» + widths).upper()",
        lambda: missed(Ball(64).array([[1.0, 0.5], [0.5, 1.0]]), [[1.0, 0.0], [0.0, 1.0]], [1.5, 0.5]),
    ),
    Term(linalg, "enclose_eigenvalues", "(spread + «widths»).upper()", wide_case),
    Term(linalg, "enclose_eigenvalues", "arb(0, «defect.upper()»)", stretched_case),
    Term(linalg, "_norm_bound", "abs(v).upper() * abs(v).upper()", stretched_case),
]


@every(TIGHT)
def test_ten_times_smaller_the_enclosure_misses_the_eigenvalue(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tight(monkeypatch, term)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_basis_without_a_bound_proves_nothing(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    monkeypatch.setattr(linalg, "_jacobi", lambda B: [[arb(scale)]])  # ‖QᵀQ - I‖ ≥ 1
    assert not linalg.enclose_eigenvalues(Ball(64).array([[2.0]]))[0].is_finite()


def test_multiprecision_eigenvalues_have_their_digits() -> None:
    A = second_difference(7)
    with ctx.workprec(400):
        for digits in (15, 60):
            for value, true in zip(eigenvalues(A, Multiprecision(digits)), second_difference_spectrum(7), strict=True):
                assert abs(Ball(400).array(value)[()] - true) <= arb(10) ** -digits * true
    small = eigenvalues(hilbert(10), Multiprecision(30))[-1]
    again = eigenvalues(hilbert(10), Multiprecision(60))[-1]
    with mpmath.workdps(80):
        assert abs(small - again) <= mpmath.mpf(10) ** -30 * abs(again)


def test_multiprecision_refuses_an_eigenvalue_that_is_exactly_zero() -> None:
    with pytest.raises(PrecisionError, match="exactly zero"):
        eigenvalues(np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), Multiprecision(10))


def test_an_exact_zero_is_enclosed_however_high_the_precision() -> None:
    values = eigenvalues(np.ones((4, 4)), Ball(64, max_bits=512))
    assert values[0].contains(4)
    assert all(v.contains(0) and v.rad() < arb(2) ** -400 for v in values[1:])
    assert all(v == 0 for v in eigenvalues(np.zeros((3, 3)), Ball(64)))


def test_caps_are_honoured() -> None:
    capped = eigenvalues(np.ones((4, 4)), Ball(64, max_bits=64))
    assert all(v.contains(0) and v.rad() > arb(2) ** -80 for v in capped[1:])
    # determinant 3·2^-150: decided with enough bits, and never wrongly with fewer
    near = np.array([[arb(3), arb(1)], [arb(1), arb(0)]], dtype=object)
    with ctx.workprec(400):
        near[1, 1] = (arb(1) / 3 + arb(2) ** -150).mid()
    assert positive_definite(near, Ball(64)) is Verdict.HOLDS
    assert positive_definite(near, Ball(64, max_bits=64)) is Verdict.UNDECIDED
    assert inertia(near, Ball(64, max_bits=64)) == (0, 0, 1, 1)
    assert cholesky(near, Ball(64)) is not None
    assert cholesky(near, Ball(64, max_bits=64)) is None
    with pytest.raises(SingularSystemError, match="64 bits"):
        solve(near, np.ones(2), Ball(64, max_bits=64))
    assert solve(near, np.array([4.0, 1.0]), Ball(64))[0].is_finite()


# --------------------------------------------------------------------------------------------------- eigenvalues, float64


@given(integer_matrices())
def test_float64_eigenvalues_are_close_and_descending(A: Array) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoiseWarning)
        values = eigenvalues(A)
    assert np.all(np.diff(values) <= 0)
    norm = max(np.abs(A).sum(axis=1).max(), 1.0)
    for value, ball in zip(values, eigenvalues(A, Ball(64, max_bits=128)), strict=True):
        assert abs(arb(float(value)) - ball) <= THRESHOLD * len(A) * EPS * norm


def test_float64_noise_is_announced_and_only_noise() -> None:
    hilbert_float = 1 / (np.arange(14)[:, None] + np.arange(14) + 1.0)
    with pytest.warns(NoiseWarning, match="of 14 eigenvalues"):
        values = eigenvalues(hilbert_float)
    noise = 14 * EPS * values[0]
    proved = eigenvalues(hilbert_float, Ball(128))
    assert sum(bool(abs(v) < noise) for v in proved) >= 1
    for A in (np.eye(3), second_difference(6), np.array([[7.0]]), np.diag([1.0, 4 * 3 * EPS, -1.0])):
        eigenvalues(A)  # a warning would be an error here
    with pytest.warns(NoiseWarning, match="1 of 3"):
        eigenvalues(np.diag([1.0, 3 * EPS / 2, -1.0]))


# ----------------------------------------------------------------------------------------------------------------- inertia


@given(integer_matrices())
def test_inertia_of_integer_matrices_is_exact(A: Array) -> None:
    counts, true = inertia(A), Spectrum(A).counts()
    assert_consistent(counts, true)
    if true[1] == 0:
        assert counts == (*true, 0)
    definite = positive_definite(A)
    if true[2] == len(A):
        assert definite is Verdict.HOLDS
    elif true[0]:
        assert definite is Verdict.REFUTED
    else:  # singular and semidefinite: refuted if the zero is seen, undecided if not
        assert definite is not Verdict.HOLDS


@pytest.mark.parametrize("name", SPECIAL)
def test_inertia_of_special_matrices(name: str) -> None:
    A = SPECIAL[name]()
    true = Spectrum(A).counts()
    assert_consistent(inertia(A), true)
    if true[1] == 0 or name in ("zero", "1x1 zero", "empty first column", "rank one"):
        assert inertia(A) == (*true, 0)


@given(integer_matrices(largest=4, size=3), st.integers(1, 3))
def test_singular_semidefinite_matrices_are_never_called_definite(G: Array, missing: int) -> None:
    factor = np.hstack([G, np.zeros((len(G), missing))])
    A = factor.T @ G.T @ G @ factor  # positive semidefinite, singular
    true = Spectrum(A).counts()
    assert true[0] == 0
    assert true[1] >= missing
    assert_consistent(inertia(A), true)
    assert positive_definite(A) is not Verdict.HOLDS
    assert cholesky(A) is None
    with pytest.raises(SingularSystemError):
        solve(A, np.ones(len(A)), Ball(64, max_bits=256))


@pytest.mark.parametrize("n", [2, 7, 20])
def test_positive_definite_on_both_sides_of_the_threshold(n: int) -> None:
    with ctx.workprec(400):
        smallest = second_difference_spectrum(n)[-1]
        for sign, verdict in ((-1, Verdict.HOLDS), (1, Verdict.REFUTED)):
            shift = (smallest * (1 + sign * arb(2) ** -60)).mid()
            A = Ball(400).array(second_difference(n))
            A[np.diag_indices(n)] -= shift
            with ctx.workprec(53):
                assert positive_definite(A) is verdict
                assert inertia(A) == ((0, 0, n, 0) if sign < 0 else (1, 0, n - 1, 0))
                assert (cholesky(A) is not None) == (sign < 0)
            # a family that reaches over the threshold is not decided
            wide = A.copy()
            wide[np.diag_indices(n)] += arb(0, smallest * arb(2) ** -59)
            assert positive_definite(wide) is Verdict.UNDECIDED
            assert cholesky(wide) is None


def test_a_family_that_straddles_singularity_is_undecided() -> None:
    wide = np.array([[arb(1), arb(1)], [arb(1), arb(1, 2.0**-20)]], dtype=object)
    assert inertia(wide) == (0, 0, 1, 1)
    assert positive_definite(wide) is Verdict.UNDECIDED
    assert cholesky(wide) is None
    with pytest.raises(SingularSystemError):
        solve(wide, np.ones(2))
    assert eigenvalues(wide, Ball(64))[1].contains(0)
    # what is known of such a family is still said: a negative pivot refutes
    wide = np.array([[arb(-1), arb(0)], [arb(0), arb(0, 2.0**-20)]], dtype=object)
    assert inertia(wide) == (1, 0, 0, 1)
    assert positive_definite(wide) is Verdict.REFUTED


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("kind", [mpmath.mpf, arb])
@pytest.mark.parametrize("function", [cholesky, inertia, positive_definite, lambda A, ar: eigenvalues(A, ar)])
def test_what_is_not_finite_is_refused(function: Callable[..., Any], kind: Callable[[str], Any], value: str) -> None:
    A = np.array([[kind("1"), kind("0")], [kind("0"), kind(value)]], dtype=object)
    with pytest.raises(InputError, match="finite"):
        function(A, Ball(64, max_bits=128))


def test_what_is_not_finite_proves_nothing() -> None:
    """Within a computation, where no argument is checked."""
    A = np.array([[arb(1), arb(0)], [arb(0), arb("nan")]], dtype=object)
    with ctx.workprec(64), pytest.raises(NotProved):
        linalg.symmetric_solve(Ball(64), A, Ball(64).array(np.ones(2)))
    assert not any(v.is_finite() for v in linalg.enclose_eigenvalues(A))


def test_pivots_are_reported_where_a_column_is_empty() -> None:
    """No diagonal entry and no entry of the first column will do as a pivot, but a pair further on will."""
    A = np.zeros((4, 4))
    A[2, 3] = A[3, 2] = 2.0
    assert inertia(A) == (1, 2, 1, 0)


# ------------------------------------------------------------------------------------------------------- factorization


@pytest.mark.parametrize(
    ("block", "signs"),
    [
        ([[2.0]], (0, 1)),
        ([[-2.0]], (1, 0)),
        ([[2.0, 1.0], [1.0, 2.0]], (0, 2)),
        ([[-2.0, 1.0], [1.0, -2.0]], (2, 0)),
        ([[1.0, 2.0], [2.0, 1.0]], (1, 1)),
        ([[0.0, 2.0], [2.0, 0.0]], (1, 1)),
        ([[0.75, 0.5], [0.5, 0.5]], (0, 2)),  # determinants of 1/8 and -1/8
        ([[-0.75, 0.5], [0.5, -0.5]], (2, 0)),
        ([[0.25, 0.5], [0.5, 0.5]], (1, 1)),
        ([[0.5]], (0, 1)),
        ([[-0.5]], (1, 0)),
    ],
)
def test_signs_of_a_pivot(block: list[list[float]], signs: tuple[int, int]) -> None:
    """Definite 2×2 blocks, too, though Bunch and Kaufman's rule never picks one."""
    assert linalg._block_signs(Ball(64).array(block)) == signs


def test_the_threshold_makes_two_single_pivots_and_one_double_grow_alike() -> None:
    """Bunch and Kaufman's α: entries grow by at most 1 + 1/α in a step of a 1×1 pivot, 1 + 2/(1-α) in one of a 2×2."""
    alpha = linalg._ALPHA
    assert (1 + 1 / alpha) ** 2 == pytest.approx(1 + 2 / (1 - alpha), rel=16 * EPS)


PIVOTS = [
    # |a₁₁| ≥ αλ, λ the largest below it
    ("its diagonal entry", [[0.65, 1, 0], [1, 0, 0], [0, 0, 1]], [0, 1, 2], 1),
    ("its diagonal entry, beside the larger of two", [[0.65, 0.5, 1], [0.5, 9, 0], [1, 0, 9]], [0, 1, 2], 1),
    # less, but |a₁₁|σ ≥ αλ², σ the largest off the diagonal in the row of λ
    ("its diagonal entry, beside a row that is larger still", [[0.5, 1, 0], [1, 9, 1.3], [0, 1.3, 0]], [0, 1, 2], 1),
    # less, but |aᵣᵣ| ≥ ασ
    ("the diagonal entry of that row", [[0.5, 1, 0], [1, 0.81, 1.25], [0, 1.25, 9]], [1, 0, 2], 1),
    ("the diagonal entry of that row, λ itself its largest", [[0.1, 0, 1], [0, 9, 0], [1, 0, -0.65]], [2, 1, 0], 1),
    # less
    ("both", [[0.5, 1, 0], [1, 0.79, 1.25], [0, 1.25, 9]], [0, 1, 2], 2),
    ("both, the second fetched", [[0.1, 0, 1], [0, 9, 0], [1, 0, -0.63]], [0, 2, 1], 2),
]


@pytest.mark.parametrize(("rows", "perm", "size"), [case[1:] for case in PIVOTS], ids=[case[0] for case in PIVOTS])
def test_the_first_pivot_is_the_one_of_bunch_and_kaufman(rows: list[list[float]], perm: list[int], size: int) -> None:
    """Golub and Van Loan, 4.4.4; α = 0.6404."""
    factors = linalg.ldl(Ball(64).array(rows), Ball(64).magnitude)
    assert factors.blocks[0] == slice(0, size)
    assert factors.perm[0] == perm[0]
    assert size == 1 or factors.perm[1] == perm[1]


def test_of_wide_diagonal_entries_the_largest_may_have_a_sign() -> None:
    wide = np.full((3, 3), arb(0), dtype=object)
    for k, ball in enumerate((arb(0, 1), arb(1, 2), arb(-5, 2))):
        wide[k, k] = ball
    assert inertia(wide) == (1, 0, 0, 2)
    assert positive_definite(wide) is Verdict.REFUTED


@given(integer_matrices())
def test_ldl_reconstructs_over_balls(A: Array) -> None:
    with ctx.workprec(200):
        f = linalg.ldl(Ball(200).array(A), Ball(200).magnitude)
        n = len(A)
        assert sorted(f.perm) == list(range(n))
        assert f.done == sum(b.stop - b.start for b in f.blocks)
        product, permuted = f.L @ f.D @ f.L.T, A[np.ix_(f.perm, f.perm)]
        for i in range(n):
            assert f.L[i, i] == 1
            assert all(f.L[i, j] == 0 for j in range(i + 1, n))
            for j in range(n):
                assert product[i, j].contains(permuted[i, j])
                assert product[i, j].rad() < 2**-100
        outside = np.ones((n, n), dtype=bool)
        for b in f.blocks:
            outside[b, b] = False
        outside[f.done :, f.done :] = False
        assert all(v == 0 for v in f.D[outside])
        # Bunch and Kaufman's pivoting bounds the multipliers; (1-α)⁻¹ < 2.8, and the larger entries of 2×2 pivots' rows
        assert f.done < n or all(abs(v.mid()) < 50 for v in f.L.flat)


@given(integer_matrices(), st.integers(0, 2**32 - 1))
def test_multiprecision_solves_and_counts(A: Array, seed: int) -> None:
    n, true = len(A), Spectrum(A).counts()
    b = np.random.default_rng(seed).integers(-5, 6, n).astype(float)

    def compute(ar: Any) -> tuple[Array, ...]:
        x, negative = linalg.symmetric_solve(ar, ar.array(A), ar.array(b))
        return x, np.asarray(negative)

    if true[1]:
        with pytest.raises((SingularSystemError, PrecisionError)):
            Multiprecision(20).evaluate(compute)
        return
    x, negative = Multiprecision(20).evaluate(compute)
    assert int(negative) == true[0]
    solution = rational_matrix(A).solve(fmpq_mat([[rational(v)] for v in b]))
    largest = max(abs(Fraction(int(solution[i, 0].p), int(solution[i, 0].q))) for i in range(n))
    for i in range(n):
        difference = rational(x[i]) - solution[i, 0]
        bound = largest / 10**20  # entries that are 0 come back as 0
        assert abs(Fraction(int(difference.p), int(difference.q))) <= bound


@given(integer_matrices(), st.integers(0, 2**32 - 1))
def test_float64_solves_and_counts(A: Array, seed: int) -> None:
    n, true = len(A), Spectrum(A).counts()
    b = np.random.default_rng(seed).standard_normal((n, 2))
    try:
        x, negative = linalg.symmetric_solve(FLOAT64, A, b)
    except SingularSystemError:
        assert true[1] or np.linalg.cond(A, 1) > 1 / (THRESHOLD * n * EPS)
        return
    assert true[1] == 0
    assert negative == true[0]
    norm = np.abs(A).sum(axis=1).max()
    assert np.abs(A @ x - b).max() <= THRESHOLD * n * EPS * (norm * np.abs(x).max() + np.abs(b).max())


def test_float64_refuses_what_it_cannot_tell_from_singular() -> None:
    for scale in (1e-200, 1.0, 1e200):
        with pytest.raises(SingularSystemError, match="reciprocal condition number"):
            linalg.symmetric_solve(FLOAT64, scale * np.diag([1.0, EPS]), np.ones(2))  # n·eps is 2 eps
        x, _ = linalg.symmetric_solve(FLOAT64, scale * np.diag([1.0, -4 * EPS]), np.array([scale, scale]))
        np.testing.assert_array_equal(x, [1.0, -1 / (4 * EPS)])
    for singular in (np.zeros((2, 2)), np.ones((3, 3))):
        with pytest.raises(SingularSystemError):
            linalg.symmetric_solve(FLOAT64, singular, np.ones(len(singular)))
    x, _ = linalg.symmetric_solve(FLOAT64, np.array([[np.inf, 0], [0, 1.0]]), np.ones(2))
    assert np.isnan(x).all()  # for the evaluation to refuse


def test_multiprecision_says_singular_where_a_pivot_is_zero() -> None:
    def compute(ar: Any) -> tuple[Array, ...]:
        words = "exactly zero" if isinstance(ar, Ball) else "zero pivot at step 1 of 2"
        with pytest.raises(SingularSystemError, match=words):
            linalg.symmetric_solve(ar, ar.array(np.ones((2, 2))), ar.array(np.ones(2)))
        return (ar.array(np.ones(1)),)

    Multiprecision(20).evaluate(compute)


def test_balls_ask_for_more_bits_or_say_singular() -> None:
    ar = Ball(64)
    with ctx.workprec(64):
        wide = np.array([[arb(1), arb(1)], [arb(1), arb(1, 2.0**-20)]], dtype=object)
        with pytest.raises(NotProved, match="1 of 2"):
            linalg.symmetric_solve(ar, wide, ar.array(np.ones(2)))
        with pytest.raises(SingularSystemError, match="exactly zero"):
            linalg.symmetric_solve(ar, ar.array(np.ones((2, 2))), ar.array(np.ones(2)))
        x, negative = linalg.symmetric_solve(ar, ar.array([[1.0, 2.0], [2.0, 1.0]]), ar.array([3.0, 3.0]))
        assert negative == 1
        assert all(v.contains(1) for v in x)


@given(integer_matrices())
def test_cholesky_factors_exactly_the_positive_definite(A: Array) -> None:
    definite = A @ A + np.eye(len(A))  # integers
    L = cholesky(definite)
    assert L is not None
    with ctx.workprec(128):
        product = L @ L.T
    for i in range(len(A)):
        assert L[i, i] > 0
        assert all(L[i, j] == 0 for j in range(i + 1, len(A)))
        assert all(product[i, j].contains(definite[i, j]) for j in range(len(A)))
    factor = cholesky(A, Ball(64, max_bits=256))
    assert (factor is not None) == (Spectrum(A).counts()[2] == len(A))


# ------------------------------------------------------------------------------------------------- balls that have radii


def test_radii_as_small_as_twice_the_bits_can_tell_are_told() -> None:
    """Determinants of 3·2^-100 and 3·2^-150, with smaller radii: more than 64 bits show, and more than 128."""
    close, far = (np.array([[arb(3), arb(1)], [arb(1), arb(0)]], dtype=object) for _ in range(2))
    with ctx.workprec(400):
        close[1, 1] = arb((arb(1) / 3 + arb(2) ** -100).mid(), arb(2) ** -120)
        far[1, 1] = arb((arb(1) / 3 + arb(2) ** -150).mid(), arb(2) ** -170)
    for matrix, verdict in ((close, Verdict.HOLDS), (far, Verdict.UNDECIDED)):
        assert positive_definite(matrix, Ball(64)) is verdict
        assert (cholesky(matrix, Ball(64)) is not None) == (verdict is Verdict.HOLDS)
        assert positive_definite(matrix, Ball(64, max_bits=80)) is Verdict.UNDECIDED  # the cap is one for them, too
    assert positive_definite(far, Ball(128)) is Verdict.HOLDS


def test_a_matrix_is_exact_or_not_entry_by_entry() -> None:
    """One entry with a radius, last: precision is not raised, and what is undecided comes at once."""
    wide = Ball(64).array(np.ones((2, 2)))
    assert linalg._ladder(Ball(64), wide) == list(Ball(64).ladder())
    assert linalg._ladder(Ball(64), np.ones((2, 2)), wide) == list(Ball(64).ladder())
    wide[1, 1] = arb(1, 2.0**-30)
    for data in ((wide,), (np.ones((2, 2)), wide), (wide, np.ones((2, 2)))):
        assert linalg._ladder(Ball(64), *data) == [128]
        assert linalg._ladder(Ball(64, max_bits=100), *data) == [100]


# ------------------------------------------------------------------------------------------------------- Jacobi rotations


@pytest.mark.parametrize("bits", [64, 128, 512])
def test_rotations_from_lapacks_basis_converge_quadratically(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """From 2^-50 or so each sweep squares what is left, until 2^-bits; an indefinite matrix with eigenvalues far apart."""
    seen: list[tuple[arb, arb]] = []
    rotation = linalg._rotation

    def counted(*entries: arb) -> tuple[arb, arb]:
        seen.append(rotation(*entries))
        return seen[-1]

    monkeypatch.setattr(linalg, "_rotation", counted)
    n = 6
    A = np.random.default_rng(4).standard_normal((n, n))
    A = A + A.T + np.diag(np.arange(-3.0, 3.0) * 8)
    with ctx.workprec(bits):
        Q = linalg._jacobi(Ball(bits).array(A))
        assert len(Q) == n
    sweeps = math.ceil(math.log2(bits / 40)) + 1
    assert len(seen) <= sweeps * n * (n - 1) // 2
    assert all(abs(s) <= c for c, s in seen)  # the smaller of the two angles


@pytest.mark.parametrize("tau", [-3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0])
def test_a_rotation_annihilates_by_the_smaller_angle(tau: float) -> None:
    """[[c, -s], [s, c]] [[p, t], [t, q]] [[c, s], [-s, c]] is diagonal for q = p + 2tτ; and |tan| ≤ 1."""
    p, t = arb(5), arb(-2)
    q = p + 2 * t * tau
    with ctx.workprec(200):
        c, s = linalg._rotation(p, q, t)
        assert c.is_exact()
        assert s.is_exact()
        assert abs(c * c + s * s - 1) < arb(2) ** -190
        assert abs(c * s * (p - q) + (c * c - s * s) * t) < arb(2) ** -190
        assert 0 < abs(s) <= c * (1 + arb(2) ** -190)


@pytest.mark.parametrize("bits", [64, 200, 1000])
def test_the_start_is_orthogonal_to_the_precision_and_nearly_diagonalizes(bits: int) -> None:
    A = wilkinson(7)
    with ctx.workprec(bits):
        middle = Ball(bits).array(2.0**600 * A).tolist()  # whatever the scale
        Q = linalg._orthogonal_start(middle)
        G, R = np.array((Q.transpose() * Q).tolist()), np.array((Q.transpose() * arb_mat(middle) * Q).tolist())
        for i in range(7):
            for j in range(7):
                assert abs(G[i, j] - int(i == j)).mid() < 49 * arb(2) ** (3 - bits)
                if i != j:
                    assert abs(R[i, j]).mid() < arb(2) ** 600 * arb(2) ** -40
    with ctx.workprec(bits):
        assert linalg._orthogonal_start([[arb(0)] * 2] * 2) == arb_mat(2, 2, [1, 0, 0, 1])


# ------------------------------------------------------------------------------------------------------------------- solve


@given(integer_matrices(), st.integers(0, 2**32 - 1))
def test_solve_encloses_the_rational_solution(A: Array, seed: int) -> None:
    n = len(A)
    b = np.random.default_rng(seed).integers(-5, 6, (n, 2)).astype(float)
    if Spectrum(A).counts()[1]:
        with pytest.raises(SingularSystemError):
            solve(A, b, Ball(64, max_bits=256))
        return
    x = solve(A, b)
    assert x.shape == b.shape
    true = rational_matrix(A).solve(rational_matrix(b))
    for i in range(n):
        for j in range(2):
            with ctx.workprec(400):
                assert x[i, j].overlaps(arb(true[i, j]))
            assert x[i, j].rad() < 2**-60
    assert all(a.overlaps(v) for a, v in zip(solve(A, b[:, 0]), x[:, 0], strict=True))


@given(st.integers(0, 2**32 - 1))
def test_solve_encloses_the_solution_of_every_member(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.integers(-3, 4, (3, 3)).astype(float)
    A = A + A.T + 9 * np.eye(3)
    radius = 2.0**-6
    wide = np.empty((3, 3), dtype=object)
    for i in range(3):
        for j in range(3):
            wide[i, j] = arb(A[i, j], radius)
    right = np.array([arb(1, radius), arb(0), arb(-2)], dtype=object)
    try:
        x = solve(wide, right)
    except SingularSystemError:
        return  # near-singular families happen; nothing is claimed of them
    for corner in range(8):
        signs = rng.choice([-1.0, 1.0], (3, 3))
        member = A + radius * (np.triu(signs) + np.triu(signs, 1).T)
        b = np.array([1 + radius * (-1) ** corner, 0.0, -2.0])
        true = rational_matrix(member).solve(fmpq_mat([[rational(v)] for v in b]))
        with ctx.workprec(400):
            assert all(x[i].overlaps(arb(true[i, 0])) for i in range(3))


def test_mixed_kinds_of_numbers_are_taken_as_exact() -> None:
    for kind in (float, mpmath.mpf, arb, int):
        A = np.empty((2, 2), dtype=float if kind is float else object)
        for i, row in enumerate([[2, 1], [1, -3]]):
            for j, v in enumerate(row):
                A[i, j] = kind(v)
        assert inertia(A) == (1, 0, 1, 0)
        assert solve(A, A[0])[0].contains(1)


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("function", [cholesky, inertia, positive_definite, lambda A: eigenvalues(A, Ball(64)), eigenvalues])
@pytest.mark.parametrize(
    "A",
    [
        np.zeros((2, 3)),
        np.zeros((0, 0)),
        np.zeros(3),
        np.array([[1.0, 2.0], [3.0, 1.0]]),
        np.array([[1.0, np.nan], [np.nan, 1.0]]),
        np.array([[np.inf]]),
        np.array([[1 + 1j]]),
        np.array([["1"]], dtype=object),
    ],
)
def test_matrices_that_are_none_are_refused(function: Callable[[Any], Any], A: Array) -> None:
    with pytest.raises(InputError):
        function(A)


def test_certified_functions_want_balls() -> None:
    for function in (cholesky, inertia, positive_definite):
        for arithmetic in (FLOAT64, Multiprecision(20), None):
            with pytest.raises(InputError, match="arithmetic"):
                function(np.eye(2), arithmetic)
    with pytest.raises(InputError, match="arithmetic"):
        solve(np.eye(2), np.ones(2), FLOAT64)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="b:"):
        solve(np.eye(2), np.ones(3))
    with pytest.raises(InputError):
        solve(np.eye(2), np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="Ball or Multiprecision"):
        eigenvalues(Ball(64).array(np.eye(2)))


def test_verdicts_have_no_truth_value() -> None:
    with pytest.raises(TypeError):
        bool(positive_definite(np.eye(2)))


def test_precision_is_left_as_it_was() -> None:
    before = ctx.prec
    for A in (np.eye(3), np.ones((3, 3)), second_difference(4)):
        inertia(A, Ball(300))
        eigenvalues(A, Ball(100, max_bits=200))
        cholesky(A, Ball(300))
        assert ctx.prec == before


def test_an_inertia_is_undecided_where_the_factor_cannot_be_inverted() -> None:
    """Entries 300 powers of ten apart: FLINT does not see that the triangular factor is nonsingular, whatever it is."""
    net = Network(np.array([8.21772221e-297, 2.0**-6]), np.array([[1.5, 0.0], [2.0**-6, 0.0]]), np.zeros(2), 0.75)
    H = hessian(net, np.array([[1.75, 2.16230566e-232]]), np.zeros(1))
    counts = inertia(H, Ball(64))
    assert sum(counts) == len(H)
    assert (
        positive_definite(H, Ball(64)) is not Verdict.HOLDS
    )  # the entries of w on the second axis do not matter: H is singular
