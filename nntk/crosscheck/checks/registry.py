"""The order of the checks, in which they run and are reported. What a check is stands at its function."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nntk.crosscheck.checks import behaviour, coupling, learning, runs, step, symmetry
from nntk.crosscheck.checks.check import REGISTERED, Check

__all__ = ["CHECKS", "FOLLOWS", "MODULES", "ORDER"]

MODULES = (step, runs, coupling, symmetry, behaviour, learning)
"""Where checks are defined: importing a module registers its own."""

ORDER = (
    "step-matches",
    "damping-honoured",
    "step-size-honoured",
    "trajectory",
    "fresh-curvature",
    "no-silent-fallback",
    "all-parameters-coupled",
    "whole-data",
    "neuron-permutation",
    "data-permutation",
    "data-duplication",
    "sign-symmetry",
    "joint-rotation",
    "deterministic",
    "no-side-effects",
    "state-dict",
    "scheduler",
    "precision",
    "width-exponent",
    "mode-rates",
    "non-finite",
    "leaves-no-trace",
    "does-not-grow",
    "evaluations",
    "cost",
)

CHECKS: Mapping[str, Check] = MappingProxyType({id: REGISTERED[id] for id in ORDER})

_AFTER_NOISE = (
    "fresh-curvature",
    "state-dict",
    "neuron-permutation",
    "data-permutation",
    "data-duplication",
    "sign-symmetry",
    "joint-rotation",
)
_AFTER_A_WRONG_STEP = (
    "damping-honoured",
    "step-size-honoured",
    "trajectory",
    "no-silent-fallback",
    "precision",
    "width-exponent",
    "mode-rates",
)

FOLLOWS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(_AFTER_A_WRONG_STEP, ("deterministic", "step-matches"))
    | dict.fromkeys(_AFTER_NOISE, ("deterministic",))
    | {"scheduler": ("deterministic", "step-size-honoured", "step-matches")}
)
"""{id: causes}: where one of the causes fails, so does the check, and its failure says nothing new."""
