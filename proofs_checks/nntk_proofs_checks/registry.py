"""Every claim, in the order of the report. A new one is a module with a `CLAIM` and an entry here."""

from __future__ import annotations

from types import MappingProxyType

from nntk_proofs_checks import exponential, indefinite, nntk_bound, one_step, push_through
from nntk_proofs_checks.claim import Claim

__all__ = ["CLAIMS"]

_MODULES = (push_through, indefinite, nntk_bound, exponential, one_step)

CLAIMS: MappingProxyType[str, Claim] = MappingProxyType({module.CLAIM.id: module.CLAIM for module in _MODULES})
