"""Checks of plain numbers."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from nntk_accelerated.errors import InputError

__all__ = ["number", "positive", "whole_number"]


def number(name: str, value: Any, expected: str = "a finite number") -> float:
    """A finite real number, also as a tensor without dimensions. Raises InputError otherwise."""
    plain = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise InputError(name, expected, repr(value))
    return float(plain)


def positive(name: str, value: Any) -> float:
    """A finite number above zero. Raises InputError otherwise."""
    expected = "a finite number above 0"
    result = number(name, value, expected)
    if result <= 0:
        raise InputError(name, expected, repr(value))
    return result


def whole_number(name: str, value: Any, expected: str = "a whole number of at least 1") -> int:
    """A whole number of at least 1. Raises InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(name, expected, repr(value))
    return value
