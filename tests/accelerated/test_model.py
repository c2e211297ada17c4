"""ShallowNet as a torch module: what goes in comes out, it computes (E1), and it moves, copies and saves as modules do."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import nntk_reference as reference
from nntk_accelerated import ACTIVATIONS, InputError, ShallowNet, UnknownActivationError
from tests.tolerances import EPS, THRESHOLD

SMOOTH = [name for name in ACTIVATIONS if name != "relu"]
NAMES = ("c", "w", "eta")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(width: int = 7, dim: int = 3, *, device: str = "cpu", seed: int = 0, **options: Any) -> ShallowNet:
    return ShallowNet(width, dim, **({"beta": 0.7} | options), device=device, generator=generator(seed))


def points(count: int, dim: int, *, device: str = "cpu", dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=generator(99)).to(device, dtype)


def bits(net: ShallowNet) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def arrays(width: int = 5, dim: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"c": rng.normal(size=width), "w": rng.normal(size=(width, dim)), "eta": rng.normal(size=width)}


# --- from arrays -------------------------------------------------------------------------------------------------------------


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a: np.ndarray) -> np.ndarray:
    """Equal numbers, every other place in memory, columns first."""
    spread = np.zeros([2 * n for n in a.shape], order="F")
    view = spread[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def as_numpy(value: Any) -> np.ndarray:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


FORMS = {
    "numpy": lambda a: a,
    "read-only numpy": read_only,
    "strided numpy": strided,
    "single precision numpy": lambda a: a.astype(np.float32),
    "tensor": lambda a: torch.from_numpy(a.copy()),
    "strided tensor": lambda a: torch.from_numpy(strided(a)),
    "single precision tensor": lambda a: torch.from_numpy(a).float(),
    "differentiable tensor": lambda a: torch.from_numpy(a).requires_grad_(),
    "parameter": lambda a: torch.nn.Parameter(torch.from_numpy(a)),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_come_back_to_the_bit_and_are_copies(form: str) -> None:
    given = {name: FORMS[form](a) for name, a in arrays().items()}
    net = ShallowNet.from_arrays(**given, beta=0.7, activation="erf")
    assert (net.width, net.dim, net.beta, net.activation) == (5, 2, 0.7, "erf")
    for name, parameter in net.named_parameters():
        expected = torch.from_numpy(as_numpy(given[name]).copy())
        assert parameter.dtype == expected.dtype
        assert torch.equal(parameter.detach(), expected)
        assert parameter.is_contiguous()
        assert parameter.is_leaf
        assert parameter.requires_grad
        # a copy: what happens to the net does not reach the caller's array
        with torch.no_grad():
            parameter.add_(1)
        assert np.array_equal(as_numpy(given[name]), expected.numpy())


def test_an_expanded_tensor_becomes_memory_of_its_own() -> None:
    one = torch.ones(1, dtype=torch.float64)
    net = ShallowNet.from_arrays(one.expand(4), one.expand(4, 2), one.expand(4), beta=0.7, activation="tanh")
    with torch.no_grad():
        net.c[0] = 5
        net.w[0, 0] = 5
    assert net.c.tolist() == [5, 1, 1, 1]
    assert net.w.flatten().tolist() == [5, 1, 1, 1, 1, 1, 1, 1]


def test_arrays_on_a_device_stay_there(device: str) -> None:
    given = {name: torch.from_numpy(a).to(device) for name, a in arrays().items()}
    net = ShallowNet.from_arrays(**given, beta=0.7, activation="tanh")
    assert {p.device.type for p in net.parameters()} == {device}
    assert all(torch.equal(given[name], p) for name, p in net.named_parameters())


# --- forward -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_is_the_references(name: str, dim: int, device: str) -> None:
    net, X = drawn(11, dim, activation=name, device=device), points(6, dim, device=device)
    c, w, eta = (p.detach().cpu().numpy() for p in net.parameters())
    exact = reference.outputs(reference.Network(c, w, eta, net.beta, name), X.cpu().numpy())
    # every z is a sum of dim + 1 terms, f one of 11; |sigma'| is at most 2|z| for the square, about 1 for the others
    z = np.abs(X.cpu().numpy()) @ np.abs(w).T + np.abs(eta)
    size = (np.maximum(1, z) ** 2 @ np.abs(c)) * net.scale
    error = np.abs(net(X).detach().cpu().numpy() - exact)
    assert (error <= THRESHOLD * EPS["float64"] * size).all()


def test_forward_in_single_precision_is_close_and_single(device: str) -> None:
    net, X = drawn(device=device), points(6, 3, device=device)
    exact = net(X).detach()
    z = X.abs() @ net.w.detach().abs().t() + net.eta.detach().abs()
    size = (z.clamp_min(1) @ net.c.detach().abs()) * net.scale
    f = net.float()(X.float()).detach()
    assert f.dtype == torch.float32
    # rounding the parameters and data to float32 moves z and c by eps/2 relative, which is of the same size
    assert bool(((f.double() - exact).abs() <= THRESHOLD * EPS["float32"] * size).all())


def test_no_points_have_no_outputs() -> None:
    assert drawn()(points(0, 3)).shape == (0,)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_first_and_second_order(name: str, device: str) -> None:
    net, X = drawn(3, 2, activation=name, device=device), points(2, 2, device=device).requires_grad_()

    def f(c: torch.Tensor, w: torch.Tensor, eta: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, {"c": c, "w": w, "eta": eta}, (X,))

    inputs = (*(p.detach().clone().requires_grad_() for p in net.parameters()), X)
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_backward_fills_every_gradient(device: str) -> None:
    net, X = drawn(device=device), points(6, 3, device=device)
    net(X).square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
        assert bool((parameter.grad != 0).all())


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "X",
        np.ones((2, 3)),
        [[1.0, 2.0, 3.0]],
        torch.ones(3, dtype=torch.float64),
        torch.ones(2, 3, 1, dtype=torch.float64),
        torch.ones(2, 4, dtype=torch.float64),
        torch.ones(2, 3, dtype=torch.float32),
        torch.ones(2, 3, dtype=torch.int64),
        torch.ones(2, 3, dtype=torch.complex128),
        torch.ones(2, 3, dtype=torch.float64, device="meta"),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
    ids=lambda value: f"{getattr(value, 'dtype', type(value).__name__)}-{tuple(getattr(value, 'shape', ()))}",
)
def test_forward_refuses_by_name(wrong: Any) -> None:
    if isinstance(wrong, str) and wrong == "cuda":
        wrong = points(2, 3, device="cuda")
    with pytest.raises(InputError) as caught:
        drawn()(wrong)
    assert caught.value.argument == "X"


# --- a module among modules --------------------------------------------------------------------------------------------------


def test_moves_between_dtypes_keep_the_parameters_objects() -> None:
    net = drawn()
    before, objects = bits(net), [id(p) for p in net.parameters()]
    assert net.float() is net
    assert same(bits(net), {name: p.float() for name, p in before.items()})
    net.double()
    assert same(bits(net), {name: p.float().double() for name, p in before.items()})
    net.to(torch.float32)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert [id(p) for p in net.parameters()] == objects
    assert (net.width, net.dim, net.beta, net.activation) == (7, 3, 0.7, "tanh")


def test_moves_between_devices(device: str) -> None:
    net = drawn()
    before = bits(net)
    net.to(device)
    assert {p.device.type for p in net.parameters()} == {device}
    assert same(bits(net.to("cpu")), before)
    assert {p.device.type for p in net.to("meta").parameters()} == {"meta"}


def test_the_state_dict_goes_round_through_a_file_of_plain_tensors(device: str) -> None:
    net, other = drawn(device=device), drawn(device=device, seed=1)
    assert list(net.state_dict()) == list(NAMES)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    assert not same(bits(net), bits(other))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert same(bits(net), bits(other))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"])
def test_copies_are_equal_and_apart(duplicate: Any, device: str) -> None:
    net = drawn(activation="gelu", beta=1.0, negative_control=True, device=device)
    other, before = duplicate(net), bits(net)
    assert type(other) is ShallowNet
    assert same(bits(other), before)
    assert repr(other) == repr(net)
    assert (other.scale, other.neurons, other.negative_control) == (net.scale, net.neurons, True)
    X = points(4, 3, device=device)
    assert torch.equal(other(X), net(X))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert same(bits(net), before)


def test_the_repr_says_what_it_is() -> None:
    assert repr(drawn(activation="erf")) == "ShallowNet(width=7, dim=3, beta=0.7, activation='erf')"


def test_a_whole_net_holds_all_its_neurons() -> None:
    net = drawn()
    assert net.neurons == slice(0, 7)
    assert net.scale == 7.0**-0.7


# --- the draw ----------------------------------------------------------------------------------------------------------------


def test_one_seed_one_net() -> None:
    assert same(bits(drawn(seed=5)), bits(drawn(seed=5)))
    assert not any(torch.equal(a, b) for a, b in zip(bits(drawn(seed=5)).values(), bits(drawn(seed=6)).values(), strict=True))
    # both dtypes start from one network
    assert same(bits(drawn(seed=5, dtype=torch.float32)), bits(drawn(seed=5).float()))


def test_a_generator_leaves_the_global_one_alone_and_none_uses_it() -> None:
    state = torch.get_rng_state()
    try:
        drawn()
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(5)
        first = ShallowNet(7, 3, beta=0.7)
        assert same(bits(first), bits(drawn(seed=5)))
        assert not same(bits(ShallowNet(7, 3, beta=0.7)), bits(first))
    finally:
        torch.set_rng_state(state)


def test_the_draw_does_not_depend_on_the_default_dtype() -> None:
    before, plain = torch.get_default_dtype(), bits(drawn())
    try:
        for dtype in (torch.float64, torch.float16):
            torch.set_default_dtype(dtype)
            assert same(bits(drawn()), plain)
    finally:
        torch.set_default_dtype(before)


def test_the_law_of_the_draw() -> None:
    # A fixed seed, so no flake; a right law passes all five tests at 1e-4 with probability above 0.9995.
    n = 20_000
    net = drawn(n, 2, seed=12)
    c, w, eta = (p.detach().numpy() for p in net.parameters())
    assert c.min() >= -1
    assert c.max() < 1
    samples = {
        "c": (c, stats.uniform(-1, 2)),
        "eta": (eta, stats.norm()),
        "w0": (w[:, 0], stats.norm()),
        "w1": (w[:, 1], stats.norm()),
    }
    for name, (sample, law) in samples.items():
        assert stats.kstest(sample, law.cdf).pvalue > 1e-4, name
        mean, variance, _, kurtosis = law.stats("mvsk")
        # five standard deviations of the sample's mean and of its mean square
        assert abs(sample.mean() - mean) < 5 * math.sqrt(variance / n), name
        assert abs((sample**2).mean() - variance) < 5 * math.sqrt((kurtosis + 2) * variance**2 / n), name
    # independent of one another
    correlations = np.corrcoef(np.stack([sample for sample, _ in samples.values()]))[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(n)


# --- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_ends_of_beta_are_for_negative_controls(beta: float) -> None:
    with pytest.raises(InputError, match="negative_control=True"):
        drawn(beta=beta)
    with pytest.raises(InputError, match="negative_control=True"):
        ShallowNet.from_arrays(**arrays(), beta=beta, activation="tanh")
    assert drawn(beta=beta, negative_control=True).scale == 7.0**-beta
    assert ShallowNet.from_arrays(**arrays(), beta=beta, activation="tanh", negative_control=True).beta == beta
    inside = math.nextafter(beta, 0.75)
    assert drawn(beta=inside).beta == inside
    outside = math.nextafter(beta, 2 * beta - 0.75)
    with pytest.raises(InputError):
        drawn(beta=outside, negative_control=True)


@pytest.mark.parametrize(("slip", "nearest"), [("tahn", "tanh"), ("Tanh", "tanh"), ("sine", "sin"), ("geluu", "gelu")])
def test_an_unknown_activation_offers_its_neighbour(slip: str, nearest: str) -> None:
    with pytest.raises(UnknownActivationError, match=f"did you mean '{nearest}'") as caught:
        drawn(activation=slip)
    assert all(name in str(caught.value) for name in ACTIVATIONS)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("w", lambda a: a[:3]),
        ("eta", lambda a: a[:3]),
        ("w", lambda a: a[:, :0]),
        ("w", lambda a: a[:, 0]),
        ("c", lambda a: a[:0]),
        ("c", lambda a: a[:, None]),
        ("eta", lambda a: a.astype(np.float32)),
        ("w", lambda a: torch.from_numpy(a).to("meta")),
        ("c", lambda a: a * math.nan),
        ("w", lambda a: a / 0.0),
        ("eta", lambda a: a.astype(complex)),
        ("c", lambda a: a.astype(int)),
    ],
)
def test_arrays_that_do_not_agree_are_refused_by_name(name: str, wrong: Any) -> None:
    given: dict[str, Any] = dict(arrays())
    with np.errstate(divide="ignore"):
        given[name] = wrong(given[name])
    with pytest.raises(InputError) as caught:
        ShallowNet.from_arrays(**given, beta=0.7, activation="tanh")
    assert caught.value.argument == name


@pytest.mark.gpu
def test_arrays_on_two_devices_are_refused_by_name() -> None:
    given: dict[str, Any] = {name: torch.from_numpy(a) for name, a in arrays().items()}
    with pytest.raises(InputError) as caught:
        ShallowNet.from_arrays(**given | {"eta": given["eta"].cuda()}, beta=0.7, activation="tanh")
    assert caught.value.argument == "eta"


def test_without_torch_distributed_there_is_nothing_to_shard_over() -> None:
    with pytest.raises(InputError, match=r"initialized torch\.distributed") as caught:
        drawn().shard()
    assert caught.value.argument == "group"
