"""Which of a registry's entries are run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from nntk.reporting.selection import UnknownIdError, choose
from tests.nntk.claims import message


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [([], []), (["c", "a"], ["a", "c"]), (["b, a"], ["a", "b"]), (["b,b", " b "], ["b"]), (["a,b,c"], ["a", "b", "c"])],
)
def test_the_registrys_order_counts(entries: list[str], chosen: list[str]) -> None:
    assert choose("only", entries, "abc") == chosen


def test_unknown_id_names_the_argument() -> None:
    with pytest.raises(UnknownIdError) as caught:
        choose("skip", ["first", "secnod"], ["first", "second"])
    assert str(caught.value) == "skip: expected one of first, second, got 'secnod' (did you mean 'second'?)"
    assert caught.value.argument == "skip"


@pytest.mark.parametrize("entry", ["", " ", "first,", ",first", "first,,second"])
def test_an_empty_id_is_called_one(entry: str) -> None:
    with pytest.raises(UnknownIdError, match=r"got an empty id$"):
        choose("only", [entry], ["first", "second"])


@pytest.mark.parametrize(
    ("id", "near"),
    [("push-throgh", "push-through"), ("ones-tep", "one-step"), ("PUSH-THROUGH", "push-through"), ("a\nb", ""), ("third", "")],
)
def test_only_what_is_near_is_offered(verify: Callable[..., Result], id: str, near: str) -> None:
    text = message(verify("--only", id))
    assert text.startswith("nntk: --only: expected one of push-through, one-step, got ")
    assert text.endswith(f"{id!r} (did you mean {near!r}?)\n" if near else f"{id!r}\n")


def test_one_bad_id_among_good_ones(verify: Callable[..., Result]) -> None:
    assert "got 'ones-tep' (did you mean 'one-step'?)" in message(verify("--only", "push-through,ones-tep"))
