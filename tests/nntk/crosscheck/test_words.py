"""Numbers in words: with as many digits as tell them apart."""

from __future__ import annotations

import pytest

from nntk.crosscheck.words import apart


@pytest.mark.parametrize(
    ("found", "asked", "words"),
    [
        (0.5, 1.0, "0.5"),
        (1.0, 1.0, "1"),
        (0.99996, 1.0, "0.99996"),
        (1.0000001, 1.0, "1.0000001"),
        (1 + 2.0**-52, 1.0, "1.0000000000000002"),
        (12345.678, 12345.0, "1.235e+04"),
        (-3.0, 3.0, "-3"),
    ],
)
def test_as_many_digits_as_tell_them_apart(found: float, asked: float, words: str) -> None:
    assert apart(found, asked) == words


def test_at_least_so_many_digits() -> None:
    assert apart(1 / 3, 1.0) == "0.3333"
    assert apart(1 / 3, 1.0, digits=2) == "0.33"
