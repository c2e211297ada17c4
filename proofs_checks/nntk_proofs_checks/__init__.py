"""Every theoretical claim as an executable check, with its evidence and a negative control that must be refuted."""

from typing import TYPE_CHECKING, Any

from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, Result, run
from nntk_proofs_checks.panel import Panel, Series

if TYPE_CHECKING:
    from nntk_proofs_checks.registry import CLAIMS

__all__ = ["CLAIMS", "Claim", "Effort", "Evidence", "Finding", "Panel", "Problem", "Result", "Series", "run"]


def __getattr__(name: str) -> Any:
    """The registry when it is first asked for: its claims import much that the rest does without."""
    if name == "CLAIMS":
        from nntk_proofs_checks.registry import CLAIMS

        return CLAIMS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
