"""The optimizers of torch.optim."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nntk.gallery.entry import Step, loss, register
from nntk_accelerated import ShallowNet

_entered = partial(register, "torch", "first-order")


@_entered("SGD", "'Implements stochastic gradient descent (optionally with momentum)'", "lr=1")
def torch_sgd(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gradient descent with step size 1."""
    return torch.optim.SGD(model.parameters(), lr=1.0)


@_entered("Adam", "'Implements Adam algorithm'")
def torch_adam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Adam at its defaults."""
    return torch.optim.Adam(model.parameters())


@_entered("AdamW", "'Implements AdamW algorithm, where weight decay does not accumulate in the momentum nor variance'")
def torch_adamw(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """AdamW at its defaults."""
    return torch.optim.AdamW(model.parameters())


@_entered("NAdam", "'Implements NAdam algorithm'")
def torch_nadam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """NAdam at its defaults."""
    return torch.optim.NAdam(model.parameters())


@_entered("RAdam", "'Implements RAdam algorithm'")
def torch_radam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RAdam at its defaults."""
    return torch.optim.RAdam(model.parameters())


@_entered("RMSprop", "'Implements RMSprop algorithm'")
def torch_rmsprop(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RMSprop at its defaults."""
    return torch.optim.RMSprop(model.parameters())


@_entered("Adafactor", "'Implements Adafactor algorithm'")
def torch_adafactor(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Adafactor at its defaults."""
    return torch.optim.Adafactor(model.parameters())


@_entered(
    "Muon and AdamW",
    "torch.optim.Muon: 'an optimizer for 2D parameters of neural network hidden layers. Other parameters, such as bias, and "
    "embedding, should be optimized by a standard method such as AdamW'",
    "as in the example of its documentation: Muon(lr=0.02, momentum=0.95) for w, AdamW(lr=3e-4, weight_decay=0.01) for c and "
    "eta, whose tensors are one-dimensional",
)
def torch_muon(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Muon for w, and AdamW for c and eta, both at the settings of the example in Muon's documentation."""
    pair: tuple[Any, Any] = (
        torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.02, momentum=0.95),
        torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], lr=3e-4, weight_decay=0.01),
    )

    def step(X: Tensor, y: Tensor) -> None:
        model.zero_grad()
        torch.autograd.backward(loss(model, X, y))
        for optimizer in pair:
            optimizer.step()

    return Step(step)


@_entered("LBFGS", "'Implements L-BFGS algorithm'", "defaults: lr=1, up to 20 iterations a step")
def torch_lbfgs(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """L-BFGS at its defaults, up to 20 iterations a step."""
    return torch.optim.LBFGS(model.parameters())


@_entered("LBFGS, line search", "'Implements L-BFGS algorithm'", "line_search_fn='strong_wolfe'")
def torch_lbfgs_wolfe(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """L-BFGS with a line search."""
    return torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
