"""RegularizedNewton: the step it takes is `newton_step`'s, it behaves as a torch optimizer, and an error changes nothing."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from torch.optim import lr_scheduler

import nntk_reference as reference
from nntk_accelerated import (
    IndefiniteError,
    InputError,
    MemoryLimitError,
    NewtonStep,
    RangeError,
    RefinementError,
    RegularizedNewton,
    ShallowNet,
    SingularSystemError,
    instance,
    min_eigenvalue,
    modes,
    newton_step,
    optimizer,
    prepared,
    step,
    stream,
)
from tests.tolerances import EPS, THRESHOLD

DEFINITE, INDEFINITE = 5.0, 0.03
"""Values of gamma for the case below; a test makes sure of them."""


def case(device: str = "cpu", *, width: int = 12, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """(net, X, y), the same numbers at every call."""
    generator = torch.Generator().manual_seed(0)
    net = ShallowNet(width, 2, **({"beta": 0.75} | options), generator=generator)
    X, y = (torch.randn(*size, dtype=torch.float64, generator=generator) for size in ((5, 2), (5,)))
    return net.to(device, dtype), X.to(device, dtype), y.to(device, dtype)


def bits(net: ShallowNet) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    # as integers: a NaN equals itself, and 0 is not -0
    return all(
        torch.equal(
            x.view(torch.int64 if x.dtype == torch.float64 else torch.int32),
            y.view_as(x).view(torch.int64 if y.dtype == torch.float64 else torch.int32),
        )
        for x, y in zip(a, b, strict=True)
    )


def moved(net: ShallowNet, update: torch.Tensor, rate: float) -> list[torch.Tensor]:
    parts = (update[:, 0], update[:, 1:-1], update[:, -1])
    return [p.detach() + (rate * part).to(p.dtype) for p, part in zip(net.parameters(), parts, strict=True)]


@contextmanager
def kept(net: ShallowNet) -> Iterator[None]:
    before = bits(net)
    yield
    assert same(bits(net), before), "the parameters were changed"


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float((x - y).double().square().sum()) for x, y in zip(a, b, strict=True)))


# --- one step ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("gamma", [DEFINITE, INDEFINITE])
def test_a_step_is_newton_steps_update_times_lr(gamma: float, rate: float, device: str) -> None:
    net, X, y = case(device)
    update = newton_step(net, X, y, gamma)
    expected = moved(net, update.update, rate)
    taken = RegularizedNewton(net, gamma, rate, on_indefinite="step").step(X, y)
    assert same(bits(net), expected)
    assert isinstance(taken, NewtonStep)
    assert torch.equal(taken.update, update.update)
    assert (taken.loss, taken.damping, taken.residual, taken.certificate, taken.negative_eigenvalues) == (
        update.loss,
        update.damping,
        update.residual,
        update.certificate,
        update.negative_eigenvalues,
    )


def test_a_step_is_the_references(device: str) -> None:
    net, X, y = case(device)
    c, w, eta = (p.detach().cpu().numpy() for p in net.parameters())
    data = X.cpu().numpy(), y.cpu().numpy()
    twin = reference.Network(c, w, eta, net.beta, "tanh")
    exact = reference.newton_step(twin, *data, DEFINITE, alpha=0.5)
    P = c.size * 4
    A = np.asarray(reference.hessian(twin, *data)) + reference.regularization(DEFINITE, 12, 0.75) * np.eye(P)
    before = bits(net)
    RegularizedNewton(net, DEFINITE, 0.5).step(X, y)
    c, w, eta = (after - old for after, old in zip(bits(net), before, strict=True))
    change = torch.cat([c[:, None], w, eta[:, None]], 1).cpu().numpy()
    # both solve backward stably; adding to the parameters rounds once more
    size = np.linalg.cond(A) * np.linalg.norm(exact.update) + np.linalg.norm([float(p.norm()) for p in before])
    assert np.linalg.norm(change - exact.update) <= THRESHOLD * EPS["float64"] * size


@pytest.mark.parametrize("scaling", ["width", "fixed"])
def test_gamma_and_scaling_give_the_damping(scaling: str) -> None:
    net, X, y = case()
    expected = newton_step(net, X, y, DEFINITE, scaling=scaling)
    assert expected.damping == DEFINITE * (12 ** (1 - 2 * 0.75) if scaling == "width" else 1)
    after = moved(net, expected.update, 1.0)
    assert RegularizedNewton(net, DEFINITE, scaling=scaling).step(X, y).damping == expected.damping
    assert same(bits(net), after)


@pytest.mark.parametrize("options", [{"precision": "mixed"}, {"precision": "float32"}, {"chunk": 5}, {"chunk": 1}], ids=str)
def test_precision_and_chunk_are_those_of_newton_step(options: dict[str, Any], device: str) -> None:
    net, X, y = case(device)
    expected = newton_step(net, X, y, DEFINITE, **options)
    after = moved(net, expected.update, 1.0)
    RegularizedNewton(net, DEFINITE, **options).step(X, y)
    assert same(bits(net), after)


@pytest.mark.parametrize("precision", [None, "float32", "mixed", "float64"])
def test_a_single_precision_net_takes_single_precision_steps(precision: str | None, device: str) -> None:
    net, X, y = case(device, dtype=torch.float32)
    exact = newton_step(net.double(), X.double(), y.double(), DEFINITE).update
    net.float()
    expected = moved(net.double(), exact, 1.0)
    before = bits(net.float())
    taken = RegularizedNewton(net, DEFINITE, precision=precision).step(X, y)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert taken.update.dtype == (torch.float32 if precision in (None, "float32") else torch.float64)
    assert not same(bits(net), before)
    # gamma 5 with this case: the eigenvalues of A lie within [0.4, 2.2] mu (asserted where the case is), condition below 6
    size = 6 * float(exact.norm()) + distance(expected, [torch.zeros_like(p) for p in expected])
    assert distance(bits(net), expected) <= THRESHOLD * EPS["float32"] * size


def test_the_cases_are_what_their_names_say(device: str) -> None:
    net, X, y = case(device)
    assert newton_step(net, X, y, DEFINITE).certificate.verdict == "positive definite"
    assert newton_step(net, X, y, INDEFINITE).certificate.verdict == "indefinite"
    c, w, eta = (p.detach().cpu().numpy() for p in net.parameters())
    H = np.asarray(reference.hessian(reference.Network(c, w, eta, net.beta, "tanh"), X.cpu().numpy(), y.cpu().numpy()))
    values = np.linalg.eigvalsh(H + reference.regularization(DEFINITE, 12, 0.75) * np.eye(len(H)))
    assert values[0] > 0
    assert values[-1] / values[0] < 6


def test_training_goes_to_zero_residual(device: str) -> None:
    """2,000 parameters for three points far apart: every mode contracts, and Gauss-Newton's rates say by how much."""
    net, *_ = case(device, width=500, beta=0.6)
    X = torch.tensor([[3.0, 0.0], [-3.0, 3.0], [0.0, -3.0]], dtype=torch.float64, device=device)
    y = net(X).detach() + 0.2 * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64, device=device)
    slowest = float(modes(net, X, y, 0.2).newton.min())
    assert slowest > 0.5
    method = RegularizedNewton(net, 0.2)
    losses = [method.step(X, y).loss for _ in range(25)]
    assert all(after < before for before, after in itertools.pairwise(losses))
    # half of Gauss-Newton's slowest rate is left for the curvature and the kernel's motion
    assert losses[-1] <= (1 - slowest / 2) ** (2 * 24) * losses[0]
    r = (net(X) - y).detach()
    assert float(r.square().mean()) / 2 < losses[-1]


# --- a torch optimizer -------------------------------------------------------------------------------------------------------

SCHEDULES: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "StepLR": (lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5), [1.0, 1.0, 0.5, 0.5]),
    "LambdaLR": (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), [1.0, 1 / 2, 1 / 3, 1 / 4]),
    "CosineAnnealingLR": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 3),
        [1.0, 0.75, 0.25, 0.0],
    ),
    "ReduceLROnPlateau": (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0), [1.0, 1.0, 0.1, 0.01]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_schedulers_act(name: str) -> None:
    make, rates = SCHEDULES[name]
    net, X, y = case()
    twin = copy.deepcopy(net)
    method = RegularizedNewton(net, DEFINITE, 1.0)
    schedule = make(method)
    for rate in rates:
        assert method.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-12, abs=1e-15)
        for p, new in zip(
            twin.parameters(), moved(twin, newton_step(twin, X, y, DEFINITE).update, method.param_groups[0]["lr"]), strict=True
        ):
            p.data.copy_(new)
        method.step(X, y)
        assert same(bits(net), bits(twin))
        # a plateau: the same number every time
        schedule.step(1.0) if name == "ReduceLROnPlateau" else schedule.step()


def test_a_tensor_rate_is_a_rate() -> None:
    net, X, y = case()
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 0.5)
    RegularizedNewton(net, DEFINITE, lr=torch.tensor(0.5)).step(X, y)
    assert same(bits(net), expected)


@pytest.mark.parametrize("weights_only", [True, False])
def test_stopped_saved_loaded_it_goes_on_to_the_bit(weights_only: bool, device: str) -> None:
    net, X, y = case(device)
    method = RegularizedNewton(net, 2.0, 0.7, on_indefinite="step")
    schedule = lr_scheduler.StepLR(method, 2, gamma=0.5)

    def go(method: Any, schedule: Any, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            losses.append(method.step(X, y).loss)
            schedule.step()
        return losses

    go(method, schedule, 3)
    file = io.BytesIO()
    saved = {"net": net.state_dict(), "method": method.state_dict(), "schedule": schedule.state_dict()}
    torch.save(saved, file)
    went = go(method, schedule, 3)

    file.seek(0)
    loaded = torch.load(file, weights_only=weights_only)
    # everything of the fresh ones differs until it is loaded
    other = ShallowNet(12, 2, beta=0.75, generator=torch.Generator().manual_seed(77)).to(device)
    fresh = RegularizedNewton(other, 9.0, 0.1)
    again = lr_scheduler.StepLR(fresh, 2, gamma=0.5)
    other.load_state_dict(loaded["net"])
    fresh.load_state_dict(loaded["method"])
    again.load_state_dict(loaded["schedule"])
    assert fresh.param_groups[0]["gamma"] == 2.0
    assert fresh.param_groups[0]["on_indefinite"] == "step"
    assert go(fresh, again, 3) == went
    assert same(bits(other), bits(net))
    assert fresh.state_dict() == method.state_dict()


def test_the_state_counts_steps_and_survives_a_round_trip() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    assert [s["step"] for s in method.state.values()] == [0, 0, 0]
    for _ in range(2):
        method.step(X, y)
    assert [s["step"] for s in method.state.values()] == [2, 2, 2]
    other = RegularizedNewton(net, DEFINITE)
    other.load_state_dict(method.state_dict())
    assert [s["step"] for s in other.state.values()] == [2, 2, 2]


def test_a_state_without_counts_is_no_reason_for_half_a_step() -> None:
    net, X, y = case()
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    method = RegularizedNewton(net, DEFINITE)
    saved = method.state_dict()
    method.load_state_dict(saved | {"state": {}})  # as another optimizer, or an older version, saves it
    before = bits(net)
    try:
        method.step(X, y)
    except Exception:
        assert same(bits(net), before)
    else:
        assert same(bits(net), expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_a_copied_optimizer_still_steps(duplicate: Callable[[Any], Any]) -> None:
    net, X, y = case()
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    other = duplicate(RegularizedNewton(net, DEFINITE))
    with kept(net):
        other.step(X, y)
    assert same([p.detach() for group in other.param_groups for p in group["params"]], expected)


def test_groups_scale_their_part_of_one_joint_step(device: str) -> None:
    net, X, y = case(device)
    update = newton_step(net, X, y, DEFINITE).update
    expected = [moved(net, update, rate)[i] for i, rate in enumerate((0.5, 0.25, 0.25))]
    groups = [{"params": [net.c], "lr": 0.5}, {"params": [net.w, net.eta]}]
    method = RegularizedNewton(groups, DEFINITE, 0.25, of=net)
    assert torch.equal(method.step(X, y).update, update)
    assert same(bits(net), expected)


def test_a_group_with_rate_zero_stays(device: str) -> None:
    net, X, y = case(device)
    w, eta = net.w.detach().clone(), net.eta.detach().clone()
    groups = [{"params": [net.eta, net.w], "lr": 0.0}, {"params": [net.c]}]
    before = net.c.detach().clone()
    RegularizedNewton(groups, DEFINITE, of=net).step(X, y)
    assert same([net.w.detach(), net.eta.detach()], [w, eta])
    assert not torch.equal(net.c, before)


def test_a_group_may_be_added_before_the_first_step() -> None:
    # torch's own way to make optimizers: whatever the route, the check is that all three are there once
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    with pytest.raises(ValueError, match="more than one parameter group"):
        method.add_param_group({"params": [net.c]})
    method.add_param_group({"params": [torch.zeros(3, requires_grad=True)]})
    with kept(net), pytest.raises(InputError) as caught:
        method.step(X, y)
    assert caught.value.argument == "net"


OTHER, *_ = case()
WRONG_GROUPS: dict[str, tuple[Callable[[ShallowNet], Any], str]] = {
    "one is missing": (lambda net: [{"params": [net.c]}, {"params": [net.w]}], "net"),
    "another net's": (lambda net: [{"params": [net.c, net.w, OTHER.eta]}], "net"),
    "one too many": (lambda net: [{"params": [*net.parameters(), torch.zeros(1, requires_grad=True)]}], "net"),
    "two dampings": (lambda net: [{"params": [net.c], "gamma": 0.5}, {"params": [net.w, net.eta]}], "gamma"),
    "two scalings": (lambda net: [{"params": [net.c], "scaling": "fixed"}, {"params": [net.w, net.eta]}], "scaling"),
    "two choices": (lambda net: [{"params": [net.c], "on_indefinite": "step"}, {"params": [net.w, net.eta]}], "on_indefinite"),
    "a negative rate": (lambda net: [{"params": [net.c], "lr": -1.0}, {"params": [net.w, net.eta]}], "lr"),
    "an unknown choice": (lambda net: [{"params": list(net.parameters()), "on_indefinite": "stop"}], "on_indefinite"),
    "a damping of zero": (lambda net: [{"params": list(net.parameters()), "gamma": 0.0}], "gamma"),
    "an unknown scaling": (lambda net: [{"params": list(net.parameters()), "scaling": "none"}], "scaling"),
    "nothing": (lambda net: [], "net"),
    "None": (lambda net: None, "net"),
    "numbers": (lambda net: [1.0], "net"),
}


@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_wrong_groups_are_refused_at_once(name: str) -> None:
    make, argument = WRONG_GROUPS[name]
    net, *_ = case()
    with pytest.raises(InputError) as caught:
        RegularizedNewton(make(net), DEFINITE, of=net)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("name", "value"), [("lr", -1.0), ("lr", math.nan), ("gamma", 0.0), ("on_indefinite", "stop"), ("scaling", "none")]
)
def test_an_option_spoilt_between_steps_is_refused(name: str, value: Any) -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    method.step(X, y)
    method.param_groups[0][name] = value
    with kept(net), pytest.raises(InputError) as caught:
        method.step(X, y)
    assert caught.value.argument == name


def test_damping_may_change_between_steps() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    method.param_groups[0]["gamma"] = 7.0
    expected = moved(net, newton_step(net, X, y, 7.0).update, 1.0)
    method.step(X, y)
    assert same(bits(net), expected)


def test_closures_and_bound_data(device: str) -> None:
    net, X, y = case(device)
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    method = RegularizedNewton(net, DEFINITE)
    assert method.bind(X, y) is method
    seen = []

    def closure() -> torch.Tensor:
        method.zero_grad()
        seen.append((torch.is_grad_enabled(), bits(net)))
        loss = (net(X) - y).square().mean() / 2
        loss.backward()
        return loss

    before = bits(net)
    with torch.no_grad():
        returned = method.step(closure)
    assert len(seen) == 1
    assert seen[0][0] is True
    assert same(seen[0][1], before)  # evaluated before the step
    assert returned.requires_grad
    assert same(bits(net), expected)
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())

    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    result = method.step()
    assert isinstance(result, NewtonStep)
    assert same(bits(net), expected)
    marker = object()
    assert method.step(lambda: marker) is marker


def test_what_a_closure_raises_passes_through() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE).bind(X, y)

    def closure() -> None:
        raise KeyError("mine")

    with kept(net), pytest.raises(KeyError, match="mine"):
        method.step(closure)


@pytest.mark.parametrize(
    ("arguments", "bound", "argument"),
    [((), False, "X, y"), ((lambda: 0.0,), False, "X, y"), ((3.0,), True, "closure"), ((torch.zeros(2),), True, "closure")],
)
def test_steps_without_data_are_refused(arguments: tuple[Any, ...], bound: bool, argument: str) -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    if bound:
        method.bind(X, y)
    with kept(net), pytest.raises(InputError) as caught:
        method.step(*arguments)
    assert caught.value.argument == argument


def test_bind_refuses_at_once_and_keeps_what_was_bound() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE).bind(X, y)
    for wrong, argument in (((X.float(), y), "X"), ((X, y[:2]), "y"), ((X * math.nan, y), "X"), ((X, None), "y")):
        with pytest.raises(InputError) as caught:
            method.bind(*wrong)
        assert caught.value.argument == argument
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    method.step()
    assert same(bits(net), expected)


def test_hooks_run_before_and_after(device: str) -> None:
    net, X, y = case(device)
    method, seen = RegularizedNewton(net, DEFINITE), []
    method.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is method, len(args), bits(net))))
    method.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", o is method, len(args), bits(net))))
    before = bits(net)
    method.step(X, y)
    assert [entry[:3] for entry in seen] == [("before", True, 3), ("after", True, 3)]  # torch counts the optimizer itself
    assert same(seen[0][3], before)
    assert same(seen[1][3], bits(net))
    assert not same(before, bits(net))


def test_a_pre_hook_may_replace_the_data() -> None:
    net, X, y = case()
    expected = moved(net, newton_step(net, X[:3], y[:3], DEFINITE).update, 1.0)
    method = RegularizedNewton(net, DEFINITE)
    method.register_step_pre_hook(lambda o, args, kwargs: ((o, args[1][:3], args[2][:3]), kwargs))
    method.step(X, y)
    assert same(bits(net), expected)


def test_gradients_are_neither_used_nor_touched_and_zero_grad_clears_them() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE)
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    for p in net.parameters():
        p.grad = torch.full_like(p, math.nan)
    grads = [p.grad for p in net.parameters()]
    method.step(X, y)
    assert same(bits(net), expected)
    assert all(p.grad is g and bool(g.isnan().all()) for p, g in zip(net.parameters(), grads, strict=True))
    method.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not bool(p.grad.any()) for p in net.parameters())
    method.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_gradient_modes_make_no_difference(mode: Any) -> None:
    net, X, y = case()
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    with mode():
        taken = RegularizedNewton(net, DEFINITE).step(X, y)
    assert same(bits(net), expected)
    assert not taken.update.requires_grad


def test_the_repr_shows_the_options() -> None:
    text = repr(RegularizedNewton(case()[0], DEFINITE, 0.5))
    assert all(
        part in text for part in ("RegularizedNewton", "gamma: 5.0", "lr: 0.5", "on_indefinite: raise", "scaling: width")
    )


# --- nothing else changes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("act", [newton_step, lambda net, X, y, g: RegularizedNewton(net, g).step(X, y)], ids=["pure", "step"])
def test_no_side_effects(act: Any, threads: int, device: str) -> None:
    net, X, y = case(device, width=300)
    X.requires_grad_()
    net.eta.requires_grad_(False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)

        def state() -> list[Any]:
            return [
                X.detach().cpu().numpy().tobytes(),
                y.cpu().numpy().tobytes(),
                torch.get_rng_state().numpy().tobytes(),
                torch.get_default_dtype(),
                torch.get_num_threads(),
                torch.is_grad_enabled(),
                [p.requires_grad for p in net.parameters()],
                [p.grad for p in (*net.parameters(), X, y)],
                [p.data_ptr() for p in net.parameters()],
                sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"),
            ]

        act(net, X, y, DEFINITE)  # a first time: libraries load
        was = state()
        act(net, X, y, DEFINITE)
        assert state() == was
    finally:
        torch.set_num_threads(before)


def test_data_and_update_share_no_memory_with_the_net() -> None:
    net, X, y = case()
    result = newton_step(net, X, y, DEFINITE)
    with kept(net):
        result.update.zero_()
    method = RegularizedNewton(net, DEFINITE)
    taken = method.step(X, y)
    with kept(net):
        taken.update.add_(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_default_dtype_makes_no_difference(dtype: torch.dtype) -> None:
    net, X, y = case()
    plain = [newton_step(net, X, y, gamma) for gamma in (DEFINITE, INDEFINITE)]
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        other = [newton_step(net, X, y, gamma) for gamma in (DEFINITE, INDEFINITE)]
    finally:
        torch.set_default_dtype(before)
    for a, b in zip(plain, other, strict=True):
        assert torch.equal(a.update, b.update)
        assert (a.loss, a.residual, a.certificate) == (b.loss, b.residual, b.certificate)


# --- an indefinite Hessian ---------------------------------------------------------------------------------------------------


def test_the_default_is_to_raise() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, INDEFINITE)
    assert method.param_groups[0]["on_indefinite"] == "raise"
    with kept(net), pytest.raises(IndefiniteError):
        method.step(X, y)
    assert [s["step"] for s in method.state.values()] == [0, 0, 0]


def test_raise_says_why_and_what_to_do(device: str) -> None:
    net, X, y = case(device)
    with kept(net), pytest.raises(IndefiniteError, match=r"negative eigenvalues at gamma = 0\.03") as caught:
        RegularizedNewton(net, INDEFINITE, on_indefinite="raise").step(X, y)
    assert all(word in str(caught.value) for word in ("unchanged", "raise gamma", "'increase'", "'step'"))


@pytest.mark.parametrize("choice", ["raise", "step", "increase"])
def test_all_choices_take_the_same_step_where_it_is_definite(choice: str, device: str) -> None:
    net, X, y = case(device)
    exact = newton_step(net, X, y, DEFINITE)
    expected = moved(net, exact.update, 1.0)
    taken = RegularizedNewton(net, DEFINITE, on_indefinite=choice).step(X, y)
    assert same(bits(net), expected)
    assert taken.damping == exact.damping
    assert (taken.certificate.verdict, taken.negative_eigenvalues) == ("positive definite", 0)


def test_step_takes_the_exact_indefinite_step(device: str) -> None:
    net, X, y = case(device)
    expected = moved(net, newton_step(net, X, y, INDEFINITE).update, 1.0)
    taken = RegularizedNewton(net, INDEFINITE, on_indefinite="step").step(X, y)
    assert same(bits(net), expected)
    assert taken.negative_eigenvalues > 0
    assert taken.certificate.verdict == "indefinite"
    assert taken.damping == INDEFINITE * 12**-0.5


@pytest.mark.parametrize("gamma", [INDEFINITE, 0.2])
@pytest.mark.parametrize("scaling", ["width", "fixed"])
def test_increase_takes_the_smallest_damping_proved_definite(gamma: float, scaling: str, device: str) -> None:
    net, X, y = case(device)
    if scaling == "fixed":
        gamma /= 12**0.5
    assert newton_step(net, X, y, gamma, scaling=scaling).negative_eigenvalues > 0
    lowest = -min_eigenvalue(net, X, y).value
    old = copy.deepcopy(net)
    taken = RegularizedNewton(net, gamma, scaling=scaling, on_indefinite="increase").step(X, y)
    assert (taken.certificate.verdict, taken.negative_eigenvalues) == ("positive definite", 0)

    def at(damping: float) -> NewtonStep:
        return newton_step(old, X, y, damping, scaling="fixed")

    exact = at(taken.damping)
    assert exact.certificate.verdict == "positive definite"
    assert same(bits(net), moved(old, exact.update, 1.0))
    assert at(taken.damping / 1.02).certificate.verdict != "positive definite"
    # and that is where H itself ends: the smallest damping is -lambda_min, proved to 1 %
    assert lowest < taken.damping < 1.02 * lowest
    c, w, eta = (p.detach().cpu().numpy() for p in old.parameters())
    H = np.asarray(reference.hessian(reference.Network(c, w, eta, old.beta, "tanh"), X.cpu().numpy(), y.cpu().numpy()))
    assert -np.linalg.eigvalsh(H)[0] == pytest.approx(lowest, rel=1e-5)


def test_increase_is_for_one_step_only() -> None:
    net, X, y = case(width=1000)
    method = RegularizedNewton(net, 0.1, on_indefinite="increase")
    dampings = [method.step(X, y).damping for _ in range(5)]
    asked = dampings[-1]  # once the residual is smaller, the damping asked for is enough
    assert asked == pytest.approx(0.1 * 1000**-0.5, rel=1e-14)
    assert dampings[0] > 1.5 * asked
    assert method.param_groups[0]["gamma"] == 0.1


def test_increase_gives_up_where_nothing_can_be_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X, y = case(activation="relu")  # its slope jumps, so the curvature has no error bound
    with kept(net), pytest.raises(IndefiniteError):
        RegularizedNewton(net, DEFINITE).step(X, y)
    certify, calls = prepared.certify, 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        assert calls <= 50, "an infinite error bound is no reason to double the damping up to 1e308"
        return certify(*arguments, **options)

    monkeypatch.setattr(prepared, "certify", counted)
    with kept(net), pytest.raises(IndefiniteError):
        RegularizedNewton(net, INDEFINITE, on_indefinite="increase").step(X, y)


# --- after an error, everything is as before ---------------------------------------------------------------------------------


class Broken(Exception):
    pass


def fail(*args: Any, **kwargs: Any) -> Any:
    raise Broken


STAGES = [
    (stream, "outputs"),
    (stream, "gram"),
    (stream, "factor"),
    (stream, "solve"),
    (step, "radii"),
    (step, "certify"),
    (step, "jacobian_bound"),
    (optimizer, "take"),
    (optimizer, "instance"),
    (optimizer, "damping_of"),
    (torch, "isfinite"),
]


@pytest.mark.parametrize(("module", "name"), STAGES, ids=lambda value: getattr(value, "__name__", value))
def test_a_failure_at_any_stage_changes_nothing(module: Any, name: str, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    net, X, y = case(device)
    method = RegularizedNewton(net, DEFINITE)
    method.step(X, y)
    with kept(net), monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(Broken):
            method.step(X, y)
    assert [s["step"] for s in method.state.values()] == [1, 1, 1]
    expected = moved(net, newton_step(net, X, y, DEFINITE).update, 1.0)
    method.step(X, y)  # and it goes on as if nothing had been
    assert same(bits(net), expected)


@pytest.mark.parametrize("last", range(1, 4))
def test_a_failure_in_the_last_pass_over_the_finished_step_changes_nothing(last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters' new values are checked one after another: fail at the second or third, the first must not have moved."""
    net, X, y = case()
    method, seen, plain = RegularizedNewton(net, DEFINITE), [], torch.isfinite
    shapes = [p.shape for p in net.parameters()]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "isfinite", lambda t: seen.append(t.shape) or plain(t))
        copy.deepcopy(method.net), RegularizedNewton(copy.deepcopy(net), DEFINITE).step(X, y)
    total = len(seen)
    assert seen[-3:] == shapes
    seen.clear()

    def failing(t: torch.Tensor) -> torch.Tensor:
        seen.append(t.shape)
        if len(seen) == total - 3 + last:
            raise Broken
        return plain(t)

    with kept(net), monkeypatch.context() as patch:
        patch.setattr(torch, "isfinite", failing)
        with pytest.raises(Broken):
            method.step(X, y)


@pytest.mark.parametrize("which", range(1, 6))
def test_running_out_of_memory_in_any_pass_changes_nothing(which: int, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    net, X, y = case(device)
    method, jets, calls = RegularizedNewton(net, DEFINITE, chunk=6), instance.Instance.jets, 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == which:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return jets(*arguments)

    with kept(net), monkeypatch.context() as patch:
        patch.setattr(instance.Instance, "jets", failing)
        with pytest.raises(MemoryLimitError, match=r"M = 5, N = 12, chunk = 6 .*lower chunk"):
            method.step(X, y)


BAD_DATA: dict[str, tuple[Callable[..., tuple[Any, Any]], str]] = {
    "nan in X": (lambda X, y: (X.clone().index_fill_(0, torch.tensor([0], device=X.device), math.nan), y), "X"),
    "inf in y": (lambda X, y: (X, y / 0.0), "y"),
    "single precision": (lambda X, y: (X.float(), y), "X"),
    "a column": (lambda X, y: (X, y[:, None]), "y"),
    "no points": (lambda X, y: (X[:0], y[:0]), "X"),
    "numpy": (lambda X, y: (X.cpu().numpy(), y), "X"),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("route", ["step(X, y)", "bind"])
def test_bad_data_change_nothing(name: str, route: str, device: str) -> None:
    net, X, y = case(device)
    make, argument = BAD_DATA[name]
    method = RegularizedNewton(net, DEFINITE)
    data = make(X, y)
    with kept(net), pytest.raises(InputError) as caught:
        method.step(*data) if route == "step(X, y)" else method.bind(*data)
    assert caught.value.argument == argument


def test_bound_data_that_spoil_later_are_refused_then() -> None:
    net, X, y = case()
    method = RegularizedNewton(net, DEFINITE).bind(X, y)
    y[0] = math.nan
    with kept(net), pytest.raises(InputError) as caught:
        method.step()
    assert caught.value.argument == "y"


def test_a_nan_parameter_is_refused() -> None:
    net, X, y = case()
    with torch.no_grad():
        net.w[3, 1] = math.nan
    with kept(net), pytest.raises(InputError) as caught:
        RegularizedNewton(net, DEFINITE).step(X, y)
    assert caught.value.argument == "net.w"


def test_a_step_beyond_the_numbers_is_an_error(device: str) -> None:
    net, X, y = case(device, dtype=torch.float32)
    with kept(net), pytest.raises(RangeError, match="lower lr"):
        RegularizedNewton(net, DEFINITE, 3e39).step(X, y)


def test_a_singular_system_is_an_error() -> None:
    # c = 0: S couples c and (w, eta) only, so that some block has the eigenvalue -gamma exactly where gamma says so
    zero = torch.zeros(1, dtype=torch.float64)
    net = ShallowNet.from_arrays(zero, zero[:, None], zero, beta=0.75, activation="tanh")
    X, y = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    # H = [[0, -1], [-1, 0]] in (c, eta), J = 0: H + I is singular, and twice that is not
    for choice in ("raise", "step"):
        with kept(net), pytest.raises((SingularSystemError, RefinementError, IndefiniteError, RangeError)):
            RegularizedNewton(net, 1.0, on_indefinite=choice).step(X, y)
    assert RegularizedNewton(net, 2.0).step(X, y).certificate.verdict == "positive definite"


@pytest.mark.parametrize("net", [[{"params": [torch.zeros(1)]}], torch.nn.Linear(1, 1), None])
def test_a_net_is_asked_for_by_name_before_anything_else(net: Any) -> None:
    with pytest.raises(
        InputError, match=r"net: expected a ShallowNet, or its parameter groups with of=net, got .*, of=NoneType"
    ):
        RegularizedNewton(net, 1.0)
