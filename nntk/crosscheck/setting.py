"""What a battery is run with, and what a check reads off one case."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch

from nntk.crosscheck.case import EPS, THRESHOLD, Case, Point, Target
from nntk.crosscheck.subject import Session, Subject, SubjectError
from nntk.reporting.selection import known
from nntk_proofs_checks import Effort
from nntk_proofs_checks.panel import Panel
from nntk_reference import InputError
from nntk_reference.arithmetic import Array

__all__ = [
    "PROFILES",
    "UNRESOLVED",
    "NotApplicable",
    "Profile",
    "Reading",
    "Setting",
    "attempt",
    "one_step",
    "profile",
    "refuse_missing_device",
    "seed_everything",
]


UNRESOLVED = 0.1
"""A limit above this says nothing about a relative quantity."""


@dataclass(frozen=True)
class Profile:
    """What an optimizer claims to be. `target` is the step it should take; None where no step is prescribed."""

    name: str
    statement: str
    target: str | None
    approximate: bool = False


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        known.name: known
        for known in (
            Profile("exact-newton", "Δ = -(H + γ_N I)⁻¹ ∇L, to rounding (E6)", "newton"),
            Profile("gauss-newton", "Δ = -(JᵀJ/M + γ_N I)⁻¹ ∇L, to rounding (E6 without S)", "gauss-newton"),
            Profile("approximate-newton", "Δ = -(H + γ_N I)⁻¹ ∇L, to a relative error of rtol", "newton", approximate=True),
            Profile("first-order", "no prescribed step; symmetries, state and side effects are checked", None),
        )
    }
)


def profile(name: str) -> Profile:
    """The profile of this name. Raises InputError."""
    return PROFILES[known("profile", name, PROFILES)]


class NotApplicable(Exception):
    """The check has nothing to say about this optimizer; the message says why."""


@dataclass(frozen=True)
class Reading:
    """What is read off a case: a number and the limit that it must not exceed, a number to be told, or an answer without one.

    number   NaN exceeds every limit. Without a limit it is told, and judges nothing.
    why      what decided, in a sentence; of a refusal, its words.
    failing  (case, steps) to show if it fails: the case that was stepped, how many times.
    answer   None where the number decides. Without a number: True where the case passes, False where it fails, "refused" where
             the optimizer refused an indefinite system aloud and left the parameters alone, which is neither good nor bad,
             "unresolved" where the case cannot tell.
    """

    number: float | None
    limit: float | None
    why: str
    failing: tuple[Case, int] | None = None
    panels: tuple[Panel, ...] = ()
    answer: bool | Literal["refused", "unresolved"] | None = None

    def __post_init__(self) -> None:
        if (self.answer is None) == (self.number is None) or (self.number is None and self.limit is not None):
            raise ValueError("a reading has a number, and a limit if it judges, or an answer")

    @classmethod
    def passed(cls, why: str) -> Reading:
        """It passes; there is no number."""
        return cls(None, None, why, answer=True)

    @classmethod
    def failed(cls, why: str, failing: tuple[Case, int] | None = None) -> Reading:
        """It fails; there is no number."""
        return cls(None, None, why, failing, answer=False)

    @classmethod
    def refused(cls, words: str) -> Reading:
        """The optimizer refused the system, in these words."""
        return cls(None, None, words, answer="refused")

    @classmethod
    def unresolved(cls, why: str) -> Reading:
        """The case cannot tell."""
        return cls(None, None, why, answer="unresolved")

    @classmethod
    def told(cls, number: float, why: str, panels: tuple[Panel, ...] = ()) -> Reading:
        """A number that is reported and not judged."""
        return cls(number, None, why, panels=panels)

    @property
    def judges(self) -> bool:
        """Does it say whether the case passes?"""
        return self.answer not in ("refused", "unresolved")

    @property
    def ratio(self) -> float:
        """How far the number is from its limit: above 1 it fails. Without a limit 0; without a number 0, or infinity."""
        if self.number is None:
            return math.inf if self.answer is False else 0.0
        if self.limit is None:
            return 0.0
        if math.isnan(self.number):
            return math.inf
        if self.number <= self.limit:
            return min(self.number / self.limit, 1.0) if self.limit > 0 and self.number < math.inf else 0.0
        return self.number / self.limit if self.limit > 0 else math.inf


_LOST = 10.0
"""In units of √eps: more than this, rounding makes of no step that is worth its name."""


@dataclass(frozen=True)
class Setting:
    """The optimizer under test, and how it is to be tested. `notes` collects what the optimizer did beside its steps.

    rtol      what the relative error of a step may be; residual, what |AΔ + g| / |g| may be. None: rounding alone.
    """

    subject: Subject
    profile: Profile
    dtype: str = "float64"
    device: str = "cpu"
    effort: Effort = Effort.DEFAULT
    seed: int = 0
    rtol: float | None = None
    residual: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def eps(self) -> float:
        """Spacing of the dtype's numbers next to 1."""
        return EPS[self.dtype]

    def start(self, case: Case) -> Session:
        """A fresh optimizer, with the global random generators where they always are. Raises SubjectError."""
        seed_everything(0)
        session = self.subject.start(case, self.dtype, self.device)
        self.notes.setdefault("form", session.form)
        return session

    def target(self, point: Point) -> Target:
        """The step that the profile asks for. Raises NotApplicable where it asks for none."""
        if self.profile.target is None:
            raise NotApplicable("the profile prescribes no step")
        return point.target(self.profile.target)

    @property
    def tolerant(self) -> bool:
        """May steps be off by more than rounding?"""
        return self.rtol is not None or self.residual is not None

    def limit(self, target: Target, rate: float = 1.0) -> float:
        """What the relative error of a step may be: the limit of rounding, rtol, or what a residual that is allowed can do."""
        return max(target.limit(self.dtype, rate), self.rtol or 0.0, self._of_residual(target))

    def _of_residual(self, target: Target) -> float:
        size = float(np.linalg.norm(target.step))
        if self.residual is None or size == 0:
            return 0.0
        return self.residual * target.inverse_norm * float(np.linalg.norm(target.point.gradient)) / size

    def slack(self, target: Target, step: Array) -> float:
        """What |A Δ + g| may be for a step that is as accurate as asked for; what it is, if that is less."""
        point, size = target.point, float(np.linalg.norm(step))
        moved = self.eps * float(np.linalg.norm(np.abs(target.matrix) @ (np.abs(point.theta.reshape(-1)) + np.abs(step))))
        a, G, _ = point.sizes(self.dtype)
        scale = a * size + G
        seen = (
            2 * float(np.linalg.norm(target.matrix @ step + point.gradient))
            + THRESHOLD * point.operations * EPS["float64"] * scale
        )
        rounding = min(target.backward_limit(self.dtype) * scale + moved, seen)
        allowed = (self.rtol or 0.0) * float(np.linalg.norm(target.matrix, 2)) * size
        return max(rounding, allowed, (self.residual or 0.0) * float(np.linalg.norm(point.gradient)))

    def tolerance(self, case: Case, steps: int = 1) -> float:
        """What two runs of the same method from equal problems may differ by, relative to |Δ|.

        From the limits of the step where the profile prescribes one. Else from what the optimizer makes of parameters that
        are moved by rounding errors, which is all that can be known of its condition; but no more than `_LOST` of the digits.
        """
        if self.profile.target is not None:
            return 2 * self.limit(self.target(case.start))
        return self._measured(case, steps)

    def noise(self, case: Case, steps: int = 1) -> float:
        """What two runs of the same method from the same start may differ by, relative to |Δ|: rounding, in another order."""
        if self.profile.target is not None:
            return 2 * self.target(case.start).limit(self.dtype)
        return self._measured(case, steps)

    def _measured(self, case: Case, steps: int) -> float:
        base = THRESHOLD * case.start.operations * self.eps
        rng = np.random.default_rng(0)
        first = one_step(self.start(case), steps)
        moved = 0.0
        for _ in range(3):
            session = self.start(case)
            session.move_to(case.theta * (1 + 4 * self.eps * rng.choice([-1.0, 1.0], case.theta.shape)))
            moved = max(moved, float(np.linalg.norm(one_step(session, steps) - first)))
        size = float(np.linalg.norm(first))
        floor = base * (1 + float(np.linalg.norm(case.theta)) / size) if size else base
        seen = floor + (THRESHOLD * moved / size if size and math.isfinite(moved) else 0.0)
        # An optimizer that is noisy looks ill-conditioned here, and must not be measured against its own noise.
        return min(seen, max(floor, _LOST * math.sqrt(self.eps)))


def one_step(session: Session, steps: int = 1) -> Array:
    """The displacement θ_next - θ, (P,), of one step or several."""
    before = session.theta
    for _ in range(steps):
        session.step()
    with np.errstate(all="ignore"):
        return (session.theta - before).reshape(-1)


def attempt(session: Session, case: Case) -> Array | str:
    """The step from the case's start; or, on a system that is not definite, the words of a refusal.

    A refusal raises and leaves the parameters as they were. Raises SubjectError where that is not so.
    """
    before = session.theta
    try:
        return one_step(session)
    except SubjectError as error:
        if case.kind == "definite" or not np.array_equal(session.theta, before):
            raise
        return str(error)


def seed_everything(seed: int) -> None:
    """Put the global random generators of Python, NumPy and torch where they are always put before an optimizer is made."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what is set here is what the optimizer may use
    torch.manual_seed(seed)


def refuse_missing_device(device: str) -> None:
    """Raises InputError for a device that torch does not have."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("device", "a device that torch has", f"{device!r} ({first})") from None
