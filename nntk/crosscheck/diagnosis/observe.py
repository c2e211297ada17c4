"""Which steps of an optimizer are observed, and what they are said to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from nntk.crosscheck.case import Case, case_at
from nntk.crosscheck.cases import diagnosed
from nntk.crosscheck.checks.step import judged
from nntk.crosscheck.diagnosis.explanation import Observation
from nntk.crosscheck.diagnosis.nearest import VAGUE, Diagnosis, explain
from nntk.crosscheck.setting import Setting, seed_everything
from nntk.crosscheck.subject import SubjectError
from nntk_reference.arithmetic import Array

__all__ = ["diagnose"]

_LONGEST = 1e6
"""A run ends with a step of this length."""
_PARAMETERS, _STEPS = 120, 12
"""Failing cases of more parameters are not explained, and of longer runs the last steps."""


class _Seen(NamedTuple):
    """The steps of one run that can be explained, whether one of all is not the profile's, and why it ended early or ""."""

    steps: list[Observation]
    wrong: bool
    refusal: str


def diagnose(setting: Setting, failures: Sequence[tuple[str, Case, int]] = ()) -> list[Diagnosis]:
    """Observe first steps on three definite and three indefinite systems, and six in a row twice; explain each group.

    Of `failures`, (id of a failed check, its smallest failing case, steps), each is observed and explained as well. One at
    which the steps are the profile's is left out: they are not what failed.
    """
    groups = diagnosed(setting.seed, setting.dtype)
    found = [_group(setting, group, cases, 6 if group == "consecutive" else 1, ()) for group, cases in groups.items()]
    known = [one.id for one in found]
    told: dict[Any, Diagnosis] = {}
    for name, at, steps in failures:
        if at.theta.size > _PARAMETERS or not _finite(at):
            continue
        of = at.objective
        same = (*(v.tobytes() for v in (of.X, of.y, at.theta)), of.beta, of.activation, of.damping, steps)
        if same not in told:
            told[same] = _group(setting, name, [at], steps, known)
        if told[same].refuses or told[same].id != setting.profile.target:
            found.append(replace(told[same], group=name))
    return found


def _finite(at: Case) -> bool:
    return all(bool(np.isfinite(values).all()) for values in (at.objective.X, at.objective.y, at.theta))


def _group(setting: Setting, group: str, cases: Sequence[Case], steps: int, known: Sequence[str]) -> Diagnosis:
    runs = [_observed(setting, at, steps) for at in cases]
    seen = [one for run in runs for one in run.steps[-_STEPS:]]
    refusal, wrong = next((run.refusal for run in runs if run.refusal), ""), any(run.wrong for run in runs)
    if not seen:
        words = f"refused: {refusal}" if refusal else "no finite step"
        return Diagnosis(group, "refused" if refusal else "unknown", words, 0.0, bool(refusal), 0, wrong)
    told = replace(explain(group, seen, known), refuses=wrong)
    return replace(told, words=f"{told.words}; refused elsewhere: {refusal}") if refusal else told


def _observed(setting: Setting, at: Case, steps: int) -> _Seen:
    run: list[Observation] = []
    wrong, refusal = False, ""
    try:
        session = setting.start(at)
        for _ in range(steps):
            before, calls = session.theta, getattr(session, "closure_calls", 0)
            session.step()
            calls = getattr(session, "closure_calls", 0) - calls
            here = case_at(at.objective, before, at.source)
            with np.errstate(all="ignore"):
                step = (session.theta - before).reshape(-1)
            off = _wrong(setting, here, step)
            wrong = wrong or off
            if not np.isfinite(step).all():
                break
            again = _again(setting, at) if off and not run else None
            run.append(Observation(here.start, step, tuple(run), setting.dtype, calls, again))
            if np.linalg.norm(step) > _LONGEST:
                break
    except SubjectError as error:
        refusal = str(error)
        wrong = wrong or (at.kind == "definite" and not run)  # which nothing gives a reason to refuse
    return _Seen(run, wrong, refusal)


def _wrong(setting: Setting, here: Case, step: Array) -> bool:
    """Is it not the step that the profile prescribes, where it prescribes one and rounding lets that be told?"""
    if setting.profile.target is None or not setting.limit(setting.target(here.start)) <= VAGUE:
        return False
    return not np.isfinite(step).all() or judged(setting, here, step).ratio > 1


def _again(setting: Setting, at: Case) -> Array | None:
    """The first step of a fresh optimizer, with the global random generators elsewhere; None where it ends in an error."""
    try:
        seed_everything(1)
        session = setting.subject.start(at, setting.dtype, setting.device)
        session.step()
    except SubjectError:
        return None
    with np.errstate(all="ignore"):
        step = (session.theta - at.theta).reshape(-1)
    return step if np.isfinite(step).all() else None
