"""One exact step of one size, or one table of `nntk bench step`, measured and sent to the pipe of `run.py`.

    steps.py DEVICE size N M
    steps.py DEVICE table ID

Of the project it needs nntk_accelerated and the part of nntk.bench that measures: torch and NumPy, nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

ROUNDS = {"cuda": 3, "cpu": 1}
"""Calls that are timed; a rehearsal only shows that they come back. Several have one before them, to warm up."""
GAMMA = 1.0
"""H + γ_N I is positive definite at every size here."""

RESIDUAL = 1e-13
"""What the scaled residual of a float64 step may be at most."""


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with None for NaN and infinities, which JSON has not."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in fields.items()}


def send(**line: Any) -> None:
    """A line of JSON to `run.py`."""
    left = json.dumps(line, allow_nan=False).encode() + b"\n"
    while left:
        left = left[os.write(int(os.environ["NNTK_GPU_PIPE"]), left) :]


def size(device: str, width: int, points: int) -> None:
    """A step with N neurons and M points: seconds, rate beside GEMM's, residual, memory."""
    from nntk.bench.measuring import default_problem, gemm_rate, peak_memory, timed
    from nntk_accelerated import newton_step

    net, X, y = default_problem(width, points, device)
    gemm = gemm_rate(device, 2048 if device == "cuda" else 512)

    def step() -> Any:
        return newton_step(net, X, y, GAMMA)

    seconds, found = timed(step, device, ROUNDS[device])
    memory = peak_memory(step, device)
    flops = points**2 * width * 3
    measured = {
        "width": width,
        "points": points,
        "seconds": seconds,
        "rounds": ROUNDS[device],
        "gflops": flops / seconds / 1e9,
        "gemm_gflops": gemm / 1e9,
        "share_of_gemm": flops / seconds / gemm,
        "residual": found.residual,
        "verdict": found.certificate.verdict,
        "refinements": found.refinements,
        "memory_gb": memory,
        "stages": found.seconds,
    }
    wrong = [] if found.residual <= RESIDUAL else [f"the residual is {found.residual:.1e}, above {RESIDUAL:.0e}"]
    wrong += [] if found.certificate.verdict == "positive definite" else [f"the certificate says {found.certificate.verdict}"]
    words = f"{seconds:.3g} s a step, {100 * measured['share_of_gemm']:.0f} % of GEMM's {gemm / 1e12:.2f} TF/s, "
    send(
        measurements=[plain(measured)],
        calling=(ROUNDS[device] + 2) * seconds,  # with one to warm up and one for the memory
        wrong=wrong,
        summary=f"{words}residual {found.residual:.1e}",
    )


def table(device: str, id: str) -> None:
    """The table's lines; whether its wishes are met is said, and does not make this run fail."""
    from nntk.bench import TABLES

    rows = TABLES[id].fill(device, ROUNDS[device], device == "cpu")
    lines = [plain(asdict(row)) for row in rows]
    wished = [row.met for row in rows if row.met is not None]
    send(measurements=lines, summary=f"{sum(wished)} of {len(wished)} limits met" if wished else "measured")


WORK: dict[str, Callable[..., None]] = {"size": lambda device, N, M: size(device, int(N), int(M)), "table": table}


def main(device: str, kind: str, *which: str) -> int:
    """0 if it was measured, or does not fit in memory; 1 after an error, which is sent."""
    try:
        WORK[kind](device, *which)
    except Exception as error:
        import torch

        from nntk_accelerated import MemoryLimitError

        if isinstance(error, MemoryLimitError | torch.OutOfMemoryError):
            send(left_out=f"does not fit in this device's memory: {error}")
            return 0
        import traceback

        traceback.print_exc()
        send(wrong=[f"{type(error).__name__}: {error}"])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
