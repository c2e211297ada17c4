"""A table of planted faults, and which claims notice each: `FAULTS`; docs/faults.md is rendered from it.

    python tests/proofs_checks/faults.py --write             # docs/faults.md from the table
    python tests/proofs_checks/faults.py --measure [NAME …]  # run the claims under the faults, and print the rows

A fault replaces a function of the real code, wherever it was imported to, and every claim runs as it always does. A claim that
never calls the function cannot notice; a faultless run of every claim finds out which do (`calls`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import ShallowNet, ntk, problem, step, stream
from nntk_accelerated import activations as accelerated_activations
from nntk_accelerated import certificate as certificates
from nntk_accelerated import dense as accelerated_dense
from nntk_proofs_checks import CLAIMS, Effort, Problem, certify, ensemble, initial_fluctuations, limit_equation, statistics
from nntk_proofs_checks.claim import evaluate
from nntk_reference import InitialLaw, Network, Verdict, activations, formulas, infinite, linalg, network

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
IDS = tuple(CLAIMS)
EFFORT = Effort.QUICK
MARKS = {Verdict.REFUTED: "R", Verdict.UNDECIDED: "U", Verdict.HOLDS: "."}
NOT_CALLED = "-"
_BITS = 192


def line() -> Problem:
    x = np.linspace(0, 1, 8)
    return Problem(x[:, None], 2 * x + 0.4 * np.sin(5 * np.pi * x), "8 points of y = 2x + 0.4 sin(5πx) on [0, 1]")


Change = Callable[[Any], Any]
"""From a function (or property) to the faulty one in its place."""


@dataclass(frozen=True)
class Fault:
    """`change` applied to the attribute `name` of `owner`, a module or a class.

    row   a mark for every claim, in the registry's order: R refuted, U undecided, "." holds all the same, "-" never calls it.
    note  why claims that call it need not notice, or cannot.
    """

    owner: Any
    name: str
    change: Change
    row: str
    note: str

    @property
    def where(self) -> str:
        owner = self.owner if isinstance(self.owner, type) else sys.modules[self.owner.__name__]
        module = owner.__module__ if isinstance(self.owner, type) else owner.__name__
        inside = f"{owner.__name__}." if isinstance(self.owner, type) else ""
        return f"{module.removeprefix('nntk_')}.{inside}{self.name}"

    @property
    def marks(self) -> dict[str, str]:
        return dict(zip(IDS, self.row, strict=True))

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
    initial_fluctuations.cache_clear()
    certify._cached_spectrum.cache_clear()


@contextmanager
def patching() -> Iterator[pytest.MonkeyPatch]:
    """Nothing kept from before, nothing left behind; and no climb beyond `_BITS` where a faulty kernel is singular."""
    forget()
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(certify, "_LADDER", tuple(b for b in certify._LADDER if b <= _BITS))
            yield monkeypatch
    finally:
        forget()


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    with patching() as monkeypatch:
        fault.plant(monkeypatch)
        yield


def verdict(name: str) -> Verdict:
    return evaluate(CLAIMS[name].check, line(), EFFORT).verdict


@cache
def calls() -> Mapping[str, frozenset[tuple[Any, str]]]:
    """The faults' functions (owner, name) that each claim calls when nothing is wrong."""
    out = {}
    for claim in IDS:
        seen: set[tuple[Any, str]] = set()
        with patching() as monkeypatch:
            for owner, name in {(f.owner, f.name) for f in FAULTS.values()}:
                original = vars(owner)[name]
                put(monkeypatch, owner, original, _recording(original, seen, (owner, name)), name)
            assert verdict(claim) is Verdict.HOLDS, claim
        out[claim] = frozenset(seen)
    return out


def _recording(original: Any, seen: set[tuple[Any, str]], key: tuple[Any, str]) -> Any:
    inner = original.fget if isinstance(original, property) else original

    @wraps(inner)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        seen.add(key)
        return inner(*args, **kwargs)

    return property(recorded) if isinstance(original, property) else recorded


def measured(fault: Fault) -> str:
    """The fault's row, by running the claims."""
    marks = []
    for claim in IDS:
        if (fault.owner, fault.name) not in calls()[claim]:
            marks.append(NOT_CALLED)
            continue
        with planted(fault):
            marks.append(MARKS[verdict(claim)])
    return "".join(marks)


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


def _stored(factor: Callable[[problem.Problem], float]) -> Change:
    """The accelerated package's Sᵢ, times a factor."""

    def change(_: None, P: problem.Problem, S: torch.Tensor, part: slice, *rest: Any) -> None:
        S[:, part] *= factor(P)

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
    return infinite.Ball(64).array(noise + noise.T)


def _stale(original: Any) -> Any:
    """The curvature of the step before: S from the residual that the same network had at the last call."""
    last: list[tuple[ShallowNet, torch.Tensor]] = []

    def gram(P: problem.Problem, mu: float, *, r: torch.Tensor | None = None, S: torch.Tensor | None = None) -> Any:
        if r is None:
            return original(P, mu, S=S)
        before = last[0][1] if last and last[0][0] is P.net else r
        last[:] = [(P.net, r)]
        return original(P, mu, r=before)

    return gram


def _descent(original: Any) -> Any:
    """Gradient descent (E12) at η̄ = 1/λ₁ under the name of Newton."""

    def newton_step(net: ShallowNet, X: torch.Tensor, y: torch.Tensor, gamma: float, **options: Any) -> Any:
        loss = (net(X) - y).square().sum() / (2 * len(y))
        c, w, eta = torch.autograd.grad(loss, (net.c, net.w, net.eta))
        largest = float(torch.linalg.eigvalsh(ntk(net, X, normalized=True))[-1])
        rate = net.width ** (2 * net.beta - 1) / largest
        return replace(original(net, X, y, gamma, **options), update=-rate * torch.cat([c[:, None], w, eta[:, None]], dim=1))

    return newton_step


def _ignoring_last(original: Any) -> Any:
    def refine(P: problem.Problem, K: Any, F: Any, r: torch.Tensor, alpha: float) -> Any:
        return original(P, K, F, torch.cat([r[:-1], 0 * r[-1:]]), alpha)

    return refine


def _more_damping(original: Any) -> Any:
    return lambda ar, A, b: original(ar, formulas.add_diagonal(A, ar.number(1e-6)), b)


def _unbiased(update: torch.Tensor) -> torch.Tensor:
    return torch.cat([update[:, :-1], 0 * update[:, -1:]], dim=1)


_DEFINITE = certificates.Certificate("positive definite", 0, 0, 1.0, "planted")

FAULTS: dict[str, Fault] = {
    "reference: σ'' has the wrong sign": Fault(activations, "activation", _jets(_negated_curvature), "", ""),
    "reference: σ' = σ'' = 0": Fault(
        formulas, "state", _result(lambda s, *_: s._replace(slope=0 * s.slope, curvature=0 * s.curvature)), "", ""
    ),
    "reference: S without 1/M": Fault(formulas, "residual_hessian", _result(lambda S, s, r: S * len(r)), "", ""),
    "reference: S dropped": Fault(formulas, "residual_hessian", _result(lambda S, *_: 0 * S), "", ""),
    "reference: neurons of J in reverse": Fault(formulas, "jacobian", _result(lambda J, s: J[:, ::-1]), "", ""),
    "reference: γ_N = γ": Fault(
        formulas, "regularization", lambda original: lambda ar, gamma, width, beta: ar.number(gamma), "", ""
    ),
    "reference: N^(-β-0.05) for N^(-β)": Fault(
        formulas, "state", _result(lambda s, ar, net, X: s._replace(scale=s.scale * ar.power(net.width, -0.05))), "", ""
    ),
    "reference: 1e-6 more damping in every solve": Fault(linalg, "symmetric_solve", _more_damping, "", ""),
    "limit kernel: E[c²] = 1": Fault(
        infinite,
        "enclose_limit_ntk",
        lambda original: lambda X, name="tanh", **options: original(X, name, **options | {"law": InitialLaw("rademacher")}),
        "",
        "",
    ),
    "limit kernel: without 1/M": Fault(infinite, "enclose_limit_ntk", _kernel(lambda B, M: B * M), "", ""),
    "limit kernel: noise of 1e-12": Fault(infinite, "enclose_limit_ntk", _kernel(lambda B, M: B + _noise(M)), "", ""),
    "limit kernel: of relu, whatever was asked for": Fault(
        infinite, "enclose_limit_ntk", lambda original: lambda X, name="tanh", **options: original(X, "relu", **options), "", ""
    ),
    "sampler: c ~ U(0, 1)": Fault(network, "sample_network", _drawn(lambda net: (abs(net.c), net.w, net.eta)), "", ""),
    "sampler: c of variance 1": Fault(network, "sample_network", _drawn(lambda net: (3**0.5 * net.c, net.w, net.eta)), "", ""),
    "sampler: every neuron twice": Fault(network, "sample_network", _drawn(_twice), "", ""),
    "sampler: one η for all neurons": Fault(
        network, "sample_network", _drawn(lambda net: (net.c, net.w, 0 * net.eta + net.eta[0])), "", ""
    ),
    "accelerated: σ'' has the wrong sign": Fault(accelerated_activations, "activation", _jets(_negated_curvature), "", ""),
    "accelerated: σ, σ', σ'' in float32": Fault(
        problem.Problem, "jets", _result(lambda jets, *_: tuple(v.float().double() for v in jets)), "", ""
    ),
    "accelerated: N^(-β-0.05) for N^(-β)": Fault(
        ShallowNet, "scale", lambda scale: property(lambda net: scale.fget(net) * net.width**-0.05), "", ""
    ),
    "accelerated: S twice as large": Fault(stream, "_store", _stored(lambda P: 2), "", ""),
    "accelerated: S dropped": Fault(stream, "_store", _stored(lambda P: 0), "", ""),
    "accelerated: S of the step before": Fault(stream, "gram", _stale, "", ""),
    "accelerated: Jᵀ D⁻¹ J summed in float32": Fault(
        accelerated_dense, "add_outer", lambda original: lambda G, Y: original(G, Y.float().double()), "", ""
    ),
    "accelerated: c and η exchanged in the update": Fault(stream, "_order", _result(lambda order, *_: sorted(order)), "", ""),
    "accelerated: neg(A) = neg(D) + neg(M I + J D⁻¹Jᵀ)": Fault(
        stream, "factor", _result(lambda found, *_: (found[0], found[1] + 2 * found[0].negative)), "", ""
    ),
    "accelerated: γ_N = γ": Fault(
        step, "damping", lambda original: lambda net, gamma, scaling="width": original(net, gamma, "fixed"), "", ""
    ),
    "accelerated: γ_N 1 % larger than asked for": Fault(step, "damping", _result(lambda mu, *_: 1.01 * mu), "", ""),
    "accelerated: α ignored": Fault(
        step, "take", lambda original: lambda P, mu, alpha, *, curvature: original(P, mu, 1.0, curvature=curvature), "", ""
    ),
    "accelerated: update 1 % too long": Fault(step, "_rescaled", _updated(lambda update: 1.01 * update), "", ""),
    "accelerated: the first neuron is not updated": Fault(step, "_rescaled", _updated(_without_first), "", ""),
    "accelerated: the last data point is ignored": Fault(step, "_refine", _ignoring_last, "", ""),
    "accelerated: gradient descent, called Newton": Fault(step, "newton_step", _descent, "", ""),
    "accelerated: half the bound (E16)": Fault(certificates, "rho_bound", _result(lambda rho, *_: rho / 2), "", ""),
    "accelerated: a certificate that always says positive definite": Fault(
        certificates, "certify", lambda original: lambda *args, **options: _DEFINITE, "", ""
    ),
    "training: η is never moved": Fault(
        ensemble, "move", lambda original: lambda net, update: original(net, _unbiased(update)), "", ""
    ),
    "limit equation: one step late": Fault(
        limit_equation, "_trajectory", _result(lambda path, *_: np.concatenate([path[:1], path[:-1]])), "", ""
    ),
    "statistics: log₂ N for ln N in the fits": Fault(
        statistics,
        "exponent",
        lambda original: lambda widths, *args, **options: original([n ** (1 / np.log(2)) for n in widths], *args, **options),
        "",
        "",
    ),
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

`python tests/proofs_checks/faults.py --write` renders this page from the table in that file; `pytest
tests/proofs_checks/test_faults.py` runs the two cheapest claims that notice each fault, and with `--run-slow` all claims under
all faults, each of which has to give its mark. The claims are run as they are, except that spectra are not enclosed beyond
{bits} bits: a faulty kernel may be singular, and no precision settles that.
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
    rows += [f"| {name} | {' | '.join(_SIGNS[mark] for mark in fault.row)} |" for name, fault in FAULTS.items()]
    notes = [f"* **{name}** (`{fault.where}`). {fault.note}" for name, fault in FAULTS.items()]
    return "\n".join([text, *rows, "", "## Notes", "", *notes, ""])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        DOCUMENT.write_text(rendered(), encoding="utf-8")
    elif sys.argv[1:2] == ["--measure"]:
        for name in sys.argv[2:] or FAULTS:
            print(measured(FAULTS[name]), name, flush=True)
    else:
        sys.exit(__doc__)
