"""Property-testing suite and command line for the Newton neural tangent kernel."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nntk.crosscheck import check_optimizer
    from nntk.crosscheck.testing import parametrize_with_checks

__version__ = "0.1.0"

__all__ = ["__version__", "check_optimizer", "parametrize_with_checks"]

# Imported on first use: the command line and the pytest plugin start without torch.
_LATER = {"check_optimizer": "nntk.crosscheck", "parametrize_with_checks": "nntk.crosscheck.testing"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
