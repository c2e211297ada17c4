"""A network at its data, prepared for many dampings: what does not depend on γ_N is computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import stream
from nntk_accelerated.certificate import Certificate, Radii, certify, gamma_bound, radii
from nntk_accelerated.problem import Problem, memory_guard, problem
from nntk_accelerated.step import NewtonStep, take
from nntk_accelerated.validation import number, positive

__all__ = ["PreparedNetwork", "prepare", "prepared"]


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """One net and one data set, with residual, residual Hessian S and the bounds of its rounding errors at hand.

    Make it by `prepare`. It holds the parameters as they were then: after a step, prepare anew.
    A `damping` is γ_N, the number added to the Hessian's diagonal, not γ: see `regularization`. Of any sign, where it says so.
    """

    problem: Problem = field(repr=False)
    residual: Tensor
    _S: Tensor = field(repr=False)
    _error: Radii = field(repr=False)

    @property
    def loss(self) -> float:
        """L = |r|²/(2M) (E2)."""
        return float(self.residual.double().square().sum()) / (2 * self.problem.M)

    @property
    def sufficient_gamma(self) -> float:
        """γ above which (E16) makes H + γ_N I positive definite; infinite where its errors have no bound."""
        with memory_guard(self.problem), torch.no_grad():
            return gamma_bound(self.problem)

    def certificate(self, damping: float, *, count: bool = False) -> Certificate:
        """What is proved of H + γ_N I, γ_N of any sign; `count` asks for the number of its negative eigenvalues."""
        shift = number("damping", damping)
        with memory_guard(self.problem), torch.no_grad():
            return certify(self.problem, self._S, shift, self._error, count=count)

    def negative_eigenvalues(self, damping: float) -> int:
        """neg(H + γ_N I) (E14), γ_N of any sign, in floating point: the number of eigenvalues of H below -γ_N.

        Raises SingularSystemError at an eigenvalue.
        """
        shift = number("damping", damping)
        with memory_guard(self.problem), torch.no_grad():
            return stream.factor(self.problem, stream.gram(self.problem, shift, S=self._S))[1]

    def step(self, damping: float, alpha: float = 1.0) -> NewtonStep:
        """The exact step -α (H + γ_N I)⁻¹ Jᵀr/M (E6) for γ_N > 0, as `newton_step`; outputs and S are not computed again."""
        with memory_guard(self.problem), torch.no_grad():
            shift, size = positive("damping", damping), positive("alpha", alpha)
            return take(self.problem, shift, size, curvature=True, known=(self.residual, self._S))


def prepare(net: Any, X: Any, y: Any, *, precision: str | None = None, chunk: int | None = None) -> PreparedNetwork:
    """The net at its data (E1, E4). Arguments and errors as `newton_step`."""
    return prepared(problem(net, X, y, precision=precision, chunk=chunk))


def prepared(P: Problem) -> PreparedNetwork:
    """The same for a checked problem."""
    with memory_guard(P), torch.no_grad():
        r = stream.outputs(P) - P.y
        return PreparedNetwork(P, r, stream.residual_blocks(P, r), radii(P, r))
