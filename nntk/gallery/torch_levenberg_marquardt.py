"""The training module of torch-levenberg-marquardt."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import partial
from typing import Any

from torch import Tensor

from nntk.gallery.entry import Step, register
from nntk_accelerated import ShallowNet

_entered = partial(register, "torch-levenberg-marquardt", "gauss-newton")

_CLAIM = "README: W ← W - (JᵀJ + λI)⁻¹Jᵀr, and λ 'is changed based on an adaptive strategy'"


@_entered(
    "LevenbergMarquardtModule",
    _CLAIM,
    "as in its README: learning_rate=1, attempts_per_step=10, solve_method='qr'; starting_value=γ_N",
)
def levenberg_marquardt(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt as in its README; the damping is where its own starts."""
    return _levenberg_marquardt(model, 10, starting_value=damping)


@_entered(
    "LevenbergMarquardtModule, damping held",
    _CLAIM,
    "attempts_per_step=0, which takes every step and leaves the damping; starting_value=γ_N",
)
def levenberg_marquardt_held(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt with the damping held, and every step taken."""
    return _levenberg_marquardt(model, 0, starting_value=damping)


def _levenberg_marquardt(model: ShallowNet, attempts: int, **damping: float) -> Step:
    name = "torch_levenberg_marquardt"
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    # Without running the package's __init__: it imports Lightning for the training loops, which in turn imports torchvision
    # where it finds it, and fails if that was built for another torch.
    sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    training, strategies = (importlib.import_module(f"{name}.{part}") for part in ("training", "damping"))
    module = training.LevenbergMarquardtModule(
        model=model,
        loss_fn=training.MSELoss(),
        damping_strategy=strategies.StandardDampingStrategy(**damping),
        learning_rate=1.0,
        attempts_per_step=attempts,
        solve_method="qr",
    )

    def step(X: Tensor, y: Tensor) -> None:
        module.backup_parameters()  # it goes back to these; the parameters may have been set from outside since its last step
        module.training_step(X, y)

    return Step(step)
