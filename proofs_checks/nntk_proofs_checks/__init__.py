"""Every theoretical claim as an executable check, with its evidence and a negative control that must be refuted."""

from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, Result, run
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.registry import CLAIMS

__all__ = ["CLAIMS", "Claim", "Effort", "Evidence", "Finding", "Panel", "Problem", "Result", "Series", "run"]
