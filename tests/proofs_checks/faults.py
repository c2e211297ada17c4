"""A table of planted faults, and which claims notice each: `FAULTS`; docs/faults.md is rendered from it.

    python tests/proofs_checks/faults.py --write             # docs/faults.md from the table
    python tests/proofs_checks/faults.py --measure [NAME …]  # run the claims under the faults, and print their marks

NAME is a fault or the id of a claim: of faults those that are named are planted, of claims those run; where none is, all are.

A fault replaces a function of the real code, wherever it was imported to, and every claim runs as it always does. A claim that
never calls the function cannot notice; a faultless run of every claim finds out which do (`calls`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import Certificate, ShallowNet, bounds, fused, ntk, regularization, scaling, step, stream
from nntk_accelerated import activations as accelerated_activations
from nntk_accelerated import certificate as certificates
from nntk_accelerated import dense as accelerated_dense
from nntk_accelerated.instance import Instance
from nntk_proofs_checks import (
    CLAIMS,
    Effort,
    certify,
    ensemble,
    exponential,
    indefinite,
    initial_networks,
    limit_equation,
    nntk_bound,
    ntk_decay,
    one_step,
    positive_definite,
    push_through,
    statistics,
    training_runs,
    update_bound,
)
from nntk_proofs_checks.claim import evaluate
from nntk_proofs_checks.rational import negative_eigenvalues
from nntk_reference import Ball, InitialLaw, Network, Verdict, activations, formulas, infinite, linalg, network
from tests.proofs_checks.problems import line
from tests.proofs_checks.training_faults import STEPS, stepped

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
IDS = tuple(CLAIMS)
EFFORT = Effort.QUICK
MARKS = {Verdict.REFUTED: "R", Verdict.UNDECIDED: "U", Verdict.HOLDS: "."}
NOT_CALLED = "-"
_BITS = 288


Change = Callable[[Any], Any]
"""From a function (or property) to the faulty one in its place."""


def marks(refuted: str = "", undecided: str = "", holds: str = "") -> dict[str, str]:
    """A mark for every claim, from ids set apart by spaces: those whose verdict the fault makes so, and those it leaves.

    Whoever is not named never calls the faulty function.
    """
    named = {claim: mark for mark, ids in (("R", refuted), ("U", undecided), (".", holds)) for claim in ids.split()}
    unknown = named.keys() - set(IDS)
    assert not unknown, f"no claims: {unknown}"
    return dict.fromkeys(IDS, NOT_CALLED) | named


@dataclass(frozen=True)
class Fault:
    """`change` applied to the attribute `name` of `owner`, a module or a class.

    marks  by claim: R refuted, U undecided, "." holds all the same, "-" never calls it.
    note   why claims that call it need not notice, or cannot.
    late   does it come after the runs, networks and spectra that are kept, which then need not be made anew?
    """

    owner: Any
    name: str
    change: Change
    marks: dict[str, str]
    note: str
    late: bool = False

    @property
    def where(self) -> str:
        owner = f"{self.owner.__module__}.{self.owner.__name__}" if isinstance(self.owner, type) else self.owner.__name__
        return f"{owner}.{self.name}"

    @property
    def expected(self) -> frozenset[str]:
        """The claims that no longer hold."""
        return frozenset(name for name, mark in self.marks.items() if mark in "RU")

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = vars(self.owner)[self.name]
        put(monkeypatch, self.owner, original, self.change(original), self.name)


def put(monkeypatch: pytest.MonkeyPatch, owner: Any, original: Any, changed: Any, name: str) -> None:
    """Put `changed` in the place of `original`: in its class, or in every module that has it under any name."""
    if isinstance(owner, type):
        monkeypatch.setattr(owner, name, changed)
        return
    for module in [m for key, m in sys.modules.items() if key.startswith("nntk_")]:
        for alias in [key for key, value in vars(module).items() if value is original]:
            monkeypatch.setattr(module, alias, changed)


def forget() -> None:
    """Empty the caches, before a fault is planted and after."""
    ensemble.cache_clear()
    initial_networks.cache_clear()
    certify.cache_clear()


@contextmanager
def patching(*, late: bool = False) -> Iterator[pytest.MonkeyPatch]:
    """Nothing kept from before (but for what is `late`), nothing left behind; and no climb beyond `_BITS` of precision.

    A faulty kernel may be singular.
    """
    if not late:
        forget()
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(certify, "_LADDER", tuple(b for b in certify._LADDER if b <= _BITS))
            yield monkeypatch
    finally:
        if not late:
            forget()


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    with patching(late=fault.late) as monkeypatch:
        fault.plant(monkeypatch)
        yield


def verdict(name: str) -> Verdict:
    return evaluate(CLAIMS[name].check, line(), EFFORT).verdict


@cache
def calls(claim: str) -> frozenset[tuple[Any, str]]:
    """The faults' functions (owner, name) that the claim calls when nothing is wrong."""
    seen: set[tuple[Any, str]] = set()
    with patching() as monkeypatch:
        for owner, name in {(f.owner, f.name) for f in FAULTS.values()}:
            original = vars(owner)[name]
            put(monkeypatch, owner, original, _recording(original, seen, (owner, name)), name)
        assert verdict(claim) is Verdict.HOLDS, claim
    return frozenset(seen)


def _recording(original: Any, seen: set[tuple[Any, str]], key: tuple[Any, str]) -> Any:
    inner: Any = original.fget if isinstance(original, property) else original

    @wraps(inner)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        seen.add(key)
        return inner(*args, **kwargs)

    return property(recorded) if isinstance(original, property) else recorded


def measured(fault: Fault, claims: Sequence[str] = IDS) -> dict[str, str]:
    """The fault's marks, by running the claims."""
    found = dict.fromkeys(claims, NOT_CALLED)
    for claim in claims:
        if (fault.owner, fault.name) in calls(claim):
            with planted(fault):
                found[claim] = MARKS[verdict(claim)]
    return found


# ---------------------------------------------------------------------------------------------------------------- the changes


def _result(change: Callable[..., Any]) -> Change:
    """A function whose result is `change(result, *arguments)`."""
    return lambda original: lambda *args, **kwargs: change(original(*args, **kwargs), *args)


def _jets(change: Callable[[Any], Any]) -> Change:
    """A registry whose entries have other values of (σ, σ', σ''), as many of them as were asked for."""

    def changed(entry: Any, *_: Any) -> Any:
        return replace(entry, jets=lambda *args: change(entry.jets(*args)))

    return _result(changed)


def _negated_curvature(jets: Any) -> Any:
    return (*jets[:2], *(-v for v in jets[2:]))


def _stored(factor: Callable[[Instance], float]) -> Change:
    """The accelerated package's Sᵢ, times a factor."""

    def change(_: None, task: Instance, S: torch.Tensor, part: slice, *rest: Any) -> None:
        S[:, part] *= factor(task)

    return _result(change)


def _drawn(change: Callable[[Network], tuple[Any, Any, Any]]) -> Change:
    """A sampler that draws other c, w, η."""

    def changed(net: Network, *_: Any) -> Network:
        return Network(*change(net), net.beta, net.activation, negative_control=net.negative_control)

    return _result(changed)


def _twice(net: Network) -> tuple[Any, Any, Any]:
    first = np.arange(net.width) // 2 * 2
    return net.c[first], net.w[first], net.eta[first]


def _updated(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """The accelerated package's update (d+2, N), changed."""
    return _result(lambda solution, *_: replace(solution, update=change(solution.update)))


def _without_first(update: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(update[:, :1]), update[:, 1:]], dim=1)


def _kernel(change: Callable[[Any, int], Any]) -> Change:
    """The limit kernel (E9), changed."""
    return _result(lambda limit, X, *_: replace(limit, kernel=change(limit.kernel, len(X))))


def _noise(M: int) -> Any:
    noise = 1e-12 * np.random.default_rng(0).standard_normal((M, M))
    return Ball(64).array(noise + noise.T)


def _stale(original: Any) -> Any:
    """The curvature of the step before: S from the residual that the same network had at the last call."""
    last: list[tuple[ShallowNet, torch.Tensor]] = []

    def gram(task: Instance, shift: float, *, r: torch.Tensor | None = None, S: torch.Tensor | None = None) -> Any:
        if r is None:
            return original(task, shift, S=S)
        before = last[0][1] if last and last[0][0] is task.net else r
        last[:] = [(task.net, r)]
        return original(task, shift, r=before)

    return gram


def _descent(original: Any) -> Any:
    """Gradient descent (E12) at η̄ = 1/λ₁ under the name of Newton."""

    def newton_step(net: ShallowNet, X: torch.Tensor, y: torch.Tensor, gamma: float, **options: Any) -> Any:
        loss = (net(X) - y).square().sum() / (2 * len(y))
        c, w, eta = torch.autograd.grad(loss, (net.c, net.w, net.eta))
        largest = float(torch.linalg.eigvalsh(ntk(net, X, normalized=True))[-1])
        rate = 1 / (regularization(1.0, net.width, net.beta) * largest)
        return replace(original(net, X, y, gamma, **options), update=-rate * torch.cat([c[:, None], w, eta[:, None]], dim=1))

    return newton_step


def _ignoring_last(original: Any) -> Any:
    def refine(task: Instance, K: Any, F: Any, r: torch.Tensor, alpha: float, error: Any) -> Any:
        return original(task, K, F, torch.cat([r[:-1], 0 * r[-1:]]), alpha, error)

    return refine


def _more_damping(original: Any) -> Any:
    return lambda ar, A, b: original(ar, formulas.add_diagonal(A, ar.number(1e-6)), b)


def _followed(changed: Callable[..., Any]) -> Change:
    """Another limit trajectory, from the original and its arguments."""
    return lambda original: lambda B, gamma, y, start: changed(original, B, gamma, y, start)


def _shorter(path: Callable[..., Any], B: Any, gamma: float, y: Any, start: Any) -> Any:
    """(E11) with α = 0.9."""
    states = [start]
    for _ in path(B, gamma, y, start)[1:]:
        states.append(states[-1] + 0.9 * (path(B, gamma, y, states[-1])[1] - states[-1]))
    return np.array(states)


def _right_only_at(t: int) -> Change:
    return _result(lambda path, *_: np.concatenate([path[:1], np.repeat(path[t : t + 1], len(path) - 1, axis=0)]))


_OF_ONE = "No other claim is about this trajectory."

LIMIT_EQUATIONS: dict[str, tuple[Change, str]] = {
    "γ 5 % smaller": (_followed(lambda path, B, gamma, y, start: path(B, 0.95 * gamma, y, start)), _OF_ONE),
    "α = 0.9": (_followed(_shorter), _OF_ONE),
    "targets 3 % larger": (_followed(lambda path, B, gamma, y, start: path(B, gamma, 1.03 * y, start)), _OF_ONE),
    "targets 3 % smaller": (_followed(lambda path, B, gamma, y, start: path(B, gamma, 0.97 * y, start)), _OF_ONE),
    "one step late": (_result(lambda path, *_: np.concatenate([path[:1], path[:-1]])), _OF_ONE),
    "the first step for all t": (_right_only_at(1), "Right at one t: the claim is about the largest distance over t."),
    "the last step for all t": (_right_only_at(-1), "Right at one t: the claim is about the largest distance over t."),
    "no motion": (_result(lambda path, *_: np.repeat(path[:1], len(path), axis=0)), _OF_ONE),
}
"""Other equations than (E11) for the network to follow, which it must not, with the notes of their faults."""


def _unbiased(update: torch.Tensor) -> torch.Tensor:
    return torch.cat([update[:, :-1], 0 * update[:, -1:]], dim=1)


def _afterwards(change: Callable[..., Any]) -> Change:
    """A function that changes what it was given once it is done."""

    def changed(original: Any) -> Any:
        def run(*args: Any) -> None:
            original(*args)
            change(*args)

        return run

    return changed


_ALL_NAMED = "Noticed by all claims that ask for it."
_OWN_STATEMENT = "No other claim states it."


def _scaled(factor: float) -> Change:
    return _result(lambda found, *_: found * factor)


def _bounded(b: float = 1, damping: float = 1, size: float = 1) -> Change:
    """(E18) with its λₖ(B), γ_N or s̄ times a factor."""
    return lambda original: lambda *args: original(*(v * f for v, f in zip(args, (b, damping, size), strict=True)))


def _tails(change: Callable[[list[tuple[int, Any]]], list[tuple[int, Any]]]) -> Change:
    return _result(lambda bounds, *_: change(bounds))


_OF_NO_OTHER = "No other claim is about this formula."

OF_STATEMENTS: list[tuple[str, Any, str, str, Change]] = [
    ("ntk-decay", ntk_decay, "tail_bounds", "bounds a quarter as large", _tails(lambda tails: [(r, b / 4) for r, b in tails])),
    (
        "ntk-decay",
        ntk_decay,
        "tail_bounds",
        "one eigenvalue more below each bound",
        _tails(lambda tails: [(r - 1, b) for r, b in tails]),
    ),
    (
        "ntk-decay",
        ntk_decay,
        "tail_bounds",
        "bounds of the next degree",
        _tails(lambda tails: [(r, b) for (r, _), (_, b) in pairwise(tails)]),
    ),
    ("nntk-bound", nntk_bound, "_largest_gamma", "γ up to λ_min(1-ρ)/ρ plus 5 %", _scaled(1.05)),
    ("nntk-bound", nntk_bound, "_largest_gamma", "γ up to λ_min(1-ρ)/ρ less 5 %", _scaled(0.95)),
    ("nntk-bound", nntk_bound, "_largest_gamma", "γ up to λ_min/ρ", lambda original: lambda smallest, rho: smallest / rho),
    (
        "nntk-bound",
        nntk_bound,
        "_limit_nntk_eigenvalues",
        "λ/(γ+λ) with γ 5 % larger",
        lambda original: lambda kernel, gamma: original(kernel, 1.05 * gamma),
    ),
    ("nntk-bound", nntk_bound, "_bounds", "(E18) with s̄ 5 % smaller", _bounded(size=0.95)),
    ("nntk-bound", nntk_bound, "_bounds", "(E18) with s̄ 5 % larger", _bounded(size=1.05)),
    ("nntk-bound", nntk_bound, "_bounds", "(E18) with γ_N 5 % smaller", _bounded(damping=0.95)),
    ("nntk-bound", nntk_bound, "_bounds", "(E18) with λₖ(B) 5 % larger", _bounded(b=1.05)),
    (
        "nntk-bound",
        nntk_bound,
        "_bounds",
        "(E18) without λₖ(B) below",
        lambda original: lambda b, damping, size: (b / (damping + size), b / (damping - size)),
    ),
    (
        "nntk-bound",
        nntk_bound,
        "_small",
        "(E18) with λₖ₊₁(B) for λₖ(B)",
        _result(lambda net, *_: replace(net, base=np.roll(net.base, -1))),
    ),
    ("exponential", exponential, "_gamma", "γ 5 % larger, in the limit", _scaled(1.05)),
    ("exponential", exponential, "_gamma", "γ 5 % smaller, in the limit", _scaled(0.95)),
    (
        "exponential",
        exponential,
        "_errors",
        "α 10 % smaller, in the limit",
        lambda original: lambda operator, y, steps: original(0.9 * operator, y, steps),
    ),
    (
        "exponential",
        exponential,
        "_errors",
        "one step late, in the limit",
        _result(lambda errors, *_: [errors[0], *errors[:-1]]),
    ),
    *(
        ("exponential", training_runs, "_newton", f"{name}, at finite width", stepped(options))
        for name, options in STEPS.items()
    ),
    ("vanishing-updates", update_bound, "_right_side", "(E17) 5 % smaller", _scaled(0.95)),
    ("vanishing-updates", update_bound, "_root_of_loss", "(E17) with √L", _scaled(0.5**0.5)),
    (
        "vanishing-updates",
        update_bound,
        "_root_of_loss",
        "(E17) with |r|/M",
        lambda original: lambda size, root_of_M: size / root_of_M / root_of_M,
    ),
    (
        "vanishing-updates",
        update_bound,
        "_longest",
        "(E17) with ℓᵢ a mean over the data",
        lambda original: lambda lengths: lengths.sum(axis=0) / len(lengths),
    ),
    ("vanishing-updates", update_bound, "_lowest", "(E17) with 1/γ_N for |Dᵢ⁻¹|", _scaled(0)),
]
"""Changes to formulas of the statements themselves: the claim that has to refute it, and what is changed."""


_DEFINITE = Certificate("positive definite", 0, 0, 1.0, "planted")
_INDEFINITE = Certificate("indefinite", 1, 1, 0.0, "planted")

FAULTS: dict[str, Fault] = {
    "reference: σ'' has the wrong sign": Fault(
        activations,
        "activation",
        _jets(_negated_curvature),
        marks(
            refuted="push-through positive-definite vanishing-updates vanishing-gamma",
            holds="indefinite linearization limit-equation ntk-decay nntk-bound exponential one-step "
            "initial-fluctuations sharp-rate",
        ),
        "`indefinite` and (E18) in `nntk-bound` hold for any S. (E17) would for this one, too, but where it is nearly attained "
        "the accelerated step has another |Dᵢ⁻¹|. The ensembles take no more than the size of S from the reference, which does "
        "not depend on this sign.",
    ),
    "reference: σ' = σ'' = 0": Fault(
        formulas,
        "state",
        _result(lambda s, *_: s._replace(slope=0 * s.slope, curvature=0 * s.curvature)),
        marks(
            refuted="push-through positive-definite",
            undecided="indefinite vanishing-updates linearization limit-equation nntk-bound exponential sharp-rate",
        ),
        "Undecided where a scale is derived from the size of S, which is 0: γ or the width is refused as input. In "
        "`nntk-bound` s̄ = 0 makes (E18) an equality, which has no proof; in `indefinite` k = 0, of which it says nothing.",
    ),
    "reference: S without 1/M": Fault(
        formulas,
        "residual_hessian",
        _result(lambda S, s, r: S * len(r)),
        marks(
            refuted="push-through positive-definite vanishing-gamma",
            undecided="vanishing-updates linearization limit-equation sharp-rate",
            holds="indefinite nntk-bound exponential",
        ),
        "`indefinite` and `nntk-bound` hold for any S. The ensembles derive γ from S, eight times too large, where 16 "
        "networks a width are too few.",
    ),
    "reference: S dropped": Fault(
        formulas,
        "residual_hessian",
        _result(lambda S, *_: 0 * S),
        marks(
            refuted="push-through positive-definite indefinite vanishing-gamma",
            undecided="vanishing-updates linearization limit-equation nntk-bound exponential sharp-rate",
        ),
        "As with σ' = σ'' = 0: no scale can be derived from it.",
    ),
    "reference: neurons of J in reverse": Fault(
        formulas,
        "jacobian",
        _result(lambda J, s: J[:, ::-1]),
        marks(
            refuted="push-through positive-definite vanishing-updates",
            undecided="indefinite",
            holds="nntk-bound",
        ),
        "`indefinite` and (E18) hold for any J, but the states made to attain k - M do not attain it with this one. The "
        "measured claims take J from the accelerated package.",
    ),
    "reference: γ_N = γ": Fault(
        formulas,
        "regularization",
        lambda original: lambda ar, gamma, width, beta: ar.number(gamma),
        marks(
            refuted="push-through positive-definite",
            holds="vanishing-updates",
        ),
        "(E17) holds for any γ_N that makes D ≻ 0. The measured claims damp by the accelerated package.",
    ),
    "reference: N^(-β-0.05) for N^(-β)": Fault(
        formulas,
        "state",
        _result(lambda s, ar, net, X: s._replace(scale=s.scale * ar.power(net.width, -0.05))),
        marks(
            refuted="push-through positive-definite",
            holds="indefinite vanishing-updates linearization limit-equation nntk-bound exponential sharp-rate",
        ),
        "(E17), (E18) and `indefinite` are true of any scale. The ensembles take S from the reference with its scale "
        "replaced by 1.",
    ),
    "reference: 1e-6 more damping in every solve": Fault(
        linalg,
        "symmetric_solve",
        _more_damping,
        marks(
            refuted="nntk-bound exponential one-step",
            holds="positive-definite vanishing-updates",
        ),
        "More damping makes single steps shorter, so (E17) holds, and no less positive definite. The accelerated step is "
        "checked by its residual, not against this solver.",
    ),
    "limit kernel: E[c²] = 1": Fault(
        infinite,
        "enclose_limit_ntk",
        lambda original: lambda X, name="tanh", **options: original(X, name, **options | {"law": InitialLaw("rademacher")}),
        marks(
            refuted="limit-equation exponential initial-fluctuations",
            holds="ntk-decay nntk-bound one-step",
        ),
        "`nntk-bound` and `one-step` are true of every positive definite kernel. The bounds of `ntk-decay` have a slack of at "
        "least 20, of which this takes a factor of 3 or more.",
    ),
    "limit kernel: without 1/M": Fault(
        infinite,
        "enclose_limit_ntk",
        _kernel(lambda B, M: B * M),
        marks(
            refuted="limit-equation ntk-decay exponential initial-fluctuations",
            holds="nntk-bound one-step",
        ),
        "`nntk-bound` and `one-step` are true of every positive definite kernel.",
    ),
    "limit kernel: noise of 1e-12": Fault(
        infinite,
        "enclose_limit_ntk",
        _kernel(lambda B, M: B + _noise(M)),
        marks(
            undecided="ntk-decay",
            holds="limit-equation nntk-bound exponential one-step initial-fluctuations",
        ),
        "Below what measured claims resolve, and below λ_min of 8 points, where any positive definite kernel will do. On the "
        "17 points of `ntk-decay` it makes the kernel indefinite.",
    ),
    "limit kernel: of relu, whatever was asked for": Fault(
        infinite,
        "enclose_limit_ntk",
        lambda original: lambda X, name="tanh", **options: original(X, "relu", **options),
        marks(
            refuted="exponential limit-equation ntk-decay initial-fluctuations",
            holds="nntk-bound one-step",
        ),
        "`nntk-bound` and `one-step` are true of every positive definite kernel.",
    ),
    "sampler: c ~ U(0, 1)": Fault(
        network,
        "sample_network",
        _drawn(lambda net: (abs(net.c), net.w, net.eta)),
        marks(
            holds="push-through positive-definite indefinite vanishing-updates linearization limit-equation nntk-bound "
            "exponential vanishing-gamma initial-fluctuations sharp-rate"
        ),
        "E[c²] is 1/3 as before and tanh is odd, so (E19), (E20) and (E21) are true of this law, too.",
    ),
    "sampler: c of variance 1": Fault(
        network,
        "sample_network",
        _drawn(lambda net: (3**0.5 * net.c, net.w, net.eta)),
        marks(
            refuted="limit-equation exponential vanishing-gamma initial-fluctuations",
            undecided="sharp-rate",
            holds="push-through positive-definite indefinite vanishing-updates linearization nntk-bound",
        ),
        "The certified claims hold for every network. Three times larger kernels and larger S leave the asymptotic regime "
        "that γ is chosen for: hence the undecided one. `exponential` converges faster than it may.",
    ),
    "sampler: every neuron twice": Fault(
        network,
        "sample_network",
        _drawn(_twice),
        marks(
            refuted="initial-fluctuations",
            holds="push-through positive-definite indefinite vanishing-updates linearization limit-equation nntk-bound "
            "exponential vanishing-gamma sharp-rate",
        ),
        "The certified claims hold for every network; the exponents do not see that the fluctuations are √2 times larger. "
        "Only the constant in (E20) does.",
    ),
    "sampler: one η for all neurons": Fault(
        network,
        "sample_network",
        _drawn(lambda net: (net.c, net.w, 0 * net.eta + net.eta[0])),
        marks(
            refuted="limit-equation vanishing-gamma initial-fluctuations",
            undecided="linearization exponential sharp-rate",
            holds="push-through positive-definite indefinite vanishing-updates nntk-bound",
        ),
        "The certified claims hold for every network. The rates of `exponential` vary more than its runs can make up for. In "
        "`vanishing-gamma` the law that decides is taken from another network, with another η.",
    ),
    "accelerated: σ'' has the wrong sign": Fault(
        accelerated_activations,
        "activation",
        _jets(_negated_curvature),
        marks(
            refuted="push-through positive-definite vanishing-updates vanishing-gamma sharp-rate",
            holds="linearization limit-equation exponential initial-fluctuations",
        ),
        "Wrong by a term that is as small as S, so exponents stay the same; but at β = 0.9 the next power has another weight, "
        "and `sharp-rate` sees it at these widths.",
    ),
    "accelerated: σ, σ', σ'' in float32": Fault(
        Instance,
        "jets",
        _result(lambda jets, *_: tuple(v.float().double() for v in jets)),
        marks(
            refuted="push-through positive-definite",
            holds="vanishing-updates linearization limit-equation exponential vanishing-gamma initial-fluctuations sharp-rate",
        ),
        "1e-7 is below what is measured, and below the slack of the inequalities; `positive-definite` holds (E16) against the "
        "definitions.",
    ),
    "accelerated: N^(-β-0.05) for N^(-β)": Fault(
        ShallowNet,
        "scale",
        lambda scale: property(lambda net: scale.fget(net) * net.width**-0.05),
        marks(
            refuted="push-through positive-definite limit-equation exponential vanishing-gamma initial-fluctuations sharp-rate",
            holds="vanishing-updates linearization",
        ),
        "Updates and motion fall even faster, which agrees with `≲` in `vanishing-updates` and `linearization`.",
    ),
    "accelerated: N^(-β+0.05) for N^(-β)": Fault(
        ShallowNet,
        "scale",
        lambda scale: property(lambda net: scale.fget(net) * net.width**0.05),
        marks(
            refuted="push-through positive-definite vanishing-updates limit-equation exponential vanishing-gamma "
            "initial-fluctuations",
            holds="linearization sharp-rate",
        ),
        "The intervals of `sharp-rate` still contain what is claimed.",
    ),
    "accelerated: S twice as large": Fault(
        stream,
        "_store",
        _stored(lambda task: 2),
        marks(
            refuted="push-through positive-definite vanishing-updates vanishing-gamma sharp-rate",
            undecided="linearization",
            holds="limit-equation exponential",
        ),
        "S is a correction that vanishes with N, by the same power whatever its factor; but at β = 0.9 the next power is as "
        "large as the first then, and `sharp-rate` sees it at these widths.",
    ),
    "accelerated: S dropped": Fault(
        stream,
        "_store",
        _stored(lambda task: 0),
        marks(
            refuted="push-through positive-definite vanishing-gamma sharp-rate",
            holds="vanishing-updates linearization limit-equation exponential",
        ),
        "This is Gauss-Newton, with the same limit equation and the same linear dynamics. (E17) has room. What is left of the "
        "nonlinear part is a tenth of what it was, and no power of N at these widths for `sharp-rate`.",
    ),
    "accelerated: S of the step before": Fault(
        stream,
        "gram",
        _stale,
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential vanishing-gamma "
            "initial-fluctuations sharp-rate",
        ),
        "`push-through` compares a second step with (E6). In the measured claims the fault has the size of S, and its power of "
        "N.",
    ),
    "accelerated: Jᵀ D⁻¹ J summed in float32": Fault(
        accelerated_dense,
        "add_outer",
        lambda original: lambda G, Y: original(G, Y.float().double()),
        marks(
            holds="push-through positive-definite vanishing-updates linearization limit-equation exponential "
            "vanishing-gamma initial-fluctuations sharp-rate",
        ),
        "No claim notices, as none should: the step is refined until its residual is at the level of float64. Kernels are "
        "then right to 1e-7, which is below what is measured.",
    ),
    "accelerated: c and η exchanged in the update": Fault(
        stream,
        "_order",
        _result(lambda order, *_: sorted(order)),
        marks(
            refuted="push-through limit-equation exponential sharp-rate",
            holds="positive-definite vanishing-updates linearization",
        ),
        "Positive definiteness holds at every state with γ beyond (E16), however it was reached. (E17) bounds the norm, "
        "which is the same. 𝓑 moves by the same power of N, or nearly.",
    ),
    "accelerated: neg(A) = neg(D) + neg(M I + J D⁻¹Jᵀ)": Fault(
        stream,
        "factor",
        _result(lambda found, *_: (found[0], found[1] + 2 * found[0].negative)),
        marks(
            refuted="push-through vanishing-gamma",
            undecided="positive-definite",
            holds="vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "The others ask for no inertia.",
    ),
    "accelerated: γ_N = γ": Fault(
        scaling,
        "damping_of",
        lambda original: lambda net, gamma, scaling="width": original(net, gamma, "fixed"),
        marks(
            refuted="push-through positive-definite limit-equation exponential sharp-rate",
            holds="vanishing-updates linearization",
        ),
        "A stronger damping makes updates shorter and networks more linear, which agrees with `≲`, and with (E17).",
    ),
    "accelerated: (E5) without the width": Fault(
        scaling,
        "regularization",
        lambda original: lambda gamma, width, beta: gamma,
        marks(
            refuted="push-through positive-definite limit-equation exponential vanishing-gamma initial-fluctuations",
            undecided="sharp-rate",
            holds="vanishing-updates linearization",
        ),
        "As γ_N = γ; kernels are not normalized, either, nor outputs in `initial-fluctuations`.",
    ),
    "accelerated: γ_N 1 % larger than asked for": Fault(
        scaling,
        "damping_of",
        _result(lambda mu, *_: 1.01 * mu),
        marks(
            refuted="push-through positive-definite sharp-rate",
            holds="vanishing-updates linearization limit-equation exponential",
        ),
        "`sharp-rate` resolves it, the others not: `limit-equation` has a bound with room.",
    ),
    "accelerated: α ignored": Fault(
        step,
        "take",
        lambda original: lambda task, damping, alpha, **options: original(task, damping, 1.0, **options),
        marks(
            refuted="exponential push-through vanishing-updates",
            holds="positive-definite linearization limit-equation sharp-rate",
        ),
        "The measured claims but `exponential` take α = 1 only.",
    ),
    "accelerated: update 1 % too long": Fault(
        step,
        "_rescaled",
        _updated(lambda update: 1.01 * update),
        marks(
            refuted="push-through vanishing-updates exponential sharp-rate",
            holds="positive-definite linearization limit-equation",
        ),
        "`linearization` measures the curvature of f along whatever path. `limit-equation` tells α from one that is "
        "10 % away, not 1 %.",
    ),
    "accelerated: the first neuron is not updated": Fault(
        step,
        "_rescaled",
        _updated(_without_first),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "One neuron of N ≥ 256 is a change of O(1/N), below every rate; `push-through` has networks of 6.",
    ),
    "accelerated: the last data point is ignored": Fault(
        step,
        "_refine",
        _ignoring_last,
        marks(
            refuted="push-through limit-equation exponential sharp-rate",
            holds="positive-definite vanishing-updates linearization",
        ),
        "Updates are shorter, networks more linear, and (E17) holds for a smaller residual.",
    ),
    "accelerated: gradient descent, called Newton": Fault(
        step,
        "newton_step",
        _descent,
        marks(
            refuted="push-through vanishing-updates limit-equation exponential sharp-rate",
            holds="positive-definite linearization",
        ),
        "`linearization` is true of gradient descent, too. Positive definiteness holds wherever γ is beyond (E16).",
    ),
    "accelerated: half the bound (E16)": Fault(
        bounds,
        "rho_bound",
        _result(lambda rho, *_: rho / 2),
        marks(refuted="positive-definite vanishing-gamma", undecided="vanishing-updates"),
        "The others do not ask for it.",
    ),
    "accelerated: a certificate that always says positive definite": Fault(
        certificates,
        "certify",
        lambda original: lambda *args, **options: _DEFINITE,
        marks(
            refuted="push-through positive-definite vanishing-gamma",
            holds="vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "The others do not ask for it.",
    ),
    "training: η is never moved": Fault(
        ShallowNet,
        "move_",
        lambda original: lambda net, update: original(net, _unbiased(update)),
        marks(
            refuted="exponential push-through limit-equation sharp-rate",
            holds="positive-definite vanishing-updates linearization",
        ),
        "(E17) is about one step; `linearization` is true of any path.",
    ),
    "training: η is left out of J₀(θ - θ₀)": Fault(
        ensemble,
        "_directional",
        lambda original: lambda net, start, X: original(net, torch.cat([start[:, :-1], net.theta[:, -1:]], 1), X),
        marks(
            refuted="linearization",
            holds="limit-equation",
        ),
        "Only `linearization` has this number.",
    ),
    **{
        f"limit equation: {name}": Fault(
            limit_equation, "_trajectory", change, marks(refuted="limit-equation"), note, late=True
        )
        for name, (change, note) in LIMIT_EQUATIONS.items()
    },
    "limit equation: γ 5 % larger": Fault(
        limit_equation,
        "_trajectory",
        _followed(lambda path, B, gamma, y, start: path(B, 1.05 * gamma, y, start)),
        marks(refuted="limit-equation"),
        "The difference has the sign of the nonlinear part, which hides it on fewer networks.",
        late=True,
    ),
    "statistics: log₂ N for ln N in the fits": Fault(
        statistics,
        "exponent",
        lambda original: lambda widths, *args, **options: original([n ** (1 / np.log(2)) for n in widths], *args, **options),
        marks(
            refuted="vanishing-updates limit-equation vanishing-gamma initial-fluctuations sharp-rate",
            holds="linearization",
        ),
        "Exponents are 0.69 times too small in size. `linearization` holds, since under a symmetric law its quantities fall "
        "twice as fast as is claimed.",
        late=True,
    ),
    "accelerated: f 1 % too large in the compiled loops": Fault(
        fused,
        "outputs",
        _afterwards(lambda kind, c, w, eta, X1, f, B: np.multiply(f, 1.01, out=f)),
        marks(refuted="push-through sharp-rate", holds="positive-definite vanishing-gamma"),
        "Few claims have networks that are large enough for the compiled loops at this effort, and only `push-through` holds "
        "the step against balls there; a margin and a rate of N bear a percent.",
    ),
    "accelerated: the last neuron is left out of f in the compiled loops": Fault(
        fused,
        "outputs",
        lambda original: lambda kind, c, w, eta, X1, f, B: original(kind, c[:-1], w[:-1], eta[:-1], X1, f, B),
        marks(refuted="push-through", holds="positive-definite vanishing-gamma sharp-rate"),
        "As above.",
    ),
    "accelerated: σ'' 1 % too large in the compiled loops": Fault(
        fused,
        "gram_rows",
        _afterwards(lambda kind, c, w, eta, X1, first, second, S, *_: np.multiply(S[len(first) :], 1.01, out=S[len(first) :])),
        marks(refuted="push-through vanishing-gamma", holds="positive-definite sharp-rate"),
        "As above.",
    ),
    "accelerated: σ' 1 % too large in S in the compiled loops": Fault(
        fused,
        "gram_rows",
        _afterwards(lambda kind, c, w, eta, X1, first, second, S, *_: np.multiply(S[: len(first)], 1.01, out=S[: len(first)])),
        marks(refuted="push-through vanishing-gamma", holds="positive-definite sharp-rate"),
        "As above.",
    ),
    "accelerated: one neuron is not updated by the compiled loops": Fault(
        fused,
        "solve",
        _afterwards(lambda *args: args[10].__setitem__((slice(None), 0), 0)),
        marks(refuted="push-through", holds="positive-definite sharp-rate"),
        "As above.",
    ),
    "accelerated: the compiled loops' JΔ 1 % too large": Fault(
        fused,
        "solve",
        _afterwards(lambda *args: np.multiply(args[11], 1.01, out=args[11])),
        marks(refuted="push-through sharp-rate", holds="positive-definite"),
        "As above. What is measured of the step is wrong with it, so it is the balls that notice.",
    ),
    "accelerated: the step without its part at the border": Fault(
        stream,
        "_forced",
        _result(lambda forced, *_: None if forced is None else 0 * forced),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "Only `push-through` has blocks so near to singular.",
    ),
    "accelerated: the border's J V 1 % too large": Fault(
        stream,
        "_border",
        _result(lambda border, *_: border and replace(border, JV=1.01 * border.JV)),
        marks(refuted="push-through", holds="positive-definite vanishing-gamma"),
        "As above.",
    ),
    "accelerated: neg(A) without the border's |V|": Fault(
        stream,
        "factor",
        lambda original: (
            lambda task, K: (lambda F, n: (F, n - (0 if K.border is None else len(K.border.values))))(*original(task, K))
        ),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential vanishing-gamma sharp-rate",
        ),
        "As above.",
    ),
    "accelerated: the last thread's part of a sum is lost": Fault(
        stream,
        "_total",
        lambda original: lambda parts: original(parts[:-1] if len(parts) > 1 else parts),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential vanishing-gamma "
            "initial-fluctuations sharp-rate",
        ),
        "With one thread only `push-through` has several lanes: it asks for them.",
    ),
    "accelerated: an update of mixed precision has float32's": Fault(
        step,
        "_rescaled",
        lambda original: (
            lambda task, update, *rest: original(
                task, update.float().double() if task.precision.product != task.dtype else update, *rest
            )
        ),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "The others compute in float64.",
    ),
    "accelerated: an update in float32 has bfloat16's precision": Fault(
        step,
        "_rescaled",
        lambda original: (
            lambda task, update, *rest: original(
                task, update.bfloat16().float() if task.dtype == torch.float32 else update, *rest
            )
        ),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "The others compute in float64.",
    ),
    "accelerated: γ_N rounded to bfloat16 where D is of float32": Fault(
        stream,
        "block",
        lambda original: (
            lambda task, S, part, shift: original(
                task, S, part, float(torch.tensor(shift).bfloat16()) if task.dtype == torch.float32 else shift
            )
        ),
        marks(
            refuted="push-through",
            holds="positive-definite vanishing-updates linearization limit-equation exponential vanishing-gamma sharp-rate",
        ),
        "The others compute in float64.",
    ),
    "statement of E13: M + 1 for M": Fault(
        push_through,
        "_stated",
        lambda original: lambda J, D, M: original(J, D, M + 1),
        marks(refuted="push-through"),
        _OWN_STATEMENT,
    ),
    "statement of E13: Jᵀ without D⁻¹": Fault(
        push_through,
        "_stated",
        lambda original: lambda J, D, M: (lambda s: s and (D * s[0], s[1]))(original(J, D, M)),
        marks(refuted="push-through"),
        _OWN_STATEMENT,
    ),
    "statement of E14: the sum for the difference": Fault(
        push_through,
        "_stated",
        lambda original: lambda J, D, M: (lambda s: s and (s[0], 2 * negative_eigenvalues(D) - s[1]))(original(J, D, M)),
        marks(refuted="push-through"),
        _OWN_STATEMENT,
    ),
    "statement of E14: neg(D) alone": Fault(
        push_through,
        "_stated",
        lambda original: lambda J, D, M: (lambda s: s and (s[0], negative_eigenvalues(D)))(original(J, D, M)),
        marks(refuted="push-through"),
        _OWN_STATEMENT,
    ),
    "accelerated: the bound (E16) 5 % too small": Fault(
        bounds,
        "rho_bound",
        _result(lambda rho, *_: 0.95 * rho),
        marks(refuted="positive-definite vanishing-gamma", holds="vanishing-updates"),
        "The others do not ask for it, or have room.",
    ),
    "accelerated: the bound (E16) 5 % too large": Fault(
        bounds,
        "rho_bound",
        _result(lambda rho, *_: 1.05 * rho),
        marks(refuted="positive-definite", holds="vanishing-updates vanishing-gamma"),
        "A larger bound is true as well; `positive-definite` holds it against the definitions.",
    ),
    "statement of E16: 5 % too small": Fault(
        positive_definite,
        "_bound",
        _result(lambda bound, *_: 0.95 * bound),
        marks(refuted="positive-definite"),
        _OWN_STATEMENT,
    ),
    "statement of E16: 5 % too large": Fault(
        positive_definite,
        "_bound",
        _result(lambda bound, *_: 1.05 * bound),
        marks(refuted="positive-definite"),
        _OWN_STATEMENT,
    ),
    "accelerated: a certificate that always says indefinite": Fault(
        certificates,
        "certify",
        lambda original: lambda *args, **options: _INDEFINITE,
        marks(
            refuted="push-through positive-definite vanishing-gamma",
            holds="vanishing-updates linearization limit-equation exponential sharp-rate",
        ),
        "The others do not ask for it.",
    ),
    "statement of indefinite: k - M + 1 for k - M": Fault(
        indefinite,
        "_claimed",
        lambda original: lambda k, M: k - M + 1,
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "statement of indefinite: k - M/2 for k - M": Fault(
        indefinite,
        "_claimed",
        lambda original: lambda k, M: k - M // 2,
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "statement of indefinite: k - 1 for k - M": Fault(
        indefinite,
        "_claimed",
        lambda original: lambda k, M: k - 1,
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "statement of indefinite: k counts all neurons": Fault(
        indefinite,
        "_slopes",
        _result(lambda g, *_: 0 * g + 1),
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "statement of indefinite: σ'' for σ' in k": Fault(
        indefinite,
        "_slopes",
        lambda original: lambda state, r: original(state._replace(slope=state.curvature), r),
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "statement of indefinite: k without r": Fault(
        indefinite,
        "_slopes",
        lambda original: lambda state, r: original(state, 0 * r + 1),
        marks(refuted="indefinite"),
        _OWN_STATEMENT,
    ),
    "reference: an inertia with its signs exchanged": Fault(
        linalg,
        "_block_signs",
        _result(lambda signs, *_: signs[::-1]),
        marks(
            refuted="push-through positive-definite indefinite",
            holds="vanishing-updates nntk-bound exponential one-step",
        ),
        "Where the others only need that a matrix is nonsingular, nothing changes.",
    ),
    "one step: γ 5 % smaller": Fault(
        one_step,
        "_one_step",
        lambda original: lambda kernel, gamma, y: original(kernel, gamma * 0.95, y),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "one step: γ 5 % larger": Fault(
        one_step,
        "_one_step",
        lambda original: lambda kernel, gamma, y: original(kernel, gamma * 1.05, y),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "one step: α = 0.9": Fault(
        one_step,
        "_one_step",
        _result(lambda f, *_: f * 9 / 10),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "one step: two of them": Fault(
        one_step,
        "_one_step",
        lambda original: lambda kernel, gamma, y: (lambda f: f + original(kernel, gamma, y - f))(original(kernel, gamma, y)),
        marks(refuted="one-step"),
        "Two steps leave less than the bound, which the worst f*₀ attains.",
    ),
    "one step: gradient descent": Fault(
        one_step,
        "_one_step",
        lambda original: lambda kernel, gamma, y: kernel @ y / np.trace(kernel),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "statement of one-step: γ/λ_min for γ/(γ + λ_min)": Fault(
        one_step,
        "_bound",
        lambda original: lambda gamma, smallest: gamma / smallest,
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "statement of one-step: γ/(γ + 1.05 λ_min) for γ/(γ + λ_min)": Fault(
        one_step,
        "_bound",
        lambda original: lambda gamma, smallest: gamma / (gamma + smallest * 1.05),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "statement of one-step: γ/(γ + 0.95 λ_min) for γ/(γ + λ_min)": Fault(
        one_step,
        "_bound",
        lambda original: lambda gamma, smallest: gamma / (gamma + smallest * 0.95),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "statement of one-step: √ of it for γ/(γ + λ_min)": Fault(
        one_step,
        "_bound",
        lambda original: lambda gamma, smallest: (gamma / (gamma + smallest)).sqrt(),
        marks(refuted="one-step"),
        _OWN_STATEMENT,
    ),
    "limit kernel: λ_max for λ_min": Fault(
        certify.LimitSpectrum,
        "smallest",
        lambda original: property(lambda spectrum: spectrum.eigenvalues[0]),
        marks(refuted="ntk-decay nntk-bound exponential one-step"),
        _ALL_NAMED,
    ),
    **{
        f"{claim}: {name}": Fault(module, function, change, marks(refuted=claim), _OF_NO_OTHER, late=True)
        for claim, module, function, name, change in OF_STATEMENTS
    },
}


# ------------------------------------------------------------------------------------------------------------------- document

_SIGNS = {"R": "R", "U": "U", ".": "·", NOT_CALLED: ""}

_TEXT = """# Planted faults

A check is worth what it can notice. Each row below is a fault planted in the code that the claims run on, each column a claim:

* **R** refuted and **U** undecided: the claim no longer holds.
* **·** holds all the same, though it calls the faulty function. The notes say why it may.
* blank: it never calls the function, so it cannot notice.

{total} faults, {noticed} of them noticed by at least one claim; every claim notices at least {least}. Data: {data},
seed {seed}, effort {effort}. Negative controls, which have to be refuted, notice some more and are not shown here.

`python tests/proofs_checks/faults.py --write` renders this page from the table in that file. `pytest
tests/proofs_checks/test_faults.py` runs one or two claims that notice each fault, the cheapest, and with `--run-slow` all
claims under all faults; each has to give its mark. The claims are run as they are, except that spectra are not enclosed
beyond {bits} bits: a faulty kernel may be singular, and no precision settles that.
"""


def rendered() -> str:
    """The text of docs/faults.md."""
    noticed = [fault for fault in FAULTS.values() if fault.expected]
    text = _TEXT.format(
        total=len(FAULTS),
        noticed=len(noticed),
        least=min(sum(claim in fault.expected for fault in FAULTS.values()) for claim in IDS),
        data=line().source,
        seed=line().seed,
        effort=EFFORT.name.lower(),
        bits=_BITS,
    )
    rows = [f"| fault | {' | '.join(IDS)} |", f"|---|{':-:|' * len(IDS)}"]
    rows += [f"| {name} | {' | '.join(_SIGNS[fault.marks[claim]] for claim in IDS)} |" for name, fault in FAULTS.items()]
    notes = [f"* **{name}** (`{fault.where}`). {fault.note}" for name, fault in FAULTS.items()]
    return "\n".join([text, *rows, "", "## Notes", "", *notes, ""])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        DOCUMENT.write_text(rendered(), encoding="utf-8")
    elif sys.argv[1:2] == ["--measure"]:
        if unknown := set(sys.argv[2:]) - {*FAULTS, *IDS}:
            sys.exit(f"neither faults nor claims: {', '.join(sorted(unknown))}")
        claims = [claim for claim in IDS if claim in sys.argv[2:]] or list(IDS)
        for name in [name for name in FAULTS if name in sys.argv[2:]] or FAULTS:
            found = measured(FAULTS[name], claims)
            marked = {claim: FAULTS[name].marks[claim] for claim in claims}
            print(name, "as before" if found == marked else "CHANGED", flush=True)
            for field, mark in (("refuted", "R"), ("undecided", "U"), ("holds", ".")):
                print(f'    {field}="{" ".join(claim for claim in claims if found[claim] == mark)}",', flush=True)
    else:
        sys.exit(__doc__)
