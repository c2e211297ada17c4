"""Which steps of an optimizer are observed, and what they are said to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import Case
from nntk.crosscheck.cases import case, with_activations
from nntk.crosscheck.diagnosis.explanation import Observation
from nntk.crosscheck.diagnosis.nearest import Diagnosis, explain
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import SubjectError

__all__ = ["diagnose"]

# With more points than parameters, so that matrices without damping can be told as well; and with fewer.
# Width, dim, points.
_MANY = ((3, 2, 14), (4, 2, 18), (6, 1, 20))
_FEW = ((4, 2, 5), (6, 2, 4), (5, 2, 7))


def diagnose(setting: Setting) -> list[Diagnosis]:
    """Observe first steps on three definite and three indefinite systems, and six in a row twice; explain each group."""
    found = []
    plan = (("definite", ["definite"] * 3, _MANY), ("indefinite", ["indefinite", "ascent", "ascent"], _FEW))
    for group, kinds, sizes in plan:
        rows = zip(kinds, with_activations(sizes), strict=True)
        cases = [case(kind, *row, seed=setting.seed, dtype=setting.dtype) for kind, row in rows]
        found.append(_group(setting, group, cases, 1))
    cases = [case("definite", *row, seed=setting.seed + 1, dtype=setting.dtype) for row in with_activations(_FEW[:2])]
    found.append(_group(setting, "consecutive", cases, 6))
    return found


def _group(setting: Setting, group: str, cases: Sequence[Case], steps: int) -> Diagnosis:
    seen: list[Observation] = []
    refusal = ""
    for at in cases:
        try:
            seen += _observed(setting, at, steps)
        except SubjectError as error:
            refusal = refusal or str(error)
    if not seen:
        return Diagnosis(group, "refused", f"refused: {refusal}" if refusal else "no finite step", 0.0, bool(refusal), 0)
    told = explain(group, seen)
    return replace(told, words=f"{told.words}; refused elsewhere: {refusal}") if refusal else told


def _observed(setting: Setting, at: Case, steps: int) -> list[Observation]:
    session = setting.start(at)
    run: list[Observation] = []
    for _ in range(steps):
        before, calls = session.theta, getattr(session, "closure_calls", 0)
        session.step()
        calls = getattr(session, "closure_calls", 0) - calls
        with np.errstate(all="ignore"):
            step = (session.theta - before).reshape(-1)
        if not np.isfinite(step).all() or np.linalg.norm(step) > 1e6:
            break
        run.append(Observation(at.objective.at(before), step, tuple(run), setting.dtype, calls))
    return run
