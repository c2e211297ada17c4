"""The catalogue of explanations, and which of them a group of steps gets."""

from __future__ import annotations

from nntk.crosscheck import EXPLANATIONS


def test_no_two_explanations_share_an_id() -> None:
    ids = [e.id for e in EXPLANATIONS]
    assert len(ids) == len(set(ids))
    assert [e.fitted for e in EXPLANATIONS] == sorted(e.fitted for e in EXPLANATIONS)
