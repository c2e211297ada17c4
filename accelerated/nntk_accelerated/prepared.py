"""A network at its data, prepared for many dampings: what does not depend on γ_N is computed once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import stream
from nntk_accelerated.bounds import Radii, gamma_bound, radii, rho_bound
from nntk_accelerated.certificate import Certificate, certify
from nntk_accelerated.instance import Instance, instance, memory_guard
from nntk_accelerated.step import NewtonStep, take
from nntk_accelerated.validation import number, positive

__all__ = ["PreparedNetwork", "prepare", "prepared"]


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """One net and one data set, with residual, residual Hessian S and the bounds of its rounding errors at hand.

    Made by `prepare`, from copies: it stays what it is when the net moves on; after a step, prepare anew.
    A `damping` is γ_N, which is added to the Hessian's diagonal, not γ (see `regularization`); of any sign, where it says so.

    residual   r = f(X) - y (M,), in the working precision.
    S          entries of the residual Hessian's blocks, as `stream` stores them.
    S_error    bounds of the rounding errors of S, a number for each neuron.
    """

    instance: Instance = field(repr=False)
    residual: Tensor
    S: Tensor = field(repr=False)
    S_error: Radii = field(repr=False)

    @property
    def loss(self) -> float:
        """L = |r|²/(2M) (E2)."""
        return float(self.residual.double().square().sum()) / (2 * self.instance.M)

    @property
    def rho(self) -> float:
        """An upper bound of ρ = maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ) (E16); infinite where its errors have no bound."""
        with memory_guard(self.instance), torch.no_grad():
            return rho_bound(self.instance, self.residual)

    @property
    def sufficient_gamma(self) -> float:
        """γ above which (E16) makes H + γ_N I positive definite; infinite where its errors have no bound."""
        with memory_guard(self.instance), torch.no_grad():
            return gamma_bound(self.instance, self.residual)

    def certificate(self, damping: float, *, count: bool = False) -> Certificate:
        """What is proved of H + γ_N I, γ_N of either sign; `count` asks for the number of its negative eigenvalues."""
        shift = number("damping", damping)
        with memory_guard(self.instance), torch.no_grad():
            return certify(self.instance, self.S, shift, self.S_error, count=count)

    def negative_eigenvalues(self, damping: float) -> int:
        """neg(H + γ_N I) (E14), γ_N of either sign, in floating point: the number of eigenvalues of H below -γ_N.

        Raises SingularSystemError at an eigenvalue.
        """
        shift = number("damping", damping)
        with memory_guard(self.instance), torch.no_grad():
            return stream.factor(self.instance, stream.gram(self.instance, shift, S=self.S))[1]

    def step(self, damping: float, alpha: float = 1.0) -> NewtonStep:
        """The exact step -α (H + γ_N I)⁻¹ Jᵀr/M (E6) for γ_N > 0, as `newton_step`; outputs and S are not computed again."""
        damping, size = positive("damping", damping), positive("alpha", alpha)
        with memory_guard(self.instance), torch.no_grad():
            return take(self.instance, damping, size, curvature=True, known=(self.residual, self.S))


def prepare(net: Any, X: Any, y: Any, *, precision: str | None = None, chunk: int | None = None) -> PreparedNetwork:
    """The net at its data (E1, E4). Arguments and errors as `newton_step`."""
    task = instance(net, X, y, precision=precision, chunk=chunk)
    with memory_guard(task):
        task = replace(task, c=task.c.clone(), w=task.w.clone(), eta=task.eta.clone(), y=task.y.clone())
    return prepared(task)


def prepared(task: Instance) -> PreparedNetwork:
    """The same for a net and data that have been checked; it shares the memory of both."""
    with memory_guard(task), torch.no_grad():
        r = stream.outputs(task) - task.y
        return PreparedNetwork(task, r, stream.residual_blocks(task, r), radii(task, r))
