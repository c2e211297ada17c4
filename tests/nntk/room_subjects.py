"""Subjects that end their process, hang it, or are no factories: what the cross-check has to stand.

Each is right or a plain gradient step until it goes wrong, in its fourth step: not in the first, which every run begins with.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nntk.crosscheck import FunctionProblem
from nntk_accelerated import ShallowNet
from nntk_reference.arithmetic import Array

Step = Callable[[Array, Array, Array, float, FunctionProblem], Array]

_steps: dict[str, int] = {}


def _in_fourth_step(name: str, harm: Callable[[], None]) -> Step:
    def step(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
        _steps[name] = _steps.get(name, 0) + 1
        if _steps[name] == 4:
            harm()
        return np.asarray(theta - problem.gradient(theta))

    return step


def _hang_in_c() -> None:
    """In a call that holds the interpreter and hears no signal that it may block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    sleep = ctypes.PyDLL(None).sleep
    sleep(10_000)


segfaults = _in_fourth_step("segfaults", lambda: ctypes.string_at(0) and None)
exits_at_once = _in_fourth_step("exits_at_once", lambda: os._exit(7))
killed = _in_fourth_step("killed", lambda: os.kill(os.getpid(), signal.SIGKILL))
hangs = _in_fourth_step("hangs", _hang_in_c)


def compiles(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
    """A gradient step that takes a second and a half for each new shape, as a compiler does."""
    kind = f"{theta.shape} {X.shape} {problem.activation}"
    if kind not in _steps:
        time.sleep(1.5)
        _steps[kind] = 1
    return np.asarray(theta - problem.gradient(theta))


def speaks_in_escapes(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
    """Prints, from Python and from C, and raises, in control characters."""
    os.write(1, b"\x1b[2Jcleared\n")
    print("\x1b]0;title\x07", file=sys.stderr)
    raise ValueError("\x1b[31mred\x07")


def starts_a_thread(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
    """A gradient step; leaves a thread behind."""
    threading.Thread(target=time.sleep, args=(600,), name="helper", daemon=True).start()
    return np.asarray(theta - problem.gradient(theta))


class AsFactory(torch.optim.Optimizer):
    """A class in the place of a factory, with room for four arguments."""

    def __init__(self, params: Any, lr: float = 1.0, momentum: float = 0.0, damping: float = 0.0) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """No step."""


def wants_a_list(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> torch.optim.Optimizer:
    """Hands the model over where its parameters are wanted."""
    return torch.optim.SGD(model)  # type: ignore[arg-type]


class _Stepped:
    def __init__(self, model: ShallowNet, X: Tensor, y: Tensor) -> None:
        self.model, self.X, self.y = model, X, y

    def gradient_step(self) -> None:
        self.model.zero_grad()
        ((self.model(self.X) - self.y).square().sum() / (2 * len(self.y))).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p in self.model.parameters():
                assert p.grad is not None
                p -= p.grad


class WithoutArguments(_Stepped):
    """step() takes nothing."""

    def step(self) -> None:
        """A gradient step."""
        self.gradient_step()


class WithLossAndFlag(_Stepped):
    """step(loss_fn, verbose) takes a closure, though it has two arguments."""

    def step(self, loss_fn: Callable[[], Tensor], verbose: bool = False) -> None:
        """A gradient step."""
        loss_fn()
        self.gradient_step()


class WithBatch(_Stepped):
    """step(batch, targets) takes data, though its first argument is not X."""

    def step(self, batch: Tensor, targets: Tensor | None = None) -> None:
        """A gradient step."""
        assert batch.shape == self.X.shape
        self.gradient_step()


class OddlyNamed(_Stepped):
    """step(points, labels) has names that tell nothing."""

    def step(self, points: Tensor, labels: Tensor) -> None:
        """A gradient step."""
        assert points.shape == self.X.shape
        self.gradient_step()


class OddlyNamedClosure(_Stepped):
    """step(again, often=1) takes a closure."""

    def step(self, again: Callable[[], Tensor], often: int = 1) -> None:
        """A gradient step, or several."""
        assert callable(again)
        for _ in range(often):
            self.gradient_step()


def _made(kind: Callable[[ShallowNet, Tensor, Tensor], Any]) -> Callable[..., Any]:
    return lambda model, X, y, damping: kind(model, X, y)


without_arguments = _made(WithoutArguments)
with_loss_and_flag = _made(WithLossAndFlag)
with_batch = _made(WithBatch)
oddly_named = _made(OddlyNamed)
oddly_named_closure = _made(OddlyNamedClosure)
