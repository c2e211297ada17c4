"""Steps that the finite-width runs of `exponential` must refute, for its tests and the table of planted faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from nntk_accelerated import newton_step, outputs

__all__ = ["STEPS", "stepped"]

Options = Callable[[Any], dict[str, Any]]


def stepped(options: Options) -> Callable[[Any], Any]:
    """From `training_runs._newton` to one whose step is Newton's, changed by `options(case)`:

    gamma, alpha  factors of γ and of α.
    without       a direction of the data space whose part of the error is not seen.
    only          one to which all of the error is taken to be parallel.
    """

    def changed(original: Any) -> Any:
        def newton(case: Any, alpha: float) -> Any:
            change = options(case)

            def step(net: Any, X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                f = outputs(net, X)
                r = f - y
                if (direction := change.get("without")) is not None:
                    r = r - torch.tensor(direction) * (torch.tensor(direction) @ r)
                if (direction := change.get("only")) is not None:
                    r = torch.tensor(direction) * (torch.tensor(direction) @ r)
                gamma = case.gamma * change.get("gamma", 1.0)
                return newton_step(net, X, f - r, gamma, alpha=alpha * change.get("alpha", 1.0)).update

            return replace(original(case, alpha), step=step)

        return newton

    return changed


STEPS: dict[str, Options] = {
    "γ 5 % larger": lambda case: {"gamma": 1.05},
    "γ 5 % smaller": lambda case: {"gamma": 1 / 1.05},
    "α 10 % smaller": lambda case: {"alpha": 0.9},
    "α 10 % larger": lambda case: {"alpha": 1.1},
    "the slowest mode left out": lambda case: {"without": case.slowest},
    "the fastest mode left out": lambda case: {"without": case.modes[1][:, -1].copy()},
}
"""By name, to be planted by `stepped`."""
