"""Trials in processes: the same results, in order, whatever their number."""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import replace

import pytest
import torch

import nntk_accelerated
import nntk_reference
from nntk_proofs_checks import CLAIMS, Effort, ensemble
from nntk_proofs_checks.ensemble import Setup, standardized
from nntk_proofs_checks.trials import filled, in_processes, one_thread, processes, trials
from nntk_reference import InputError, QuadratureError
from nntk_reference.arithmetic import NotProved
from tests.proofs_checks.problems import line


def _here(number: int) -> tuple[int, int, int]:
    return number, os.getpid(), torch.get_num_threads()


def test_in_this_process_unless_told() -> None:
    assert trials(_here, [(k,) for k in range(3)]) == [(k, os.getpid(), 1) for k in range(3)]


def test_in_other_processes_one_thread_each_and_in_order() -> None:
    with in_processes(2):
        found = trials(_here, [(k,) for k in range(8)])
    assert [number for number, _, _ in found] == list(range(8))
    assert {threads for _, _, threads in found} == {1}
    assert os.getpid() not in {process for _, process, _ in found}
    assert trials(_here, [(0,)])[0][1] == os.getpid()  # as before


def test_runs_do_not_depend_on_the_number_of_processes() -> None:
    problem, setup = standardized(line(6)), Setup(0.75, (8, 512), 3, features=True)
    alone = ensemble.ensemble(problem, setup)
    ensemble.cache_clear()
    with in_processes(2):
        shared = ensemble.ensemble(problem, setup)
    for a, b in zip(alone, shared, strict=True):
        for one, other in zip(a, b, strict=True):
            assert one.outputs.tobytes() == other.outputs.tobytes()
            assert (one.taylor, one.drift) == (other.taylor, other.drift)


def test_what_was_made_is_not_made_again() -> None:
    made: list[tuple[int, int]] = []

    def make(k: int, index: int) -> tuple[int, int]:
        made.append((k, index))
        return k, index

    columns: list[list[tuple[int, int]]] = [[], []]
    first = filled(columns, (1, 2), make, lambda k, index: (k, index))
    assert first == [[(0, 0)], [(1, 0), (1, 1)]]
    assert filled(columns, (2, 1), make, lambda k, index: (k, index)) == [[(0, 0), (0, 1)], [(1, 0)]]
    assert made == [(1, 0), (1, 1), (0, 0), (0, 1)]  # the last column first


def test_an_error_comes_through_and_leaves_what_there_was() -> None:
    columns: list[list[float]] = [[1.0]]
    with pytest.raises(ZeroDivisionError):
        filled(columns, (3,), lambda k: 1 / k, lambda k, index: (0,))
    assert columns == [[1.0]]


def _fail(seconds: float, error: type[Exception]) -> None:
    time.sleep(seconds)
    raise error(f"after {seconds} s")


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_in_order_comes_through(jobs: int) -> None:
    """Whichever comes first by the clock: claims tell a proof that fails from one that is out of reach."""
    with in_processes(jobs), pytest.raises(NotProved, match=r"after 0\.3 s") as caught:
        trials(_fail, [(0.3, NotProved), (0.0, QuadratureError)])
    # and where it was raised, for NNTK_DEBUG=1
    assert "in _fail" in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("registries")
def test_what_a_program_registers_is_there_in_every_process() -> None:
    """Also in those that ran before, and in the registry's order; what is taken out is gone there, too."""
    with in_processes(2):
        before = trials(_names, [()] * 4)
        nntk_reference.register(replace(nntk_reference.ACTIVATIONS["tanh"], name="another"))
        nntk_accelerated.register(replace(nntk_accelerated.ACTIVATIONS["tanh"], name="another", function=lambda z: z))
        nntk_reference.register_law(replace(nntk_reference.LAWS["uniform"], name="other"))
        during = trials(_names, [()] * 4)
        del nntk_reference.ACTIVATIONS["another"], nntk_accelerated.ACTIVATIONS["another"], nntk_reference.LAWS["other"]
        after = trials(_names, [()] * 4)
    assert before == after == [_names()] * 4
    reference, laws, accelerated = _names()
    assert during == [([*reference, "another"], [*laws, "other"], [*accelerated, "another"])] * 4


def _names() -> tuple[list[str], list[str], list[str]]:
    return list(nntk_reference.ACTIVATIONS), list(nntk_reference.LAWS), list(nntk_accelerated.ACTIVATIONS)


@pytest.mark.parametrize("id", ["push-through", "positive-definite", "ntk-decay", "nntk-bound", "exponential", "one-step"])
def test_claims_find_the_same_in_any_number_of_processes(id: str) -> None:
    problem = line(6)
    alone = CLAIMS[id].check(problem, Effort.QUICK)
    with in_processes(2):
        assert CLAIMS[id].check(problem, Effort.QUICK) == alone


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2"])
def test_the_number_of_processes_is_checked(jobs: object) -> None:
    with pytest.raises(InputError, match="jobs"):
        processes(jobs)  # type: ignore[arg-type]


def test_as_many_as_there_are_cores() -> None:
    assert processes(None) >= 1
    assert processes(3) == 3


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with one_thread():
            inside.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [1]
    assert torch.get_num_threads() == before


def test_efforts_look_more_than_once() -> None:
    for effort in Effort:
        assert len(ensemble.SEEDS[effort]) > 1
        assert list(ensemble.SEEDS[effort]) == sorted(set(ensemble.SEEDS[effort]))
