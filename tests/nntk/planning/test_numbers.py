"""Sizes, also such as float64 cannot hold."""

from __future__ import annotations

import pytest
from flint import arb, ctx

from nntk.planning.numbers import Size


@pytest.mark.parametrize(
    ("number", "text", "up"),
    [
        ("0", "0", "0"),
        ("0.0123456", "0.0123", "1.24·10^-2"),
        ("123456.4", "123,456", "1.24·10^5"),
        ("1e33", "1.00·10^33", "1.00·10^33"),
        ("9.9951e400", "1.00·10^401", "1.00·10^401"),
        ("1.0001e400", "1.00·10^400", "1.01·10^400"),
        ("2.5e-320", "2.50·10^-320", "2.50·10^-320"),
    ],
)
def test_size_as_text(number: str, text: str, up: str) -> None:
    with ctx.workprec(256):
        size = Size.of(arb(number))
    assert size.text() == text
    assert size.text(up=True) == up


def test_whole_sizes_are_not_rounded() -> None:
    assert Size.of(251_922).text(2, up=True) == "251,922"
    assert Size.of(0) == Size(0.0, None)
