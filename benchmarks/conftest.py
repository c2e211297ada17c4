"""After a run: each case's median beside its limit, and its rate beside the GEMM rate of the same run."""

from __future__ import annotations

import math
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    rows = [b for b in session.benchmarks if not b.has_error] if session else []
    if not rows:
        return
    median = {b.name: b.stats.median for b in rows}
    rate = {b.name: b.extra_info["gflop"] / median[b.name] for b in rows if "gflop" in b.extra_info}
    peak = next((value for name, value in rate.items() if "gemm" in name), math.nan)
    terminalreporter.section("medians and limits")
    for b in rows:
        limit = b.extra_info.get("limit", math.nan)
        beside = f"limit {limit:g} s" if not math.isnan(limit) else ""
        share = f"{rate[b.name]:.1f} GF/s, {rate[b.name] / peak:.0%} of GEMM" if b.name in rate else ""
        over = "  OVER" if median[b.name] > limit else ""
        terminalreporter.write_line(f"{b.name:<62} {median[b.name]:9.4f} s  {beside:<12} {share}{over}")
