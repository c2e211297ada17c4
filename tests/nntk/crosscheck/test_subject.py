"""Finding the factory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nntk.crosscheck import FactoryError, check_optimizer
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.subject import Subject, SubjectError, subject, tried
from tests.nntk import optimizers, room_subjects


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module:make", "no module 'no_such_module'"),
        ("tests.nntk.optimizers:no_such_name", "no_such_name"),
        ("tests.nntk.optimizers:right_dens", "did you mean 'right_dense'"),
        ("optimizers", "package.module:factory"),
        ("tests.nntk.optimizers:ACTIVATIONS", "callable"),
    ],
)
def test_factories_that_cannot_be_found(path: str, words: str) -> None:
    with pytest.raises(FactoryError, match=words):
        check_optimizer(path)


# --- its form ------------------------------------------------------------------------------------------------------------

CASE = ladder("definite", 0, "float64", 2)[1]


def started(make: Callable[..., Any], form: str | None = None) -> Any:
    return subject(make, form=form).start(CASE, "float64", "cpu")


@pytest.mark.parametrize(
    ("make", "form"),
    [
        (room_subjects.with_loss_and_flag, "torch"),
        (room_subjects.with_batch, "object"),
        (room_subjects.oddly_named, "object"),
        (room_subjects.oddly_named_closure, "torch"),
        (lambda model, X, y, damping: torch.optim.LBFGS(model.parameters()), "torch"),
        (room_subjects.compiles, "function"),
        (lambda theta, X, y, damping, problem=None: theta, "function"),
    ],
)
def test_the_form_is_guessed_from_names_then_class_then_count(make: Callable[..., Any], form: str) -> None:
    assert started(make).form == form


def test_a_torch_optimizer_takes_a_closure_whatever_its_step_is_called_with() -> None:
    class Odd(torch.optim.SGD):
        def step(self, again: Any, weight: Any) -> None:  # type: ignore[override]
            """Nothing."""

    assert started(lambda model, X, y, damping: Odd(model.parameters())).form == "torch"


def test_a_form_that_is_given_is_taken() -> None:
    session = started(room_subjects.oddly_named, "torch")
    assert session.form == "torch"
    assert session.call == "OddlyNamed.step(closure)"
    with pytest.raises(FactoryError, match=r"step\(theta, X, y, damping, problem\)"):
        subject(room_subjects.oddly_named, form="function")


# --- how it is called ----------------------------------------------------------------------------------------------------


def test_a_step_that_cannot_be_called_is_bad_usage_and_one_that_fails_inside_is_not() -> None:
    with pytest.raises(FactoryError, match=r"WithoutArguments.step\(closure\) .* takes 1 positional argument but 2 were given"):
        tried(started(room_subjects.without_arguments))

    def fails(theta: Any, X: Any, y: Any, damping: Any, problem: Any) -> Any:
        return len(damping)

    with pytest.raises(SubjectError, match=r"^TypeError: object of type 'float' has no len\(\)$"):
        tried(started(fails))


def test_a_factory_that_cannot_be_called_is_bad_usage() -> None:
    known: Subject = subject(room_subjects.wants_a_list)
    with pytest.raises(FactoryError, match=r"wants_a_list\(model, X, y, damping\) to make an optimizer, got TypeError: "):
        known.made(CASE, "float64", "cpu")
    with pytest.raises(SubjectError, match="no such preconditioner"):
        subject(optimizers.unbuildable).made(CASE, "float64", "cpu")


def test_the_class_of_a_torch_optimizer_is_no_factory_but_a_class_may_be_one() -> None:
    for kind in (torch.optim.SGD, torch.optim.LBFGS, room_subjects.AsFactory):
        with pytest.raises(FactoryError, match=f"a factory, such as .*{kind.__name__}.*itself"):
            subject(kind)

    class Mine(room_subjects.WithBatch):
        def __init__(self, model: Any, X: Any, y: Any, damping: float) -> None:
            super().__init__(model, X, y)

    assert started(Mine).form == "object"


def test_evaluations_are_counted_in_every_form() -> None:
    def twice(theta: Any, X: Any, y: Any, damping: float, problem: Any) -> Any:
        problem.loss(theta)
        problem.gradient(theta)
        return theta - problem.gradient(theta)

    session = started(twice)
    session.step()
    assert session.closure_calls == 2
    session = started(room_subjects.with_loss_and_flag)
    session.step()
    assert session.closure_calls == 1


def test_only_the_first_step_on_a_kind_of_problem_is_a_first_call() -> None:
    known = subject(room_subjects.with_batch)
    first, second = (known.start(CASE, "float64", "cpu") for _ in range(2))
    other = known.start(ladder("definite", 0, "float64", 2)[0], "float64", "cpu")
    assert [first.fresh, second.fresh, other.fresh] == [True, False, True]  # type: ignore[attr-defined]
    first.step()
    assert not first.fresh  # type: ignore[attr-defined]


def test_what_an_optimizer_says_is_made_visible() -> None:
    with pytest.raises(SubjectError) as raised:
        started(room_subjects.speaks_in_escapes).step()
    assert str(raised.value) == r"ValueError: \x1b[31mred\x07"
    assert "\x1b" not in raised.value.trace
