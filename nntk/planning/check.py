"""What no plan can be made for, refused before any work."""

from __future__ import annotations

import math

import numpy as np

import nntk_accelerated as fast
import nntk_reference as ref
from nntk.planning.numbers import Request
from nntk_proofs_checks import Problem
from nntk_reference import DegenerateKernelError, InputError, scaling_exponent, validation
from nntk_reference.arithmetic import Array

__all__ = ["MOST_POINTS", "EqualInputsError", "check"]

MOST_POINTS = 96
"""Points for which the spectrum is enclosed: Jacobi rotations over balls cost O(M³) a sweep, a minute or more at this M."""

_LARGEST = 1e50  # in size, of inputs and targets: fourth powers stay within float64


class EqualInputsError(InputError, DegenerateKernelError):
    """Two points of the data set have the same input, which makes the limit kernel exactly singular."""


def check(problem: Problem, request: Request) -> None:
    """Refuse, before any work, what no plan can be made for.

    Raises InputError, UnknownActivationError; EqualInputsError for duplicate inputs, with the points that are equal.
    """
    for package in (ref, fast):  # each has registries of its own
        package.activation(request.activation)
        try:
            package.InitialLaw(request.law)
        except (InputError, fast.InputError) as error:
            raise InputError("law", error.expected, error.got) from None
    try:
        scaling_exponent(request.beta)
    except InputError:
        raise InputError("beta", "a number between 1/2 and 1, ends excluded", repr(request.beta)) from None
    if not 0 < request.rate < 1:
        raise InputError("rate", "a number between 0 and 1, ends excluded", repr(request.rate))
    if request.gamma is not None and not 0 < request.gamma < math.inf:
        raise InputError("gamma", "a finite number above 0", repr(request.gamma))
    validation.whole_number("largest_width", request.largest_width, 1, 10**9)
    validation.seed(request.seed)
    X, y = problem.X, problem.y
    if len(y) < 2:
        raise InputError("data", "at least 2 points", str(len(y)))
    if max(np.abs(X).max(), np.abs(y).max()) > _LARGEST:
        raise InputError("data", f"numbers of at most {_LARGEST:.0e} in size", "a larger one: rescale the data")
    _distinct(X, y)
    if len(y) > MOST_POINTS:
        raise InputError(
            "data",
            f"at most {MOST_POINTS} points, for which the spectrum of the limit NTK can be enclosed",
            f"{len(y)}: plan for a subset of them, in the knowledge that smaller eigenvalues come with every point added",
        )
    if not y.any():
        raise InputError("data", "a target that is not 0", f"{len(y)} zeros, which f = 0 fits: there is nothing to plan")


def _distinct(X: Array, y: Array) -> None:
    _, group = np.unique(X, axis=0, return_inverse=True)
    group = group.reshape(-1)
    equal = [np.flatnonzero(group == g) for g in np.flatnonzero(np.bincount(group) > 1)]
    if not equal:
        return
    named = "; ".join(" and ".join(str(i + 1) for i in rows) for rows in equal[:3])
    more = f"; and {len(equal) - 3} more" if len(equal) > 3 else ""
    differ = any(len(set(y[rows])) > 1 for rows in equal)
    reason = (
        "no γ > 0 shrinks every mode, since the targets of equal inputs differ and no function takes both; average or drop them"
        if differ
        else "their targets agree, so keep one of each"
    )
    zero = f"equal points {named}{more} (counted from 1): λ_min of the limit NTK is exactly 0; {reason}"
    raise EqualInputsError("data", "distinct inputs", zero)
