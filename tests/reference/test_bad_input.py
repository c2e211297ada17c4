"""Bad input is refused by name, before any work; good input and global state are left as they were.

One table: what each public function takes (`GOOD`), and for each parameter what it must refuse (`BAD`). A new public function
or parameter fails the first tests here until it is in the table.
"""

from __future__ import annotations

import inspect
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
from flint import arb

import nntk_reference as reference
from nntk_reference import (
    ACTIVATIONS,
    FLOAT64,
    LAWS,
    Activation,
    Ball,
    DegenerateKernelError,
    InitialLaw,
    InputError,
    Multiprecision,
    Network,
    NntkError,
    OutputLaw,
    PrecisionError,
    RangeError,
    SingularSystemError,
    SizeError,
    UnknownActivationError,
    sample_network,
)

pytestmark = pytest.mark.usefixtures("registries")

NET = sample_network(2, 1, beta=0.75, seed=0)
X, Y = np.array([[0.5], [-0.25]]), np.array([1.0, -1.0])
A = np.array([[2.0, 0.5], [0.5, 1.0]])

DATA: dict[str, Any] = {"X": X, "y": Y}
RUN: dict[str, Any] = {"arithmetic": FLOAT64}
LIMIT: dict[str, Any] = {"X": X, "activation": "erf", **RUN, "law": InitialLaw()}

GOOD: dict[str, dict[str, Any]] = {
    "outputs": {"net": NET, "X": X, **RUN},
    "loss": {"net": NET, **DATA, **RUN},
    "jacobian": {"net": NET, "X": X, **RUN},
    "gradient": {"net": NET, **DATA, **RUN},
    "residual_hessian": {"net": NET, **DATA, **RUN},
    "hessian": {"net": NET, **DATA, **RUN},
    "regularization": {"gamma": 1.0, "width": 4, "beta": 0.75, **RUN},
    "newton_step": {"net": NET, **DATA, "gamma": 1.0, "alpha": 1.0, **RUN},
    "gauss_newton_step": {"net": NET, **DATA, "gamma": 1.0, "alpha": 1.0, **RUN},
    "gradient_descent_step": {"net": NET, **DATA, "rate": 1.0, **RUN},
    "ntk": {"net": NET, "X": X, "normalized": True, **RUN},
    "nntk": {"net": NET, **DATA, "gamma": 1.0, **RUN},
    "gauss_newton_nntk": {"net": NET, "X": X, "gamma": 1.0, **RUN},
    "limit_ntk": LIMIT,
    "limit_nntk": {**LIMIT, "gamma": 1.0},
    "limit_spectrum": LIMIT,
    "limit_trajectory": {**LIMIT, "y": Y, "gamma": 1.0, "steps": 2, "alpha": 1.0, "initial": Y},
    "gradient_descent_trajectory": {**LIMIT, "y": Y, "rate": 1.0, "steps": 2, "initial": Y},
    "contraction_factors": {**LIMIT, "gamma": 1.0, "alpha": 1.0, "rate": 1.0},
    "enclose_limit_ntk": {"X": X, "activation": "erf", "bits": 64, "law": InitialLaw(), "closed_form": True},
    "eigenvalues": {"A": A, **RUN},
    "cholesky": {"A": A, "arithmetic": Ball(64)},
    "inertia": {"A": A, "arithmetic": Ball(64)},
    "positive_definite": {"A": A, "arithmetic": Ball(64)},
    "solve": {"A": A, "b": Y, "arithmetic": Ball(64)},
    "sample_network": {
        "width": 2,
        "dim": 1,
        "beta": 0.75,
        "activation": "tanh",
        "seed": 0,
        "law": InitialLaw(),
        "negative_control": False,
    },
    "scaling_exponent": {"beta": 0.75, "negative_control": False},
    "activation": {"name": "tanh"},
    "Network": {
        "c": NET.c,
        "w": NET.w,
        "eta": NET.eta,
        "beta": 0.75,
        "activation": "tanh",
        "negative_control": False,
    },
    "Network.from_theta": {"theta": NET.theta, "beta": 0.75, "activation": "tanh", "negative_control": False},
    "register": {"entry": replace(ACTIVATIONS["tanh"], name="another")},
    "register_law": {"entry": replace(LAWS["uniform"], name="another")},
    "InitialLaw": {"c": "uniform", "w_scale": 1.0, "eta_scale": 1.0},
    "Ball": {"bits": 64, "max_bits": 128},
    "Multiprecision": {"digits": 20, "max_digits": 100},
}
FLAGS = {"normalized", "closed_form", "negative_control"}  # any truth value will do
NOT_CALLED = {
    # exceptions, warnings, abstract classes and plain records
    *(name for name in reference.__all__ if inspect.isclass(getattr(reference, name)) and name not in GOOD),
}


def big(array: np.ndarray) -> np.ndarray:
    return np.full(array.shape, 2**53 + 1, dtype=np.int64)


def with_entry(array: np.ndarray, value: Any, dtype: Any = np.float64) -> np.ndarray:
    out = array.astype(dtype)
    out.reshape(-1)[-1] = value
    return out


def bad_arrays(good: np.ndarray) -> dict[str, Any]:
    """What no array argument takes."""
    return {
        "a nan": with_entry(good, math.nan),
        "an infinity": with_entry(good, math.inf),
        "a negative infinity": with_entry(good, -math.inf),
        "an integer beyond 2^53": big(good),
        "an unsigned integer beyond 2^53": np.full(good.shape, 2**64 - 1, dtype=np.uint64),
        "complex": good.astype(complex),
        "text": good.astype(str),
        "bool": good != 0,
        "None among numbers": with_entry(good, None, object),
        "text among numbers": with_entry(good, "1", object),
        "bool among numbers": with_entry(good, True, object),
        "None": None,
        "a word": "X",
        "one axis more": good[..., None],
        "one axis less": good[..., 0],
        "no entries": good[:0],
        "ragged": [[1.0, 2.0], [3.0]],
        "a number that float64 cannot hold": with_entry(good, np.longdouble(2) / 3, np.longdouble),
        "dates": np.full(good.shape, "2020-01-01", dtype="datetime64[D]"),
    }


NUMBERS: dict[str, Any] = {
    "nan": math.nan,
    "infinity": math.inf,
    "negative infinity": -math.inf,
    "complex": 1j,
    "text": "1",
    "bool": True,
    "numpy bool": np.bool_(True),
    "None": None,
    "an integer beyond 2^53": 2**53 + 1,
    "a huge integer": 10**400,
    "a number that float64 cannot hold": np.longdouble(2) / 3,
    "an array": np.array([0.75]),
    "a ball": arb(1),
}
POSITIVE = NUMBERS | {"zero": 0.0, "negative zero": -0.0, "negative": -1.0}
WHOLE: dict[str, Any] = {
    "a float": 2.0,
    "a fraction": 1.5,
    "text": "2",
    "bool": True,
    "None": None,
    "nan": math.nan,
    "negative": -1,
    "huge": 10**20,
}
POSITIVE_WHOLE = WHOLE | {"zero": 0}
EXPONENTS = NUMBERS | {"1/2": 0.5, "1": 1.0, "below 1/2": 0.4999, "above 1": 1.0001, "zero": 0, "negative": -0.75}
SYMMETRIC = bad_arrays(A) | {
    "not symmetric": np.array([[1.0, 2.0], [2.0000000000000004, 1.0]]),
    "not square": np.ones((2, 3)),
    "balls that do not overlap": np.array([[arb(1), arb(2)], [arb(3), arb(1)]]),
    "an mpf nan": np.array([[mpmath.mpf("nan")]], dtype=object),
    "an mpf infinity": np.array([[mpmath.mpf("inf")]], dtype=object),
    "a ball nan": np.array([[arb("nan")]], dtype=object),
    "an mpc": np.array([[mpmath.mpc(1)]], dtype=object),
}


@dataclass(frozen=True)
class Refused:
    """Values that a parameter refuses, with the exception and the argument that it names."""

    values: dict[str, Any]
    error: type[InputError] = InputError
    argument: str | None = None


ARITHMETICS = {"a name": "float64", "the class": Ball, "None": None, "bits": 53, "a dtype": np.float64}
NAMES: dict[str, Any] = {"a slip": "tahn", "upper case": "TANH", "empty": "", "None": None, "a list": ["tanh"], "a number": 1}

BAD: dict[str, Refused] = {
    "net": Refused({"None": None, "an array": np.ones((2, 3)), "the class": Network, "parameters": (NET.c, NET.w, NET.eta)}),
    "X": Refused(bad_arrays(X) | {"no columns": X[:, :0]}),
    "y": Refused(bad_arrays(Y) | {"too long": np.ones(3), "too short": np.ones(1), "a column": Y[:, None], "a number": 1.0}),
    "initial": Refused({k: v for k, v in bad_arrays(Y).items() if v is not None} | {"too long": np.ones(3)}),
    "gamma": Refused(POSITIVE),
    "alpha": Refused(POSITIVE),
    "rate": Refused(POSITIVE),
    "width": Refused(POSITIVE_WHOLE),
    "dim": Refused(POSITIVE_WHOLE),
    "steps": Refused(WHOLE),
    "seed": Refused(WHOLE),
    "bits": Refused(POSITIVE_WHOLE | {"one": 1, "past the cap": 10**9}),
    "max_bits": Refused(WHOLE | {"below bits": 63, "past the cap": 10**9}),
    "digits": Refused(POSITIVE_WHOLE | {"past the cap": 10**9}),
    "max_digits": Refused(WHOLE | {"below two runs": 21, "past the cap": 10**9}),
    "beta": Refused(EXPONENTS),
    "activation": Refused(NAMES, UnknownActivationError),
    "name": Refused(NAMES, UnknownActivationError, "activation"),
    "law": Refused(NAMES | {"the class": InitialLaw, "the entry": LAWS["uniform"], "None": None}),
    "arithmetic": Refused(ARITHMETICS),
    "A": Refused(SYMMETRIC),
    "b": Refused(
        {k: v for k, v in bad_arrays(Y).items() if k != "one axis more"}
        | {
            "too long": np.ones(3),
            "three axes": np.ones((2, 1, 1)),
            "no columns": np.ones((2, 0)),
            "an mpf nan": np.array([mpmath.mpf(1), mpmath.mpf("nan")], dtype=object),
            "a ball nan": np.array([arb(1), arb("nan")], dtype=object),
        }
    ),
    "c": Refused(bad_arrays(NET.c)),
    "w": Refused(bad_arrays(NET.w) | {"no columns": NET.w[:, :0], "another width": np.ones((3, 1))}),
    "eta": Refused(bad_arrays(NET.eta) | {"another width": np.ones(3)}),
    "theta": Refused(bad_arrays(NET.theta) | {"no weights": NET.theta[:, :2]}),
    "entry": Refused({"None": None, "a name": "tanh", "the class": Activation, "a law": LAWS["uniform"]}),
    "w_scale": Refused(POSITIVE, argument="law.w_scale"),
    "eta_scale": Refused(POSITIVE, argument="law.eta_scale"),
}
# What one function takes differently from the others of its kind.
SPECIAL: dict[tuple[str, str], Refused] = {
    ("register_law", "entry"): Refused(
        {"None": None, "a name": "uniform", "the class": OutputLaw, "other": ACTIVATIONS["tanh"]}
    ),
    ("InitialLaw", "c"): Refused(NAMES | {"a slip": "unifrm"}, argument="law.c"),
    ("regularization", "beta"): Refused({k: v for k, v in EXPONENTS.items() if v not in (0.5, 1.0)}),
    ("contraction_factors", "rate"): Refused({k: v for k, v in POSITIVE.items() if v is not None}),
    ("enclose_limit_ntk", "bits"): Refused(POSITIVE_WHOLE | {"one": 1, "past the cap": 33_281}),
    **{
        (name, "arithmetic"): Refused(ARITHMETICS | {"float64": FLOAT64, "multiprecision": Multiprecision(20)})
        for name in ("cholesky", "inertia", "positive_definite", "solve")
    },
}


def function(name: str) -> Callable[..., Any]:
    found: Any = reference
    for part in name.split("."):
        found = getattr(found, part)
    return found


def call(name: str, arguments: dict[str, Any]) -> Any:
    return function(name)(**arguments)


def cases() -> list[Any]:
    found = []
    for name, good in GOOD.items():
        for parameter in good:
            if parameter in FLAGS:
                continue
            refused = SPECIAL.get((name, parameter), BAD[parameter])
            for label, value in refused.values.items():
                found.append(pytest.param(name, parameter, value, refused, id=f"{name}-{parameter}-{label}"))
    return found


@contextmanager
def unchanged(arguments: dict[str, Any]) -> Iterator[None]:
    # as text: NaN equals itself there, and balls cannot be copied
    before = {k: str(v) for k, v in arguments.items() if isinstance(v, np.ndarray | list)}
    net_before = [a.copy() for a in (NET.c, NET.w, NET.eta)]
    yield
    for key, value in before.items():
        assert str(arguments[key]) == value, f"{key} was changed"
    assert all(np.array_equal(a, b) for a, b in zip(net_before, (NET.c, NET.w, NET.eta), strict=True))


# --- the table ---------------------------------------------------------------------------------------------------------------


def test_every_public_function_is_in_the_table() -> None:
    public = {name for name in reference.__all__ if callable(getattr(reference, name))}
    assert (public | {"Network.from_theta"}) - set(GOOD) - NOT_CALLED == set()


@pytest.mark.parametrize("name", GOOD)
def test_every_parameter_is_in_the_table(name: str) -> None:
    assert set(inspect.signature(function(name)).parameters) == set(GOOD[name])


@pytest.mark.parametrize("name", GOOD)
def test_good_arguments_are_taken_and_left_alone(name: str) -> None:
    with unchanged(GOOD[name]):
        call(name, GOOD[name])


@pytest.mark.parametrize("name", [name for name, good in GOOD.items() if "X" in good])
def test_lists_integers_and_single_precision_are_taken(name: str) -> None:
    plain = call(name, GOOD[name] | {"X": [[1], [-2]]})
    for other in (np.array([[1.0], [-2.0]]), np.array([[1], [-2]], dtype=np.int8), np.array([[1], [-2]], dtype=np.float32)):
        assert str(call(name, GOOD[name] | {"X": other})) == str(plain)


@pytest.mark.parametrize(("name", "parameter", "value", "refused"), cases())
def test_bad_input_is_refused_by_name(name: str, parameter: str, value: Any, refused: Refused) -> None:
    arguments = GOOD[name] | {parameter: value}
    with unchanged(arguments), pytest.raises(InputError) as caught:
        call(name, arguments)
    error = caught.value
    argument = refused.argument or parameter
    assert type(error) is refused.error
    assert error.argument == argument
    assert str(error).startswith(f"{argument}: expected {error.expected}, got {error.got}")
    assert error.expected
    assert error.got


@pytest.mark.parametrize("name", [name for name, good in GOOD.items() if "net" in good])
def test_inputs_of_another_dimension_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"X: expected shape \(any, 1\), the network's input dimension, got shape \(2, 3\)"):
        call(name, GOOD[name] | {"X": np.ones((2, 3))})


SWISH = Activation(
    "made up",
    lambda z, ar: (
        z * ar.expit(z),
        ar.expit(z) + z * ar.expit(z) * ar.expit(-z),
        ar.expit(z) * ar.expit(-z) * (2 - z * ar.tanh(z / 2)),
    ),
    lambda ar: (math.inf, ar.number(1.0999), ar.number(0.5)),
)
HALF = OutputLaw("a half", lambda rng, n: np.full(n, 0.5), Fraction(1, 4), Fraction(1, 16), 0.5, symmetric=False)


def test_new_entries_are_taken_by_every_function() -> None:
    """The functions of GOOD, with an activation and a law that were registered just now."""
    reference.register(SWISH)
    reference.register_law(HALF)
    law = InitialLaw("a half")
    net = sample_network(2, 1, beta=0.75, activation="made up", seed=0, law=law)
    assert net.c.tolist() == [0.5, 0.5]
    assert law.output is HALF
    for name, good in GOOD.items():
        changed = {k: v for k, v in (("net", net), ("activation", "made up"), ("law", law)) if k in good}
        if name == "enclose_limit_ntk":
            changed["closed_form"] = False
        if changed:
            call(name, good | changed)
    # the limit kernel of c = 1/2 has E[c²] = 1/4
    plain, quarter = (reference.limit_ntk(X, "erf", law=InitialLaw(c)) for c in ("rademacher", "a half"))
    value = plain - (derivative := (plain - quarter) / 0.75)
    assert np.allclose(quarter, value + derivative / 4, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", ["in use", "", None, ["tanh"], 3])
def test_a_name_is_given_once_and_is_a_word(name: Any) -> None:
    for register, entry, argument, used in (
        (reference.register, SWISH, "activation", "tanh"),
        (reference.register_law, HALF, "law", "uniform"),
    ):
        with pytest.raises(InputError, match="not yet in use") as caught:
            register(replace(entry, name=used if name == "in use" else name))  # type: ignore[type-var]
        assert caught.value.argument == argument


def test_the_registries_are_as_they_were() -> None:
    assert next(iter(ACTIVATIONS)) == "tanh"
    assert next(iter(LAWS)) == "uniform"
    assert not {"another", "made up", "a half"} & {*ACTIVATIONS, *LAWS}


def test_bad_input_is_an_ordinary_value_error() -> None:
    with pytest.raises(ValueError, match="gamma"):
        call("newton_step", GOOD["newton_step"] | {"gamma": -1.0})


def test_a_one_dimensional_x_is_told_what_to_do() -> None:
    with pytest.raises(InputError, match=re.escape("use X.reshape(-1, 1) for inputs in one dimension")):
        call("outputs", GOOD["outputs"] | {"X": np.ones(3)})


def test_a_nan_is_located() -> None:
    with pytest.raises(InputError, match=r"y: expected finite numbers, got nan at index 1"):
        call("loss", GOOD["loss"] | {"y": [1.0, math.nan]})


@pytest.mark.parametrize(
    ("slip", "nearest"),
    [
        ("tahn", "tanh"),
        ("Tanh", "tanh"),
        ("Softplus", "softplus"),
        ("sine", "sin"),
        ("logistik", "logistic"),
        ("geluu", "gelu"),
    ],
)
def test_an_unknown_activation_offers_its_neighbour(slip: str, nearest: str) -> None:
    with pytest.raises(UnknownActivationError, match=f"got {slip!r} \\(did you mean {nearest!r}\\?\\)") as caught:
        Network([1.0], [[1.0]], [1.0], 0.75, slip)
    assert all(name in str(caught.value) for name in ACTIVATIONS)


def test_an_unknown_law_offers_its_neighbour() -> None:
    with pytest.raises(InputError, match="did you mean 'rademacher'"):
        InitialLaw("radamacher")


# --- the ends of beta --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 1.0, 1])
def test_the_ends_of_beta_are_for_negative_controls_only(beta: float) -> None:
    for make in (
        lambda **options: Network([1.0], [[1.0]], [0.0], beta, **options),
        lambda **options: sample_network(1, 1, beta=beta, seed=0, **options),
    ):
        with pytest.raises(InputError, match="negative_control=True"):
            make()
        assert make(negative_control=True).beta == beta
    assert reference.regularization(1.0, 4, beta) == {0.5: 1.0, 1.0: 0.25}[beta]


@pytest.mark.parametrize("beta", [math.nextafter(0.5, 0), math.nextafter(1, 2), 0.0, -0.75, math.nan])
def test_nothing_beyond_the_ends_is_let_in_even_for_a_negative_control(beta: float) -> None:
    with pytest.raises(InputError):
        Network([1.0], [[1.0]], [0.0], beta, negative_control=True)


@pytest.mark.parametrize("beta", [math.nextafter(0.5, 1), math.nextafter(1, 0)])
def test_everything_between_the_ends_is_taken(beta: float) -> None:
    assert Network([1.0], [[1.0]], [0.0], beta).beta == beta


# --- what no arithmetic can do -----------------------------------------------------------------------------------------------

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


def test_singular_systems_are_refused() -> None:  # Newton systems: in test_finite.py
    with pytest.raises(SingularSystemError):
        reference.solve(SINGULAR, Y)
    with pytest.raises(PrecisionError):
        reference.eigenvalues(SINGULAR, Multiprecision(15))
    assert reference.inertia(SINGULAR).zero == 1
    assert reference.positive_definite(SINGULAR) == reference.Verdict.REFUTED
    assert reference.cholesky(SINGULAR) is None


@pytest.mark.parametrize("name", ["limit_spectrum", "contraction_factors"])
def test_duplicate_inputs_have_no_smallest_eigenvalue(name: str) -> None:
    with pytest.raises(DegenerateKernelError):
        call(name, GOOD[name] | {"X": [[0.5], [0.5]]})


def test_precision_past_the_cap_is_an_error_and_not_an_answer() -> None:
    # γ_N + λ cancels to about 10^-17: two runs cannot agree, or prove the sign, within so few digits
    net = Network([0.0], [[0.0]], [0.0], 0.75)
    near = 1.0 + 2.0**-52
    with pytest.raises(PrecisionError, match=r"bits: expected .* within max_bits=24"):
        reference.newton_step(net, [[0.0]], [1.0], near, arithmetic=Ball(24, max_bits=24))
    assert reference.newton_step(net, [[0.0]], [1.0], near, arithmetic=Ball(24)).negative_eigenvalues == 0
    # an entry that is zero but not known to be: relative accuracy never comes
    with pytest.raises(PrecisionError, match="digits"):
        reference.eigenvalues(np.array([[1.0, 1.0], [1.0, 1.0]]), Multiprecision(15))


FINITE = [name for name, good in GOOD.items() if "net" in good]
LARGE = Network([1e200], [[1.0]], [0.0], 0.75, "softplus")
OVERFLOW: dict[str, dict[str, Any]] = {
    name: GOOD[name] | {"net": LARGE, "X": [[1e200]]} | ({"y": [1e200]} if "y" in GOOD[name] else {}) for name in FINITE
}


@pytest.mark.parametrize("name", FINITE)
def test_overflow_is_an_error_and_not_an_infinity(name: str) -> None:
    arguments = OVERFLOW[name]
    with pytest.raises(RangeError, match="overflow in float64"):
        call(name, arguments)
    # these have the exponents for it, and the digits for a condition number of 10^800
    for arithmetic in (Ball(64), Multiprecision(15, max_digits=4000)):
        call(name, arguments | {"arithmetic": arithmetic})


def test_float64_eigenvalues_do_not_overflow_silently() -> None:
    with pytest.raises(RangeError):
        reference.eigenvalues(np.full((2, 2), 1e308))


@pytest.mark.parametrize("name", ["hessian", "newton_step", "gauss_newton_step", "nntk"])
@pytest.mark.parametrize(("arithmetic", "limit"), [(FLOAT64, 20_000), (Multiprecision(20), 2_000), (Ball(64), 2_000)], ids=str)
def test_dense_work_that_cannot_fit_is_refused_before_it_starts(name: str, arithmetic: Any, limit: int) -> None:
    net = sample_network(limit // 3 + 1, 1, beta=0.75, seed=0)
    with pytest.raises(SizeError, match=f"P = N\\(d\\+2\\) = {net.parameters}") as caught:
        call(name, GOOD[name] | {"net": net, "arithmetic": arithmetic})
    assert caught.value.argument == "width"
    reference.outputs(net, X)  # which needs no such matrix


# --- global state ------------------------------------------------------------------------------------------------------------

STATE: dict[str, Callable[[], Any]] = {
    "mpmath precision": lambda: (mpmath.mp.prec, mpmath.mp.dps, mpmath.mp.trap_complex, mpmath.iv.prec),
    "flint precision": lambda: (flint.ctx.prec, flint.ctx.dps, flint.ctx.cap),
    "NumPy error handling": np.geterr,
    "NumPy's global generator": lambda: str(np.random.get_state()),  # noqa: NPY002
    "Python's global generator": random.getstate,
}


@contextmanager
def state_kept() -> Iterator[None]:
    before = {name: read() for name, read in STATE.items()}
    yield
    after = {name: read() for name, read in STATE.items()}
    assert [name for name in STATE if before[name] != after[name]] == []


@contextmanager
def odd_state() -> Iterator[None]:
    """Precisions that nobody would set, so that a function which relies on or resets them is found out."""
    dps, prec, errors = mpmath.mp.dps, flint.ctx.prec, np.geterr()
    try:
        mpmath.mp.dps, flint.ctx.prec = 4, 11
        np.seterr(divide="raise", over="raise", under="ignore", invalid="raise")
        yield
    finally:
        mpmath.mp.dps, flint.ctx.prec = dps, prec
        np.seterr(**errors)


def digest(value: Any) -> Any:
    """A comparable value: every bit of the numbers in an answer."""
    if isinstance(value, arb):
        return value.mid().man_exp(), value.rad().man_exp()
    if hasattr(value, "_mpf_"):
        return value._mpf_
    if isinstance(value, np.ndarray):
        return value.shape, [digest(v) for v in value.flat]
    if isinstance(value, tuple):
        return [digest(v) for v in value]
    if hasattr(value, "__dataclass_fields__") and not callable(getattr(value, "jets", None)):
        return [digest(getattr(value, name)) for name in value.__dataclass_fields__]
    return repr(value)


def runs() -> list[Any]:
    found = []
    for name, good in GOOD.items():
        if "entry" in good:  # taken once only
            continue
        takes = (None,) if "arithmetic" not in good else (FLOAT64, Multiprecision(15), Ball(64))
        if (name, "arithmetic") in SPECIAL:  # balls only
            takes = (Ball(64),)
        for arithmetic in takes:
            arguments = good if arithmetic is None else good | {"arithmetic": arithmetic}
            found.append(pytest.param(name, arguments, id=f"{name}-{type(arithmetic).__name__}"))
    return found


@pytest.mark.parametrize(("name", "arguments"), runs())
def test_global_state_is_neither_changed_nor_used(name: str, arguments: dict[str, Any]) -> None:
    with state_kept():
        plain = digest(call(name, arguments))
    with odd_state(), state_kept():
        odd = digest(call(name, arguments))
    assert odd == plain


@pytest.mark.parametrize("name", GOOD)
def test_global_state_survives_a_refusal(name: str) -> None:
    with odd_state(), state_kept():
        for parameter in GOOD[name]:
            if parameter not in FLAGS:
                refused = SPECIAL.get((name, parameter), BAD[parameter])
                with pytest.raises(InputError):
                    call(name, GOOD[name] | {parameter: next(iter(refused.values.values()))})


@pytest.mark.parametrize(
    "failing",
    [
        lambda: reference.newton_step(Network([0.0], [[0.0]], [0.0], 0.75), [[0.0]], [1.0], 1.0, arithmetic=Ball(64)),
        lambda: reference.newton_step(Network([0.0], [[0.0]], [0.0], 0.75), [[0.0]], [1.0], 1.0, arithmetic=Multiprecision(9)),
        lambda: reference.newton_step(Network([0.0], [[0.0]], [0.0], 0.75), [[0.0]], [1.0], 1.0),
        lambda: reference.eigenvalues(SINGULAR, Multiprecision(15)),
        lambda: reference.solve(SINGULAR, Y),
        lambda: reference.limit_spectrum([[0.5], [0.5]], arithmetic=Ball(64)),
        lambda: call("newton_step", OVERFLOW["newton_step"]),
    ],
)
def test_global_state_survives_a_failure_halfway(failing: Callable[[], Any]) -> None:
    with odd_state(), state_kept(), pytest.raises(NntkError):
        failing()
