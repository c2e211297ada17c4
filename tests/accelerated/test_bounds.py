"""Bounds of what a network's derivatives are and of their computed values' errors, against balls of 256 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

import nntk_reference as reference
from nntk.strategies import problems
from nntk_accelerated import ACTIVATIONS, bounds, stream
from tests.accelerated.comparison import MODES, PRECISE, Case, Example, exact, prepared, rounded, seeded, spectral_norm_upper

IN_THEORY = [name for name, entry in reference.ACTIVATIONS.items() if entry.in_theory]

every_mode = pytest.mark.parametrize("mode", MODES)


def ours(block: Any) -> Any:
    """A matrix (or its rows) over (c, w, η), the reference's order, in the package's order (η, w, c)."""
    p = len(block)
    return block[[p - 1, *range(1, p - 1), 0]]


def exact_blocks(case: Case) -> list[np.ndarray]:
    S = reference.residual_hessian(case.net, case.X, case.y, arithmetic=PRECISE)
    return [ours(ours(block).T).T for block in S]


def radius_ratios(case: Case, mode: str, device: str = "cpu") -> list[float]:
    task, r, S = prepared(case, mode, device=device)
    values = bounds.radii(task, r).values.double().cpu().tolist()
    computed = stream.block(task, S, slice(0, task.local), 0.0).double().permute(2, 0, 1).cpu().numpy()
    with ctx.workprec(PRECISE.bits):
        errors = [spectral_norm_upper(exact(a) - b) for a, b in zip(computed, exact_blocks(case), strict=True)]
    return [error / value if error else 0.0 for error, value in zip(errors, values, strict=True)]


@given(
    problem=problems(max_width=4, max_dim=3, max_points=5, activations=[*IN_THEORY, "square"], extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_radii_bound_the_errors_of_the_blocks(problem: Example, mode: str) -> None:
    net, X, y, _ = problem
    case = rounded(net, X, y, MODES[mode][0])
    ratios = radius_ratios(case, mode)
    assert max(ratios) <= 1, f"{ratios}: {case.told}, {mode=}"


@every_mode
def test_radii_are_bounds_and_not_a_million_times_too_large(mode: str, device: str) -> None:
    ratios = []
    for seed, name in enumerate([*IN_THEORY, "square"]):
        case = seeded(400 + seed, 40, 1 + seed % 4, 20, activation=name, dtype=MODES[mode][0])
        ratios.append(max(radius_ratios(case, mode, device)))
    assert max(ratios) <= 1, ratios
    assert min(ratios) > 1e-5, ratios


@given(
    problem=problems(max_width=4, max_dim=3, max_points=5, activations=sorted(ACTIVATIONS), extreme=False),
    mode=st.sampled_from(list(MODES)),
)
def test_the_jacobian_bound_is_one(problem: Example, mode: str) -> None:
    net, X, y, _ = problem
    case = rounded(net, X, y, MODES[mode][0])
    task, _, _ = prepared(case, mode)
    with ctx.workprec(PRECISE.bits):
        J = reference.jacobian(case.net, case.X, arithmetic=PRECISE).reshape(-1)
        norm = sum((v * v for v in J), arb(0)).sqrt()
        assert norm <= arb(bounds.jacobian_bound(task)), f"{norm} above {bounds.jacobian_bound(task)}: {case.told}, {mode=}"


def test_the_jacobian_bound_is_near() -> None:
    for seed, name in enumerate(IN_THEORY):
        case = seeded(500 + seed, 50, 2, 10, activation=name)
        task, _, _ = prepared(case, "float64")
        norm = np.linalg.norm(reference.jacobian(case.net, case.X))
        assert norm <= bounds.jacobian_bound(task) <= 20 * norm
