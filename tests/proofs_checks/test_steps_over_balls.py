"""A step is held against the exact system, in the units of its precision, and what it says of the inertia likewise."""

from __future__ import annotations

import math
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx

from nntk_accelerated import Certificate, RefinementError, ShallowNet, step
from nntk_proofs_checks import push_through, steps_over_balls
from nntk_proofs_checks.ensemble import to_torch
from nntk_proofs_checks.steps_over_balls import Case, Held, hold
from nntk_reference import Ball, Verdict, gradient, hessian, regularization


def _case(**changes: Any) -> Case:
    rng = np.random.default_rng(2)
    net, X, y = push_through._drawn(rng, "tanh", 6, 4, 1)
    return replace(Case(net, X, y, 0.1), **changes)


def test_repeated_inputs_give_the_same_system() -> None:
    """What is computed from distinct inputs, and the dense definition: products, slope and inertia, shifted as well."""
    rng = np.random.default_rng(0)
    net, X, _ = push_through._drawn(rng, "tanh", 5, 3, 2)
    X, y = X[[0, 1, 2, 1, 0, 0, 2, 1, 0]], 1 + rng.standard_normal(9)
    dense, blocks = (kind(net, X, y, 0.02) for kind in (steps_over_balls.Exact, steps_over_balls.ExactBlocks))
    v = Ball(192).array(rng.standard_normal(net.parameters))
    with ctx.workprec(192):
        for a, b in ((dense.slope, blocks.slope), (dense.times(v), blocks.times(v))):
            assert all(p.overlaps(q) and p.rad() < 1e-50 for p, q in zip(a, b, strict=True))
        for shift in (-0.3, -0.02, 0.0, 0.02, 0.3):
            assert dense.inertia(arb(shift)) == blocks.inertia(arb(shift))
    assert 0 < dense.inertia(arb(0)).negative < net.parameters


def test_the_limit_is_what_the_step_promises() -> None:
    def verdict(**found: Any) -> Verdict:
        return Held(**{"cases": 1, "indefinite": 1} | found).finding().verdict

    assert steps_over_balls._LIMIT == step._LIMIT == 1024
    assert verdict(units=1024.0) is Verdict.HOLDS
    assert verdict(units=1025.0) is verdict(units=math.nan) is verdict(wrong=1) is verdict(refused=1) is Verdict.REFUTED
    assert verdict(unknown=1) is verdict(indefinite=0) is Verdict.UNDECIDED
    assert Held(indefinite=1).finding(missing="border").verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize(("units", "verdict"), [(500, Verdict.HOLDS), (3000, Verdict.REFUTED)])
def test_an_error_is_measured_in_the_units_of_the_precision(
    precision: str, units: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update off by a relative error e has a backward error of at most e, and not far below along the largest mode."""
    case = _case(precision=precision, gamma=3.0)
    eps = torch.finfo(case.dtype).eps
    original = steps_over_balls.newton_step

    def longer(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        return replace(found, update=found.update * (1 + 2 * units * eps))

    monkeypatch.setattr(steps_over_balls, "newton_step", longer)
    held = Held(indefinite=1)
    hold(case, held)
    assert held.units == pytest.approx(units, rel=0.15)
    assert held.finding().verdict is verdict


@pytest.mark.parametrize("few_inputs", [False, True])
def test_what_a_step_says_of_its_inertia_is_held_against_the_proved_one(few_inputs: bool) -> None:
    case = _case(few_inputs=few_inputs)
    exact = (steps_over_balls.ExactBlocks if few_inputs else steps_over_balls.Exact)(case.net, case.X, case.y, case.gamma)
    found = steps_over_balls.newton_step(to_torch(case.net), torch.tensor(case.X), torch.tensor(case.y), case.gamma)
    n = exact.inertia(arb(0)).negative
    assert n > 1

    def contradicts(verdict: str, negative: int | None, at_least: int, count: int, room: float = 0.0) -> bool | None:
        said = Certificate(verdict, negative, at_least, 0.0, "")  # type: ignore[arg-type]
        changed = replace(found, certificate=said, negative_eigenvalues=count, negative_eigenvalues_proved=negative is not None)
        with ctx.workprec(192):
            return steps_over_balls.contradicts(changed, exact, arb(room))

    assert contradicts("indefinite", n, n, n) is False
    assert contradicts("indefinite", None, n, n) is False
    assert contradicts("undecided", None, 0, n) is False
    assert contradicts("indefinite", n + 1, 1, n + 1)
    assert contradicts("indefinite", n - 1, 1, n - 1)
    assert contradicts("indefinite", None, n + 1, n)
    assert contradicts("positive definite", None, 0, n)
    assert contradicts("indefinite", n, n, n + 1)
    assert contradicts("undecided", None, 0, n + 1)
    assert contradicts("undecided", None, 0, n - 1)
    assert contradicts("undecided", None, 0, 0, room=1e3) is False
    assert contradicts("undecided", None, 0, case.net.parameters, room=1e3) is False


@pytest.mark.parametrize(("condition", "refused"), [(5e3, 1), (2e4, 0)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_refused_step_counts_where_the_system_is_well_conditioned(
    condition: float, refused: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _case()
    H, slope = hessian(case.net, case.X, case.y), gradient(case.net, case.X, case.y).reshape(-1)
    smallest = np.linalg.eigvalsh(H)[0]
    size = np.linalg.norm(H @ slope - smallest * slope) / np.linalg.norm(slope)
    gamma = (-smallest + side * size / condition) / regularization(1.0, case.net.width, case.net.beta)

    def refuse(*args: Any, **options: Any) -> Any:
        raise RefinementError("planted")

    monkeypatch.setattr(steps_over_balls, "newton_step", refuse)
    held = Held(indefinite=1)
    assert hold(replace(case, gamma=gamma), held)[0] is None
    assert (held.refused, held.unknown) == (refused, 1 - refused)
    hold(replace(case, gamma=gamma), held)  # another one counts beside it
    assert (held.refused, held.unknown, held.cases) == (2 * refused, 2 - 2 * refused, 2)
    found = held.finding()
    assert found.verdict is (Verdict.REFUTED if refused else Verdict.UNDECIDED)
    assert "planted" in found.why


@pytest.mark.parametrize("wrong", [True, False, None])
def test_what_is_wrong_or_unknown_is_counted_step_by_step(wrong: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = []
    monkeypatch.setattr(steps_over_balls, "contradicts", lambda step, exact, room: (rooms.append(room), wrong)[1])
    case, held = _case(precision="float32", gamma=3.0, steps=2), Held()
    hold(case, held)
    hold(replace(case, steps=1), held)
    assert (held.wrong, held.unknown, held.cases) == (3 * (wrong is True), 3 * (wrong is None), 3)
    H = hessian(case.net, case.X, case.y) + regularization(3.0, case.net.width, case.net.beta) * np.eye(case.net.parameters)
    unit = 1024 * 2.0**-23  # a count that is not proved is that of a matrix so near, relative to a lower bound of ‖A‖
    assert np.linalg.norm(H, 2) * unit * 0.1 < float(rooms[0]) <= np.linalg.norm(H, 2) * unit * (1 + 1e-6)


def test_a_watch_sees_threads_and_leaves_no_profile_behind() -> None:
    before = sys.getprofile(), threading.getprofile()
    case, threads = _case(), torch.get_num_threads()
    with push_through._threads(3):
        _, seen = hold(replace(case, chunk=2), Held())
    assert {"newton_step", "lane", "jets"} <= seen
    assert (sys.getprofile(), threading.getprofile(), torch.get_num_threads()) == (*before, threads)


def test_a_step_is_taken_from_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShallowNet.move_
    monkeypatch.setattr(ShallowNet, "move_", lambda net, update: original(net, update * (1 + 1e-9)))
    for steps, verdict in ((1, Verdict.HOLDS), (2, Verdict.REFUTED)):
        held = Held(indefinite=1)
        hold(_case(steps=steps), held)
        assert held.finding().verdict is verdict
        assert held.cases == steps


def test_the_backward_error_is_that_of_the_definition() -> None:
    """|AΔ + α∇L| over |A||Δ| + α|∇L|, |A| from below by what it makes of Δ and of ∇L; of a step that is off by a tenth."""
    case = _case(gamma=2.0, alpha=0.5)
    exact = steps_over_balls.Exact(case.net, case.X, case.y, case.gamma)
    X, y = torch.tensor(case.X), torch.tensor(case.y)
    found = steps_over_balls.newton_step(to_torch(case.net), X, y, case.gamma, alpha=case.alpha)
    wrong = found.update + 0.1 * found.update.norm() * torch.linspace(-1, 1, found.update.numel()).reshape(found.update.shape)
    A = hessian(case.net, case.X, case.y) + regularization(2.0, case.net.width, case.net.beta) * np.eye(case.net.parameters)
    g, step_ = gradient(case.net, case.X, case.y).reshape(-1), wrong.numpy().reshape(-1)
    with ctx.workprec(192):
        error, size = steps_over_balls.backward_error(exact, replace(found, update=wrong), case.alpha)
    lower = max(np.linalg.norm(A @ v) / np.linalg.norm(v) for v in (g, step_))
    assert float(size) == pytest.approx(lower, rel=1e-12)
    wanted = np.linalg.norm(A @ step_ + 0.5 * g) / (lower * np.linalg.norm(step_) + 0.5 * np.linalg.norm(g))
    assert error == pytest.approx(wanted, rel=1e-12)


def test_a_finding_says_what_steps_came_to() -> None:
    held = Held(units=3.0, wrong=1, unknown=2, refused=4, indefinite=5, cases=6)
    found = held.finding("; entered: lanes 1", "border")
    assert (found.number, found.relation, found.limit, found.cases) == (3.0, "≤", 1024.0, 6)
    assert found.why == (
        "backward error of 3 units in the last place, 1 wrong inertias, 5 of 6 indefinite; entered: lanes 1"
        "; not entered: border"
    )
    held.reason = "planted"
    assert held.finding().why.endswith("5 of 6 indefinite, 4 well-conditioned systems refused, 2 undecided (planted)")
    assert not Held(units=1024.0).false
    assert all(bad.false for bad in (Held(units=1024.5), Held(units=math.nan), Held(wrong=1), Held(refused=1)))


def test_indefinite_steps_are_counted_and_the_largest_error_kept() -> None:
    held = Held()
    hold(_case(gamma=3.0), held)
    first = held.units
    assert (held.indefinite, held.cases) == (0, 1)
    hold(_case(gamma=1e-3), held)
    assert (held.indefinite, held.cases) == (1, 2)
    assert held.units >= first > 0
    hold(_case(gamma=3.0), held)
    assert (held.indefinite, held.cases) == (1, 3)
