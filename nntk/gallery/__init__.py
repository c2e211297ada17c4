"""Published optimizers as subjects of the cross-check, each run as its documentation says, and what they turn out to be.

$ nntk crosscheck nntk.gallery:torch_sgd --profile first-order

A subject is a factory(model, X, y, damping) for a ShallowNet, all data, and the number γ_N to be added to the Hessian's
diagonal (E6); the step size is 1. It returns a torch optimizer, or an object with step(X, y). The packages are imported when
a factory is called; the extra `nntk[gallery]` installs them.

The loss is L = |r|²/(2M) (E2). Where a package takes MSELoss, which is 2L, its Hessian is twice as large, and so is the damping
that it is given: the step is the same.

Each published package has a module here, whose factories `register` enters in the order of their definition.
`python -m nntk.gallery --write docs/gallery.md` cross-checks them all and writes the page.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nntk.gallery.entry import ENTRIES, Entry, Factory, Step, register

__all__ = ["ENTRIES", "MODULES", "Entry", "Factory", "Step", "register"]

MODULES = (
    "torch_optim",
    "torch_numopt",
    "pytorch_minimize",
    "pytorch_optimizer",
    "curvlinops",
    "torch_levenberg_marquardt",
    "own",
)
"""The modules that hold subjects, one for each published package, in the order of the page."""

for _module in MODULES:
    import_module(f"{__name__}.{_module}")


def __getattr__(name: str) -> Any:
    """The factory with this id, as `nntk crosscheck nntk.gallery:ID` asks for it."""
    if name in ENTRIES:
        return ENTRIES[name].factory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, and the ids."""
    return sorted([*__all__, *ENTRIES])
