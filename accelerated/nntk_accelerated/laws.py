"""The laws of a neuron at initialization, drawn by torch: one registry entry for each law of the output weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated.errors import InputError
from nntk_accelerated.validation import choice, positive

__all__ = ["LAWS", "InitialLaw", "OutputLaw", "initial_law", "register_law"]


@dataclass(frozen=True)
class OutputLaw:
    """The law of an output weight c.

    draw   (n, generator, device) ↦ n independent draws (n,), float64.
    bound  sup|c|, which (E16) needs before anything is drawn; infinite where there is none.
    """

    name: str
    draw: Callable[[int, torch.Generator | None, torch.device], Tensor]
    bound: float


LAWS: dict[str, OutputLaw] = {}


def register_law(entry: object) -> OutputLaw:
    """Add a law of c under its name; `ShallowNet` can then be drawn from it. Raises InputError on a name in use."""
    if not isinstance(entry, OutputLaw):
        raise InputError("entry", "an OutputLaw", repr(entry))
    name: object = entry.name
    if not isinstance(name, str) or not name or name in LAWS:
        raise InputError("law", "a name not yet in use", repr(name))
    LAWS[name] = entry
    return entry


def _uniform(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.rand(n, dtype=torch.float64, device=device, generator=generator).mul_(2).sub_(1)


def _rademacher(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.randint(2, (n,), device=device, generator=generator).to(torch.float64).mul_(2).sub_(1)


def _normal(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.randn(n, dtype=torch.float64, device=device, generator=generator)


register_law(OutputLaw("uniform", _uniform, 1.0))
register_law(OutputLaw("rademacher", _rademacher, 1.0))
register_law(OutputLaw("normal", _normal, float("inf")))


@dataclass(frozen=True)
class InitialLaw:
    """The law of a neuron: cᵢ from the entry `c` of the registry, wᵢ ~ N(0, w_scale² I), ηᵢ ~ N(0, eta_scale²), independent.

    The default is the paper's: c "uniform" on (-1, 1), the others standard normal.
    Raises InputError for an unknown c or scales that are not positive.
    """

    c: str = "uniform"
    w_scale: float = 1.0
    eta_scale: float = 1.0

    def __post_init__(self) -> None:
        choice("law.c", self.c, LAWS)
        object.__setattr__(self, "w_scale", positive("law.w_scale", self.w_scale))
        object.__setattr__(self, "eta_scale", positive("law.eta_scale", self.eta_scale))

    @property
    def output(self) -> OutputLaw:
        """The registry entry of c's law."""
        return LAWS[self.c]


def initial_law(value: Any) -> InitialLaw:
    """An InitialLaw, or the one whose c has the law of this name. Raises InputError."""
    return value if isinstance(value, InitialLaw) else InitialLaw(choice("law", value, LAWS))
