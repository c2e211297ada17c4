"""Bad input is refused by name, before any work; data and parameters stay as they were.

One table: what each public function takes (`GOOD`), and for each parameter what it must refuse (`BAD`). A new public function
or parameter fails the first tests here until it is in the table.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import nntk_accelerated as accelerated
from nntk_accelerated import (
    ACTIVATIONS,
    LAWS,
    InitialLaw,
    InputError,
    MemoryLimitError,
    OutputLaw,
    PreparedNetwork,
    RangeError,
    RegularizedNewton,
    ShallowNet,
    UnknownActivationError,
    instance,
)
from nntk_accelerated.validation import all_finite

pytestmark = pytest.mark.usefixtures("registries")

GENERATOR = torch.Generator().manual_seed(0)
NET = ShallowNet(4, 2, beta=0.75, generator=GENERATOR)
X, Y = (torch.randn(*size, dtype=torch.float64, generator=GENERATOR) for size in ((3, 2), (3,)))
C, W, ETA = (p.detach().clone() for p in NET.parameters())
THETA = NET.theta


def make(width: int) -> ShallowNet:
    return ShallowNet(width, 2, beta=0.75, generator=torch.Generator().manual_seed(width))


PREPARED = accelerated.prepare(NET, X, Y)
RUN: dict[str, Any] = {"precision": None, "chunk": None}
DATA: dict[str, Any] = {"net": NET, "X": X, "y": Y}
KIND: dict[str, Any] = {"beta": 0.75, "activation": "tanh", "negative_control": False}
GOOD: dict[str, dict[str, Any]] = {
    "newton_step": {**DATA, "gamma": 5.0, "alpha": 1.0, "scaling": "width", **RUN},
    "gauss_newton_step": {**DATA, "gamma": 5.0, "alpha": 1.0, "scaling": "width", **RUN},
    "inertia": {**DATA, "gamma": 5.0, "scaling": "width", **RUN},
    "min_eigenvalue": {**DATA, "rtol": 1e-3, **RUN},
    "required_gamma": {**DATA, "rtol": 1e-3, **RUN},
    "sufficient_gamma": {**DATA, **RUN},
    "required_width": {"make": make, "X": X, "y": Y, "gamma": 5.0, "largest": 8, **RUN},
    "outputs": {"net": NET, "X": X, **RUN},
    "loss": {**DATA, **RUN},
    "ntk": {"net": NET, "X": X, "normalized": False, **RUN},
    "nntk": {**DATA, "gamma": 5.0, "scaling": "width", **RUN},
    "gauss_newton_nntk": {"net": NET, "X": X, "gamma": 5.0, "scaling": "width", **RUN},
    "modes": {**DATA, "gamma": 5.0, **RUN},
    "prepare": {**DATA, **RUN},
    "PreparedNetwork.certificate": {"self": PREPARED, "damping": 1.0, "count": False},
    "PreparedNetwork.negative_eigenvalues": {"self": PREPARED, "damping": -1.0},
    "PreparedNetwork.step": {"self": PREPARED, "damping": 1.0, "alpha": 1.0},
    "regularization": {"gamma": 1.0, "width": 4, "beta": 0.75},
    "activation": {"name": "tanh"},
    "register": {"entry": replace(ACTIVATIONS["tanh"], name="another")},
    "register_law": {"entry": replace(LAWS["uniform"], name="another")},
    "InitialLaw": {"c": "uniform", "w_scale": 1.0, "eta_scale": 1.0},
    "ShallowNet": {
        "width": 4,
        "dim": 2,
        **KIND,
        "law": InitialLaw(),
        "dtype": torch.float64,
        "device": None,
        "generator": None,
    },
    "ShallowNet.from_arrays": {"c": C, "w": W, "eta": ETA, **KIND},
    "ShallowNet.from_theta": {"theta": THETA, **KIND},
    "ShallowNet.assign_": {"self": make(4), "theta": THETA},
    "ShallowNet.move_": {"self": make(4), "update": THETA},
    "ShallowNet.forward": {"self": NET, "X": X},
    "RegularizedNewton": {
        "net": NET,
        "gamma": 5.0,
        "lr": 1.0,
        "scaling": "width",
        "on_indefinite": "raise",
        **RUN,
        "of": None,
    },
    "RegularizedNewton.bind": {"self": RegularizedNewton(NET, 5.0), "X": X, "y": Y},
}
NEEDS_A_GROUP: dict[str, dict[str, Any]] = {  # these are called with good arguments in the tests of sharding
    "ShallowNet.shard": {"self": NET, "group": None},
    "init_process_group": {"backend": "gloo", "timeout": 1.0},
}
FLAGS = {"normalized", "negative_control", "count", "self"}  # any truth value will do
NOT_CALLED = {
    name
    for name in accelerated.__all__
    if inspect.isclass(getattr(accelerated, name))
    and name not in GOOD
    and (
        issubclass(getattr(accelerated, name), Exception)  # exceptions, and plain records
        or hasattr(getattr(accelerated, name), "__dataclass_fields__")
    )
}


def with_entry(t: torch.Tensor, value: float) -> torch.Tensor:
    out = t.clone()
    out.view(-1)[-1] = value
    return out


def bad_tensors(good: torch.Tensor) -> dict[str, Any]:
    """What no tensor argument takes."""
    return {
        "a nan": with_entry(good, math.nan),
        "an infinity": with_entry(good, math.inf),
        "a negative infinity": with_entry(good, -math.inf),
        "integers": good.long(),
        "truth values": good > 0,
        "complex": good.to(torch.complex128),
        "half precision": good.half(),
        "bfloat16": good.bfloat16(),
        "None": None,
        "a word": "X",
        "a number": 1.0,
        "one axis more": good[..., None],
        "one axis less": good[..., 0],
        "no entries": good[:0],
        "on another device": good.to("meta"),
    }


def bad_data(good: torch.Tensor) -> dict[str, Any]:
    return bad_tensors(good) | {
        "single precision": good.float(),
        "numpy": good.numpy(),
        "a list": good.tolist(),
        "sparse": good.to_sparse(),
    }


NUMBERS: dict[str, Any] = {
    "nan": math.nan,
    "infinity": math.inf,
    "negative infinity": -math.inf,
    "negative": -1.0,
    "complex": 1j,
    "text": "1",
    "bool": True,
    "None": None,
    "a list": [1.0],
    "two numbers": torch.ones(2),
    "a nan tensor": torch.tensor(math.nan),
    "a huge integer": 10**400,
}
POSITIVE = NUMBERS | {"zero": 0.0, "negative zero": -0.0}
WHOLE: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "a float": 2.0,
    "a fraction": 1.5,
    "text": "2",
    "bool": True,
    "nan": math.nan,
}
NAMES: dict[str, Any] = {"a slip": "tahn", "upper case": "TANH", "empty": "", "None": None, "a list": ["tanh"], "a number": 1}
WORDS: dict[str, Any] = {"unknown": "unknown", "empty": "", "a number": 1, "a list": ["width"], "bool": True}
BROKEN = {name: make(4) for name in ("a nan parameter", "half precision", "mixed precision")}
with torch.no_grad():
    BROKEN["a nan parameter"].w[1, 1] = math.nan
BROKEN["half precision"].half()
BROKEN["mixed precision"].eta.data = BROKEN["mixed precision"].eta.data.float()


@dataclass(frozen=True)
class Refused:
    """Values that a parameter refuses, with the exception and the argument that it names."""

    values: dict[str, Any]
    error: type[InputError] = InputError
    argument: str | None = None


BAD: dict[str, Refused] = {
    "net": Refused(
        {
            "None": None,
            "another module": torch.nn.Linear(2, 4),
            "the class": ShallowNet,
            "parameters": (C, W, ETA),
            **BROKEN,
        }
    ),
    "X": Refused(bad_data(X) | {"another dimension": X[:, :1], "no columns": X[:, :0]}),
    "y": Refused(bad_data(Y) | {"too short": Y[:2], "one": Y[:1], "too long": torch.cat([Y, Y]), "a row": Y[None]}),
    "gamma": Refused(POSITIVE),
    "alpha": Refused(POSITIVE),
    "lr": Refused(NUMBERS),
    "rtol": Refused(POSITIVE | {"one": 1.0, "too small": 9e-15}),
    "scaling": Refused(WORDS | {"None": None}),
    "on_indefinite": Refused(WORDS | {"None": None}),
    "precision": Refused(WORDS | {"a dtype": torch.float64}),
    "chunk": Refused(WHOLE),
    "largest": Refused(WHOLE | {"None": None}),
    "make": Refused(
        {
            "None": None,
            "a net": 3,
            "one that gives another width": lambda width: make(width + 1),
            "one that gives no net": lambda width: width,
        }
    ),
    "of": Refused({"another net": make(4), "no net": 3}),
    "width": Refused(WHOLE | {"None": None}),
    "dim": Refused(WHOLE | {"None": None}),
    "beta": Refused(NUMBERS | {"1/2": 0.5, "1": 1.0, "a whole 1": 1, "below": 0.4999, "above": 1.0001, "zero": 0}),
    "activation": Refused(NAMES, UnknownActivationError),
    "dtype": Refused(
        {"a half": torch.float16, "whole": torch.int64, "complex": torch.complex128, "text": "float64", "None": None}
    ),
    "device": Refused({"unknown": "nowhere", "a float": 1.5}),
    "generator": Refused({"a seed": 3, "numpy": np.random.default_rng(0)}),
    "c": Refused(bad_tensors(C) | {"single precision": C.float()}),
    "w": Refused(bad_tensors(W) | {"single precision": W.float(), "no columns": W[:, :0], "another width": W[:2]}),
    "eta": Refused(bad_tensors(ETA) | {"single precision": ETA.float(), "another width": ETA[:2]}),
    "damping": Refused({label: value for label, value in NUMBERS.items() if label != "negative"}),
    "name": Refused(NAMES, UnknownActivationError, "activation"),
    "entry": Refused({"None": None, "a name": "tanh", "the class": OutputLaw, "the other registry's": object()}),
    "law": Refused(WORDS | {"None": None, "the class": InitialLaw, "the entry": LAWS["uniform"]}),
    "w_scale": Refused(POSITIVE, argument="law.w_scale"),
    "eta_scale": Refused(POSITIVE, argument="law.eta_scale"),
    "theta": Refused(bad_tensors(THETA) | {"two columns": THETA[:, :2]}),
    "update": Refused(bad_tensors(THETA) | {"two columns": THETA[:, :2], "another width": THETA[:2], "numpy": THETA.numpy()}),
    "group": Refused({"none is initialized": None, "text": "x"}),
    "timeout": Refused(POSITIVE),
    "backend": Refused({"unknown": "unknown", "a number": 1}),
}
# What one function takes differently from the others of its kind.
FORWARD = {
    label: value
    for label, value in BAD["X"].values.items()
    # a module is not asked to look for nan, and takes an empty batch
    if label not in ("a nan", "an infinity", "a negative infinity", "no entries", "sparse")
}
SPECIAL: dict[tuple[str, str], Refused] = {
    ("ShallowNet.forward", "X"): Refused(FORWARD),
    ("RegularizedNewton", "net"): Refused(
        {k: v for k, v in BAD["net"].values.items() if k not in BROKEN} | {"no groups": [], "a number": 3}
    ),
    ("PreparedNetwork.step", "damping"): Refused(POSITIVE),
    ("regularization", "beta"): Refused(NUMBERS | {"below": 0.4999, "above": 1.0001, "zero": 0}),
    ("InitialLaw", "c"): Refused(WORDS | {"None": None}, argument="law.c"),
    ("register_law", "entry"): Refused(
        {"None": None, "a name": "uniform", "the class": OutputLaw, "other": ACTIVATIONS["tanh"]}
    ),
    ("ShallowNet.assign_", "theta"): Refused(bad_tensors(THETA) | {"two columns": THETA[:, :2], "another width": THETA[:2]}),
    # c sets the dtype and the width that the others have to agree with
    ("ShallowNet.from_arrays", "c"): Refused(bad_tensors(C)),
}
# Another device and dtype are found where they first differ from c.
BLAMED = {
    ("ShallowNet.from_arrays", "c", "on another device"): ("c", "w"),
}


def function(name: str) -> Callable[..., Any]:
    found: Any = accelerated
    for part in name.split("."):
        found = getattr(found, part)
    return found


def call(name: str, arguments: dict[str, Any]) -> Any:
    return function(name)(**arguments)


def cases() -> list[Any]:
    found = []
    for name, good in (GOOD | NEEDS_A_GROUP).items():
        for parameter in good:
            if parameter in FLAGS:
                continue
            refused = SPECIAL.get((name, parameter), BAD[parameter])
            for label, value in refused.values.items():
                found.append(pytest.param(name, parameter, label, value, refused, id=f"{name}-{parameter}-{label}"))
    return found


@contextmanager
def unchanged() -> Iterator[None]:
    def state() -> list[bytes]:
        return [t.detach().numpy().tobytes() for t in (*NET.parameters(), X, Y, C, W, ETA, THETA)]

    before = state()
    yield
    assert state() == before


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment as torchrun sets it, so that the argument is what is wrong."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    yield
    if torch.distributed.is_initialized():  # something was taken that should have been refused
        torch.distributed.destroy_process_group()


# --- the table ---------------------------------------------------------------------------------------------------------------


def test_every_public_function_is_in_the_table() -> None:
    public = {name for name in accelerated.__all__ if callable(getattr(accelerated, name))}
    methods = {
        f"{owner.__name__}.{name}"
        for owner, names in (
            (ShallowNet, ("from_arrays", "from_theta", "assign_", "move_", "forward", "shard")),
            (PreparedNetwork, ("certificate", "negative_eigenvalues", "step")),
            (RegularizedNewton, ("bind",)),
        )
        for name in names
    }
    assert (public | methods) - set(GOOD) - set(NEEDS_A_GROUP) - NOT_CALLED == set()


@pytest.mark.parametrize("name", GOOD | NEEDS_A_GROUP)
def test_every_parameter_is_in_the_table(name: str) -> None:
    assert set(inspect.signature(function(name)).parameters) == set((GOOD | NEEDS_A_GROUP)[name])


@pytest.mark.parametrize("name", GOOD)
def test_good_arguments_are_taken_and_left_alone(name: str) -> None:
    with unchanged():
        call(name, GOOD[name])


@pytest.mark.parametrize(("name", "parameter", "label", "value", "refused"), cases())
@pytest.mark.usefixtures("joined")
def test_bad_input_is_refused_by_name(name: str, parameter: str, label: str, value: Any, refused: Refused) -> None:
    good = (GOOD | NEEDS_A_GROUP)[name]
    with unchanged(), pytest.raises(InputError) as caught:
        call(name, good | {parameter: value})
    error = caught.value
    assert type(error) is refused.error
    named = BLAMED.get((name, parameter, label), (refused.argument or parameter,))
    # a parameter of the net is named as net.w
    assert error.argument in named or (parameter == "net" and error.argument in ("net.c", "net.w", "net.eta"))
    assert str(error).startswith(f"{error.argument}: expected {error.expected}, got {error.got}")
    assert error.expected
    assert error.got


WORKING = [name for name in GOOD if "precision" in GOOD[name]]


@pytest.mark.parametrize("name", [name for name in GOOD if name != "ShallowNet" and "ShallowNet." not in name])
def test_refusals_come_before_any_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass over the neurons starts before every argument has been looked at."""

    def started(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("work began")

    monkeypatch.setattr(instance.Instance, "sweep", started)
    for parameter in GOOD[name]:
        refused = SPECIAL.get((name, parameter), BAD.get(parameter))
        if parameter not in FLAGS and refused is not None:
            with pytest.raises(InputError):
                call(name, GOOD[name] | {parameter: next(iter(refused.values.values()))})


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in GOOD if "X" in GOOD[name]])
def test_data_on_a_gpu_are_refused_by_a_net_on_the_cpu(name: str) -> None:
    with pytest.raises(InputError) as caught:
        call(name, GOOD[name] | {"X": X.cuda()})
    assert caught.value.argument == "X"


@pytest.mark.parametrize("name", ["newton_step", "outputs"])
def test_a_net_and_data_on_the_meta_device_are_refused(name: str) -> None:
    net = make(4).to("meta")
    meta = {"net": net, "X": X.to("meta")} | ({"y": Y.to("meta")} if "y" in GOOD[name] else {})
    with pytest.raises(InputError):
        call(name, GOOD[name] | meta)


def test_bad_input_is_an_ordinary_value_error() -> None:
    with pytest.raises(ValueError, match="gamma: expected a finite number above 0, got -1"):
        call("newton_step", GOOD["newton_step"] | {"gamma": -1.0})


def test_numbers_may_be_tensors_of_one_number() -> None:
    plain = accelerated.newton_step(NET, X, Y, 5.0, alpha=0.5)
    other = accelerated.newton_step(NET, X, Y, torch.tensor(5.0), alpha=torch.tensor([0.5]))
    assert torch.equal(plain.update, other.update)
    assert accelerated.newton_step(NET, X, Y, 5).damping == plain.damping


def test_a_damping_that_underflows_is_an_error() -> None:
    with pytest.raises(RangeError, match="below the normal numbers"):
        accelerated.newton_step(NET, X, Y, 1e-308)


@pytest.mark.parametrize("parameter", ["c", "w", "eta"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", [name for name in GOOD if {"net", "X"} <= set(GOOD[name])])
def test_a_net_that_is_not_finite_is_refused(name: str, parameter: str, value: float) -> None:
    net = make(4)
    with torch.no_grad():
        getattr(net, parameter).view(-1)[-1] = value
    with pytest.raises(InputError) as caught:
        call(name, GOOD[name] | {"net": net})
    assert caught.value.argument == f"net.{parameter}"


# --- the registries ----------------------------------------------------------------------------------------------------------


def swish_jets(z: torch.Tensor, order: int) -> tuple[torch.Tensor, ...]:
    s = torch.sigmoid(z)
    slope = s * (1 - s)
    return (z * s, s + z * slope, slope * (2 + z * (1 - 2 * s)))[: order + 1]


SWISH = accelerated.Activation("made up", lambda z: z * torch.sigmoid(z), swish_jets, lambda t: (t, 1.0999, 0.5, 0.3082))
HALF = OutputLaw("a half", lambda n, generator, device: torch.full((n,), 0.5, dtype=torch.float64, device=device), 0.5)


def test_a_new_activation_is_taken_by_every_function() -> None:
    """The functions of GOOD, on a net of an activation that was registered just now."""
    accelerated.register(SWISH)
    net = ShallowNet.from_theta(THETA, beta=0.75, activation="made up")
    for name, good in GOOD.items():
        changed: dict[str, Any] = {}
        if "net" in good:
            changed["net"] = net
        if "activation" in good:
            changed["activation"] = "made up"
        if "make" in good:
            changed["make"] = lambda width: ShallowNet(width, 2, beta=0.75, activation="made up")
        if "self" in good and name.startswith("ShallowNet"):
            changed["self"] = ShallowNet.from_theta(THETA, beta=0.75, activation="made up")
        if changed:
            call(name, good | changed)
    assert accelerated.newton_step(net, X, Y, 5.0).certificate.verdict == "positive definite"


def test_a_new_law_is_taken_by_every_function() -> None:
    accelerated.register_law(HALF)
    for law in ("a half", InitialLaw("a half")):
        assert ShallowNet(4, 2, beta=0.75, law=law).c.tolist() == [0.5] * 4
    assert InitialLaw("a half").output is HALF


@pytest.mark.parametrize("name", ["tanh", "", None, ["tanh"], 3])
def test_a_name_is_given_once_and_is_a_word(name: Any) -> None:
    for register, entry, argument in (
        (accelerated.register, SWISH, "activation"),
        (accelerated.register_law, HALF, "law"),
    ):
        wanted = "uniform" if name == "tanh" and argument == "law" else name
        with pytest.raises(InputError, match="not yet in use") as caught:
            register(replace(entry, name=wanted))  # type: ignore[type-var]
        assert caught.value.argument == argument


def test_the_registries_are_as_they_were() -> None:
    assert next(iter(ACTIVATIONS)) == "tanh"
    assert next(iter(LAWS)) == "uniform"
    assert not {"another", "made up", "a half"} & {*ACTIVATIONS, *LAWS}
    assert all(entry.name == name for registry in (ACTIVATIONS, LAWS) for name, entry in registry.items())


# --- unusual but good --------------------------------------------------------------------------------------------------------


def strided(t: torch.Tensor) -> torch.Tensor:
    spread = torch.full([2 * n for n in reversed(t.shape)], math.nan, dtype=t.dtype)
    view = spread[tuple(slice(None, None, 2) for _ in t.shape)].permute(*reversed(range(t.dim())))
    view.copy_(t)
    assert not view.is_contiguous()
    return view


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "not contiguous": strided,
    "differentiable": lambda t: t.clone().requires_grad_(),
    "a view": lambda t: torch.cat([t, t])[: len(t)],
}


def digest(value: Any) -> Any:
    """A comparable value: every bit of the numbers, without the timings."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.detach().contiguous().numpy().tobytes()
    if hasattr(value, "__dataclass_fields__"):
        return [digest(getattr(value, name)) for name in value.__dataclass_fields__ if name != "seconds"]
    return repr(value)


TENSORS = [name for name in GOOD if "X" in GOOD[name] and name != "RegularizedNewton.bind"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", TENSORS)
def test_the_layout_of_the_data_makes_no_difference(name: str, layout: str) -> None:
    changed = {key: LAYOUTS[layout](GOOD[name][key]) for key in ("X", "y") if key in GOOD[name]}
    found = call(name, GOOD[name] | changed)
    if name != "ShallowNet.forward":  # BLAS takes another path there
        assert digest(found) == digest(call(name, GOOD[name]))
    else:
        assert torch.allclose(found, NET(X), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", TENSORS)
def test_expanded_data_are_data(name: str) -> None:
    thin = {"X": X[:1].expand(3, 2), "y": Y[:1].expand(3)}
    thick = {"X": thin["X"].clone(), "y": thin["y"].clone()}
    found, plain = (call(name, GOOD[name] | {k: v for k, v in data.items() if k in GOOD[name]}) for data in (thin, thick))
    if name != "ShallowNet.forward":
        assert digest(found) == digest(plain)
    else:
        assert torch.allclose(found, plain, rtol=1e-14, atol=1e-14)


def test_parameters_that_are_not_contiguous_are_stepped() -> None:
    net = ShallowNet.from_arrays(C, W, ETA, beta=0.75, activation="tanh")
    update = accelerated.newton_step(net, X, Y, 5.0).update
    expected = [
        p.detach() + part for p, part in zip(net.parameters(), (update[:, 0], update[:, 1:3], update[:, 3]), strict=True)
    ]
    net.c.data, net.w.data, net.eta.data = strided(C), strided(W), strided(ETA)
    RegularizedNewton(net, 5.0).step(X, Y)
    assert all(torch.equal(p, e) for p, e in zip(net.parameters(), expected, strict=True))


def test_numbers_whose_sum_overflows_are_finite() -> None:
    for dtype in (torch.float32, torch.float64):
        most = torch.finfo(dtype).max
        assert all_finite(torch.tensor([most, most], dtype=dtype))
        assert all_finite(torch.tensor([most, most, -most, -most], dtype=dtype))
        for number in (math.nan, math.inf, -math.inf):
            assert not all_finite(torch.tensor([1.0, number], dtype=dtype))
            assert not all_finite(torch.tensor([most, most, number], dtype=dtype))
    assert not all_finite(torch.tensor([math.inf, -math.inf]))


# --- memory ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in WORKING if name != "RegularizedNewton"])
def test_what_cannot_fit_is_refused_before_it_starts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("work began")

    monkeypatch.setattr(instance, "_memory", lambda device: 64)
    monkeypatch.setattr(instance.Instance, "sweep", started)
    with (
        unchanged(),
        pytest.raises(MemoryLimitError, match=r"M = 3, N = \d, chunk = \d do not fit .*lower chunk, or M") as caught,
    ):
        call(name, GOOD[name])
    assert isinstance(caught.value, MemoryError)


def test_what_fits_just_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    # (lanes + 1) M by M matrices and the temporaries of one chunk: twice that is enough, half is not
    chunk, M, p = 4, 3, 4
    need = 2 * 8 * M * M + chunk * 8 * (M * (p + 4) + 6 * p * p)
    monkeypatch.setattr(instance, "_memory", lambda device: need)
    accelerated.outputs(NET, X)
    monkeypatch.setattr(instance, "_memory", lambda device: need - 1)
    with pytest.raises(MemoryLimitError):
        accelerated.outputs(NET, X)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("name", [name for name in WORKING if name != "RegularizedNewton"])
def test_the_allocators_error_is_translated(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(instance.Instance, "jets", failing)
    with unchanged(), pytest.raises(MemoryLimitError, match=r"M = 3, N = \d, chunk = \d .*lower chunk") as caught:
        call(name, GOOD[name])
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("something else"), ZeroDivisionError()], ids=lambda e: type(e).__name__)
def test_other_errors_are_not(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(instance.Instance, "jets", failing)
    with unchanged(), pytest.raises(type(error)) as caught:
        call("newton_step", GOOD["newton_step"])
    assert caught.value is error
