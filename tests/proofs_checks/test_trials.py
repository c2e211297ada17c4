"""Trials in processes: the same results, in order, whatever their number."""

from __future__ import annotations

import os

import pytest
import torch

from nntk_proofs_checks import Effort, ensemble
from nntk_proofs_checks.ensemble import Setup, standardized
from nntk_proofs_checks.trials import filled, in_processes, one_thread, processes, trials
from nntk_reference import InputError
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
