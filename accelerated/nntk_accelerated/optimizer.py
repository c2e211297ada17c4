"""The regularized Newton method as a torch optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated.bounds import largest
from nntk_accelerated.errors import IndefiniteError, InputError, RangeError
from nntk_accelerated.instance import PRECISIONS, instance, memory_guard
from nntk_accelerated.model import ShallowNet, columns
from nntk_accelerated.prepared import PreparedNetwork, prepared
from nntk_accelerated.scaling import damping_of
from nntk_accelerated.step import NewtonStep, take
from nntk_accelerated.validation import choice, number, positive, whole_number

__all__ = ["RegularizedNewton"]

_CHOICES = ("raise", "step", "increase")
_UNBOUNDED = (
    "no damping makes H + γ_N I provably positive definite: the curvature has no error bound. The parameters are unchanged"
)


class RegularizedNewton(torch.optim.Optimizer):
    """θ ← θ - lr (H + γ_N I)⁻¹ ∇L (E6) on all data at once, exact at every step, for a ShallowNet.

    >>> import torch
    >>> from nntk_accelerated import RegularizedNewton, ShallowNet
    >>> net = ShallowNet(1000, 1, beta=0.75, generator=torch.Generator().manual_seed(0))
    >>> X = torch.linspace(0, 1, 8, dtype=torch.float64)[:, None]
    >>> y = torch.sin(3 * X[:, 0])
    >>> optimizer = RegularizedNewton(net, gamma=1.0)
    >>> step = optimizer.step(X, y)  # a NewtonStep: loss, damping, residual, certificate, …
    >>> step.certificate.verdict
    'positive definite'

    Code that calls step(closure) gives the data first, and gets the closure's loss back:

    >>> optimizer = optimizer.bind(X, y)
    >>> optimizer.step(lambda: (net(X) - y).square().mean()).item() < 2 * step.loss
    True

    net            a ShallowNet, or parameter groups {"params": […], "lr": …} that together hold just its three parameters, with
                   of=net; a group's lr scales its parameters' part of the one joint step.
    gamma, scaling γ_N = γ N^(1-2β) with scaling="width" (E5), γ_N = γ with "fixed". The same in every group.
    lr             α; learning-rate schedulers act on it. lr = 0 leaves the group's parameters.
    on_indefinite  if H + γ_N I is not proved positive definite: "raise" IndefiniteError (default); "step" all the same, by the
                    exact step of the indefinite system; or "increase" the damping to the smallest one that is proved positive
                   definite, to 1 %, and report it.
    precision, chunk   as for `newton_step`.

    Gradients are not used and not touched. After any error the parameters are as before.
    Raises InputError at once for bad options.
    """

    def __init__(
        self,
        net: ShallowNet | Iterable[dict[str, Any]],
        gamma: float,
        lr: float = 1.0,
        *,
        scaling: str = "width",
        on_indefinite: str = "raise",
        precision: str | None = None,
        chunk: int | None = None,
        of: ShallowNet | None = None,
    ) -> None:
        if of is not None and (isinstance(net, ShallowNet) or not isinstance(of, ShallowNet)):
            raise InputError("of", "the ShallowNet whose parameter groups `net` is, and nothing beside a net", repr(of))
        whole = net if isinstance(net, ShallowNet) else of
        if not isinstance(whole, ShallowNet):
            raise InputError(
                "net", "a ShallowNet, or its parameter groups with of=net", f"{type(net).__name__}, of={type(of).__name__}"
            )
        if isinstance(net, ShallowNet):
            groups: Any = whole.parameters()
        elif isinstance(net, list | tuple) and net and all(isinstance(group, dict) for group in net):
            groups = list(net)
        else:
            raise InputError("net", "a ShallowNet, or a list of parameter groups with of=net", repr(net))
        choice("on_indefinite", on_indefinite, _CHOICES)
        if precision is not None:
            choice("precision", precision, PRECISIONS)
        if chunk is not None:
            whole_number("chunk", chunk)
        damping_of(whole, gamma, scaling)
        self.net = whole
        self.precision, self.chunk = precision, chunk
        self._bound: tuple[Tensor, Tensor] | None = None
        defaults = {"lr": _rate(lr), "gamma": positive("gamma", gamma), "scaling": scaling, "on_indefinite": on_indefinite}
        super().__init__(groups, defaults)
        self._settings()
        for parameter in whole.parameters():
            self.state[parameter] = {"step": 0}

    def bind(self, X: Tensor, y: Tensor) -> RegularizedNewton:
        """Remember the data for step(closure); returns the optimizer. Raises InputError for data that do not fit."""
        instance(self.net, X, y, precision=self.precision, chunk=self.chunk)
        self._bound = X, y
        return self

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _rate(param_group.get("lr", self.defaults["lr"]))
        super().add_param_group(param_group)

    def _settings(self) -> dict[str, Any]:
        """The options that all groups share, and that the groups hold the net's parameters, each once."""
        held = [p for group in self.param_groups for p in group["params"]]
        expected = {id(p) for p in self.net.parameters()}
        if {id(p) for p in held} != expected or len(held) != len(expected):
            raise InputError(
                "net", "parameter groups that hold c, w and eta of one ShallowNet, each once", f"{len(held)} tensors"
            )
        first = self.param_groups[0]
        for group in self.param_groups[1:]:
            for name in ("gamma", "scaling", "on_indefinite"):
                if group[name] != first[name]:
                    raise InputError(
                        name, f"the same in every group, as the step is one joint solve ({first[name]})", repr(group[name])
                    )
        choice("on_indefinite", first["on_indefinite"], _CHOICES)
        damping_of(self.net, first["gamma"], first["scaling"])
        return first

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in ("net", "precision", "chunk", "_bound")}}

    @torch.no_grad()
    def step(self, X: Any = None, y: Any = None) -> Any:
        """One step. step(X, y) returns the NewtonStep, for α = 1; the parameters move by lr times its update.

        step(closure) and step() take the data given to `bind`; step(closure) evaluates the closure first, gradients enabled,
        and returns what it returned, as other optimizers do.
        Raises as `newton_step`, and IndefiniteError.
        """
        if y is not None:
            return self._step(X, y)
        if self._bound is None:
            raise InputError("X, y", "step(X, y), or data given by bind(X, y) for step(closure)", "neither")
        if X is None:
            return self._step(*self._bound)
        if not callable(X):
            raise InputError("closure", "a function", type(X).__name__)
        with torch.enable_grad():
            loss = X()
        self._step(*self._bound)
        return loss

    def _step(self, X: Any, y: Any) -> NewtonStep:
        options = self._settings()
        rates = {id(p): _rate(group["lr"]) for group in self.param_groups for p in group["params"]}
        task = instance(self.net, X, y, precision=self.precision, chunk=self.chunk)
        damping = damping_of(self.net, options["gamma"], options["scaling"])
        with memory_guard(task):
            step = take(task, damping, 1.0, curvature=True)
            if step.certificate.verdict != "positive definite":
                if options["on_indefinite"] == "raise":
                    raise IndefiniteError(_refusal(step, options["gamma"]))
                if options["on_indefinite"] == "increase":
                    step = take(task, _proved_damping(prepared(task), damping), 1.0, curvature=True)
                    if step.certificate.verdict != "positive definite":
                        raise IndefiniteError(_refusal(step, options["gamma"]))
            moves = dict(zip(("c", "w", "eta"), columns(step.update), strict=True))
            moved = {}
            outside = task.zeros(len(moves))
            for k, (name, parameter) in enumerate(self.net.named_parameters()):
                moved[name] = parameter + (rates[id(parameter)] * moves[name]).to(parameter.dtype)
                outside[k] = not bool(torch.isfinite(moved[name]).all())
            task.ranks.max(outside)  # no rank steps unless all do
            for name, left in zip(moves, outside.tolist(), strict=True):
                if left:
                    raise RangeError(f"net.{name} would leave the range of {moved[name].dtype}: lower lr or raise gamma")
        for name, parameter in self.net.named_parameters():
            parameter.copy_(moved[name])
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
        return step


def _rate(value: Any) -> float:
    expected = "a finite number of at least 0"
    rate = number("lr", value, expected)
    if rate < 0:
        raise InputError("lr", expected, repr(value))
    return rate


def _refusal(step: NewtonStep, gamma: float) -> str:
    found = step.certificate
    what = (
        f"has at least {max(found.at_least, 1)} negative eigenvalues"
        if found.verdict == "indefinite"
        else "is not proved positive definite"
    )
    return (
        f"H + γ_N I {what} at gamma = {gamma} (damping {step.damping:.3e}): {found.reason}. The parameters are unchanged; "
        "raise gamma, or choose on_indefinite='increase' or 'step'"
    )


def _proved_damping(at: PreparedNetwork, damping: float) -> float:
    """The smallest larger damping that is proved positive definite, to 1 %, by doubling and bisection of its logarithm."""
    if not math.isfinite(largest(at.instance, at.S_error.values)):
        raise IndefiniteError(_UNBOUNDED)

    def proved(value: float) -> bool:
        return at.certificate(value).verdict == "positive definite"

    low, high = damping, 2 * damping
    while math.isfinite(high) and not proved(high):
        low, high = high, 4 * high
    if not math.isfinite(high):
        raise IndefiniteError(_UNBOUNDED)
    while high > 1.01 * low:
        middle = math.sqrt(low) * math.sqrt(high)
        if proved(middle):
            high = middle
        else:
            low = middle
    return high
