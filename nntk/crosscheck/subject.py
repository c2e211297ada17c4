"""What is cross-checked: a factory of optimizers, an object with step(X, y), or a plain function; one adapter for each.

    torch      factory(model, X, y, damping) -> torch.optim.Optimizer, stepped by optimizer.step(closure)
    object     factory(model, X, y, damping) -> anything with step(X, y), as nntk_accelerated.RegularizedNewton
    function   step(theta, X, y, damping, problem) -> theta_next, on flat NumPy vectors

`model` is a ShallowNet, `damping` is γ_N, the number to be added to the Hessian's diagonal, and the step size is 1.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from nntk.crosscheck.case import Case
from nntk_accelerated import ShallowNet
from nntk_reference import FLOAT64, InputError, Network, formulas
from nntk_reference.arithmetic import Array

__all__ = ["FactoryError", "FunctionProblem", "Session", "Subject", "SubjectError", "subject"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class FactoryError(InputError):
    """What was given is no optimizer factory: it cannot be imported, called with the right arguments, or used."""


class SubjectError(Exception):
    """The optimizer's own code failed, or broke the contract. `trace` is its traceback, cut to its own frames."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


class Session(Protocol):
    """One optimizer at work on one case. Parameters go in and come out as float64 arrays (N, d+2)."""

    optimizer: Any
    closure_calls: int

    @property
    def form(self) -> str:
        """One of torch, object and function."""
        ...

    @property
    def theta(self) -> Array:
        """The parameters as they are. Raises SubjectError if the optimizer has changed their shape or dtype."""
        ...

    def move_to(self, theta: Array) -> None:
        """Put other parameters in their place, behind the optimizer's back."""
        ...

    def step(self) -> None:
        """One step. Raises SubjectError where the optimizer's code raises."""
        ...


@dataclass(frozen=True)
class Subject:
    """A named way to start sessions; `takes_theta` tells a step function from a factory."""

    name: str
    make: Callable[..., Any]
    takes_theta: bool

    def start(self, case: Case, dtype: str, device: str) -> Session:
        """A fresh optimizer at the case's start. Raises SubjectError, FactoryError."""
        if self.takes_theta:
            return _FunctionSession(self.make, case, dtype)
        return _ModelSession(self.make, case, dtype, device)


# --- finding the factory -------------------------------------------------------------------------------------------------


def subject(factory: Callable[..., Any] | str, name: str | None = None) -> Subject:
    """The subject that a callable, or "package.module:factory", is.

    Five required arguments make it a step function, four a factory. Raises FactoryError for anything else.
    """
    made = _imported(factory) if isinstance(factory, str) else factory
    if not callable(made):
        raise FactoryError("factory", "a callable", f"{type(made).__name__}")
    named = factory if isinstance(factory, str) else name or _name(made)
    expected = "factory(model, X, y, damping) or step(theta, X, y, damping, problem)"
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):  # of a builtin: it may do, the first call will tell
        return Subject(named, made, False)
    for count in (4, 5):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        first = next(iter(signature.parameters))
        return Subject(named, made, count == 5 or first == "theta")
    raise FactoryError("factory", expected, f"{named}{signature}")


def _imported(path: str) -> Any:
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise FactoryError("factory", "package.module:factory", repr(path))
    here, expected = str(Path.cwd()), "an importable package.module:factory"
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does, so that a file in the current folder is found
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name == module_name or module_name.startswith(f"{error.name}.")
        reason = f"no module {error.name!r}" + ("" if missing else f", which {module_name} imports")
        raise FactoryError("factory", expected, f"{path!r}: {reason}; tried {here} and sys.path") from None
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FactoryError("factory", expected, f"{path!r}: importing {module_name}: {reason}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = difflib.get_close_matches(part, dir(value), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise FactoryError("factory", f"a name in {module_name}", f"{part!r}{hint}")
        value = getattr(value, part)
    return value


def _name(made: Any) -> str:
    module, name = getattr(made, "__module__", None), getattr(made, "__qualname__", None)
    if name is None:
        inner = getattr(made, "func", None)  # functools.partial
        return f"partial of {_name(inner)}" if inner is not None else type(made).__qualname__
    return f"{module}:{name}"


# --- the three forms -----------------------------------------------------------------------------------------------------


class _ModelSession:
    def __init__(self, factory: Callable[..., Any], case: Case, dtype: str, device: str) -> None:
        objective = case.objective
        kind: dict[str, Any] = {"dtype": DTYPES[dtype], "device": device}
        self.shape, self.dtype = case.theta.shape, DTYPES[dtype]
        self.model = ShallowNet.from_theta(
            torch.tensor(case.theta, **kind),
            beta=objective.beta,
            activation=objective.activation,
            negative_control=objective.beta in (0.5, 1.0),
        )
        self.parameters = dict(self.model.named_parameters())
        self.X, self.y = torch.tensor(objective.X, **kind), torch.tensor(objective.y, **kind)
        self.closure_calls = 0
        with _theirs():
            self.optimizer = factory(self.model, self.X, self.y, objective.damping)
        step = getattr(self.optimizer, "step", None)
        if not callable(step):
            got = "None" if self.optimizer is None else f"a {type(self.optimizer).__name__}"
            raise FactoryError("factory", "an optimizer: something with a step method", got)
        self.takes_data = _takes_data(step)

    @property
    def form(self) -> str:
        return "object" if self.takes_data else "torch"

    @property
    def theta(self) -> Array:
        N, d = self.shape[0], self.shape[1] - 2
        for name, shape in (("c", (N,)), ("w", (N, d)), ("eta", (N,))):
            held = getattr(self.model, name)
            if not isinstance(held, torch.Tensor) or tuple(held.shape) != shape or held.dtype != self.dtype:
                got = f"{tuple(held.shape)}, {held.dtype}" if isinstance(held, torch.Tensor) else type(held).__name__
                raise SubjectError(f"the optimizer changed the parameter {name}: expected {shape}, {self.dtype}, got {got}")
            if held is not self.parameters[name]:
                raise SubjectError(f"the optimizer put another tensor in the place of the parameter {name}")
        return np.asarray(self.model.theta.to("cpu", torch.float64))

    def move_to(self, theta: Array) -> None:
        self.model.assign_(torch.tensor(theta, dtype=self.dtype, device=self.X.device))

    def closure(self) -> torch.Tensor:
        """Zero the gradients, evaluate the loss (E2), call backward, return the loss."""
        self.closure_calls += 1
        with torch.enable_grad():
            self.model.zero_grad(set_to_none=True)
            loss: torch.Tensor = (self.model(self.X) - self.y).square().sum() / (2 * len(self.y))
            loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def step(self) -> None:
        with _theirs():
            if self.takes_data:
                self.optimizer.step(self.X, self.y)
            else:
                self.optimizer.step(self.closure)


def _takes_data(step: Callable[..., Any]) -> bool:
    """Is it step(X, y), not step(closure)?"""
    try:
        parameters = list(inspect.signature(step).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if positional and positional[0].name == "closure":
        return False
    return len(positional) >= 2


@dataclass(frozen=True, eq=False)
class FunctionProblem:
    """What a step function may ask for: loss, gradient and outputs at flat vectors θ (P,), and the network's description."""

    X: Array
    y: Array
    width: int
    dim: int
    beta: float
    activation: str

    def _state(self, theta: Array) -> formulas.State:
        rows = np.asarray(theta, np.float64).reshape(self.width, self.dim + 2)
        net = Network.from_theta(rows, self.beta, self.activation, negative_control=self.beta in (0.5, 1.0))
        return formulas.state(FLOAT64, net, self.X)

    def outputs(self, theta: Array) -> Array:
        """(E1) f(X), (M,)."""
        return formulas.outputs(self._state(theta))

    def loss(self, theta: Array) -> float:
        """(E2)."""
        return float(formulas.loss(self.outputs(theta) - self.y))

    def gradient(self, theta: Array) -> Array:
        """∇L, (P,)."""
        s = self._state(theta)
        return formulas.gradient(s, formulas.outputs(s) - self.y).reshape(-1)


class _FunctionSession:
    form = "function"
    optimizer: Any = None
    closure_calls = 0  # room for the count of the problem's evaluations

    def __init__(self, step: Callable[..., Any], case: Case, dtype: str) -> None:
        self.function, self.dtype, self.damping = step, dtype, case.objective.damping
        objective, shape = case.objective, case.theta.shape
        self.X, self.y = objective.X.astype(dtype), objective.y.astype(dtype)
        self.problem = FunctionProblem(objective.X, objective.y, shape[0], shape[1] - 2, objective.beta, objective.activation)
        self.values = case.theta.astype(dtype)

    @property
    def theta(self) -> Array:
        return self.values.astype(np.float64)

    def move_to(self, theta: Array) -> None:
        self.values = theta.astype(self.dtype)

    def step(self) -> None:
        before = self.values.reshape(-1).copy()
        given = before.copy()
        with _theirs():
            after = self.function(given, self.X, self.y, self.damping, self.problem)
        wanted = f"{before.shape}, {self.dtype}"
        try:
            array = np.asarray(after)
        except Exception as error:
            raise SubjectError(f"the step function returned a {type(after).__name__} ({error}), expected {wanted}") from None
        if array.dtype.kind != "f":
            raise SubjectError(
                f"the step function returned {array.dtype} numbers of a {type(after).__name__}, expected {wanted}"
            )
        if array.size != before.size or array.dtype != np.dtype(self.dtype):
            raise SubjectError(f"the step function returned {array.shape}, {array.dtype}, expected {wanted}")
        self.values = array.reshape(self.values.shape).copy()


# --- whose fault -----------------------------------------------------------------------------------------------------------


@contextmanager
def _theirs() -> Iterator[None]:
    """Exceptions of the optimizer's own code, as SubjectError. SystemExit is one of them; Ctrl-C and time limits are not."""
    try:
        yield
    except (Exception, SystemExit) as error:
        try:
            words = str(error)
        except Exception as unprintable:  # an exception of theirs whose __str__ fails
            words = f"(its message cannot be printed: {type(unprintable).__name__})"
        message = " ".join(f"{type(error).__name__}: {words}".split()).rstrip(": ")
        raise SubjectError(message, _trace(error)) from error


def _trace(error: BaseException) -> str:
    """The traceback from the optimizer's first frame on, without torch's wrappers around step."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parent
    last = max((i for i, frame in enumerate(frames) if Path(frame.filename).parent == ours), default=-1)
    theirs = frames[last + 1 :]
    wrappers = ("torch/optim/optimizer.py", "torch/utils/_contextlib.py", "torch/optim/lr_scheduler.py")
    while theirs and theirs[0].filename.replace("\\", "/").endswith(wrappers):
        theirs = theirs[1:]
    out = io.StringIO()
    out.writelines(traceback.format_list(traceback.StackSummary.from_list(theirs)))
    out.writelines(traceback.format_exception_only(error))
    return out.getvalue().rstrip()
