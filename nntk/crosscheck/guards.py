"""What keeps an optimizer from harming the run: a time limit, output that is caught, global state that is put back."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nntk_reference
from nntk.reporting.characters import visible

__all__ = [
    "FIRST_CALLS",
    "OutOfTime",
    "Output",
    "Told",
    "counted",
    "first_call",
    "guarded",
    "notes",
    "tell_first_calls",
    "time_limit",
]


class OutOfTime(BaseException):
    """No Exception, so that an optimizer that catches everything does not catch it."""


FIRST_CALLS = 10.0
"""Times its limit that a block may take in all: with first calls, in which a compiler may be at work."""


class _Clock:
    """The alarm of the block that has a time limit. It stands still during first calls, as long as there is `spare` time."""

    def __init__(self) -> None:
        self.runs, self.spare = False, 0.0
        self.told: Callable[[bool], None] | None = None

    @contextmanager
    def running(self, spare: float) -> Iterator[None]:
        before = self.runs, self.spare
        self.runs, self.spare = True, spare
        try:
            yield
        finally:
            self.runs, self.spare = before


_CLOCK = _Clock()


def tell_first_calls(told: Callable[[bool], None]) -> None:
    """Call told(True) when a first call begins, and told(False) when it ends: for who watches from another process."""
    _CLOCK.told = told


@contextmanager
def time_limit(seconds: float, first_calls: float = FIRST_CALLS) -> Iterator[None]:
    """Raise OutOfTime in the block after so long; only where signals can be had, in the main thread of a Unix process.

    The time of first calls does not count, until the block has taken `first_calls` times its limit.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(signum: int, frame: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    # Again every second: one that is swallowed, or lands in a callback, must not be the last.
    earlier = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    begin = time.monotonic()
    try:
        with _CLOCK.running((first_calls - 1) * seconds):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if earlier[0]:  # a host's own alarm, such as pytest-timeout's
            signal.setitimer(signal.ITIMER_REAL, max(earlier[0] - (time.monotonic() - begin), _SOON), earlier[1])


_SOON = 1e-3
"""Seconds. An alarm in no time would be none."""


@contextmanager
def first_call() -> Iterator[None]:
    """The block is the first of its kind, and what it takes is not held against the time limit around it."""
    if _CLOCK.told is not None:
        _CLOCK.told(True)
    left, begin = 0.0, time.monotonic()
    if _CLOCK.runs:
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, max(left + _CLOCK.spare, _SOON), 1.0)
    try:
        yield
    finally:
        if _CLOCK.runs:
            took = time.monotonic() - begin
            counts = max(took - _CLOCK.spare, 0.0)
            _CLOCK.spare = max(_CLOCK.spare - took, 0.0)
            signal.setitimer(signal.ITIMER_REAL, max(left - counts, _SOON), 1.0)
        if _CLOCK.told is not None:
            _CLOCK.told(False)


_OURS = Path(nntk_reference.__file__).parent


@dataclass(frozen=True)
class Told:
    """What an optimizer did beside its steps in one piece of the work.

    imported, printed  what it printed when it was imported, and after: (the first line, how many lines), ("", 0) for none.
    """

    imported: tuple[str, int] = ("", 0)
    printed: tuple[str, int] = ("", 0)
    warned: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()


def notes(told: Iterable[Told]) -> list[str]:
    """What the pieces of the work have told, in short, each thing once."""
    pieces = list(told)
    lines = []
    for what, parts in (
        ("prints at import", [piece.imported for piece in pieces][:1]),
        ("prints", [piece.printed for piece in pieces]),
    ):
        first, number = next((line for line, _ in parts if line), ""), sum(number for _, number in parts)
        if first:
            more = f" and {number - 1} line{'s' * (number != 2)} more" if number > 1 else ""
            lines.append(f"{what}: {first[:120]!r}{more}")
    lines += [f"warns: {text[:200]}" for text in list(dict.fromkeys(w for piece in pieces for w in piece.warned))[:3]]
    threads = list(dict.fromkeys(name for piece in pieces for name in piece.threads))
    return lines + ([f"starts threads: {', '.join(threads[:3])}{', …' * (len(threads) > 3)}"] if threads else [])


def counted(lines: Iterable[str]) -> tuple[str, int]:
    """(the first line that is not blank, how many there are)."""
    first, number = "", 0
    for line in lines:
        if line.strip():
            first, number = first or line.rstrip("\n")[:200], number + 1
    return first, number


@dataclass
class Output:
    """What the optimizer prints and warns of, kept off the terminal, and the threads that it starts."""

    printed: io.StringIO = field(default_factory=io.StringIO)
    warned: dict[str, None] = field(default_factory=dict)
    threads: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def captured(self) -> Iterator[None]:
        """What Python prints in the block."""
        with contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.printed), self.watched():
            yield

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is warned of in the block, and the threads that are started in it and go on."""
        before = {thread.ident for thread in threading.enumerate()}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                yield
            finally:
                for w in caught:
                    if issubclass(w.category, DeprecationWarning | FutureWarning) or Path(w.filename).is_relative_to(_OURS):
                        continue  # torch's own, and the reference's where an optimizer has left the range of float64
                    self.warned[visible(f"{w.category.__name__}: {' '.join(str(w.message).split())}")] = None
                started = [thread.name for thread in threading.enumerate() if thread.ident not in before]
                self.threads.update(dict.fromkeys(visible(name) for name in started))

    def told(self) -> Told:
        """What was kept."""
        return Told(
            printed=counted(self.printed.getvalue().splitlines()), warned=tuple(self.warned), threads=tuple(self.threads)
        )


@contextmanager
def guarded() -> Iterator[None]:
    """Undo what the optimizer does to global state: generators, default dtype, threads, gradient mode, NumPy's errors."""
    python, numpy_, generator = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    dtype, threads, gradients, errors = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), np.geterr()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_)  # noqa: NPY002
        torch.set_rng_state(generator)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
        if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call alone imports torch's compiler
            torch.use_deterministic_algorithms(deterministic)
        np.seterr(**errors)
