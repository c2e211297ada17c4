"""How the benchmarks measure: times, memory, the machine's GEMM rate, and the problem that they measure on."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from nntk_accelerated import ShallowNet

__all__ = ["BETA", "GAMMA", "Measurement", "NetAndData", "default_problem", "gemm_rate", "peak_memory", "processor", "timed"]

GAMMA, BETA = 0.1, 0.75

NetAndData: TypeAlias = tuple[ShallowNet, torch.Tensor, torch.Tensor]
"""(net, X, y)"""


@dataclass(frozen=True)
class Measurement:
    """One line of a table: median seconds of the rounds, what was wanted of it, and what came."""

    table: str
    case: str
    seconds: float
    number: float
    unit: str
    wanted: str
    met: bool | None
    note: str = ""


def default_problem(width: int, points: int, device: str = "cpu") -> NetAndData:
    """The tanh net of one seed, and y = 2x + 0.4 sin(5πx) at `points` points of [0, 1]."""
    net = ShallowNet(width, 1, beta=BETA, generator=torch.Generator().manual_seed(0)).to(device)
    X = torch.linspace(0, 1, points, dtype=torch.float64, device=device)[:, None]
    return net, X, 2 * X[:, 0] + 0.4 * torch.sin(5 * math.pi * X[:, 0])


def timed(call: Callable[[], Any], device: str, rounds: int = 5) -> tuple[float, Any]:
    """(median seconds, last result), after one call to warm up; a single round goes without."""
    result, seconds = call() if rounds > 1 else None, []
    for _ in range(rounds):
        _wait(device)
        start = time.perf_counter()
        result = call()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def gemm_rate(device: str = "cpu", size: int = 2048) -> float:
    """Flops a second of C = AB in float64, median of 9."""
    A = torch.randn(size, size, dtype=torch.float64, device=device)
    C = torch.empty_like(A)
    seconds, _ = timed(lambda: torch.mm(A, A, out=C), device, 9)
    return 2 * size**3 / seconds


def peak_memory(call: Callable[[], Any], device: str) -> float:
    """GB above what was held before the call; nan where the system does not say."""
    if device.startswith("cuda"):
        before = float(torch.cuda.memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        call()
        return (_resident("VmHWM") - before) / 1e9
    except OSError:
        return math.nan


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * float(next(line.split()[1] for line in lines if line.startswith(field)))


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
