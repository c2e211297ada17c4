"""`nntk bench step`: what the exact Newton step costs, beside the machine's own GEMM rate and beside what others do instead."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.multiprocessing.spawn import spawn

from nntk import __version__
from nntk.reports import write_report
from nntk_accelerated import (
    NewtonStep,
    ShallowNet,
    gauss_newton_step,
    inertia,
    init_process_group,
    newton_step,
)
from nntk_reference import InputError

__all__ = ["TABLES", "Measurement", "bench_step", "conjugate_gradients", "default_problem", "gemm_rate"]

GAMMA, BETA = 0.1, 0.75

Problem: TypeAlias = tuple[ShallowNet, torch.Tensor, torch.Tensor]
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


def default_problem(width: int, points: int, device: str = "cpu") -> Problem:
    """The tanh net of one seed, and y = 2x + 0.4 sin(5πx) at `points` points of [0, 1]."""
    net = ShallowNet(width, 1, beta=BETA, generator=torch.Generator().manual_seed(0)).to(device)
    X = torch.linspace(0, 1, points, dtype=torch.float64, device=device)[:, None]
    return net, X, 2 * X[:, 0] + 0.4 * torch.sin(5 * math.pi * X[:, 0])


def _timed(call: Callable[[], Any], device: str, rounds: int = 5) -> tuple[float, Any]:
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
    seconds, _ = _timed(lambda: torch.mm(A, A, out=C), device, 9)
    return 2 * size**3 / seconds


def _step(
    problem: tuple[ShallowNet, torch.Tensor, torch.Tensor], gamma: float = GAMMA, **options: Any
) -> Callable[[], NewtonStep]:
    return lambda: newton_step(*problem, gamma, **options)


def _peak_memory(call: Callable[[], Any], device: str) -> float:
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


def conjugate_gradients(
    net: ShallowNet, X: torch.Tensor, y: torch.Tensor, damping: float, *, rtol: float, most: int
) -> tuple[float, int]:
    """What "Hessian-free" does: CG on H + μI with Hessian products by torch.func; (‖AΔ + g‖/‖g‖ at the end, iterations)."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
        residual: torch.Tensor = torch.func.functional_call(net, values, (X,)) - y
        return residual.square().sum() / (2 * len(y))

    gradient = torch.func.grad(loss)
    g = gradient(parameters)

    def product(v: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        Hv: Any = torch.func.jvp(gradient, (parameters,), (v,))[1]
        return {k: Hv[k] + damping * v[k] for k in v}

    def dot(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return float(sum((a[k] * b[k]).sum() for k in a))

    x = {k: torch.zeros_like(v) for k, v in g.items()}
    r = {k: -v for k, v in g.items()}
    d, rr, start, done = dict(r), dot(r, r), dot(g, g), 0
    while done < most and rr > rtol**2 * start:
        Ad = product(d)
        step = rr / dot(d, Ad)
        x = {k: x[k] + step * d[k] for k in x}
        r = {k: r[k] - step * Ad[k] for k in r}
        rr, old = dot(r, r), rr
        d = {k: r[k] + rr / old * d[k] for k in d}
        done += 1
    Ax = product(x)
    left = {k: Ax[k] + g[k] for k in g}
    return math.sqrt(dot(left, left) / start), done


def _dense_step(net: ShallowNet, X: torch.Tensor, y: torch.Tensor, damping: float) -> torch.Tensor:
    """The whole Hessian by torch.func.hessian, and Cholesky."""
    shapes = {name: p.shape for name, p in net.named_parameters()}
    sizes = [p.numel() for p in net.parameters()]
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        values = {k: t.view(shapes[k]) for k, t in zip(shapes, theta.split(sizes), strict=True)}  # type: ignore[no-untyped-call]
        residual: torch.Tensor = torch.func.functional_call(net, values, (X,)) - y
        return residual.square().sum() / (2 * len(y))

    H = torch.func.jacrev(torch.func.grad(loss), chunk_size=100)(flat)  # torch.func.hessian would hold P·M·N numbers
    H.diagonal().add_(damping)
    step: torch.Tensor = -torch.cholesky_solve(torch.func.grad(loss)(flat)[:, None], torch.linalg.cholesky(H))
    return step


def _rank(rank: int, ranks: int, file: str, width: int, points: int, rounds: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(file).name[6:]}
    init_process_group("gloo")
    whole, X, y = default_problem(width, points)
    net = whole.shard()
    seconds, step = _timed(lambda: newton_step(net, X, y, GAMMA), "cpu", rounds)
    if rank == 0:
        Path(file).write_text(json.dumps({"seconds": seconds, "loss": step.loss}))
    torch.distributed.destroy_process_group()


def _ranks(ranks: int, width: int, points: int, rounds: int) -> float:
    """Median seconds of a step on this many gloo ranks with one thread each."""
    import socket
    import tempfile

    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        file = Path(folder) / f"ranks-{free.getsockname()[1]}"
        free.close()
        spawn(_rank, (ranks, str(file), width, points, rounds), nprocs=ranks)  # type: ignore[no-untyped-call]
        return float(json.loads(file.read_text())["seconds"])


def bench_step(device: str = "cpu", quick: bool = False, report: Path | None = None, only: Sequence[str] = ()) -> int:
    """Measure, print the tables as they fill, write the JSON report; 0 if every wish with a limit was met, else 1.

    Raises InputError for a device that torch does not find, and for a table that is none.
    """
    names = [name for part in only for name in part.split(",")] or list(TABLES)
    for name in names:
        if name not in TABLES:
            raise InputError("--only", f"some of {', '.join(TABLES)}", repr(name))
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise InputError("--device", "cpu, or cuda where torch finds a GPU", repr(device))
    console = Console()
    rounds = 3 if quick else 5
    machine = {
        "nntk": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": torch.cuda.get_device_name() if device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads(),
    }
    console.print(", ".join(f"{k} {v}" for k, v in machine.items()))
    measured: list[Measurement] = []

    def tell(rows: list[Measurement]) -> None:
        measured.extend(rows)
        table = Table(title=rows[0].table, title_justify="left", box=None, pad_edge=False)
        for column in ("case", "median", "number", "wanted", ""):
            table.add_column(column, justify="left" if column in ("case", "wanted", "") else "right")
        for row in rows:
            met = "" if row.met is None else "met" if row.met else "NOT MET"
            table.add_row(
                row.case, f"{row.seconds:.3g} s", f"{row.number:.3g} {row.unit}", row.wanted, " ".join((met, row.note))
            )
        console.print(table)
        console.print()

    for name in names:
        if device == "cpu" or name not in _CPU_ONLY:
            tell(TABLES[name](device, rounds, quick))
    if report is not None:
        text = json.dumps({"machine": machine, "measurements": [asdict(m) for m in measured]}, indent=2, allow_nan=True)
        write_report(report, text + "\n")
    return int(any(m.met is False for m in measured))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _rates(device: str, rounds: int, quick: bool) -> list[Measurement]:
    """The exact step against GEMM, counted as M²N(d+2) flops."""
    M = 1024 if device.startswith("cuda") else 128
    widths = ([10**5, 10**6, 10**7] if device.startswith("cuda") else [10**4, 10**5, 10**6, 10**7])[: -1 if quick else None]
    title = f"the exact step, float64, d = 1, M = {M}, tanh"
    rows = []
    seconds: dict[int, float] = {}
    for N in widths:
        run = _step(default_problem(N, M, device), 1.0)  # γ = 1: definite at every width here
        GEMM = gemm_rate(device)
        seconds[N], step = _timed(run, device, rounds if N < 10**7 else 3)
        share = M * M * N * 3 / seconds[N] / GEMM
        large = N >= 10**6
        least = 0.5 if device.startswith("cuda") else 0.4
        note = f"of {GEMM / 1e9:.0f} GF/s; " + ", ".join(f"{k} {v:.3g}" for k, v in step.seconds.items())
        rows.append(
            Measurement(title, f"N = {N:.0e}", seconds[N], 100 * share, "% of GEMM", f"≥ {100 * least:.0f}" if large else "",
                        share >= least if large else None, note)
        )  # fmt: skip
        rows.append(Measurement(title, "  residual", seconds[N], step.residual, "", "≤ 1e-13", step.residual <= 1e-13,
                                step.certificate.verdict))  # fmt: skip
        if large:
            held = 3 * N * 8 / 1e9  # the update
            peak = _peak_memory(run, device) - held
            limit = None if device.startswith("cuda") else peak < 1
            rows.append(
                Measurement(
                    title, "  memory beside the update", seconds[N], peak, "GB", "< 1" if limit is not None else "", limit
                )
            )
        if device.startswith("cuda") and N == 10**7:
            rows.append(Measurement(title, "  time", seconds[N], seconds[N], "s", "≤ 2", seconds[N] <= 2))
    if 10**4 in seconds and 10**6 in seconds:
        slope = math.log(seconds[10**6] / seconds[10**4]) / math.log(100)
        rows.append(
            Measurement(title, "exponent, N = 1e4 … 1e6", seconds[10**6], slope, "", "1.00 ± 0.05", abs(slope - 1) <= 0.05)
        )
    return rows


def _precisions(device: str, rounds: int, quick: bool) -> list[Measurement]:
    M, N = 1024, 10**6 if device.startswith("cuda") else 10**5
    title = f"precisions and Gauss-Newton, M = {M}, N = {N:.0e}"
    net, X, y = default_problem(N, M, device)
    rows = []
    for name in ("float64", "mixed", "float32"):
        seconds, step = _timed(_step((net, X, y), precision=name), device, 3)
        rows.append(Measurement(title, name, seconds, step.residual, "residual", "", None, f"{step.refinements} refinements"))
    seconds, step = _timed(lambda: gauss_newton_step(net, X, y, GAMMA), device, 3)
    rows.append(Measurement(title, "Gauss-Newton, float64", seconds, step.residual, "residual", "", None))
    return rows


def _inertia(device: str, rounds: int, quick: bool) -> list[Measurement]:
    N, M = (10**5 if quick else 10**6), 128
    net, X, y = default_problem(N, M, device)
    base, _ = _timed(lambda: newton_step(net, X, y, GAMMA), device, rounds)
    title = f"inertia of the damped Hessian, P = {3 * N:.0e}, M = {M}"
    seconds, found = _timed(lambda: inertia(net, X, y, GAMMA), device, rounds)
    rows = [Measurement(title, f"γ = {GAMMA}", seconds, seconds / base, "steps", "≤ 1.5", seconds <= 1.5 * base,
                        f"{found.negative} negative, {'proved' if found.proved else 'counted'}")]  # fmt: skip
    net, X, y = default_problem(10**5, M, device)
    base, _ = _timed(_step((net, X, y), 1e-6), device, 1)  # indefinite, every block by its eigenvalues
    seconds, found = _timed(lambda: inertia(net, X, y, 1e-6), device, 1)
    rows.append(Measurement(title, "γ = 1e-6, P = 3e+05", seconds, seconds / base, "steps", "≤ 1.5", seconds <= 1.5 * base,
                            f"{found.negative} negative, {'proved' if found.proved else 'counted'}"))  # fmt: skip
    return rows


def _others(device: str, rounds: int, quick: bool) -> list[Measurement]:
    """What is done instead: the dense Hessian, and conjugate gradients."""
    title = "others, the same step"
    net, X, y = default_problem(1000, 128, device)
    ours, step = _timed(_step((net, X, y), 1.0), device, 25)  # γ = 1: a Cholesky factor exists at this width
    dense, _ = _timed(lambda: _dense_step(net, X, y, step.damping), device, 1)
    times = dense / ours
    rows = [
        Measurement(
            title,
            "torch.func Hessian and Cholesky, P = 3,000",
            dense,
            times,
            "× ours",
            "≥ 500",
            times >= 500,
            f"ours {1000 * ours:.2f} ms",
        )
    ]
    N = 10**4 if quick else 10**5
    net, X, y = default_problem(N, 128, device)
    ours, step = _timed(lambda: newton_step(net, X, y, GAMMA), device, rounds)
    seconds, (left, done) = _timed(lambda: conjugate_gradients(net, X, y, step.damping, rtol=1e-10, most=1000), device, 1)
    rows.append(Measurement(title, f"CG to 1e-10, N = {N:.0e}", seconds, seconds / ours, "× ours", "≥ 15", seconds >= 15 * ours,
                            f"{done} iterations, ‖AΔ+g‖/‖g‖ = {left:.1e}"))  # fmt: skip
    seconds, (left, done) = _timed(lambda: conjugate_gradients(net, X, y, step.damping, rtol=0, most=10), device, 1)
    rows.append(Measurement(title, f"CG, 10 iterations, N = {N:.0e}", seconds, seconds / ours, "× ours", "", None,
                            f"‖AΔ+g‖/‖g‖ = {left:.1e}"))  # fmt: skip
    rows.append(Measurement(title, f"ours, N = {N:.0e}", ours, step.residual, "scaled residual", "", None))
    return rows


def _two_ranks(device: str, rounds: int, quick: bool) -> list[Measurement]:
    N = 10**5 if quick else 10**6
    one, two = _ranks(1, N, 128, rounds), _ranks(2, N, 128, rounds)
    title = f"gloo ranks with one core each, N = {N:.0e}, M = 128"
    return [
        Measurement(title, "1 rank", one, 1.0, "×", "", None),
        Measurement(title, "2 ranks", two, one / two, "×", "≥ 1.6", one >= 1.6 * two),
    ]


def _large_M(device: str, rounds: int, quick: bool) -> list[Measurement]:
    M = 2000 if quick else 20000
    net, X, y = default_problem(1000, M, device)
    start = time.perf_counter()
    result: list[Any] = []
    peak = _peak_memory(lambda: result.append(newton_step(net, X, y, 10.0)), device)  # γ = 10: definite at this width
    return [Measurement("large M, N = 1,000", f"M = {M}", time.perf_counter() - start, peak, "GB", "< 24", peak < 24,
                        f"residual {result[0].residual:.1e}")]  # fmt: skip


TABLES = {
    "rates": _rates,
    "inertia": _inertia,
    "others": _others,
    "ranks": _two_ranks,
    "precisions": _precisions,
    "large-m": _large_M,
}
_CPU_ONLY = ("ranks", "large-m")
