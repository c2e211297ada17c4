"""Networks, and drawing them from an initial law."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nntk_reference import validation
from nntk_reference.activations import activation
from nntk_reference.arithmetic import Array
from nntk_reference.errors import InputError
from nntk_reference.laws import InitialLaw, initial_law

__all__ = ["Network", "sample_network", "scaling_exponent"]


def scaling_exponent(beta: Any, *, negative_control: bool = False) -> float:
    """β, which the theory takes in (1/2, 1). The ends 1/2 and 1 are allowed to a negative control that says so."""
    value = validation.real_number("beta", beta)
    if 0.5 < value < 1 or (negative_control and value in (0.5, 1.0)):
        return value
    if value in (0.5, 1.0):
        raise InputError("beta", "1/2 < beta < 1 (an end only with negative_control=True)", repr(beta))
    raise InputError("beta", "1/2 < beta < 1", repr(beta))


@dataclass(frozen=True, eq=False)
class Network:
    """A shallow network f(x) = N^(-β) Σᵢ cᵢ σ(wᵢ·x + ηᵢ)  (E1).

    c (N,), w (N, d), eta (N,), float64; kept as read-only copies. `activation` names an entry of the registry.
    `negative_control=True` admits β = 1/2 and β = 1, where the theory does not hold.

    Raises InputError for wrong shapes, dtypes, non-finite entries or β; UnknownActivationError.
    """

    c: Array
    w: Array
    eta: Array
    beta: float
    activation: str = "tanh"
    negative_control: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        c = validation.real_array("c", self.c, (None,))
        w = validation.real_array("w", self.w, (len(c), None))
        eta = validation.real_array("eta", self.eta, (len(c),))
        beta = scaling_exponent(self.beta, negative_control=self.negative_control)
        activation(self.activation)
        for name, value in (("c", c), ("w", w), ("eta", eta), ("beta", beta)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def width(self) -> int:
        """The number N of neurons."""
        return len(self.c)

    @property
    def dim(self) -> int:
        """The input dimension d."""
        return int(self.w.shape[1])

    @property
    def parameters(self) -> int:
        """P = N(d + 2)."""
        return self.width * (self.dim + 2)

    @property
    def theta(self) -> Array:
        """All parameters, neuron by neuron: (N, d+2), a row (cᵢ, wᵢ, ηᵢ) for each."""
        return np.column_stack([self.c, self.w, self.eta])

    @classmethod
    def from_theta(cls, theta: Any, beta: float, activation: str = "tanh", *, negative_control: bool = False) -> Network:
        """The network with parameters θ (N, d+2), a row (cᵢ, wᵢ, ηᵢ) for each neuron. Raises InputError, as the class does."""
        rows = validation.real_array("theta", theta, (None, None))
        if rows.shape[1] < 3:
            raise InputError("theta", "rows (c, w, eta) with at least one entry of w", f"shape {rows.shape}")
        return cls(rows[:, 0], rows[:, 1:-1], rows[:, -1], beta, activation, negative_control=negative_control)

    def moved(self, update: Any) -> Network:
        """The network at θ + update, with update (N, d+2) in the order (c, w, η) of each neuron, rounded to float64."""
        update = validation.as_array("update", update, f"shape ({self.width}, {self.dim + 2})")
        if update.dtype == object:  # of mpf or arb
            update = validation.exact_numbers("update", update).astype(np.float64)
        update = validation.real_array("update", update, (self.width, self.dim + 2))
        return Network.from_theta(self.theta + update, self.beta, self.activation, negative_control=self.negative_control)


def sample_network(
    width: int,
    dim: int,
    *,
    beta: float,
    activation: str = "tanh",
    seed: int | np.random.Generator,
    law: InitialLaw | str = "uniform",
    negative_control: bool = False,
) -> Network:
    """Draw a network of `width` neurons on R^dim from `law`, an InitialLaw or the name of c's law (default: the paper's).

    `seed` is an integer or a numpy Generator. Raises InputError.
    """
    width, dim = validation.whole_number("width", width), validation.whole_number("dim", dim)
    law = initial_law(law)
    if not isinstance(seed, np.random.Generator):
        seed = np.random.default_rng(validation.whole_number("seed", seed, 0, 2**63 - 1))
    c = law.output.draw(seed, width)
    w = law.w_scale * seed.standard_normal((width, dim))
    eta = law.eta_scale * seed.standard_normal(width)
    return Network(c, w, eta, beta, activation, negative_control=negative_control)
