"""Characters that would act on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nntk.reporting.characters import visible
from nntk.reporting.terminal import text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("γ_N ≤ 3 × 10⁻⁴\n\ttwo lines", "γ_N ≤ 3 × 10⁻⁴\n\ttwo lines"),
        ("\x1b[2J\x07\r\x00", r"\x1b[2J\x07\x0d\x00"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("right\u202eleft\ufeff", r"right\u202eleft\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_acts_is_escaped_and_what_is_read_stays(words: str, shown: str) -> None:
    assert visible(words) == shown
    assert text(words, Console(file=io.StringIO())).plain.startswith(shown.partition("\t")[0])
