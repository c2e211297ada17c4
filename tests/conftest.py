"""Hypothesis profiles, the markers `slow` and `gpu`, and registries that tests may add to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

SLOW_REASON = "slow: run with --run-slow"
GPU_REASON = "gpu: torch finds no CUDA device"


def _profiles() -> None:
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:  # `make gpu` goes on without; a module that imports it says so
        return
    # A loaded machine is slow at drawing examples, too; that says nothing about the code.
    patient = [HealthCheck.too_slow]
    settings.register_profile("dev", max_examples=25, deadline=None)
    settings.register_profile(
        "ci", max_examples=40, deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=patient
    )
    settings.register_profile("deep", max_examples=2000, deadline=None, print_blob=True, suppress_health_check=patient)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "dev")


_profiles()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", default=False, help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason=SLOW_REASON))

    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items:
        import torch  # costs seconds, so only where a test asks for it

        if not torch.cuda.is_available():
            for item in gpu_items:
                item.add_marker(pytest.mark.skip(reason=GPU_REASON))


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test enters into the registries of activations and laws is taken out again."""
    packages = [sys.modules[name] for name in ("nntk_reference", "nntk_accelerated") if name in sys.modules]
    kept = [(registry, dict(registry)) for package in packages for registry in (package.ACTIVATIONS, package.LAWS)]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)
