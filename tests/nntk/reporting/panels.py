"""Panels of every kind, for the tests of what draws them."""

from __future__ import annotations

import math

import numpy as np

from nntk_proofs_checks import Panel, Series

NAN, INF = math.nan, math.inf
WIDTHS = tuple(2.0**k for k in range(10, 17))


def rates() -> Panel:
    series = []
    for i, (beta, slope) in enumerate([(0.6, 0.8), (0.75, 0.5), (0.9, 0.2)]):
        y = tuple(0.7 * n**-slope for n in WIDTHS)
        low, high = (tuple(v * factor for v in y) for factor in (0.8, 1.3))
        series.append(Series(f"β = {beta}", WIDTHS, y, low, high, colour=i))
        series.append(Series(f"slope −{slope}", WIDTHS, y, style="dashed", colour=i))
    return Panel("Distance to the linearized network after three steps", "width N", "distance", tuple(series), "xy", 2)


def spectrum() -> Panel:
    k = tuple(float(i) for i in range(1, 33))
    y = tuple(10.0 ** (-2.5 * i) for i in range(32))
    return Panel(
        "Eigenvalues of the limit kernel",
        "index k",
        "eigenvalue",
        (
            Series("enclosed", k, y, tuple(0.0 if i > 25 else v / 3 for i, v in enumerate(y)), y),
            Series("not positive", k[:4], (0.0, -1.0, NAN, 1e-3), colour=1, marker="x"),
            Series("geometric", k, y, style="line", colour=2),
        ),
        "y",
    )


def phases() -> Panel:
    rng = np.random.default_rng(0)
    n, a = 2.0 ** rng.integers(8, 18, 60), rng.uniform(0, 1, 60)
    below = a < 0.25 + 1 / np.log2(n)
    return Panel(
        "Definite and indefinite",
        "width N",
        "exponent a of γ = N^(−a)",
        (
            Series("positive definite at every step", tuple(n[below]), tuple(a[below])),
            Series("indefinite at some step", tuple(n[~below]), tuple(a[~below]), colour=1, marker="x"),
            Series("a = 1 − β", (2.0**8, 2.0**17), (0.25, 0.25), style="dashed", colour=7),
        ),
        "x",
        2,
    )


def trajectories() -> Panel:
    steps = tuple(float(t) for t in range(11))
    return Panel(
        "Error of each mode",
        "step t",
        "error in the mode, relative to its start",
        tuple(
            Series(f"mode {k}", steps, tuple((0.45 + 0.02 * k) ** t for t in steps), style="line", colour=k) for k in range(10)
        ),
        "y",
    )
