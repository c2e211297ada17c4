"""The arguments of a cross-check: looked at before any work, each complaint under the argument's own name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nntk.crosscheck.checks import CHECKS, Check
from nntk.crosscheck.setting import Profile
from nntk.crosscheck.subject import FORMS
from nntk.reporting.selection import choose, known
from nntk_proofs_checks.claim import Effort
from nntk_reference import InputError
from nntk_reference.validation import positive

__all__ = [
    "DEFAULT_RTOL",
    "TIME_LIMIT",
    "covers",
    "effort_of",
    "form_of",
    "read_expected_failures",
    "residual_of",
    "rtol_of",
    "select",
]

DEFAULT_RTOL = 1e-3
TIME_LIMIT = 60.0


def effort_of(effort: str | Effort) -> Effort:
    """The effort of this name, quick, default or full. Raises InputError."""
    if isinstance(effort, Effort):
        return effort
    names = {e.name.lower(): e for e in Effort}
    return names[known("effort", effort, names)]


def rtol_of(rtol: float | None, residual: float | None, chosen: Profile) -> float | None:
    """The relative error that a step may have; None where the profile asks for rounding alone, or there is only a residual.

    Raises InputError.
    """
    tolerance = _tolerance("rtol", rtol, chosen)
    return DEFAULT_RTOL if chosen.approximate and tolerance is None and residual is None else tolerance


def residual_of(residual: float | None, chosen: Profile) -> float | None:
    """What |AΔ + g| / |g| may be; None where nothing was said of it. Raises InputError."""
    return _tolerance("residual", residual, chosen)


def _tolerance(argument: str, value: float | None, chosen: Profile) -> float | None:
    if value is None:
        return None
    if not chosen.approximate:
        raise InputError(argument, "none, unless the profile is approximate-newton", repr(value))
    if positive(argument, value) >= 1:
        raise InputError(argument, "a relative error below 1", repr(value))
    return value


def form_of(form: str | None) -> str | None:
    """The form of this name, or None to guess it. Raises InputError."""
    return None if form is None else known("form", form, FORMS)


_ERRORS = "error:"


def covers(reason: str) -> bool:
    """Does a failure that is expected for this reason cover errors and time-outs as well?"""
    return reason.startswith(_ERRORS)


def select(chosen: Profile, only: Sequence[str], skip: Sequence[str]) -> tuple[list[Check], dict[str, str]]:
    """(the checks to run, why each of the others is left out)."""
    wanted, unwanted = choose("only", only, CHECKS), choose("skip", skip, CHECKS)
    checks, left_out = [], {}
    for id, check in CHECKS.items():
        if chosen.name not in check.profiles:
            left_out[id] = f"not part of the profile {chosen.name}"
        elif id in unwanted:
            left_out[id] = "skipped on request"
        elif wanted and id not in wanted:
            left_out[id] = "not selected"
        else:
            checks.append(check)
    if not checks and unwanted:
        raise InputError("skip", f"to leave a check of the profile {chosen.name} to be run", ", ".join(unwanted))
    if not checks:
        raise InputError("only", f"a check of the profile {chosen.name}", ", ".join(wanted))
    return checks, left_out


def read_expected_failures(source: Mapping[str, str] | Path | str | None) -> dict[str, str]:
    """Expected failures, {id: reason}, from a mapping or a file of lines `id: reason`, where # begins a comment.

    A reason may begin with `error:`, and then covers errors and time-outs as well. Raises InputError.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        lines = [(0, id, reason) for id, reason in source.items()]
    else:
        path = Path(source)
        try:
            rows = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("expected_failures", "a file of lines `id: reason`", f"{str(path)!r} ({error})") from None
        lines = []
        for number, row in enumerate(rows, start=1):
            if row.strip() and not row.strip().startswith("#"):
                id, _, reason = row.partition(":")
                lines.append((number, id.strip(), reason.strip()))
    found: dict[str, str] = {}
    for number, id, reason in lines:
        where = f"line {number}: " if number else ""
        known("expected_failures", id, CHECKS, where)
        if not reason.removeprefix(_ERRORS).strip():
            raise InputError("expected_failures", "lines `id: reason`", f"{where}{id!r} without a reason")
        if id in found:
            raise InputError("expected_failures", "each check once", f"{where}{id!r} again")
        found[id] = reason
    return found
