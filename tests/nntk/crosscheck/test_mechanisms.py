"""How real optimizers go wrong, and how right ones are different: each mechanism planted, with the check that tells."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nntk.crosscheck import Report, check_optimizer
from nntk.crosscheck.report import as_text
from tests.nntk.optimizers import RIGHT, Factory, Point, dense, noisy
from tests.nntk.right_optimizers import MORE_RIGHT


def battery(factory: Factory, *only: str, profile: str = "exact-newton", **options: Any) -> Report:
    return check_optimizer(factory, profile, only=only, effort="quick", diagnose=False, **options)


# --- what goes wrong beyond small cases ----------------------------------------------------------------------------------


def points(chosen: Callable[[int], Any]) -> Factory:
    def part(at: Point) -> Point:
        rows = chosen(len(at.y))
        return replace(at, X=at.X[rows], y=at.y[rows], weights=at.weights[rows])

    return dense(point=part)


def neurons_moved(moved: Callable[[Point], Tensor]) -> Factory:
    return dense(change=lambda at, update: at.lr * update * moved(at))


def clamped(at: Point) -> Point:
    return replace(at, y=at.y.clamp(-1000, 1000))


def after(steps: int) -> Factory:
    """A curvature that is not computed any more after so many steps."""

    def matrix(at: Point) -> Tensor:
        if at.memory["step"] < steps:
            at.memory["hessian"] = at.hessian
        return at.damped(at.memory["hessian"])

    return dense(matrix=matrix)


WRONG: dict[str, tuple[Factory, tuple[str, ...]]] = {
    "the first 64 points": (points(lambda M: slice(64)), ("step-matches", "whole-data")),
    "tiles of 16 points, without the rest": (
        points(lambda M: slice(M - M % 16 if M > 16 else M)),
        ("step-matches", "whole-data"),
    ),
    "one point is none": (neurons_moved(lambda at: torch.tensor(float(len(at.y) > 1))), ("step-matches",)),
    "the first 64 neurons": (neurons_moved(lambda at: (at.neuron < 64).double()), ("step-matches",)),
    "warps of 32 neurons, without the rest": (
        neurons_moved(lambda at: (at.neuron < max(32, len(at.rows) - len(at.rows) % 32)).double()),
        ("step-matches",),
    ),
    "four inputs at most": (dense(right=lambda at: at.gradient * (at.rows.shape[1] <= 6)), ("step-matches",)),
    "targets clamped": (dense(point=clamped), ("step-matches",)),
    "inputs clamped": (dense(point=lambda at: replace(at, X=at.X.clamp(-4, 4))), ("step-matches",)),
    "a small gradient is none": (dense(right=lambda at: at.gradient * (at.gradient.norm() > 1e-4)), ("step-matches",)),
    "β = 3/4 whatever it is": (dense(point=lambda at: replace(at, beta=0.75)), ("step-matches",)),
    "tanh whatever it is": (dense(point=lambda at: replace(at, activation=torch.tanh)), ("step-matches",)),
    "after forty steps": (after(40), ("trajectory",)),
    "a weight decay where there is no gradient": (
        dense(change=lambda at, update: at.lr * (update if bool(at.gradient.any()) else -1e-3 * at.theta)),
        ("step-matches",),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_out_of_sight_is_seen_at_quick_effort(name: str) -> None:
    factory, by = WRONG[name]
    report = battery(factory, *by)
    assert [report[id].outcome for id in by] == ["failed"] * len(by), as_text(report)


# --- noise is measured against rounding ----------------------------------------------------------------------------------


def shaken(size: float) -> Factory:
    def change(at: Point, update: Tensor) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        return noisy(at, update, size, generator)

    return dense(change=change)


def shaken_descent(size: float) -> Factory:
    def change(at: Point, update: Tensor) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        return noisy(at, -1e-2 * at.gradient, size, generator)

    return dense(change=change)


@pytest.mark.parametrize(
    ("profile", "factory", "options"),
    [
        ("exact-newton", shaken, {}),
        ("approximate-newton", shaken, {"rtol": 1e-2}),
        ("first-order", shaken_descent, {}),
    ],
)
def test_a_step_that_varies_fails_in_every_profile_and_the_order_of_threads_does_not(
    profile: str, factory: Callable[[float], Factory], options: dict[str, Any]
) -> None:
    assert battery(factory(1e-6), "deterministic", profile=profile, **options)["deterministic"].outcome == "failed"
    assert battery(factory(1e-14), "deterministic", profile=profile, **options)["deterministic"].outcome == "passed"


# --- right ones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", MORE_RIGHT)
def test_more_right_ones_are_accepted(id: str) -> None:
    right = MORE_RIGHT[id]
    report = battery(right.factory, profile=right.profile, skip=["cost"])
    assert report.passed, as_text(report)


@pytest.mark.parametrize("rtol", [1e-3, 1e-2, 0.1, 0.5])
def test_the_exact_step_is_an_approximate_one_whatever_the_tolerance(rtol: float) -> None:
    report = battery(RIGHT["right_dense"].factory, profile="approximate-newton", rtol=rtol, skip=["cost"])
    assert report.passed, as_text(report)
    if rtol == 0.5:  # which leaves nothing of these to be told
        assert {report[id].outcome for id in ("damping-honoured", "all-parameters-coupled")} == {"skipped"}


class LineSearch(torch.optim.Optimizer):
    """Gradient descent, its step size halved until the loss falls enough."""

    def __init__(self, model: Any, X: Tensor, y: Tensor, damping: float) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})

    def step(self, closure: Any = None) -> Any:
        loss = float(closure())
        parameters = [p for group in self.param_groups for p in group["params"]]
        start, g = [p.detach().clone() for p in parameters], [p.grad.detach().clone() for p in parameters]
        size, slope = self.param_groups[0]["lr"], float(sum((d * d).sum() for d in g))
        for _ in range(40):
            with torch.no_grad():
                for p, s, d in zip(parameters, start, g, strict=True):
                    p.copy_(s - size * d)
            if float(closure()) <= loss - 1e-4 * size * slope:
                break
            size /= 2
        return loss


def test_a_line_search_need_not_scale_with_the_learning_rate() -> None:
    report = battery(LineSearch, profile="first-order", skip=["cost"])
    assert report.passed, as_text(report)
    assert {report[id].outcome for id in ("step-size-honoured", "scheduler")} == {"skipped"}


# --- behaviour -----------------------------------------------------------------------------------------------------------


def test_what_grows_from_step_to_step_is_found() -> None:
    def kept(at: Point, update: Tensor) -> Tensor:
        at.memory.setdefault("history", []).append(update.clone())
        return at.lr * update

    def bounded(at: Point, update: Tensor) -> Tensor:
        at.memory["history"] = [*at.memory.get("history", []), update.clone()][-5:]
        return at.lr * update

    report = battery(dense(change=kept), "does-not-grow")
    assert report["does-not-grow"].outcome == "failed"
    assert report["does-not-grow"].finding.number == pytest.approx(1, rel=0.1)
    assert battery(dense(change=bounded), "does-not-grow")["does-not-grow"].outcome == "passed"


def test_whatever_else_is_alive_the_memory_is_looked_at() -> None:
    """What cannot be asked for its storage, or for its class: left by other code in the same process."""
    kept: list[Any] = [torch.zeros(3).to_sparse(), torch.zeros(3, device="meta")]
    torch.func.vmap(lambda x: (kept.append(x), x)[1])(torch.ones(3))
    with FakeTensorMode():
        kept.append(torch.zeros(3))

    class Gone:
        pass

    gone = Gone()
    kept.append(weakref.proxy(gone))
    del gone
    report = battery(dense(), "does-not-grow")
    assert report["does-not-grow"].outcome == "passed", as_text(report)
    assert len(kept) == 5


def test_what_is_drawn_from_a_global_generator_is_found() -> None:
    def drawn(at: Point, update: Tensor) -> Tensor:
        torch.rand(1)
        return at.lr * update

    report = battery(dense(change=drawn), "leaves-no-trace", "no-side-effects")
    assert [r.outcome for r in report.results] == ["passed", "failed"]
    assert "generator of torch is drawn from" in report["leaves-no-trace"].finding.why


def test_evaluations_are_counted() -> None:
    assert battery(RIGHT["right_dense"].factory, "evaluations")["evaluations"].finding.number == 1
    assert battery(LineSearch, "evaluations", profile="first-order")["evaluations"].finding.number > 1
