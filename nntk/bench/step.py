"""What the exact Newton step costs, beside the machine's own GEMM rate and beside what others do instead: the tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from nntk.bench.measuring import GAMMA, Measurement, NetAndData, default_problem, gemm_rate, peak_memory, timed
from nntk.bench.peers import conjugate_gradients, dense_step
from nntk.bench.ranks import on_ranks
from nntk.bench.tables import table
from nntk_accelerated import NewtonStep, gauss_newton_step, inertia, newton_step

__all__: list[str] = []  # the tables are reached through their registry


def _step(problem: NetAndData, gamma: float = GAMMA, **options: Any) -> Callable[[], NewtonStep]:
    return lambda: newton_step(*problem, gamma, **options)


@table("rates", "The step's rate beside GEMM's, its residual and memory, and how time grows with N")
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
        seconds[N], step = timed(run, device, rounds if N < 10**7 else 3)
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
            peak = peak_memory(run, device) - held
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


@table("inertia", "The inertia of the damped Hessian, in times of a step")
def _inertia(device: str, rounds: int, quick: bool) -> list[Measurement]:
    N, M = (10**5 if quick else 10**6), 128
    net, X, y = default_problem(N, M, device)
    base, _ = timed(lambda: newton_step(net, X, y, GAMMA), device, rounds)
    title = f"inertia of the damped Hessian, P = {3 * N:.0e}, M = {M}"
    seconds, found = timed(lambda: inertia(net, X, y, GAMMA), device, rounds)
    rows = [Measurement(title, f"γ = {GAMMA}", seconds, seconds / base, "steps", "≤ 1.5", seconds <= 1.5 * base,
                        f"{found.negative} negative, {'proved' if found.proved else 'counted'}")]  # fmt: skip
    net, X, y = default_problem(10**5, M, device)
    base, _ = timed(_step((net, X, y), 1e-6), device, 1)  # indefinite, every block by its eigenvalues
    seconds, found = timed(lambda: inertia(net, X, y, 1e-6), device, 1)
    rows.append(Measurement(title, "γ = 1e-6, P = 3e+05", seconds, seconds / base, "steps", "≤ 1.5", seconds <= 1.5 * base,
                            f"{found.negative} negative, {'proved' if found.proved else 'counted'}"))  # fmt: skip
    return rows


@table("others", "What is done instead: the dense Hessian, and conjugate gradients")
def _others(device: str, rounds: int, quick: bool) -> list[Measurement]:
    """What is done instead: the dense Hessian, and conjugate gradients."""
    title = "others, the same step"
    net, X, y = default_problem(1000, 128, device)
    ours, step = timed(_step((net, X, y), 1.0), device, 25)  # γ = 1: a Cholesky factor exists at this width
    dense, _ = timed(lambda: dense_step(net, X, y, step.damping), device, 1)
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
    ours, step = timed(lambda: newton_step(net, X, y, GAMMA), device, rounds)
    seconds, (left, done) = timed(lambda: conjugate_gradients(net, X, y, step.damping, rtol=1e-10, most=1000), device, 1)
    rows.append(Measurement(title, f"CG to 1e-10, N = {N:.0e}", seconds, seconds / ours, "× ours", "≥ 15", seconds >= 15 * ours,
                            f"{done} iterations, ‖AΔ+g‖/‖g‖ = {left:.1e}"))  # fmt: skip
    seconds, (left, done) = timed(lambda: conjugate_gradients(net, X, y, step.damping, rtol=0, most=10), device, 1)
    rows.append(Measurement(title, f"CG, 10 iterations, N = {N:.0e}", seconds, seconds / ours, "× ours", "", None,
                            f"‖AΔ+g‖/‖g‖ = {left:.1e}"))  # fmt: skip
    rows.append(Measurement(title, f"ours, N = {N:.0e}", ours, step.residual, "scaled residual", "", None))
    return rows


@table("ranks", "Two gloo processes beside one", cpu_only=True)
def _two_ranks(device: str, rounds: int, quick: bool) -> list[Measurement]:
    N = 10**5 if quick else 10**6
    one, two = on_ranks(1, N, 128, rounds), on_ranks(2, N, 128, rounds)
    title = f"gloo ranks with one core each, N = {N:.0e}, M = 128"
    return [
        Measurement(title, "1 rank", one, 1.0, "×", "", None),
        Measurement(title, "2 ranks", two, one / two, "×", "≥ 1.6", one >= 1.6 * two),
    ]


@table("precisions", "float64, mixed and float32, and the Gauss-Newton step")
def _precisions(device: str, rounds: int, quick: bool) -> list[Measurement]:
    M, N = 1024, 10**6 if device.startswith("cuda") else 10**5
    title = f"precisions and Gauss-Newton, M = {M}, N = {N:.0e}"
    net, X, y = default_problem(N, M, device)
    rows = []
    for name in ("float64", "mixed", "float32"):
        seconds, step = timed(_step((net, X, y), precision=name), device, 3)
        rows.append(Measurement(title, name, seconds, step.residual, "residual", "", None, f"{step.refinements} refinements"))
    seconds, step = timed(lambda: gauss_newton_step(net, X, y, GAMMA), device, 3)
    rows.append(Measurement(title, "Gauss-Newton, float64", seconds, step.residual, "residual", "", None))
    return rows


@table("large-m", "Many points and few neurons: the memory of the M x M work", cpu_only=True)
def _large_M(device: str, rounds: int, quick: bool) -> list[Measurement]:
    M = 2000 if quick else 20000
    net, X, y = default_problem(1000, M, device)
    start = time.perf_counter()
    result: list[Any] = []
    peak = peak_memory(lambda: result.append(newton_step(net, X, y, 10.0)), device)  # γ = 10: definite at this width
    return [Measurement("large M, N = 1,000", f"M = {M}", time.perf_counter() - start, peak, "GB", "< 24", peak < 24,
                        f"residual {result[0].residual:.1e}")]  # fmt: skip
