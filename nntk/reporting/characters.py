"""Characters that would act on a terminal, made visible. Imports nothing heavy."""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]


def visible(words: str) -> str:
    """The words with what would act on a terminal, or turn text around, as escapes; line breaks and tabs stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _ACTING else _escape(c) for c in words)


_ACTING = ("Cc", "Cf", "Cs")


def _escape(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
