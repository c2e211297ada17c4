"""Numbers in words: with as many digits as tell them apart."""

from __future__ import annotations

__all__ = ["apart"]


def apart(found: float, asked: float, digits: int = 4) -> str:
    """The number found, with at least so many digits, and as many as show that it is not the one asked for."""
    while digits < 17 and f"{found:.{digits}g}" == f"{asked:.{digits}g}":
        digits += 1
    return f"{found:.{digits}g}"
