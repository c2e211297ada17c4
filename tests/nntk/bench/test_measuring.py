"""Times, memory and rates are measured."""

from __future__ import annotations

import mmap
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
    def touched() -> None:  # pages of its own: the allocator may have kept as many from what ran before
        with mmap.mmap(-1, 2**26) as pages:
            pages[::4096] = b"1" * 2**14

    peak = peak_memory(touched, "cpu")
    assert not peak < 0.06  # nan where the system does not say
