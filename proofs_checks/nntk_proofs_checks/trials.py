"""Independent trials, such as the training of networks, shared out to processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from joblib import Parallel, cpu_count, delayed, parallel_config

from nntk_reference import validation

__all__ = ["filled", "in_processes", "one_thread", "processes", "trials"]

T = TypeVar("T")

_IDLE_SECONDS = 30
"""After which a process without work ends: soon, should this one have been killed, but not between two claims."""


def processes(jobs: int | None) -> int:
    """`jobs`, or as many as this process may use cores where it is None. Raises InputError if it is below 1."""
    return cpu_count() if jobs is None else validation.whole_number("jobs", jobs)


@contextmanager
def in_processes(jobs: int) -> Iterator[None]:
    """Share out what `trials` does inside to so many processes; one is this process, and the default.

    Results do not depend on the number: each trial draws from a generator of its own and runs on one thread.
    """
    if jobs == 1:
        yield
        return
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1, idle_worker_timeout=_IDLE_SECONDS):
        yield


def trials(function: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
    """function(*a) for every a, in their order. `function` is a module's, as processes have to find it by its name."""
    found: list[T] = list(Parallel()(delayed(_alone)(function, a) for a in arguments))
    return found


def filled(
    columns: Sequence[list[T]],
    counts: Sequence[int],
    function: Callable[..., T],
    arguments: Callable[[int, int], tuple[Any, ...]],
) -> list[list[T]]:
    """The first counts[k] trials of every column k, of which those that `columns` does not hold yet are made and kept there.

    arguments(k, index) are those of trial number `index` of column k.
    """
    # the last column first, whose trials take longest: no process then waits for another's
    missing = [(k, index) for k in reversed(range(len(columns))) for index in range(len(columns[k]), counts[k])]
    for (k, _), made in zip(missing, trials(function, [arguments(*place) for place in missing]), strict=True):
        columns[k].append(made)
    return [column[:count] for column, count in zip(columns, counts, strict=True)]


def _alone(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    with one_thread():
        return function(*arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, so that sums do not depend on how many there are; then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
