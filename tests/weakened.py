"""Ten times smaller: one term of a function's source multiplied by a number, to see which test misses it.

A bound of a rounding, truncation or aliasing error is tight in a term if some case nearly attains it: with that term a tenth of
what it is, the case's error exceeds the bound. So each row of a table names a function, a term as it is written there, and a
case that returns (error attained) / (bound).
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

SHARE = 0.1
"""What a term is multiplied by: a bound that is ten times too small has to fail."""


class Term(NamedTuple):
    """A term of a bound in `owner.name` (a function of a module or a method of a class) and the case that nearly attains it.

    `share` is smaller where the table says why the term cannot be attained to a tenth.
    """

    owner: Any
    name: str
    text: str
    case: Callable[[], float]
    share: float = SHARE

    @property
    def told(self) -> str:
        """What pytest calls it."""
        return f"{self.name}: {self.text}"


def check_tight(patch: pytest.MonkeyPatch, term: Term) -> None:
    """The bound holds in the case, and does not with a tenth of the term."""
    ratio = term.case()
    assert 0 <= ratio <= 1, f"{term.told}: error / bound = {ratio}"  # negative where the bound is on the wrong side
    weaken(patch, term)
    weakened = term.case()
    assert weakened > 1, f"{term.told}: error / bound = {ratio}, and {weakened} with {term.share} of the term"


def weaken(patch: pytest.MonkeyPatch, term: Term) -> None:
    """Put `owner.name` with the term multiplied by its share in its place; «…» mark it in a text that has context."""
    text = term.text.replace("«", "").replace("»", "")
    marked = term.text if "«" in term.text else f"«{term.text}»"
    source = source_of(getattr(term.owner, term.name))
    assert source.count(text) == 1, f"{text!r} stands {source.count(text)} times in {term.name}"
    changed = source.replace(text, marked.replace("«", f"({term.share} * (").replace("»", "))"))
    patch.setattr(term.owner, term.name, compiled(getattr(term.owner, term.name), changed))


def source_of(function: Any) -> str:
    """Its source, or that from which `compiled` made it."""
    return str(getattr(function, "source", None) or textwrap.dedent(inspect.getsource(function)))


def compiled(function: Any, source: str) -> Any:
    """The function that the source defines, where the function lives."""
    found: dict[str, Any] = {}
    exec(compile(source, f"<{function.__name__}, changed>", "exec"), function.__globals__, found)
    changed = found[function.__name__]
    changed.source = source
    return changed


def every(terms: list[Term]) -> pytest.MarkDecorator:
    """One test a term."""
    return pytest.mark.parametrize("term", terms, ids=[term.told for term in terms])
