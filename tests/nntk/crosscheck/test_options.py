"""The arguments of a cross-check."""

from __future__ import annotations

from pathlib import Path

import pytest

from nntk.crosscheck import CHECKS, PROFILES, read_expected_failures
from nntk.crosscheck.options import DEFAULT_RTOL, covers, effort_of, form_of, residual_of, rtol_of, select
from nntk_proofs_checks import Effort
from nntk_reference import InputError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step-matches", "without a reason"),
        ("step-matches: error:", "without a reason"),
        ("stepmatches: why", "did you mean 'step-matches'"),
        ("step-matches: a\nstep-matches: b", "again"),
        (b"\xff\xfe", "a file of lines"),
    ],
)
def test_bad_files_of_expected_failures(text: str | bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"expected_failures: .*{words}"):
        read_expected_failures(file)


def test_expected_failures_from_a_file_and_from_a_mapping_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    file.write_text("# known\n\nstep-matches: by design: half of S  \n  cost : slow\n")
    wanted = {"step-matches": "by design: half of S", "cost": "slow"}
    assert read_expected_failures(file) == read_expected_failures(str(file)) == read_expected_failures(wanted) == wanted
    assert read_expected_failures(None) == {}


def test_effort_by_name_or_as_it_is() -> None:
    assert [effort_of(name) for name in ("quick", "default", "full")] == [effort_of(e) for e in Effort] == list(Effort)


def test_rtol_belongs_to_the_approximate_profile() -> None:
    approximate = PROFILES["approximate-newton"]
    assert rtol_of(None, None, PROFILES["exact-newton"]) is None
    assert rtol_of(None, None, approximate) == DEFAULT_RTOL
    assert rtol_of(0.5, None, approximate) == 0.5


def test_a_residual_takes_the_place_of_the_default_rtol() -> None:
    approximate = PROFILES["approximate-newton"]
    assert rtol_of(None, 1e-6, approximate) is None
    assert rtol_of(0.5, 1e-6, approximate) == 0.5
    assert residual_of(1e-6, approximate) == 1e-6
    assert residual_of(None, approximate) is None
    for value, profile in ((1e-6, "exact-newton"), (1.0, "approximate-newton"), (0.0, "approximate-newton")):
        with pytest.raises(InputError, match=r"^residual: "):
            residual_of(value, PROFILES[profile])


def test_forms_by_name() -> None:
    assert [form_of(form) for form in (None, "torch", "object", "function")] == [None, "torch", "object", "function"]
    with pytest.raises(InputError, match="form: expected one of torch, object, function, got 'objekt'"):
        form_of("objekt")


def test_errors_are_expected_only_where_the_reason_says_so() -> None:
    found = read_expected_failures({"cost": "error: out of memory", "scheduler": "an error: by design"})
    assert {id: covers(reason) for id, reason in found.items()} == {"cost": True, "scheduler": False}


def test_a_reason_for_each_check_that_is_not_run() -> None:
    checks, left_out = select(PROFILES["first-order"], ["cost", "scheduler, whole-data"], ["cost"])
    assert [check.id for check in checks] == ["whole-data", "scheduler"]  # in the order of the registry
    assert set(left_out) | {"whole-data", "scheduler"} == set(CHECKS)
    assert left_out["cost"] == "skipped on request"
    assert left_out["deterministic"] == "not selected"
    assert left_out["step-matches"] == "not part of the profile first-order"


def test_skipping_everything_is_said_of_skip() -> None:
    with pytest.raises(InputError, match=r"^skip: expected to leave a check of the profile exact-newton .* got scheduler$"):
        select(PROFILES["exact-newton"], ["scheduler"], ["scheduler"])
    with pytest.raises(InputError, match=r"^only: expected a check of the profile first-order, got precision$"):
        select(PROFILES["first-order"], ["precision"], [])
