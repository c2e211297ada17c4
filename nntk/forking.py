"""The server that the cross-check's processes are forked from. Imports nothing heavy, so that it can be started at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator

__all__ = ["METHOD", "start_server"]

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""How children are made: clean ones cost little where there is a server with everything imported, and nothing computed."""

_PRELOADED = ["nntk.cli", "nntk.crosscheck.isolation", "torch._dynamo"]
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",
}
"""Of the children: small matrices are worth one thread, whose sums come in one order; and sets have one order."""


def start_server() -> None:
    """Start it, if it does not run, while this process has other things to do."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(_PRELOADED)
        with _environment(), _without_interrupts():
            forkserver.ensure_running()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started here does not see Ctrl-C, not even while it imports: that is for this process alone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
