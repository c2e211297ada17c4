"""One thread for torch, as for small matrices it should have, and the report of a battery that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nntk.crosscheck import Report, check_optimizer


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def refused() -> Report:
    """A whole battery on an optimizer that leaves out half of the residual term."""
    return check_optimizer("tests.nntk.optimizers:half_residual", effort="quick", skip=["cost"])
