"""What keeps an optimizer from harming the run: a time limit, captured output, global state that is put back."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nntk_reference

__all__ = ["OutOfTime", "Output", "guarded", "time_limit"]


class OutOfTime(BaseException):
    """No Exception, so that an optimizer that catches everything does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after so long; only where signals can be had, in the main thread of a Unix process."""
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
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if earlier[0]:  # a host's own alarm, such as pytest-timeout's
            signal.setitimer(signal.ITIMER_REAL, max(earlier[0] - (time.monotonic() - begin), 1e-3), earlier[1])


_OURS = Path(nntk_reference.__file__).parent


@dataclass
class Output:
    """What the optimizer prints and warns of, kept off the terminal."""

    printed: io.StringIO = field(default_factory=io.StringIO)
    warned: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def captured(self) -> Iterator[None]:
        with (
            contextlib.redirect_stdout(self.printed),
            contextlib.redirect_stderr(self.printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("default")
            try:
                yield
            finally:
                for w in caught:
                    if issubclass(w.category, DeprecationWarning | FutureWarning) or Path(w.filename).is_relative_to(_OURS):
                        continue  # torch's own, and the reference's where an optimizer has left the range of float64
                    self.warned[f"{w.category.__name__}: {' '.join(str(w.message).split())}"] = None

    def notes(self) -> list[str]:
        lines = [line for line in self.printed.getvalue().splitlines() if line.strip()]
        told = [f"prints: {lines[0][:120]!r}{f' and {len(lines) - 1} lines more' if len(lines) > 1 else ''}"] if lines else []
        return told + [f"warns: {text[:200]}" for text in list(self.warned)[:3]]


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
