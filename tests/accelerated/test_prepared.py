"""A network prepared at its data says what the separate functions say, to the bit, and goes on saying it after a step."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from nntk_accelerated import (
    ACTIVATIONS,
    PreparedNetwork,
    RangeError,
    RegularizedNewton,
    ShallowNet,
    SingularSystemError,
    inertia,
    loss,
    newton_step,
    outputs,
    prepare,
    sufficient_gamma,
)
from nntk_accelerated import stream as passes

DTYPES = {"float64": torch.float64, "mixed": torch.float64, "float32": torch.float32}


def case(
    seed: int = 0, width: int = 12, dim: int = 2, count: int = 5, *, activation: str = "tanh", dtype: Any = torch.float64
) -> Any:
    generator = torch.Generator().manual_seed(seed)
    net = ShallowNet(width, dim, beta=0.75, activation=activation, generator=generator)
    X, y = (torch.randn(*size, dtype=torch.float64, generator=generator) for size in ((count, dim), (count,)))
    return net.to(dtype), X.to(dtype), y.to(dtype)


def on(device: str, net: ShallowNet, X: torch.Tensor, y: torch.Tensor) -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
    return net.to(device), X.to(device), y.to(device)


def told(step: Any) -> dict[str, Any]:
    """All that a step says but its time; the update apart."""
    return {name: getattr(step, name) for name in step.__dataclass_fields__ if name not in ("seconds", "update")}


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_says_what_the_separate_functions_say(name: str, precision: str, device: str) -> None:
    data = on(device, *case(activation=name, dtype=DTYPES[precision]))
    net, X, y = data
    options = {"precision": precision, "chunk": 5}
    at = prepare(*data, **options)
    assert torch.equal(at.residual, outputs(net, X, **options) - y)
    assert at.sufficient_gamma == sufficient_gamma(*data, **options)
    assert at.rho == pytest.approx(at.sufficient_gamma * 12**0.25, rel=1e-15)
    assert at.loss == pytest.approx(float(loss(*data, **options)), rel=1e-6)  # that one is a tensor of the net's dtype
    for gamma in (5.0, 0.1, 1e-3):
        damping = gamma / 12**0.5
        found = inertia(*data, damping, scaling="fixed", **options)
        assert at.certificate(damping, count=True) == found.certificate
        if found.certificate.negative is None:
            assert at.negative_eigenvalues(damping) == found.negative
        plain = newton_step(*data, damping, scaling="fixed", alpha=0.5, **options)
        again = at.step(damping, 0.5)
        assert torch.equal(again.update, plain.update)
        assert told(again) == told(plain)
        assert again.loss == at.loss
        assert again.update.dtype == DTYPES[precision]


def test_it_counts_and_certifies_at_dampings_of_any_sign(device: str) -> None:
    data = on(device, *case(1))
    at = prepare(*data)

    def loss_at(theta: torch.Tensor) -> torch.Tensor:
        f = torch.tanh(data[1] @ theta[:, 1:3].t() + theta[:, 3]) @ theta[:, 0] * data[0].scale
        return (f - data[2]).square().sum() / 10

    H = torch.autograd.functional.hessian(loss_at, data[0].theta)
    values = torch.linalg.eigvalsh(H.reshape(48, 48)).cpu()
    middles = (values[1:] + values[:-1])[(values[1:] - values[:-1]) > 1e-6] / 2
    assert float(values[0]) < -1e-3
    assert float(values[-1]) > 1e-3
    checked = 0
    for middle in middles.tolist():
        below = int((values < middle).sum())
        assert at.negative_eigenvalues(-middle) == below
        certificate = at.certificate(-middle, count=True)
        assert certificate.negative in (None, below)
        assert (certificate.verdict == "indefinite") == (below > 0) or not certificate.proved
        checked += certificate.negative == below
    assert checked >= len(middles) // 2
    assert at.certificate(-2 * float(values[0])).verdict == "positive definite"
    assert at.certificate(-2 * float(values[-1])).verdict == "indefinite"
    assert at.negative_eigenvalues(-2 * float(values[-1])) == 48


def test_at_an_eigenvalue_there_is_no_count() -> None:
    # c = 0, x = 0: H = [[0, -1], [-1, 0]] in (c, eta) and 0 for w
    zero = torch.zeros(1, 3, dtype=torch.float64)
    net = ShallowNet.from_theta(zero, beta=0.75, activation="tanh")
    at = prepare(net, torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    assert at.negative_eigenvalues(0.5) == 1
    assert at.negative_eigenvalues(-0.5) == 2
    with contextlib.suppress(SingularSystemError):
        assert at.negative_eigenvalues(1.0) in (0, 1)
    assert at.certificate(1.0).verdict != "positive definite"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_stays_what_it_is_when_net_and_data_move_on(dtype: torch.dtype, device: str) -> None:
    net, X, y = data = on(device, *case(2, dtype=dtype))
    at, before = prepare(*data), prepare(*data)
    old = told(before.step(2.0)), before.step(2.0).update.clone(), before.negative_eigenvalues(0.01), before.sufficient_gamma
    net.move_(at.step(2.0).update)
    y.add_(1)
    X.mul_(2)
    assert told(at.step(2.0)) == old[0]
    assert torch.equal(at.step(2.0).update, old[1])
    assert at.negative_eigenvalues(0.01) == old[2]
    assert at.sufficient_gamma == old[3]
    assert at.certificate(0.01, count=True) == before.certificate(0.01, count=True)
    # prepared anew it is another
    assert prepare(*data).loss != at.loss


def test_what_does_not_depend_on_the_damping_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls = case(3), {"outputs": 0, "residual_blocks": 0}

    def counting(name: str) -> Any:
        plain = getattr(passes, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return plain(*arguments)

        return counted

    for name in calls:
        monkeypatch.setattr(passes, name, counting(name))
    at = prepare(*data)
    for damping in (5.0, 1.0, 0.2):
        at.certificate(damping)
        at.negative_eigenvalues(damping)
        at.step(damping)
        assert at.sufficient_gamma > 0
    assert calls == {"outputs": 1, "residual_blocks": 1}


def test_it_is_compared_by_identity_and_shows_no_tensors() -> None:
    at = prepare(*case())
    assert at != prepare(*case())
    assert at == at
    assert "instance" not in repr(at)
    assert isinstance(at, PreparedNetwork)


def test_a_damping_outside_the_dtype_is_an_error() -> None:
    at = prepare(*case(dtype=torch.float32))
    for damping in (1e-40, 1e39):
        with pytest.raises(RangeError, match="float32"):
            at.step(damping)


def test_a_search_for_a_damping_prepares_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """on_indefinite="increase" tries many dampings, each by a certificate of one and the same S."""
    net, X, y = case(4)
    step = newton_step(net, X, y, 1e-3)
    assert step.certificate.verdict != "positive definite"
    monkeypatch.setattr(passes, "residual_blocks", once(passes.residual_blocks))
    taken = RegularizedNewton(net, 1e-3, on_indefinite="increase").step(X, y)
    assert taken.damping > step.damping
    assert taken.certificate.verdict == "positive definite"


def once(function: Any) -> Any:
    called = False

    def wrapped(*arguments: Any) -> Any:
        nonlocal called
        assert not called, "S was computed twice"
        called = True
        return function(*arguments)

    return wrapped
