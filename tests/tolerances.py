"""The one table from which tests derive tolerances for rounding errors.

A test states its error as a LAPACK-style ratio, error / (n · eps · size), n the number of operations that lead to one number
and size what the error is relative to, and compares it with THRESHOLD. Nothing here was fitted to a result.
"""

from __future__ import annotations

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
"""Spacing of the numbers next to 1; a correctly rounded operation errs by at most half of it."""

TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}
"""The smallest normal number: below it an operation's error is absolute."""

THRESHOLD = 30.0
"""What LAPACK's own test programs allow such a ratio (LAPACK Working Note 41, section 7)."""
