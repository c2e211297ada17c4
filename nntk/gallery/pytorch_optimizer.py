"""The second-order and preconditioned optimizers of pytorch-optimizer."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nntk.gallery.entry import loss, register, stepping
from nntk_accelerated import ShallowNet

_entered = partial(register, "pytorch-optimizer", "first-order")

_GRAPH = "defaults; gradients keep their graph, as its documentation asks"


@_entered(
    "AdaHessian", "pytorch_optimizer.AdaHessian: 'Adaptive second-order updates using Hutchinson Hessian estimates'", _GRAPH
)
def optimizer_adahessian(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """AdaHessian at its defaults."""
    return _hutchinson("AdaHessian", model, X, y)


@_entered("SophiaH", "pytorch_optimizer.SophiaH: 'Clipped second-order updates using Hutchinson Hessian estimates'", _GRAPH)
def optimizer_sophia(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SophiaH at its defaults."""
    return _hutchinson("SophiaH", model, X, y)


@_entered("Shampoo", "pytorch_optimizer.Shampoo: 'Stochastic tensor optimization with matrix preconditioning'")
def optimizer_shampoo(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Shampoo at its defaults."""
    return importlib.import_module("pytorch_optimizer").Shampoo(model.parameters())


@_entered("SOAP", "pytorch_optimizer.SOAP: 'Adam updates in Shampoo preconditioner eigenbases'")
def optimizer_soap(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SOAP at its defaults."""
    return importlib.import_module("pytorch_optimizer").SOAP(model.parameters())


def _hutchinson(name: str, model: ShallowNet, X: Tensor, y: Tensor) -> Any:
    package = importlib.import_module("pytorch_optimizer")

    def closure(optimizer: Any) -> Any:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            value, params = loss(model, X, y), tuple(model.parameters())
            # What backward(create_graph=True) leaves, without its warning of a reference cycle.
            for p, g in zip(params, torch.autograd.grad(value, params, create_graph=True), strict=True):
                p.grad = g
            return value

        return evaluate

    return stepping(getattr(package, name), closure)(model.parameters())
