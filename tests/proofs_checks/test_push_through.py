"""`push-through` notices wrong blocks, Jacobians and Gram matrices."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from flint import fmpq, fmpq_mat

from nntk_accelerated import step
from nntk_proofs_checks import CLAIMS, Effort, push_through, run, steps_over_balls
from nntk_proofs_checks.steps_over_balls import Held
from nntk_proofs_checks.tried import of_networks
from nntk_reference import FLOAT64, Verdict, formulas, regularization
from tests.proofs_checks.problems import line, passed


def _negate_curvature(S, s):
    S[:, 1:, 1:] = -S[:, 1:, 1:]
    return S


def _drop_mixed(S, s):
    S[:, 0, 1:] = S[:, 1:, 0] = 0 * S[:, 0, 1:]
    return S


BLOCK_FAULTS = {
    "wrong sign of σ''": _negate_curvature,
    "missing 1/M": lambda S, s: S * len(s.inputs),
    "scale applied twice": lambda S, s: S * s.scale,
    "no mixed derivatives": _drop_mixed,
    "half the residual term": lambda S, s: S / 2,
}


@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_push_through_notices_wrong_blocks(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: BLOCK_FAULTS[fault](original(s, r), s))
    finding = run(CLAIMS["push-through"], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why
    assert "(E4)" in finding.why


@pytest.mark.parametrize("fault", ["missing c", "transposed", "without 1/M"])
def test_push_through_notices_a_wrong_jacobian_or_gram_matrix(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jacobian, gram = formulas.jacobian, formulas.gauss_newton_matrix
    if fault == "missing c":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s._replace(c=s.c * 0 + 1)))
    elif fault == "transposed":
        monkeypatch.setattr(formulas, "jacobian", lambda s: jacobian(s)[:, ::-1])
    else:
        monkeypatch.setattr(formulas, "gauss_newton_matrix", lambda s: gram(s) * len(s.inputs))
    assert run(CLAIMS["push-through"], line(), Effort.QUICK).finding.verdict is Verdict.REFUTED


# -------------------------------------------------------------------------------------------- the accelerated step, over balls


@pytest.fixture
def one_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_DIMENSIONS", {Effort.QUICK: (1,)})


NOT_ENTERED: dict[str, dict[str, Any]] = {
    "compiled loops": {"_WIDE": 255},
    "border": {"_NEAR": 1e-2},
    "lanes": {"_threads": lambda count: nullcontext()},
    "mixed": {"newton_step": lambda *args, precision, **options: step.newton_step(*args, **options)},
}


@pytest.mark.usefixtures("one_dimension")
@pytest.mark.parametrize("path", NOT_ENTERED)
def test_a_path_that_is_not_entered_leaves_the_claim_undecided(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """255² is below the gate of the compiled loops, a hundredth of γ_N is beyond the border; one thread has one lane."""
    before = torch.get_num_threads()
    for name, value in NOT_ENTERED[path].items():
        monkeypatch.setattr(steps_over_balls if name == "newton_step" else push_through, name, value)
    try:
        torch.set_num_threads(1)
        found = push_through._paths(line(), Effort.QUICK)
    finally:
        torch.set_num_threads(before)
    assert found.verdict is Verdict.UNDECIDED
    assert found.why.endswith(f"; not entered: {path}")


@pytest.mark.usefixtures("one_dimension")
def test_without_numba_there_are_no_compiled_loops_to_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through.importlib.util, "find_spec", lambda name: None)
    found = push_through._paths(line(), Effort.QUICK)
    assert found.verdict is Verdict.HOLDS
    assert "compiled loops" not in found.why


# --------------------------------------------------------------------------------------------------- the claim and its control


def test_holds_and_control_is_refuted() -> None:
    result = passed(push_through.CLAIM, line())
    assert result.finding.number == 0
    assert result.finding.cases == 2 + 60 + 28 + 48
    assert result.control.cases == 60
    assert result.control.number > 0


@pytest.mark.parametrize("gap", [(0, 0), (0, 1), (1, 0)])
def test_either_identity_decides(gap: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """For the claim and for the control alike."""
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: (fmpq(gap[0]), gap[1], 60, 5))
    verdict = Verdict.HOLDS if gap == (0, 0) else Verdict.REFUTED
    assert push_through._identities(Effort.QUICK).verdict is verdict
    control = push_through.control(line(), Effort.QUICK)
    assert control.verdict is verdict
    assert control.number == sum(gap)


def test_identities_without_an_indefinite_matrix_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: (fmpq(0), 0, 60, 0))
    assert push_through._identities(Effort.QUICK).verdict is Verdict.UNDECIDED


@pytest.mark.control
def test_the_control_is_not_refuted_where_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """S = 0, so that nothing is dropped; and the check's own systems."""
    broken = push_through._over_rationals
    monkeypatch.setattr(push_through, "_over_rationals", lambda effort, *, drop_residual: broken(effort, drop_residual=False))
    assert push_through.control(line(), Effort.QUICK).verdict is Verdict.HOLDS
    monkeypatch.undo()
    blocks = formulas.residual_hessian
    monkeypatch.setattr(formulas, "residual_hessian", lambda s, r: 0 * blocks(s, r))
    assert push_through.control(line(), Effort.QUICK).verdict is Verdict.HOLDS


def test_no_step_is_looked_at_after_refuted_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    refuted = Held(wrong=1).finding()
    monkeypatch.setattr(push_through, "_identities", lambda effort: refuted)
    monkeypatch.setattr(push_through, "_steps", None)
    assert push_through.check(line(), Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.usefixtures("one_dimension")
def test_no_damping_at_the_border_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_through, "_block_values", lambda net, X, y: np.zeros(18))
    found = push_through._paths(line(), Effort.QUICK)
    assert found.verdict is Verdict.UNDECIDED
    assert f"{12 + 6} undecided (no block" in found.why


def test_the_compiled_loops_are_tried_in_one_dimension_which_has_its_own_and_in_two() -> None:
    for effort, least in ((Effort.QUICK, {1, 2}), (Effort.DEFAULT, {1, 2})):
        assert {case.X.shape[1] for case in push_through._wide(line(), effort)} == least


def test_the_largest_gap_of_all_systems_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = itertools.cycle([(fmpq(1), 5), (fmpq(3), 2), None, (fmpq(2), 7), (fmpq(0), 0)])
    monkeypatch.setattr(push_through, "_gaps", lambda system, drop_residual: next(gaps))
    monkeypatch.setitem(push_through._DRAWS, Effort.QUICK, 8)
    worst, worst_inertia, cases, indefinite = push_through._over_rationals(Effort.QUICK, drop_residual=False)
    assert (worst, worst_inertia, cases) == (3, 7, 8)
    assert 0 < indefinite < 8


# ------------------------------------------------------------------------------------------------------------- what is tried


def _float32(values: np.ndarray) -> bool:
    return bool((values.astype(np.float32) == values).all())


@pytest.mark.usefixtures("one_dimension")
def test_small_cases_are_near_the_border_and_in_every_precision() -> None:
    """Near an eigenvalue of a block from either side, and at 0.3 and 3 times the smallest; all in numbers that float32 has."""
    cases = list(push_through._small(line(), Effort.QUICK))
    first = cases[0]
    values = push_through._block_values(first.net, first.X, first.y)
    assert (first.net.width, first.X.shape, first.net.beta, first.net.activation) == (6, (4, 1), 0.75, "tanh")
    assert all(_float32(v) for v in (first.net.theta, first.X, first.y))
    assert np.abs(first.X).max() <= 1
    assert all(case.net is first.net and case.X is first.X and case.y is first.y for case in cases)
    near = [(case.gamma, case.alpha, case.precision, case.steps, case.chunk) for case in cases[:4]]
    wanted = [(1 - 1e-6, 0, 1.0), (1 - 1e-6, 5, 0.5), (1 + 1e-6, 0, 1.0), (1 + 1e-6, 5, 0.5)]
    assert near == [(-by * values[k], alpha, "float64", 1, None) for by, k, alpha in wanted]
    rest = [(case.gamma, case.precision, case.steps, case.chunk is not None) for case in cases[4:]]
    for share, part in zip((0.3, 3.0), (rest[:4], rest[4:]), strict=True):
        kinds = [("float32", 2, False), ("float64", 1, False), ("mixed", 1, False), ("float64", 1, True)]
        assert part == [(-share * values[0], *kind) for kind in kinds]


def test_block_values_are_in_units_of_gamma() -> None:
    case = next(iter(push_through._small(line(), Effort.QUICK)))
    s = formulas.state(FLOAT64, case.net, case.X)
    S = formulas.residual_hessian(s, formulas.outputs(s) - case.y)
    for k, value in enumerate(push_through._block_values(case.net, case.X, case.y)):
        damping = regularization(-value, case.net.width, case.net.beta) if value < 0 else 0.0
        if value < 0:  # a block is singular there
            assert np.abs(np.linalg.eigvalsh(S) + damping).min() < 1e-12, k
    assert (np.diff(push_through._block_values(case.net, case.X, case.y)) >= 0).all()


def test_wide_cases_have_many_points_at_few_inputs() -> None:
    """D definite, indefinite and near singular, for every activation with loops of its own and one and two dimensions."""
    cases = list(push_through._wide(line(), Effort.DEFAULT))
    kinds = list(itertools.product(push_through._compiled(), (1, 2)))
    assert [(c.net.activation, c.X.shape[1]) for c in cases] == [kind for kind in kinds for _ in range(3)]
    for three in zip(cases[::3], cases[1::3], cases[2::3], strict=True):
        net, X, y = three[0].net, three[0].X, three[0].y
        values = push_through._block_values(net, X, y)
        assert net.width == len(X) == len(y) == 513
        assert len(np.unique(X, axis=0)) == 8
        assert abs(y.mean() - 1) < 0.3
        assert [c.gamma for c in three] == [-2 * values[0], -values[0] / 2, -(1 + 1e-6) * values[2]]
        assert all(c.few_inputs and (c.precision, c.steps, c.chunk, c.alpha) == ("float64", 1, None, 1.0) for c in three)
    quick = list(push_through._wide(line(), Effort.QUICK))
    assert [(c.net.activation, c.X.shape[1]) for c in quick[::3]] == kinds[::3]


def test_accelerated_cases_are_those_of_every_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[steps_over_balls.Case] = []
    monkeypatch.setattr(push_through, "hold", lambda case, held: cases.append(case))
    push_through._accelerated(line(), Effort.QUICK)
    systems = [(d, gamma) for d in (1, 2, 3) for gamma in (1e-3, 1e-1, 10.0)]
    first, *others = of_networks(Effort.FULL)
    count = max(len(others), len(systems) // 2)
    assert [c.net.activation for c in cases] == [first] * 9 + [others[k % len(others)] for k in range(count)]
    assert [(c.X.shape[1], c.gamma) for c in cases] == [systems[k % 9] for k in range(9 + count)]
    assert [c.alpha for c in cases] == [(1.0, 0.5)[k % 2] for k in range(9 + count)]
    assert all((c.net.width, len(c.X), len(c.y), c.steps) == (6, 4, 4, 2) for c in cases)
    assert -1 <= min(c.X.min() for c in cases) < -0.8 < 0.8 < max(c.X.max() for c in cases) <= 1
    assert len({c.X.tobytes() for c in cases}) == len(cases)


@pytest.mark.usefixtures("one_dimension")
def test_cases_in_chunks_have_three_threads_and_the_others_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def held(case: steps_over_balls.Case, held: Held) -> tuple[None, set[str]]:
        seen.append((case.chunk, torch.get_num_threads()))
        return None, set()

    before = torch.get_num_threads()
    monkeypatch.setattr(push_through, "hold", held)
    push_through._paths(line(), Effort.QUICK)
    assert torch.get_num_threads() == before
    assert set(seen) == {(None, 1), (2, 3)}


@pytest.mark.usefixtures("one_dimension")
def test_the_paths_that_were_entered_are_told_and_one_wrong_step_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = push_through._paths(line(), Effort.QUICK)
    counts = dict(part.rsplit(" ", 1) for part in found.why.rpartition("entered: ")[2].split(", "))
    assert {path: int(count) > 0 for path, count in counts.items()} == dict.fromkeys(counts, True)
    assert list(counts) == ["compiled loops", "border", "lanes", "mixed", "float32"]
    assert (counts["lanes"], counts["mixed"], counts["float32"]) == ("2", "2", "2")
    calls = []

    def wrong(case: Any, held: Held) -> tuple[None, set[str]]:
        calls.append(case)
        held.wrong += len(calls) == 3
        return None, set()

    monkeypatch.setattr(push_through, "hold", wrong)
    assert push_through._paths(line(), Effort.QUICK).verdict is Verdict.REFUTED
    assert len(calls) == 3


def test_a_gap_is_that_of_the_two_sides() -> None:
    """With S left out of D the sides differ, by what they are; as they stand, they do not."""
    for system in itertools.islice(push_through._systems(seed=1), 12):
        found = push_through._gaps(system, drop_residual=True)
        J, S = (np.array(m.table(), dtype=object) for m in (system.J, system.S))
        damping = system.damping
        M, P = system.count, len(S)
        H = J.T @ J / fmpq(M) + S + damping * np.eye(P, dtype=int)
        exact = fmpq_mat(H.tolist()).solve(fmpq_mat(J.T.tolist())).table()
        small = M * np.eye(M, dtype=int) + J @ J.T / damping
        wrong = np.array((fmpq_mat((J.T / damping).tolist()) * fmpq_mat(small.tolist()).inv()).table(), dtype=object)
        gap = max(abs(v) for v in (np.array(exact, dtype=object) / fmpq(M) - wrong).reshape(-1))
        assert found is not None
        assert found[0] == gap > 0
        assert push_through._gaps(system, drop_residual=False) == (0, 0)


def test_systems_are_of_every_small_size() -> None:
    """N, d up to 3 and 1, 2 and 4 points, with positive dampings that differ."""
    systems = list(itertools.islice(push_through._systems(seed=1), 27))
    sizes = [(N * (d + 2), M) for N, d, M in itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 4))]
    assert [(system.J.ncols(), system.J.nrows()) for system in systems] == sizes
    assert all(system.S.nrows() == system.J.ncols() and system.count == system.J.nrows() for system in systems)
    assert min(system.damping for system in systems) >= fmpq(1, 100)
    assert len({system.damping for system in systems}) > 20
