"""What the claims are tried on: activations, chosen at each effort by what their registry entries say, and the initial law.

The choices are made when they are asked for and follow the registry's order, so that an activation registered later is tried
by the claims that it is fit for.
"""

from __future__ import annotations

from collections.abc import Callable

import nntk_accelerated
from nntk_proofs_checks.claim import Effort
from nntk_reference import ACTIVATIONS, Activation, InitialLaw

__all__ = ["ACTIVATION", "LAW", "of_networks", "of_spectral_decay", "with_limit_kernel"]

ACTIVATION = "tanh"
"""Of the networks that the measured claims are about."""

LAW = InitialLaw()
"""Of a neuron, for all networks and limit kernels: the paper's."""


def with_limit_kernel(effort: Effort) -> tuple[str, ...]:
    """For claims about any enclosed limit kernel: the first activation; those bounded, odd and with a strip; all."""
    names = _fit(lambda entry: entry.enclosed)
    return {Effort.QUICK: names[:1], Effort.DEFAULT: _fit(_plain), Effort.FULL: names}[effort]


def of_spectral_decay(effort: Effort) -> tuple[str, ...]:
    """For bounds from a strip on which σ is bounded, `ntk-decay`'s: those that are odd, too; at full effort all.

    Those whose kernel has a closed form come first: where one fails, it fails soon.
    """
    names = _fit(lambda entry: entry.bounded and entry.strip is not None) if effort is Effort.FULL else _fit(_plain)
    return tuple(sorted(names, key=lambda name: ACTIVATIONS[name].moments is None))


def of_networks(effort: Effort) -> tuple[str, ...]:
    """For claims about any network, through both packages: the first activation; the first, the last and one between; all."""
    names = _fit(lambda entry: entry.name in nntk_accelerated.ACTIVATIONS)
    return names if effort is Effort.FULL else _spread(names, 1 if effort is Effort.QUICK else 3)


def _fit(suits: Callable[[Activation], bool]) -> tuple[str, ...]:
    """The activations of the theory that suit, in the registry's order."""
    return tuple(name for name, entry in ACTIVATIONS.items() if entry.in_theory and suits(entry))


def _plain(entry: Activation) -> bool:
    return entry.bounded and entry.parity == "odd" and entry.strip is not None


def _spread(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """At most `count` names, evenly spread, the first and (of two or more) the last among them."""
    if count >= len(names):
        return names
    gap = (len(names) - 1) / max(count - 1, 1)
    return tuple(names[round(k * gap)] for k in range(count))
