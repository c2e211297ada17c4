"""Checks of how an optimizer behaves beside its steps: repeatable, without side effects, saved and scheduled, refusing nan."""

from __future__ import annotations

import contextlib
import gc
import io
import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from nntk.crosscheck.case import Case, case_at
from nntk.crosscheck.checks.check import ALL, NEWTONS, check, definite
from nntk.crosscheck.checks.step import judged, scale_rates
from nntk.crosscheck.functions import DTYPES
from nntk.crosscheck.setting import NotApplicable, Reading, Setting, one_step, seed_everything
from nntk.crosscheck.subject import Session, SubjectError

__all__: list[str] = []


@check("deterministic", "The same start gives the same steps", profiles=ALL, cases=definite(1, 2, 3), share=0.25)
def deterministic(setting: Setting, at: Case) -> Reading:
    """The same start gives the same steps; where a step is prescribed, whatever state the random generators are in."""
    paths = []
    for seed in (0, 0, 1) if setting.profile.target is not None else (0, 0):
        session = setting.start(at)
        seed_everything(seed)
        paths.append([one_step(session) for _ in range(3)])
    limit = setting.noise(at)  # of rounding alone, in every profile
    worst: Reading | None = None
    for k, other in enumerate(paths[1:]):
        for t, (a, b) in enumerate(zip(paths[0], other, strict=True)):
            off = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(a)) or 1.0)
            what = "with other global seeds" if k else "from the same start"
            reading = Reading(off, limit, f"two runs {what} differ by {off:.3g} at step {t + 1} ({at})", (at, t + 1))
            if worst is None or reading.ratio >= worst.ratio:
                worst = reading
    assert worst is not None
    return worst


@check(
    "no-side-effects",
    "X, y, default dtype, threads and gradient mode stay as they are, and no global generator is seeded",
    profiles=ALL,
    cases=definite(1, 2, 2),
    share=0.25,
)
def no_side_effects(setting: Setting, at: Case) -> Reading:
    """What others compute after a step is what they would have computed without it."""
    before = _globals()
    session = setting.start(at)
    changed, states = list[str](), []
    for seed in (11, 12):
        seed_everything(seed)
        generators = _generators()
        session.step()
        after = _globals()
        changed += [f"{name} changed from {before[name]} to {after[name]}" for name in before if before[name] != after[name]]
        states.append((generators, _generators()))
    for name in states[0][0]:
        (start, end), (other, finish) = ((g[name], e[name]) for g, e in states)
        if start != end and other != finish and end == finish:
            changed.append(f"the global generator of {name} is seeded")
    for name, given in (("X", at.objective.X), ("y", at.objective.y)):
        held = getattr(session, name)
        now = held.detach().cpu().numpy() if isinstance(held, torch.Tensor) else held
        if not np.array_equal(now, given.astype(now.dtype)):
            changed.append(f"{name} was overwritten")
    model = getattr(session, "model", None)
    if model is not None and not all(p.requires_grad for p in model.parameters()):
        changed.append("requires_grad of a parameter was switched off")
    changed = list(dict.fromkeys(changed))
    if changed:
        return Reading.failed(f"{'; '.join(changed)} ({at})", (at, 1))
    return Reading.passed(f"nothing changed ({at})")


@check(
    "leaves-no-trace",
    "Gradients are left as the closure leaves them, and no global generator is drawn from",
    profiles=ALL,
    cases=definite(1, 1, 2),
    drawn=None,
    about="behaviour",
)
def leaves_no_trace(setting: Setting, at: Case) -> Reading:
    """What does no harm to a step, and may surprise whoever uses the model next.

    A `.grad` that is neither empty nor the loss' gradient somewhere on the way; numbers drawn from a global generator.
    """
    seed_everything(11)
    session = setting.start(at)
    generators = _generators()
    session.step()
    traces = [f"the global generator of {name} is drawn from" for name, now in _generators().items() if now != generators[name]]
    model = getattr(session, "model", None)
    if model is not None:
        left = [p.grad for p in model.parameters()]
        if any(g is not None and (g.requires_grad or g.grad_fn is not None) for g in left):
            traces.append("a .grad holds on to its graph")
        filled = [g for g in left if g is not None and bool(g.abs().max() > 0)]
        if filled and session.closure_calls == 0:
            traces.append("a .grad is filled, and the closure was not called")
    if traces:
        return Reading.failed(f"{'; '.join(traces)} ({at})", (at, 1))
    return Reading.passed(f"no trace is left ({at})")


_GROWTH = (10, 30, 50)
"""Steps after which the memory is looked at: what is built up once is there by the first of them."""

_LEAK = 0.1
"""Parameter vectors that each step may leave behind: a few numbers for a history, and no vector."""


@check(
    "does-not-grow",
    "Memory does not grow from step to step",
    profiles=ALL,
    cases=definite(1, 1, 6),
    drawn=None,
    about="behaviour",
)
def does_not_grow(setting: Setting, at: Case) -> Reading:
    """What tensors and arrays are alive after 10, 30 and 50 steps from one place: a leak grows in each part."""
    session, held = setting.start(at), list[int]()
    for t in range(_GROWTH[-1]):
        session.move_to(at.theta)
        session.step()
        if t + 1 in _GROWTH:
            held.append(_alive())
    first, second = (b - a for a, b in pairwise(held))
    vector = at.theta.size * torch.finfo(DTYPES[setting.dtype]).bits // 8
    growth = min(first, second) / (_GROWTH[1] - _GROWTH[0]) / vector
    told = f"after each step {growth:.3g} times as much as the parameters is alive in addition"
    return Reading(growth, _LEAK, f"{told} ({at})", (at, _GROWTH[-1]))


def _alive() -> int:
    """Bytes of all tensors and arrays that Python can reach."""
    gc.collect()
    things = gc.get_objects()
    held: dict[int, int] = {}
    for thing in things:
        if issubclass(type(thing), torch.Tensor):  # a weak proxy, asked for its class, asks what may be gone
            with contextlib.suppress(RuntimeError):  # sparse ones, fake ones and those inside of torch.func have no storage
                storage = thing.untyped_storage()
                held[storage.data_ptr()] = int(storage.nbytes())
    arrays = {id(a): a.nbytes for a in gc.get_referents(*things) if type(a) is np.ndarray}
    return sum(held.values()) + sum(arrays.values())


@check(
    "evaluations",
    "How often a step evaluates the loss",
    profiles=ALL,
    cases=definite(1, 1, 2),
    drawn=None,
    informative=ALL,
    about="behaviour",
)
def evaluations(setting: Setting, at: Case) -> Reading:
    """Calls of the closure, or of the step function's loss and gradient, in each of five steps."""
    session, calls = setting.start(at), list[int]()
    for _ in range(5):
        before = session.closure_calls
        session.step()
        calls.append(session.closure_calls - before)
    told = f"{calls[0]} in each step" if len(set(calls)) == 1 else f"{min(calls)} to {max(calls)} in a step"
    return Reading.told(float(max(calls)), f"the loss is evaluated {told} ({at})")


def _globals() -> dict[str, Any]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's thread count": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "NumPy's error mode": tuple(sorted(np.geterr().items())),
    }


def _generators() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return {
        "Python": random.getstate(),
        "NumPy": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


@check(
    "state-dict",
    "Saved, loaded into a new optimizer and continued, it takes the same steps",
    profiles=ALL,
    cases=definite(1, 2, 3),
    share=0.25,
)
def state_dict(setting: Setting, at: Case) -> Reading:
    """Three steps, saved to bytes, loaded into a new optimizer, eight steps more: the same as without a stop.

    Between, the learning rate is halved, which has to survive as well.
    """
    one = setting.start(at)
    if not hasattr(one.optimizer, "state_dict") or not hasattr(one.optimizer, "load_state_dict"):
        raise NotApplicable("it has no state_dict and load_state_dict")
    with contextlib.suppress(NotApplicable):
        scale_rates(one, 0.5)
    for _ in range(3):
        one.step()
    saved = io.BytesIO()
    try:
        torch.save(one.optimizer.state_dict(), saved)
        saved.seek(0)
        state = torch.load(saved, weights_only=False)
        two = setting.start(replace(at, theta=one.theta))
        two.optimizer.load_state_dict(state)
    except Exception as error:
        why = f"saving or loading the state failed: {type(error).__name__}: {error} ({at})"
        return Reading.failed(why, (at, 3))
    limit = setting.tolerance(at, 3)
    worst = Reading(0.0, limit, f"the same eight steps after loading ({at})")
    for t in range(8):
        seed_everything(t)
        a = one_step(one)
        seed_everything(t)
        b = one_step(two)
        off = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(a)) or 1.0)
        reading = Reading(off, limit, f"step {t + 1} after loading is off by {off:.3g} ({at})", (at, 3))
        if reading.ratio > 1:
            return reading
        worst = reading if reading.ratio > worst.ratio else worst
        two.move_to(one.theta)
    return worst


@check("scheduler", "A learning-rate scheduler acts on the step", profiles=ALL, cases=definite(1, 2, 3), share=0.25)
def scheduler(setting: Setting, at: Case) -> Reading:
    """Under a scheduler that halves the learning rate after each step, the steps halve."""
    session = setting.start(at)
    if not isinstance(session.optimizer, torch.optim.Optimizer):
        raise NotApplicable("it is no torch.optim.Optimizer, which schedulers need")
    if any("lr" not in group for group in session.optimizer.param_groups):
        raise NotApplicable("it has no learning rate")
    schedule = torch.optim.lr_scheduler.LambdaLR(session.optimizer, lambda t: 0.5**t)
    worst = None
    for t in range(4):
        factor = 0.5**t
        if setting.profile.target is not None:
            here = case_at(at.objective, session.theta, f"{at.source}, step {t + 1}", setting.dtype)
            reading = judged(setting, here, one_step(session), what=f"learning rate {factor}", rate=factor)
        else:
            if session.closure_calls > t:
                raise NotApplicable("it evaluates the loss several times in a step, and may choose the step size by it")
            twin = _twin(setting, at, t)
            step, wanted = one_step(session), one_step(twin)
            off = float(np.linalg.norm(step - wanted)) / (float(np.linalg.norm(wanted)) or 1.0)
            why = f"learning rate {factor} by a scheduler and by hand differ by {off:.3g} ({at})"
            reading = Reading(off, setting.tolerance(at, t + 1), why)
        if worst is None or reading.ratio > worst.ratio:
            worst = replace(reading, failing=(at, t + 1))
        schedule.step()
    assert worst is not None
    return worst


def _twin(setting: Setting, at: Case, steps: int) -> Session:
    """An optimizer after so many steps, its learning rate halved by hand after each."""
    session = setting.start(at)
    for _ in range(steps):
        session.step()
        scale_rates(session, 0.5)
    return session


@check(
    "non-finite",
    "nan or inf in the data ends in an error or a refusal, not in the parameters",
    profiles=NEWTONS,
    cases=definite(1, 2, 2),
    share=0.1,
    about="behaviour",
)
def non_finite(setting: Setting, at: Case) -> Reading:
    """Data that are not finite end in an error, or leave the parameters alone."""
    objective = at.objective
    for value, name in ((math.nan, "nan"), (math.inf, "inf")):
        for field in ("y", "X"):
            bad = np.array(getattr(objective, field))
            bad.reshape(-1)[0] = value
            broken = replace(at, objective=replace(objective, y=bad) if field == "y" else replace(objective, X=bad))
            session = None
            try:
                session = setting.start(broken)
                session.step()
            except SubjectError:
                if session is None:
                    continue
            with np.errstate(all="ignore"):
                after = session.theta
            if not np.isfinite(after).all():
                return Reading.failed(f"{name} in {field} went into the parameters, without an error ({at})", (broken, 1))
            if not np.array_equal(after, at.theta):
                why = f"{name} in {field} was passed over: the parameters moved, without an error ({at})"
                return Reading.failed(why, (broken, 1))
    return Reading.passed(f"nan and inf in X and in y are refused ({at})")
