"""How long the ground truth takes, each case beside the limit it is meant to keep (seconds, median of the rounds)."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nntk_reference import (
    FLOAT64,
    Ball,
    Multiprecision,
    eigenvalues,
    enclose_limit_ntk,
    limit_ntk,
    newton_step,
    sample_network,
)

GRID = np.linspace(0, 1, 16)[:, None]
TARGETS = 2 * GRID[:, 0] + 0.4 * np.sin(5 * np.pi * GRID[:, 0])


def timed(benchmark: Any, limit: float, call: Any, rounds: int = 5) -> Any:
    benchmark.extra_info["limit"] = limit
    return benchmark.pedantic(call, rounds=rounds, warmup_rounds=1 if rounds > 3 else 0)


def test_gemm_float64_3000(benchmark: Any) -> None:
    """The machine's rate for C = AB, n = 3000: 5.4e10 flops."""
    A = np.random.default_rng(0).standard_normal((3000, 3000))
    timed(benchmark, float("nan"), lambda: A @ A)
    benchmark.extra_info["gflop"] = 54.0


@pytest.mark.parametrize("width", [1000])
def test_newton_step_float64(benchmark: Any, width: int) -> None:
    """P = 3000: forming H costs P²M = 1.4e8, the factorization P³/3 = 9e9 flops."""
    net = sample_network(width, 1, beta=0.75, seed=0)
    step = timed(benchmark, 3.0, lambda: newton_step(net, GRID, TARGETS, 0.1, arithmetic=FLOAT64))
    benchmark.extra_info["gflop"] = 9.0
    assert step.residual < 1e-13


def test_limit_ntk_tanh_16_points_50_digits(benchmark: Any) -> None:
    timed(benchmark, 60.0, lambda: limit_ntk(GRID, "tanh", Multiprecision(50)), rounds=3)


def test_limit_ntk_erf_64_points_100_digits(benchmark: Any) -> None:
    X = np.linspace(0, 1, 64)[:, None]
    timed(benchmark, 10.0, lambda: limit_ntk(X, "erf", Multiprecision(100)))


def test_eigenvalues_of_the_tanh_gram_matrix_20_digits(benchmark: Any) -> None:
    """The kernel to 160 bits is given; λ₁₆ = 1.656915…e-16."""
    kernel = enclose_limit_ntk(GRID, "tanh", bits=160).kernel
    values = timed(benchmark, 2.0, lambda: eigenvalues(kernel, Ball(160)))
    assert all(v.rel_accuracy_bits() >= 67 for v in values)  # 20 digits
    assert 1.656915e-16 < float(values[-1]) < 1.656916e-16


def test_newton_step_in_balls_60_parameters_200_bits(benchmark: Any) -> None:
    net = sample_network(20, 1, beta=0.75, seed=0)
    timed(benchmark, 2.0, lambda: newton_step(net, GRID, TARGETS, 0.1, arithmetic=Ball(200)))


def test_newton_step_in_multiprecision_60_parameters_50_digits(benchmark: Any) -> None:
    net = sample_network(20, 1, beta=0.75, seed=0)
    timed(benchmark, float("nan"), lambda: newton_step(net, GRID, TARGETS, 0.1, arithmetic=Multiprecision(50)), rounds=3)


def test_verify_quick(benchmark: Any) -> None:
    """The whole command, start-up included."""
    command = [sys.executable, "-m", "nntk", "verify", "--quick"]
    timed(benchmark, 60.0, lambda: subprocess.run(command, check=True, capture_output=True), rounds=3)
