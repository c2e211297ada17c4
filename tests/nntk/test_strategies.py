"""nntk.strategies: what is drawn, how it shrinks, what is refused, and that a user's test file can use it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from nntk import strategies
from nntk.strategies import Example, data_sets, networks, problems, regularizations
from nntk_reference import (
    ACTIVATIONS,
    Ball,
    InputError,
    Network,
    UnknownActivationError,
    gauss_newton_nntk,
    gradient,
    hessian,
    loss,
    newton_step,
    ntk,
    outputs,
)

IN_THEORY = [name for name, entry in ACTIVATIONS.items() if entry.in_theory]


def sample(strategy: st.SearchStrategy[Any], count: int = 400) -> list[Any]:
    """`count` examples, the same ones in every run."""
    drawn: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(strategy)
    def collect(example: Any) -> None:
        drawn.append(example)

    collect()
    return drawn


@cache
def drawn_problems() -> list[Example]:
    return sample(problems())


# --- coverage ----------------------------------------------------------------------------------------------------------------


def rows_repeat(rows: np.ndarray) -> bool:
    return len(np.unique(rows, axis=0)) < len(rows)


def neurons(net: Network) -> np.ndarray:
    return np.column_stack([net.c, net.w, net.eta])


def largest(problem: Example) -> float:
    net, X, y, _ = problem
    return max(float(np.abs(a).max()) for a in (net.c, net.w, net.eta, X, y))


CASES: dict[str, Callable[[Example], bool]] = {
    "N < M": lambda p: p[0].width < len(p[1]),
    "N = M": lambda p: p[0].width == len(p[1]),
    "N > M": lambda p: p[0].width > len(p[1]),
    "one neuron": lambda p: p[0].width == 1,
    "one point": lambda p: len(p[1]) == 1,
    **{f"d = {d}": lambda p, d=d: p[0].dim == d for d in range(1, 7)},
    **{name: lambda p, name=name: p[0].activation == name for name in IN_THEORY},
    "beta below 0.6": lambda p: p[0].beta < 0.6,
    "beta above 0.9": lambda p: p[0].beta > 0.9,
    "repeated inputs, unequal targets": lambda p: rows_repeat(p[1]) and not rows_repeat(np.column_stack([p[1], p[2]])),
    "repeated points": lambda p: rows_repeat(np.column_stack([p[1], p[2]])) and p[1].any(),
    "repeated neurons": lambda p: rows_repeat(neurons(p[0])) and p[0].w.any(),
    "dead neuron among others": lambda p: not p[0].c.all() and p[0].c.any(),
    "exactly zero residuals": lambda p: not p[0].c.any() and not p[2].any(),
    "zero residuals to rounding": lambda p: bool(p[0].c.any()) and np.array_equal(p[2], outputs(p[0], p[1])),
    "generic residuals": lambda p: loss(p[0], p[1], p[2]) > 1e-3,
    "tiny gamma": lambda p: p[3] < 1e-10,
    "huge gamma": lambda p: p[3] > 1e10,
    "gamma = 1": lambda p: p[3] == 1,
    "large numbers": lambda p: largest(p) > 1e20,
    "small numbers": lambda p: any(0 < np.abs(a).max() < 1e-20 for a in (p[0].c, p[0].w, p[0].eta, p[1], p[2])),
    "indefinite": lambda p: newton_step(p[0], p[1], p[2], p[3], arithmetic=Ball(64)).negative_eigenvalues > 0,
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_problem_is_drawn(case: str) -> None:
    # balls only for problems that are quick: the question is whether there is one
    pool = drawn_problems() if case != "indefinite" else [p for p in drawn_problems() if p[0].parameters <= 12 and p[3] < 1]
    assert any(CASES[case](p) for p in pool), f"{case}: none of {len(pool)} examples"


def test_options_switch_the_special_and_the_extreme_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for net, X, y, gamma in sample(problems(special=False, extreme=False, min_gamma=0.5, max_gamma=2.0), 200):
        assert largest((net, X, y, gamma)) <= 3
        assert 0.5 <= gamma <= 2
    # Repeats are told by who makes them: hypothesis repeats what it drew, too, more or less often with what modules are loaded.
    repeated = []
    repeat = strategies._repeat
    monkeypatch.setattr(strategies, "_repeat", lambda draw, rows: (repeated.append(rows.shape), repeat(draw, rows)))
    sample(problems(special=False, extreme=False, min_width=2), 200)
    assert repeated == []
    sample(problems(min_width=2), 400)
    assert len(repeated) > 20


@given(
    problems(
        min_width=2,
        max_width=3,
        min_dim=2,
        max_dim=4,
        min_points=3,
        max_points=5,
        activations=["erf", "square"],
        betas=[0.5, 0.7],
        negative_control=True,
        min_gamma=0.1,
        max_gamma=0.2,
        extreme=False,
    )
)
def test_bounds_are_kept(problem: Example) -> None:
    net, X, y, gamma = problem
    assert 2 <= net.width <= 3
    assert 2 <= net.dim <= 4
    assert 3 <= len(X) == len(y) <= 5
    assert net.activation in ("erf", "square")
    assert net.beta in (0.5, 0.7)
    assert 0.1 <= gamma <= 0.2


@given(networks(), data_sets(), regularizations())
def test_every_example_is_valid(net: Network, data: tuple[np.ndarray, np.ndarray], gamma: float) -> None:
    assert isinstance(net, Network)  # which checked its own arguments
    assert 0.5 < net.beta < 1
    assert net.activation in IN_THEORY
    X, y = data
    assert X.shape == (len(y), X.shape[1])
    assert X.dtype == y.dtype == np.float64
    assert np.isfinite(X).all()
    assert np.isfinite(y).all()
    assert isinstance(gamma, float)
    assert 0 < gamma < math.inf


@settings(max_examples=200)
@given(problems())
def test_float64_results_are_finite_even_at_extreme_scales(problem: Example) -> None:
    net, X, y, gamma = problem
    # RangeError would be raised if one of these were not finite
    outputs(net, X)
    loss(net, X, y)
    gradient(net, X, y)
    hessian(net, X, y)
    gauss_newton_nntk(net, X, max(gamma, float(np.abs(ntk(net, X)).max())))


def test_a_sample_is_the_same_in_every_run() -> None:
    first, second = sample(problems(), 30), sample(problems(), 30)
    for (net, X, y, gamma), (net2, X2, y2, gamma2) in zip(first, second, strict=True):
        assert np.array_equal(neurons(net), neurons(net2))
        assert np.array_equal(X, X2)
        assert np.array_equal(y, y2)
        assert gamma == gamma2


# --- shrinking ---------------------------------------------------------------------------------------------------------------

SEARCH = settings(max_examples=5000, derandomize=True, database=None, deadline=None)


def smallest(condition: Callable[[Example], bool], **options: Any) -> Example:
    return find(problems(**options), condition, settings=SEARCH)


def test_everything_shrinks_to_one_silent_neuron() -> None:
    net, X, y, gamma = smallest(lambda p: True)
    assert (net.width, net.dim, len(X), gamma, net.activation, net.beta) == (1, 1, 1, 1.0, "tanh", 0.75)
    assert not neurons(net).any()
    assert not X.any()
    assert not y.any()


def test_sizes_shrink_to_what_the_condition_needs() -> None:
    net, X, _, gamma = smallest(lambda p: p[0].width >= 3 and len(p[1]) >= 2 and p[0].dim >= 2)
    assert (net.width, net.dim, len(X), gamma) == (3, 2, 2, 1.0)
    assert not neurons(net).any()


def test_other_neurons_and_points_are_dropped_from_around_the_one_that_matters() -> None:
    net, X, _, _ = smallest(lambda p: bool((p[0].w > 1).any() and (p[1] < -1).any()), extreme=False)
    assert (net.width, len(X)) == (1, 1)
    assert sorted(net.w.flat)[-1] == 2.0  # the simplest number above 1
    assert sorted(X.flat)[0] == -2.0
    assert sum(v != 0 for v in (*net.w.flat, *X.flat)) == 2


def test_a_nonzero_gradient_shrinks_to_a_single_unit() -> None:
    net, X, y, gamma = smallest(lambda p: bool(gradient(*p[:3]).any()), extreme=False)
    assert (net.width, net.dim, len(X), net.activation, gamma) == (1, 1, 1, "tanh", 1.0)
    values = [*neurons(net).flat, *X.flat, *y.flat]
    assert sum(v != 0 for v in values) == 2  # a neuron and a target
    assert all(v in (0.0, 1.0) for v in values)


def test_gamma_activation_and_beta_shrink_one_by_one() -> None:
    assert smallest(lambda p: p[3] > 1)[3] == 10.0
    assert smallest(lambda p: p[0].activation == "gelu")[0].width == 1
    assert find(networks(), lambda net: net.beta > 0.8, settings=SEARCH).beta == 0.875
    assert find(regularizations(min_gamma=2.0, max_gamma=50.0, extreme=False), lambda g: True, settings=SEARCH) == 10.0


# --- bad options -------------------------------------------------------------------------------------------------------------

BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (networks, {"min_width": 0}, "min_width"),
    (networks, {"min_width": 5, "max_width": 4}, "max_width"),
    (networks, {"max_dim": 0}, "max_dim"),
    (networks, {"min_dim": 2.0}, "min_dim"),
    (networks, {"max_dim": "6"}, "max_dim"),
    (networks, {"max_width": True}, "max_width"),
    (networks, {"activations": []}, "activations"),
    (networks, {"activations": "tanh"}, "activations"),
    (networks, {"activations": ["tanh", "tahn"]}, "activation"),
    (networks, {"activations": 3}, "activations"),
    (networks, {"betas": []}, "betas"),
    (networks, {"betas": 0.75}, "betas"),
    (networks, {"betas": [0.5]}, "beta"),
    (networks, {"betas": [0.75, 1.0]}, "beta"),
    (networks, {"betas": [1.5], "negative_control": True}, "beta"),
    (networks, {"betas": [math.nan]}, "beta"),
    (data_sets, {"min_points": 0}, "min_points"),
    (data_sets, {"min_points": 7}, "max_points"),
    (data_sets, {"min_dim": 0}, "min_dim"),
    (regularizations, {"min_gamma": 0.0}, "min_gamma"),
    (regularizations, {"max_gamma": math.inf}, "max_gamma"),
    (regularizations, {"min_gamma": math.nan}, "min_gamma"),
    (regularizations, {"min_gamma": 2.0, "max_gamma": 1.0}, "max_gamma"),
    (problems, {"min_width": 0}, "min_width"),
    (problems, {"max_points": 0}, "max_points"),
    (problems, {"max_dim": 0}, "max_dim"),
    (problems, {"activations": ["nope"]}, "activation"),
    (problems, {"betas": [1.0]}, "beta"),
    (problems, {"min_gamma": -1.0}, "min_gamma"),
]


@pytest.mark.parametrize(("strategy", "options", "argument"), BAD)
def test_bad_options_are_refused_before_drawing(strategy: Callable[..., Any], options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError, match=r"expected .*, got ") as caught:
        strategy(**options)
    assert caught.value.argument == argument


def test_an_unknown_activation_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownActivationError, match="did you mean 'tanh'"):
        networks(activations=["tahn"])


def test_options_are_keyword_only() -> None:
    for strategy in (networks, data_sets, regularizations, problems):
        with pytest.raises(TypeError):
            strategy(1)  # type: ignore[call-arg,misc]


# --- in a user's test file ---------------------------------------------------------------------------------------------------


def test_a_user_can_draw_from_it_and_gets_a_small_counterexample(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(
        test_user="""
        from hypothesis import given, settings
        from nntk.strategies import data_sets, networks, problems, regularizations
        from nntk_reference import gradient

        FIXED = settings(derandomize=True, database=None, deadline=None)

        @FIXED
        @given(problems(max_width=3, max_dim=2))
        def test_shape(problem):
            net, X, y, gamma = problem
            assert gradient(net, X, y).shape == (net.width, net.dim + 2)

        @FIXED
        @given(networks(), data_sets(), regularizations())
        def test_parts(net, data, gamma):
            assert net.width >= 1 and len(data) == 2 and gamma > 0

        @FIXED
        @given(problems())
        def test_false(problem):
            assert problem[0].width < 2
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark", str(path))
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*Network(c=array(?0., 0.?)*"])


def test_the_docstring_example_runs() -> None:
    import doctest

    from nntk import strategies

    failed, attempted = doctest.testmod(strategies)
    assert attempted >= 4
    assert failed == 0
