"""Every claim, in the order of the report. A new one is a module with a `CLAIM` and an entry here."""

from __future__ import annotations

from types import MappingProxyType

from nntk_proofs_checks import (
    exponential,
    indefinite,
    initial_fluctuations,
    limit_equation,
    linearization,
    nntk_bound,
    ntk_decay,
    one_step,
    positive_definite,
    push_through,
    sharp_rate,
    vanishing_gamma,
    vanishing_updates,
)
from nntk_proofs_checks.claim import Claim

__all__ = ["CLAIMS"]

_MODULES = (
    push_through,
    positive_definite,
    indefinite,
    vanishing_updates,
    linearization,
    limit_equation,
    ntk_decay,
    nntk_bound,
    exponential,
    one_step,
    vanishing_gamma,
    initial_fluctuations,
    sharp_rate,
)

CLAIMS: MappingProxyType[str, Claim] = MappingProxyType({module.CLAIM.id: module.CLAIM for module in _MODULES})
