"""Every claim notices the faults that it should: the table in `faults`, held against runs of the claims."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nntk_reference import Verdict
from tests.proofs_checks.faults import DOCUMENT, FAULTS, IDS, MARKS, NOT_CALLED, marks, measured, planted, rendered, verdict

# in the order of what they cost: up to two seconds here, then those not named, and three to ten
_CHEAPEST = (
    "indefinite",
    "push-through",
    "nntk-bound",
    "exponential",
    "one-step",
    "ntk-decay",
    "vanishing-updates",
    "positive-definite",
)
_DEAR = ("initial-fluctuations", "vanishing-gamma", "limit-equation", "linearization", "sharp-rate")
_CHEAP = (*_CHEAPEST, *(claim for claim in IDS if claim not in (*_CHEAPEST, *_DEAR)))


def _cases() -> Iterator[tuple[str, str]]:
    """(fault, claim) for the ordinary run: each fault's two cheapest claims, and the first fault of a claim left out so far."""
    chosen = {}
    for name, fault in FAULTS.items():
        cheap, dear = ([claim for claim in claims if claim in fault.expected] for claims in (_CHEAP, _DEAR))
        chosen[name] = cheap[:2] or dear[:1]
    covered = {claim for claims in chosen.values() for claim in claims}
    yield from ((name, claim) for name, claims in chosen.items() for claim in claims)
    for claim in IDS:
        if claim not in covered:
            yield from [(name, claim) for name, fault in FAULTS.items() if claim in fault.expected][:1]


def test_a_fault_is_gone_when_it_is_over() -> None:
    with planted(FAULTS["reference: S dropped"]):
        assert verdict("indefinite") is Verdict.REFUTED
    assert verdict("indefinite") is Verdict.HOLDS


# Late faults last: what they leave in the caches, tests of the claims need, too.
@pytest.mark.parametrize(("name", "claim"), sorted(_cases(), key=lambda case: FAULTS[case[0]].late))
def test_fault_is_noticed(name: str, claim: str) -> None:
    with planted(FAULTS[name]):
        found = verdict(claim)
    assert MARKS[found] == FAULTS[name].marks[claim]


def test_every_claim_notices_a_fault() -> None:
    assert {claim for fault in FAULTS.values() for claim in fault.expected} == set(IDS)


@pytest.mark.parametrize("name", FAULTS)
def test_rows_are_complete(name: str) -> None:
    fault = FAULTS[name]
    assert list(fault.marks) == list(IDS)
    assert set(fault.marks.values()) <= {*MARKS.values(), NOT_CALLED}
    assert fault.note


def test_marks_are_of_claims() -> None:
    found = marks(refuted="one-step", holds="indefinite")
    assert found.pop("one-step") == "R"
    assert found.pop("indefinite") == "."
    assert set(found.values()) == {NOT_CALLED}
    with pytest.raises(AssertionError, match=r"no claims: \{'two-steps'\}"):
        marks(refuted="two-steps")


def test_document_is_that_of_the_table() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == rendered()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_exactly_the_expected_claims_change(name: str) -> None:
    assert measured(FAULTS[name]) == FAULTS[name].marks
