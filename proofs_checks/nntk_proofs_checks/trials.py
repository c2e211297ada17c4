"""Independent trials, such as the training of networks, shared out to processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from traceback import format_exc
from typing import Any, TypeVar

import torch
from joblib import Parallel, cpu_count, delayed, parallel_config

import nntk_accelerated
import nntk_reference
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
    """function(*a) for every a, in their order. `function` is a module's, as processes have to find it by its name.

    Raises what the first of them raises, in this order, whichever failed first by the clock.
    """
    registries = [_registry(*place) for place in _REGISTRIES]
    found: list[T] = []
    for outcome in Parallel()(delayed(_alone)(function, a, registries) for a in arguments):
        if isinstance(outcome, _Raised):
            if outcome.error.__traceback__ is None:  # it came from another process, and tracebacks do not travel
                outcome.error.add_note(outcome.traceback)
            raise outcome.error
        found.append(outcome)
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


@dataclass(frozen=True)
class _Raised:
    error: Exception
    traceback: str


@dataclass(frozen=True)
class _Registry:
    """Names of a registry, in order, and those of its entries with which the package does not come."""

    package: str
    kind: str
    names: tuple[str, ...]
    added: dict[str, Any]


_REGISTRIES = tuple((package, kind) for package in (nntk_reference, nntk_accelerated) for kind in ("ACTIVATIONS", "LAWS"))


def _registry(package: Any, kind: str) -> _Registry:
    entries = getattr(package, kind)
    added = {name: entry for name, entry in entries.items() if name not in package.BUILT_IN[kind]}
    return _Registry(package.__name__, kind, tuple(entries), added)


def _alone(function: Callable[..., T], arguments: tuple[Any, ...], registries: Sequence[_Registry]) -> T | _Raised:
    for registry in registries:
        entries = getattr(import_module(registry.package), registry.kind)
        if tuple(entries) != registry.names:  # a process of its own knows only what the packages come with
            known = dict(entries) | registry.added
            entries.clear()
            entries.update((name, known[name]) for name in registry.names)
    with one_thread():
        try:
            return function(*arguments)
        except Exception as error:
            return _Raised(error, format_exc())


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, so that sums do not depend on how many there are; then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
