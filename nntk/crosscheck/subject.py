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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from nntk.crosscheck.case import Case
from nntk.crosscheck.guards import first_call
from nntk.reporting.characters import visible
from nntk_accelerated import ShallowNet
from nntk_reference import FLOAT64, InputError, Network, formulas
from nntk_reference.arithmetic import Array

__all__ = ["FORMS", "FactoryError", "FunctionProblem", "Session", "Subject", "SubjectError", "subject", "tried"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class FactoryError(InputError):
    """What was given is no optimizer factory: it cannot be imported, called with the right arguments, or used."""


class SubjectError(Exception):
    """The optimizer's own code failed, or broke the contract. `trace` is its traceback, cut to its own frames.

    `inside` says whether it failed in its own code; else the call itself did, as one with other arguments than it takes.
    """

    def __init__(self, message: str, trace: str = "", *, inside: bool = True) -> None:
        super().__init__(message)
        self.trace, self.inside = trace, inside


class Session(Protocol):
    """One optimizer at work on one case. Parameters go in and come out as float64 arrays (N, d+2)."""

    optimizer: Any
    call: str
    """How it is stepped, for messages."""

    @property
    def closure_calls(self) -> int:
        """How often the loss was evaluated."""
        ...

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
    """A named way to start sessions.

    form   one of FORMS; None where only the optimizer that is made can tell torch from object.
    seen   kinds of problems that it was started on: the first step on another kind may take a compiler's time.
    """

    name: str
    make: Callable[..., Any]
    form: str | None = None
    seen: set[tuple[Any, ...]] = field(default_factory=set, compare=False)

    @property
    def takes_theta(self) -> bool:
        """Is it a step function, and no factory?"""
        return self.form == "function"

    @property
    def call(self) -> str:
        """How it is called, for messages."""
        short = self.name.rpartition(":")[2]
        return f"{short}({_STEP if self.takes_theta else _FACTORY})"

    def start(self, case: Case, dtype: str, device: str) -> Session:
        """A fresh optimizer at the case's start. Raises SubjectError, FactoryError."""
        kind = (case.theta.shape, len(case.objective.y), case.objective.activation)
        fresh = kind not in self.seen
        self.seen.add(kind)
        if self.takes_theta:
            return _FunctionSession(self.make, case, dtype, fresh)
        with first_call() if fresh else nullcontext():
            return _ModelSession(self.make, case, dtype, device, self.form, fresh)

    def made(self, case: Case, dtype: str, device: str) -> Session:
        """As `start`, to find out whether the factory can be called as it is. Raises FactoryError if not."""
        with _usage(f"{self.call} to make an optimizer", anywhere=True):
            return self.start(case, dtype, device)


def tried(session: Session) -> None:
    """Take a step, to find out whether that can be called as it is. Raises FactoryError if not, and SubjectError."""
    with _usage(f"{session.call} to be a call that it takes (`form` chooses another)", anywhere=False):
        session.step()


@contextmanager
def _usage(expected: str, *, anywhere: bool) -> Iterator[None]:
    """A TypeError of the call itself, or `anywhere` in it, is a fault of how the optimizer was handed over."""
    try:
        yield
    except SubjectError as error:
        if isinstance(error.__cause__, TypeError) and (anywhere or not error.inside):
            raise FactoryError("factory", expected, str(error)) from error
        raise


# --- finding the factory -------------------------------------------------------------------------------------------------

FORMS = ("torch", "object", "function")
_FACTORY, _STEP = "model, X, y, damping", "theta, X, y, damping, problem"


def subject(factory: Callable[..., Any] | str, name: str | None = None, form: str | None = None) -> Subject:
    """The subject that a callable, or "package.module:factory", is; its form is guessed where none is given.

    A first argument theta, or five required ones, make it a step function, four a factory. Raises FactoryError for anything
    else, and for the class of a torch optimizer, which wants parameters where factories are given a model.
    """
    made = _imported(factory) if isinstance(factory, str) else factory
    if not callable(made):
        raise FactoryError("factory", "a callable", f"{type(made).__name__}")
    named = factory if isinstance(factory, str) else visible(name or _name(made))
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):  # of a builtin: it may do, the first call will tell
        return Subject(named, made, form)
    first = next(iter(signature.parameters), "")
    if inspect.isclass(made) and issubclass(made, torch.optim.Optimizer) and first == "params":
        wanted = f"a factory, such as `lambda {_FACTORY}: {made.__name__}(model.parameters(), …)`"
        raise FactoryError("factory", wanted, f"the class {named} itself")
    counts = {None: (4, 5), "function": (5,)}.get(form, (4,))
    for count in counts:
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return Subject(named, made, form or ("function" if count == 5 or first == "theta" else None))
    expected = {None: f"factory({_FACTORY}) or step({_STEP})", "function": f"step({_STEP})"}.get(form, f"factory({_FACTORY})")
    raise FactoryError("factory", expected, f"{named}{visible(str(signature))}")


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
        reason = visible(f"{type(error).__name__}: {error}")
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
    def __init__(self, factory: Callable[..., Any], case: Case, dtype: str, device: str, form: str | None, fresh: bool) -> None:
        objective, self.fresh = case.objective, fresh
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
        self.form = form or ("object" if _takes_data(self.optimizer, step) else "torch")
        self.call = f"{type(self.optimizer).__name__}.step({'X, y' if self.form == 'object' else 'closure'})"

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
        with first_call() if self.fresh else nullcontext():
            self.fresh = False
            with _theirs():
                if self.form == "object":
                    self.optimizer.step(self.X, self.y)
                else:
                    self.optimizer.step(self.closure)


_CLOSURES = ("closure", "loss_fn", "loss_func", "loss_function", "loss", "func", "fn", "f")
_DATA = ("X", "x", "inputs", "input", "data", "batch", "features")


def _takes_data(optimizer: Any, step: Callable[..., Any]) -> bool:
    """Is it step(X, y), not step(closure)? The first argument's name decides, then the class, then how many are required."""
    try:
        parameters = list(inspect.signature(step).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    first = positional[0].name if positional else ""
    if first in _CLOSURES or first in _DATA:
        return first in _DATA
    if isinstance(optimizer, torch.optim.Optimizer):
        return False
    return sum(one.default is one.empty for one in positional) >= 2


@dataclass(frozen=True, eq=False)
class FunctionProblem:
    """What a step function may ask for: loss, gradient and outputs at flat vectors θ (P,), and the network's description.

    `calls` counts what was asked for, by name.
    """

    X: Array
    y: Array
    width: int
    dim: int
    beta: float
    activation: str
    calls: Counter[str] = field(default_factory=Counter, repr=False)

    def _state(self, theta: Array) -> formulas.State:
        rows = np.asarray(theta, np.float64).reshape(self.width, self.dim + 2)
        net = Network.from_theta(rows, self.beta, self.activation, negative_control=self.beta in (0.5, 1.0))
        return formulas.state(FLOAT64, net, self.X)

    def outputs(self, theta: Array) -> Array:
        """(E1) f(X), (M,)."""
        return formulas.outputs(self._state(theta))

    def loss(self, theta: Array) -> float:
        """(E2)."""
        self.calls["loss"] += 1
        return float(formulas.loss(self.outputs(theta) - self.y))

    def gradient(self, theta: Array) -> Array:
        """∇L, (P,)."""
        self.calls["gradient"] += 1
        s = self._state(theta)
        return formulas.gradient(s, formulas.outputs(s) - self.y).reshape(-1)


class _FunctionSession:
    form = "function"
    optimizer: Any = None
    call = f"step({_STEP})"

    def __init__(self, step: Callable[..., Any], case: Case, dtype: str, fresh: bool) -> None:
        self.fresh = fresh
        self.function, self.dtype, self.damping = step, dtype, case.objective.damping
        objective, shape = case.objective, case.theta.shape
        self.X, self.y = objective.X.astype(dtype), objective.y.astype(dtype)
        self.problem = FunctionProblem(objective.X, objective.y, shape[0], shape[1] - 2, objective.beta, objective.activation)
        self.values = case.theta.astype(dtype)

    @property
    def closure_calls(self) -> int:
        """How often the loss was evaluated: one with its gradient is what a closure does in one call."""
        return max(self.problem.calls["loss"], self.problem.calls["gradient"])

    @property
    def theta(self) -> Array:
        return self.values.astype(np.float64)

    def move_to(self, theta: Array) -> None:
        self.values = theta.astype(self.dtype)

    def step(self) -> None:
        before = self.values.reshape(-1).copy()
        given = before.copy()
        with first_call() if self.fresh else nullcontext():
            self.fresh = False
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
        message = visible(" ".join(f"{type(error).__name__}: {words}".split()).rstrip(": "))
        theirs = _frames(error)
        raise SubjectError(message, _trace(error, theirs), inside=bool(theirs)) from error


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The traceback's frames from the optimizer's first on, without torch's wrappers around step."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parent
    last = max((i for i, frame in enumerate(frames) if Path(frame.filename).parent == ours), default=-1)
    theirs = frames[last + 1 :]
    wrappers = ("torch/optim/optimizer.py", "torch/utils/_contextlib.py", "torch/optim/lr_scheduler.py")
    while theirs and theirs[0].filename.replace("\\", "/").endswith(wrappers):
        theirs = theirs[1:]
    return theirs


def _trace(error: BaseException, theirs: list[traceback.FrameSummary]) -> str:
    out = io.StringIO()
    out.writelines(traceback.format_list(traceback.StackSummary.from_list(theirs)))
    out.writelines(traceback.format_exception_only(error))
    return visible(out.getvalue().rstrip())
