"""Checks of plain numbers, and whether a tensor's are finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated.errors import InputError

__all__ = ["all_finite", "choice", "number", "positive", "whole_number"]


def number(name: str, value: Any, expected: str = "a finite number") -> float:
    """A finite real number, also as a tensor without dimensions. Raises InputError otherwise."""
    plain = value.item() if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise InputError(name, expected, repr(value))
    try:
        result = float(plain)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise InputError(name, expected, repr(value))
    return result


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


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of some words. Raises InputError otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(name, f"one of {', '.join(choices)}", repr(value))
    return value


def all_finite(values: Tensor) -> bool:
    """Are all numbers finite? Their sum tells it in one pass; it alone can be infinite where none of them is."""
    return math.isfinite(values.sum()) or bool(torch.isfinite(values).all())
