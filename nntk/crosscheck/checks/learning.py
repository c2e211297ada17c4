"""Profiles of learning: how the update shrinks with the width, what a step removes of each mode, what it costs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nntk.crosscheck.case import THRESHOLD, Case, Point, case_at, rounded
from nntk.crosscheck.cases import family, normal_data
from nntk.crosscheck.checks.check import ALL, check, some
from nntk.crosscheck.setting import Reading, Setting, attempt
from nntk_proofs_checks import Effort
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference import regularization
from nntk_reference.arithmetic import Array

__all__: list[str] = []

_FIRST_ORDER = frozenset({"first-order"})


def _widths(setting: Setting) -> list[int]:
    return [2**k for k in range(3, some(setting, 6, 8, 9))]


def wide_cases(setting: Setting) -> Sequence[Case]:
    seeds, dtype = range(setting.seed, setting.seed + some(setting, 1, 2)), setting.dtype
    return [family(8, *normal_data(1, 4, seed, dtype), seed=seed, dtype=dtype) for seed in seeds]


@check(
    "width-exponent",
    "The update of a neuron shrinks with N as the exact step's does",
    profiles=ALL,
    cases=wide_cases,
    drawn=None,
    informative=_FIRST_ORDER,
)
def width_exponent(setting: Setting, at: Case) -> Reading:
    """Root mean square update per neuron against N, over four networks, beside the reference's on the same networks."""
    widths, networks = _widths(setting), 4
    squares = {name: np.zeros(len(widths)) for name in ("subject", "newton", "descent", "wanted")}
    worst_limit, worst_case = 0.0, at
    objective = at.objective
    seed = int(np.abs(64 * objective.y).sum())  # other networks on other data
    for k, width in enumerate(widths):
        for network in range(networks):
            here = family(
                width, objective.X, objective.y, seed=networks * seed + network, dtype=setting.dtype, beta=objective.beta
            )
            step = attempt(setting.start(here), here)
            if isinstance(step, str):
                return Reading.refused(step)
            start = here.start
            rate = 1 / regularization(1.0, width, objective.beta)  # (E12) at η̄ = 1
            seen = {"subject": step, "newton": start.newton.step, "descent": rate * start.gradient}
            if setting.profile.target is not None:
                target = setting.target(start)
                seen["wanted"] = target.step
                worst_limit, worst_case = max(
                    (worst_limit, worst_case), (setting.limit(target), here), key=lambda pair: pair[0]
                )
            for name, move in seen.items():
                squares[name][k] += float(move @ move)
    found = {name: [float(v) for v in np.sqrt(total / networks / widths)] for name, total in squares.items()}
    wanted = found["wanted"] if setting.profile.target is not None else []
    slopes = {name: slope_of(widths, values) for name, values in found.items() if name != "wanted" or wanted}
    slope = slopes["subject"]
    if slope is None:
        why = f"the update is zero or not finite at some width, N = {widths[0]} to {widths[-1]}"
        return Reading.failed(why, (worst_case, 1)) if wanted else Reading.unresolved(why)
    powers = {name: "" if value is None else f", N^({value:.2f})" for name, value in slopes.items()}
    x = tuple(float(n) for n in widths)
    panel = Panel(
        "Update of a neuron against the width",
        "width N",
        "root mean square update",
        (
            Series(f"this optimizer{powers['subject']}", x, tuple(found["subject"]), colour=0),
            Series(f"exact Newton{powers['newton']}", x, tuple(found["newton"]), style="line", colour=1),
            Series(
                f"gradient descent (E12){powers['descent']}",
                x,
                tuple(found["descent"]),
                style="dashed",
                colour=2,
            ),
        ),
        log="xy",
        base=2,
    )
    if not wanted:
        return Reading.told(slope, f"update of a neuron ~ N^({slope:.3f})", (panel,))
    wanted_slope = slopes["wanted"]
    if wanted_slope is None:
        return Reading.unresolved(f"the exact step is zero at some width ({at})")
    off = abs(slope - wanted_slope)
    # Each logarithm is off by the step's error at most, and the slope by no more than twice that for these widths.
    why = f"update of a neuron ~ N^({slope:.4f}), exact step N^({wanted_slope:.4f}), N = {widths[0]} to {widths[-1]}"
    return Reading(off, 2 * worst_limit, why, (worst_case, 1), panels=(panel,))


def slope_of(widths: Sequence[int], values: Sequence[float]) -> float | None:
    """The slope of log(values) against log(widths), by least squares; None where a value has no logarithm."""
    if not all(0 < v < math.inf for v in values):
        return None
    return float(np.polyfit(np.log(widths), np.log(values), 1)[0])


def mode_cases(setting: Setting) -> Sequence[Case]:
    """Networks whose error has the same size in every mode of the NTK that float64 can tell from noise."""
    found = []
    for width in (16, 64)[: some(setting, 1, 2)]:
        X = rounded(np.linspace(-1.5, 1.5, 6)[:, None], setting.dtype)
        base = family(width, X, np.zeros(6), seed=setting.seed, dtype=setting.dtype)
        objective = base.objective
        start = objective.at(base.theta)
        _, modes = _modes(start)
        y = rounded(start.residual + modes @ np.full(6, 0.1), setting.dtype)
        found.append(case_at(replace(objective, y=y), base.theta, base.source))
    return found


def _modes(point: Point) -> tuple[Array, Array]:
    """Eigenvalues (M,), descending, and modes of B = JJᵀ/M (E7), from the singular values of J."""
    U, sigma, _ = np.linalg.svd(point.jacobian, full_matrices=True)
    values = np.zeros(len(U))
    values[: len(sigma)] = sigma**2 / len(U)
    return values, U


@check(
    "mode-rates",
    "One step removes of each NTK mode what the exact step removes",
    profiles=ALL,
    cases=mode_cases,
    informative=_FIRST_ORDER,
    share=0.25,
)
def mode_rates(setting: Setting, at: Case) -> Reading:
    """How much of each NTK mode of the error one step removes, beside the exact step's and λ/(γ_N + λ) (E10)."""
    start = at.start
    values, modes = _modes(start)
    before = modes.T @ start.residual
    resolved = np.abs(before) > 1e3 * setting.eps * float(np.linalg.norm(start.residual))
    shown = np.flatnonzero(resolved & (values > 1e-14 * values[0]))
    if not len(shown):
        return Reading.unresolved(f"no mode of the error is large enough to be seen ({at})")
    step = attempt(setting.start(at), at)
    if isinstance(step, str):
        return Reading.refused(step)
    if not np.isfinite(step).all():
        why = f"the step is not finite ({at})"
        return Reading.failed(why, (at, 1)) if setting.profile.target is not None else Reading.unresolved(why)

    def removed(move: Array) -> Array:
        after = at.objective.at(at.theta + move.reshape(at.theta.shape))
        return np.where(resolved, 1 - modes.T @ after.residual / np.where(resolved, before, 1.0), math.nan)

    mine, newton = removed(step), removed(start.newton.step)
    g = start.gradient
    descent = removed(-g / max(values[0], 1e-300))
    mu, x = at.objective.damping, values / values[0]
    abscissa = tuple(float(v) for v in x[shown])
    panel = Panel(
        "Spectral bias: what one step removes of each mode of the error",
        "eigenvalue of the NTK, relative to the largest",
        "fraction removed",
        (
            Series("this optimizer", abscissa, tuple(float(v) for v in mine[shown]), colour=0),
            Series("exact Newton", abscissa, tuple(float(v) for v in newton[shown]), style="line", colour=1),
            Series("λ/(γ_N + λ)", abscissa, tuple(float(v) for v in (values / (mu + values))[shown]), style="dashed", colour=3),
            Series("gradient descent, rate 1/λ₁", abscissa, tuple(float(v) for v in descent[shown]), style="dashed", colour=2),
        ),
        log="x",
    )
    if setting.profile.target is None:
        low = int(shown[-1])
        why = f"one step removes {mine[0]:.3g} of the first mode, {mine[low]:.3g} of mode {low + 1} ({at})"
        return Reading.told(float(mine[low]), why, (panel,))
    target = setting.target(start)
    wanted = removed(target.step)
    size = float(np.linalg.norm(step))
    reach = float(np.linalg.norm(start.jacobian, 2)) * 2 * setting.limit(target) * max(size, float(np.linalg.norm(target.step)))
    floor = THRESHOLD * start.operations * setting.eps * start.sizes(setting.dtype).residual
    readings = [
        Reading(
            abs(float(mine[k] - wanted[k])),
            (reach + floor) / abs(float(before[k])),
            f"of mode {k + 1} (λ = {x[k]:.2g} λ₁) one step removes {mine[k]:.6g}, the exact step {wanted[k]:.6g} ({at})",
            (at, 1),
        )
        for k in np.flatnonzero(resolved)
    ]
    return replace(max(readings, key=lambda reading: reading.ratio), panels=(panel,))


def cost_cases(setting: Setting) -> Sequence[Case]:
    """One narrow network, on the data that the wider ones are tried on as well."""
    data = normal_data(1, 8, setting.seed, setting.dtype)
    return [family(16, *data, seed=setting.seed, dtype=setting.dtype)]


@check("cost", "Time and memory against N", profiles=ALL, cases=cost_cases, drawn=None, informative=ALL, about="behaviour")
def cost(setting: Setting, at: Case) -> Reading:
    """Time and memory of a step against N, until a step takes too long."""
    budget = {Effort.QUICK: 0.3, Effort.DEFAULT: 3.0, Effort.FULL: 20.0}[setting.effort]
    widths, times, memory = [], [], []
    begin, width = time.perf_counter(), 16
    while width <= 2**14:
        session = setting.start(family(width, at.objective.X, at.objective.y, seed=setting.seed, dtype=setting.dtype))
        with _peak_memory() as peak:
            start = time.perf_counter()
            session.step()
            duration = time.perf_counter() - start
        widths.append(width)
        times.append(duration)
        memory.append(peak[0])
        # The next width may cost eight times as much.
        if time.perf_counter() - begin + 8 * duration > budget:
            break
        width *= 2
    x = tuple(float(n) for n in widths)
    series = [Series("seconds", x, tuple(times), colour=0)]
    if any(memory):
        series.append(Series("GiB", x, tuple(m / 2**30 if m else math.nan for m in memory), colour=1, marker="s"))
    half = len(widths) // 2
    tail = slope_of(widths[half:], times[half:]) if len(widths) - half > 1 else None
    panel = Panel("Cost of a step", "width N", "time, memory", tuple(series), log="xy", base=2)
    grown = f", {max(memory) / 2**20:.0f} MiB" if any(memory) else ""
    growth = f"; time ~ N^({tail:.2f}) over the wider half" if tail is not None else ""
    why = f"a step at N = {widths[-1]} takes {times[-1]:.3g} s{grown}{growth}"
    return Reading.told(times[-1], why, (panel,))


class _peak_memory:
    """How much the process has grown at most, sampled every millisecond; 0 where the system does not tell."""

    def __enter__(self) -> list[int]:
        self.peak, self.done = [0], threading.Event()
        self.start = _resident()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self.peak

    def _watch(self) -> None:
        while not self.done.wait(0.001):
            self.peak[0] = max(self.peak[0], _resident() - self.start)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak[0] = max(self.peak[0], _resident() - self.start)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0
