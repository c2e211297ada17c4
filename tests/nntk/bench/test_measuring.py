"""Times, memory and rates are measured."""

from __future__ import annotations

import time

from nntk.bench.measuring import gemm_rate, peak_memory, timed


def test_the_gemm_rate_is_a_rate() -> None:
    assert gemm_rate(size=64) > 0


def test_a_time_is_the_median_of_the_rounds() -> None:
    waits = iter([0.0, 0.001, 0.2, 0.001])  # the first warms up
    seconds, last = timed(lambda: time.sleep(next(waits)) or 7, "cpu", 3)
    assert 0.001 <= seconds < 0.1
    assert last == 7


def test_memory_is_what_comes_on_top() -> None:
    peak = peak_memory(lambda: bytearray(64 * 10**6), "cpu")
    assert not peak < 0.06  # nan where the system does not say
