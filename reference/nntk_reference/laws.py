"""The laws of a neuron at initialization: one registry entry for each law of the output weight, and all that is asked of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from nntk_reference import validation
from nntk_reference.arithmetic import Array
from nntk_reference.errors import InputError

__all__ = ["LAWS", "InitialLaw", "OutputLaw", "initial_law", "register_law"]


@dataclass(frozen=True)
class OutputLaw:
    """The law of an output weight c.

    draw                          (generator, n) ↦ n independent draws, float64.
    second_moment, fourth_moment  E[c²], of the limit NTK (E9) and of (E19); E[c⁴], of the variance in (E20). Exact.
    bound                         sup|c|, which (E16) needs before anything is drawn; infinite where there is none.
    symmetric                     have c and -c the same law, as (E19) and (E21) assume?
    """

    name: str
    draw: Callable[[np.random.Generator, int], Array]
    second_moment: Fraction
    fourth_moment: Fraction
    bound: float
    symmetric: bool = True


LAWS: dict[str, OutputLaw] = {}


def register_law(entry: object) -> OutputLaw:
    """Add a law of c under its name; every function of the package then accepts it. Raises InputError on a name in use."""
    if not isinstance(entry, OutputLaw):
        raise InputError("entry", "an OutputLaw", repr(entry))
    name: object = entry.name
    if not isinstance(name, str) or not name or name in LAWS:
        raise InputError("law", "a name not yet in use", repr(name))
    LAWS[name] = entry
    return entry


register_law(OutputLaw("uniform", lambda rng, n: rng.uniform(-1.0, 1.0, n), Fraction(1, 3), Fraction(1, 5), 1.0))
register_law(OutputLaw("rademacher", lambda rng, n: rng.choice([-1.0, 1.0], n), Fraction(1), Fraction(1), 1.0))
register_law(OutputLaw("normal", lambda rng, n: rng.standard_normal(n), Fraction(1), Fraction(3), float("inf")))


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
        _name("law.c", self.c)
        object.__setattr__(self, "w_scale", validation.positive("law.w_scale", self.w_scale))
        object.__setattr__(self, "eta_scale", validation.positive("law.eta_scale", self.eta_scale))

    @property
    def output(self) -> OutputLaw:
        """The registry entry of c's law."""
        return LAWS[self.c]


def initial_law(value: object) -> InitialLaw:
    """An InitialLaw, or the one whose c has the law of this name. Raises InputError."""
    return value if isinstance(value, InitialLaw) else InitialLaw(_name("law", value))


def _name(argument: str, value: object) -> str:
    """The name of an entry. Raises InputError, which offers the nearest one."""
    if isinstance(value, str) and value in LAWS:
        return value
    near = difflib.get_close_matches(str(value).lower(), LAWS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(argument, f"one of {', '.join(LAWS)}", f"{value!r}{hint}")
