"""What the gallery knows of a subject, the decorator that enters it, and what the packages' modules share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from torch import Tensor

from nntk_accelerated import ShallowNet

__all__ = ["ENTRIES", "Entry", "Factory", "Step", "loss", "mean_square", "register", "stepping"]


class Factory(Protocol):
    """A function that makes a subject."""

    __name__: str

    def __call__(self, model: ShallowNet, X: Tensor, y: Tensor, damping: float, /) -> Any: ...


@dataclass(frozen=True)
class Entry:
    """A published optimizer with settings: what its documentation says it computes, and how it is run here.

    `distribution` is the name that pip knows it by. `profile` is the cross-check's profile that the documentation's claim
    amounts to, `rtol` what an approximate one may be off by; `claim` is that claim, quoted, with its place. `settings` says
    what differs from the defaults.
    """

    factory: Factory
    title: str
    distribution: str
    profile: str
    claim: str
    settings: str = "defaults"
    rtol: float | None = None

    @property
    def id(self) -> str:
        """The factory's name; `nntk crosscheck nntk.gallery:ID` runs it."""
        return self.factory.__name__

    @property
    def version(self) -> str | None:
        """The version that is installed; None without one."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Step:
    """A subject that is no torch optimizer: step(X, y) changes the model's parameters."""

    step: Callable[[Tensor, Tensor], None]


_ENTRIES: dict[str, Entry] = {}
ENTRIES = MappingProxyType(_ENTRIES)
"""Every subject that is entered, by id, in the order of the page."""

F = TypeVar("F", bound=Factory)


def register(
    distribution: str, profile: str, title: str, claim: str, settings: str = "defaults", *, rtol: float | None = None
) -> Callable[[F], F]:
    """Enter the factory below as a subject: its name is the id, the rest is as in Entry. Raises ValueError for a taken id."""

    def enter(factory: F) -> F:
        entry = Entry(factory, title, distribution, profile, claim, settings, rtol)
        if entry.id in _ENTRIES:
            raise ValueError(f"the gallery has a subject {entry.id!r} already")
        _ENTRIES[entry.id] = entry
        return factory

    return enter


def mean_square(residual: Tensor) -> Tensor:
    """|r|²/M, which is 2L (E2)."""
    return residual.square().mean()


def loss(model: ShallowNet, X: Tensor, y: Tensor) -> Tensor:
    """L = |r|²/(2M) (E2), with its graph."""
    return mean_square(model(X) - y) / 2


def stepping(kind: Any, argument: Callable[[Any], Any]) -> Any:
    """The optimizer class `kind`, with a step(closure) that hands `argument(optimizer)` to its step instead."""

    def step(self: Any, closure: Any = None) -> Any:
        return kind.step(self, argument(self))

    return type(kind.__name__, (kind,), {"step": step})
