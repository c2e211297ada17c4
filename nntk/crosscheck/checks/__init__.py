"""The checks: one decorated function each, in the modules of this package; `registry` orders them."""

from nntk.crosscheck.checks.check import Check
from nntk.crosscheck.checks.registry import CHECKS, FOLLOWS

__all__ = ["CHECKS", "FOLLOWS", "Check"]
