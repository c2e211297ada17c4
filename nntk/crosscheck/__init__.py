"""Cross-check: hand over any optimizer and learn what it really computes."""

from nntk.crosscheck.battery import check_optimizer
from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.diagnosis import EXPLANATIONS, Diagnosis
from nntk.crosscheck.options import read_expected_failures
from nntk.crosscheck.result import CheckResult, Failure, Report
from nntk.crosscheck.setting import PROFILES, Profile
from nntk.crosscheck.subject import FactoryError, FunctionProblem, SubjectError

__all__ = [
    "CHECKS",
    "EXPLANATIONS",
    "PROFILES",
    "Check",
    "CheckResult",
    "Diagnosis",
    "FactoryError",
    "Failure",
    "FunctionProblem",
    "Profile",
    "Report",
    "SubjectError",
    "check_optimizer",
    "read_expected_failures",
]
