"""Published optimizers as subjects of the cross-check, each run as its documentation says, and what they turn out to be.

$ nntk crosscheck nntk.gallery:torch_sgd --profile first-order

A subject is a factory(model, X, y, damping) for a ShallowNet, all data, and the number γ_N to be added to the Hessian's
diagonal (E6); the step size is 1. It returns a torch optimizer, or an object with step(X, y). The packages are imported when
a factory is called; the extra `nntk[gallery]` installs them.

The loss is L = |r|²/(2M) (E2). Where a package takes MSELoss, which is 2L, its Hessian is twice as large, and so is the damping
that it is given: the step is the same.

`python -m nntk.gallery --write docs/gallery.md` cross-checks them all and writes the page.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import typer
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nntk.crosscheck import Diagnosis, Report, check_optimizer
from nntk.reporting.selection import choose
from nntk_accelerated import RegularizedNewton, ShallowNet

__all__ = ["ENTRIES", "Entry", "Step", "page"]


class Factory(Protocol):
    """A function that makes a subject."""

    __name__: str

    def __call__(self, model: ShallowNet, X: Tensor, y: Tensor, damping: float, /) -> Any: ...


@dataclass(frozen=True)
class Entry:
    """A published optimizer with settings: what its documentation says it computes, and how it is run here.

    `distribution` is the name that pip knows it by. `profile` is the cross-check's profile that the documentation's claim
    amounts to, `rtol` what an approximate one may be off by; `claim` is that claim, quoted, with its place. `settings` says
    what differs from the defaults.
    """

    factory: Factory
    title: str
    distribution: str
    profile: str
    claim: str
    settings: str = "defaults"
    rtol: float | None = None

    @property
    def id(self) -> str:
        """The factory's name; `nntk crosscheck nntk.gallery:ID` runs it."""
        return self.factory.__name__

    @property
    def version(self) -> str | None:
        """The version that is installed; None without one."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Step:
    """A subject that is no torch optimizer: step(X, y) changes the model's parameters."""

    step: Callable[[Tensor, Tensor], None]


# --- torch -----------------------------------------------------------------------------------------------------------


def torch_sgd(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gradient descent with step size 1."""
    return torch.optim.SGD(model.parameters(), lr=1.0)


def torch_adam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Adam at its defaults."""
    return torch.optim.Adam(model.parameters())


def torch_adamw(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """AdamW at its defaults."""
    return torch.optim.AdamW(model.parameters())


def torch_nadam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """NAdam at its defaults."""
    return torch.optim.NAdam(model.parameters())


def torch_radam(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RAdam at its defaults."""
    return torch.optim.RAdam(model.parameters())


def torch_rmsprop(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RMSprop at its defaults."""
    return torch.optim.RMSprop(model.parameters())


def torch_adafactor(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Adafactor at its defaults."""
    return torch.optim.Adafactor(model.parameters())


def torch_lbfgs(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """L-BFGS at its defaults, up to 20 iterations a step."""
    return torch.optim.LBFGS(model.parameters())


def torch_lbfgs_wolfe(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """L-BFGS with a line search."""
    return torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")


def torch_muon(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Muon for w, and AdamW for c and eta, both at the settings of the example in Muon's documentation."""
    pair: tuple[Any, Any] = (
        torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.02, momentum=0.95),
        torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], lr=3e-4, weight_decay=0.01),
    )

    def step(X: Tensor, y: Tensor) -> None:
        model.zero_grad()
        torch.autograd.backward(_loss(model, X, y))
        for optimizer in pair:
            optimizer.step()

    return Step(step)


# --- torch-numopt ----------------------------------------------------------------------------------------------------


def numopt_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton at its defaults, which leave no place for the damping."""
    return _numopt("Newton", model, X, y)


def numopt_newton_damped(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton at its defaults but for the damping."""
    return _numopt("Newton", model, X, y, damping="identity", mu=2 * damping)


def numopt_newton_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton with the whole Hessian."""
    return _numopt("Newton", model, X, y, damping="identity", mu=2 * damping, block_hessian=False)


def numopt_gauss_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gauss-Newton at its defaults, which leave no place for the damping."""
    return _numopt("GaussNewton", model, X, y)


def numopt_gauss_newton_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gauss-Newton with the whole matrix and step size 1."""
    return _numopt("GaussNewton", model, X, y, lr_init=1.0, damping="identity", mu=2 * damping, block_hessian=False)


def numopt_levenberg_marquardt(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt at its defaults, with a damping of its own."""
    return _numopt("LevenbergMarquardt", model, X, y)


def numopt_levenberg_marquardt_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt with the whole matrix and the damping held."""
    held = {"damping": "identity", "mu": 2 * damping, "growth_factor": 1.0, "shrink_factor": 1.0}
    return _numopt("LevenbergMarquardt", model, X, y, block_hessian=False, **held)


def _numopt(name: str, model: ShallowNet, X: Tensor, y: Tensor, **settings: Any) -> Any:
    package = importlib.import_module("torch_numopt")

    def objective(optimizer: Any) -> Any:
        given = package.SupervisedLearningObjective(model, torch.nn.MSELoss(), optimizer)
        given.set_data(X, y)
        return given

    return _stepping(getattr(package, name), objective)(model.parameters(), **settings)


# --- pytorch-minimize ------------------------------------------------------------------------------------------------


def minimize_newton_exact(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-exact at its defaults; it has an option for the damping."""
    return _minimize("newton-exact", model, 0.0, tikhonov=damping)


def minimize_newton_exact_plain(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-exact without line search, by LU where the Hessian is not positive definite."""
    return _minimize("newton-exact", model, 0.0, tikhonov=damping, line_search="none", handle_npd="lu")


def minimize_newton_cg(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-cg at its defaults."""
    return _minimize("newton-cg", model, damping)


def minimize_newton_cg_plain(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-cg without line search."""
    return _minimize("newton-cg", model, damping, line_search="none")


def minimize_trust_exact(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """trust-exact at its defaults."""
    return _minimize("trust-exact", model, damping)


def minimize_trust_exact_wide(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """trust-exact with a trust region that no step leaves."""
    return _minimize("trust-exact", model, damping, initial_trust_radius=1e8, max_trust_radius=1e9)


def _minimize(method: str, model: ShallowNet, damping: float, **options: Any) -> Step:
    """One outer iteration a step, on L(θ) + damping |θ - θₜ|²/2, whose Newton step at θₜ is the damped one of L."""
    package = importlib.import_module("torchmin")
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def step(X: Tensor, y: Tensor) -> None:
        start = parameters_to_vector(model.parameters()).detach()

        def objective(theta: Tensor) -> Tensor:
            parts = torch.split(theta, [shape.numel() for shape in shapes.values()])
            given = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            away = theta - start
            return _mean_square(functional_call(model, given, X) - y) / 2 + damping * away.dot(away) / 2

        result = package.minimize(objective, start, method, max_iter=1, options=dict(options))
        vector_to_parameters(result.x, model.parameters())

    return Step(step)


# --- pytorch-optimizer -----------------------------------------------------------------------------------------------


def optimizer_adahessian(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """AdaHessian at its defaults."""
    return _hutchinson("AdaHessian", model, X, y)


def optimizer_sophia(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SophiaH at its defaults."""
    return _hutchinson("SophiaH", model, X, y)


def optimizer_shampoo(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Shampoo at its defaults."""
    return importlib.import_module("pytorch_optimizer").Shampoo(model.parameters())


def optimizer_soap(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SOAP at its defaults."""
    return importlib.import_module("pytorch_optimizer").SOAP(model.parameters())


def _hutchinson(name: str, model: ShallowNet, X: Tensor, y: Tensor) -> Any:
    package = importlib.import_module("pytorch_optimizer")

    def closure(optimizer: Any) -> Any:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss, params = _loss(model, X, y), tuple(model.parameters())
            # What backward(create_graph=True) leaves, without its warning of a reference cycle.
            for p, g in zip(params, torch.autograd.grad(loss, params, create_graph=True), strict=True):
                p.grad = g
            return loss

        return evaluate

    return _stepping(getattr(package, name), closure)(model.parameters())


# --- curvlinops ------------------------------------------------------------------------------------------------------


def curvlinops_hessian(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the Hessian, at CG's default tolerance."""
    return _curvlinops("HessianLinearOperator", model, damping, rtol=1e-5)


def curvlinops_hessian_tight(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the Hessian, to rounding."""
    return _curvlinops("HessianLinearOperator", model, damping, rtol=1e-14)


def curvlinops_ggn(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the generalized Gauss-Newton matrix, at CG's default tolerance."""
    return _curvlinops("GGNLinearOperator", model, damping, rtol=1e-5)


def curvlinops_ggn_tight(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the generalized Gauss-Newton matrix, to rounding."""
    return _curvlinops("GGNLinearOperator", model, damping, rtol=1e-14)


def _curvlinops(name: str, model: ShallowNet, damping: float, rtol: float) -> Step:
    package = importlib.import_module("curvlinops")
    params = tuple(model.parameters())

    def step(X: Tensor, y: Tensor) -> None:
        operator = getattr(package, name)(model, torch.nn.MSELoss(), list(params), [(X, y)]).to_scipy()
        gradient = parameters_to_vector(torch.autograd.grad(2 * _loss(model, X, y), params)).cpu().numpy()
        damped: LinearOperator = operator + aslinearoperator(2 * damping * np.eye(gradient.size, dtype=gradient.dtype))
        update, _ = cg(damped, -gradient, rtol=rtol)
        start = parameters_to_vector(params).detach()
        vector_to_parameters(start + torch.as_tensor(update).to(start), params)

    return Step(step)


# --- torch-levenberg-marquardt ---------------------------------------------------------------------------------------


def levenberg_marquardt(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt as in its README; the damping is where its own starts."""
    return _levenberg_marquardt(model, 10, starting_value=damping)


def levenberg_marquardt_held(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt with the damping held, and every step taken."""
    return _levenberg_marquardt(model, 0, starting_value=damping)


def _levenberg_marquardt(model: ShallowNet, attempts: int, **damping: float) -> Step:
    name = "torch_levenberg_marquardt"
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    # Without running the package's __init__: it imports Lightning for the training loops, which in turn imports torchvision
    # where it finds it, and fails if that was built for another torch.
    sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    training, strategies = (importlib.import_module(f"{name}.{part}") for part in ("training", "damping"))
    module = training.LevenbergMarquardtModule(
        model=model,
        loss_fn=training.MSELoss(),
        damping_strategy=strategies.StandardDampingStrategy(**damping),
        learning_rate=1.0,
        attempts_per_step=attempts,
        solve_method="qr",
    )

    def step(X: Tensor, y: Tensor) -> None:
        module.backup_parameters()  # it goes back to these; the parameters may have been set from outside since its last step
        module.training_step(X, y)

    return Step(step)


# --- our own ---------------------------------------------------------------------------------------------------------


def nntk_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RegularizedNewton; it steps also where the damped Hessian is indefinite."""
    return RegularizedNewton(model, damping, scaling="fixed", on_indefinite="step").bind(X, y)


def nntk_newton_refusing(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RegularizedNewton, which by default refuses an indefinite damped Hessian."""
    return RegularizedNewton(model, damping, scaling="fixed").bind(X, y)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _mean_square(residual: Tensor) -> Tensor:
    return residual.square().mean()


def _loss(model: ShallowNet, X: Tensor, y: Tensor) -> Tensor:
    return _mean_square(model(X) - y) / 2


def _stepping(kind: Any, argument: Callable[[Any], Any]) -> Any:
    """The optimizer class `kind`, with a step(closure) that hands `argument(optimizer)` to its step instead."""

    def step(self: Any, closure: Any = None) -> Any:
        return kind.step(self, argument(self))

    return type(kind.__name__, (kind,), {"step": step})


# --- the table -------------------------------------------------------------------------------------------------------

_STEP = "lr=1"
_TWICE = "damping='identity', mu=2γ_N (the loss is MSELoss, 2L)"
_PROXIMAL = "one outer iteration a step; damping as γ_N|θ - θₜ|²/2 in the objective, as the method has no option for it"
_NEWTON = "torch_numopt.Newton: 'Newton method with exact Hessian (full or block) and fixed learning rate'"
_GAUSS_NEWTON = (
    "torch_numopt.GaussNewton: 'Uses the Gauss-Newton approximation of the Hessian and solves the linear system to obtain the "
    "step direction, then applies a fixed learning rate'"
)
_MARQUARDT = "torch_numopt.LevenbergMarquardt: 'The step is computed by solving (JᵀJ + mu I) p = -g'"
_EXACT = (
    "README: 'an \"exact\" variant of Newton's method that computes the full Hessian matrix and uses Cholesky factorization'; "
    "where that fails, 'steepest descent direction (default)' or 'LU factorization'"
)
# Its inner tolerance for the residual is min(0.5, |g|^½); of SciPy's CG 1e-5, which is 1e-3 of the step at a condition of 100.
_NEWTON_CG = "docstring of newton-cg: 'the Newton-Raphson method, with Conjugate Gradient for the linear inverse sub-problem'"
_TRUST = "docstring of trust-exact: 'a nearly exact trust-region algorithm'"
_HESSIAN = "curvlinops.HessianLinearOperator: 'Linear operator for the Hessian of an empirical risk', for SciPy's solvers"
_GGN = (
    "curvlinops.GGNLinearOperator: 'Linear operator for the generalized Gauss-Newton matrix of an empirical risk', for SciPy's "
    "solvers"
)
_LEVENBERG = "README: W ← W - (JᵀJ + λI)⁻¹Jᵀr, and λ 'is changed based on an adaptive strategy'"
_OWN = "nntk_accelerated.RegularizedNewton: 'θ ← θ - lr (H + γ_N I)⁻¹ ∇L (E6) on all data at once, exact at every step'"
_CG = "scipy.sparse.linalg.cg on to_scipy() + 2γ_N I (the loss is MSELoss, 2L)"


def _of(distribution: str, profile: str, *rows: tuple[Any, ...]) -> list[Entry]:
    return [Entry(factory, title, distribution, profile, *rest) for factory, title, *rest in rows]


_ROWS = [
    *_of(
        "torch",
        "first-order",
        (torch_sgd, "SGD", "'Implements stochastic gradient descent (optionally with momentum)'", _STEP),
        (torch_adam, "Adam", "'Implements Adam algorithm'"),
        (
            torch_adamw,
            "AdamW",
            "'Implements AdamW algorithm, where weight decay does not accumulate in the momentum nor variance'",
        ),
        (torch_nadam, "NAdam", "'Implements NAdam algorithm'"),
        (torch_radam, "RAdam", "'Implements RAdam algorithm'"),
        (torch_rmsprop, "RMSprop", "'Implements RMSprop algorithm'"),
        (torch_adafactor, "Adafactor", "'Implements Adafactor algorithm'"),
        (
            torch_muon,
            "Muon and AdamW",
            "torch.optim.Muon: 'an optimizer for 2D parameters of neural network hidden layers. Other parameters, such as "
            "bias, and embedding, should be optimized by a standard method such as AdamW'",
            "as in the example of its documentation: Muon(lr=0.02, momentum=0.95) for w, AdamW(lr=3e-4, weight_decay=0.01) for "
            "c and eta, whose tensors are one-dimensional",
        ),
        (torch_lbfgs, "LBFGS", "'Implements L-BFGS algorithm'", "defaults: lr=1, up to 20 iterations a step"),
        (torch_lbfgs_wolfe, "LBFGS, line search", "'Implements L-BFGS algorithm'", "line_search_fn='strong_wolfe'"),
    ),
    *_of(
        "torch-numopt",
        "exact-newton",
        (numopt_newton, "Newton", _NEWTON, "defaults: block_hessian=True, damping=None"),
        (numopt_newton_damped, "Newton, damped", _NEWTON, _TWICE),
        (numopt_newton_full, "Newton, damped, whole Hessian", _NEWTON, _TWICE + ", block_hessian=False"),
    ),
    *_of(
        "torch-numopt",
        "gauss-newton",
        (numopt_gauss_newton, "GaussNewton", _GAUSS_NEWTON, "defaults: lr_init=1e-3, block_hessian=True, damping=None"),
        (
            numopt_gauss_newton_full,
            "GaussNewton, damped, whole matrix",
            _GAUSS_NEWTON,
            _TWICE + ", block_hessian=False, lr_init=1",
        ),
        (
            numopt_levenberg_marquardt,
            "LevenbergMarquardt",
            _MARQUARDT,
            "defaults: damping='fletcher', mu=1, adapted, block_hessian=True",
        ),
        (
            numopt_levenberg_marquardt_full,
            "LevenbergMarquardt, damping held, whole matrix",
            _MARQUARDT,
            _TWICE + ", growth_factor=shrink_factor=1, block_hessian=False",
        ),
    ),
    *_of(
        "pytorch-minimize",
        "exact-newton",
        (minimize_newton_exact, "newton-exact", _EXACT, "one outer iteration a step; tikhonov=γ_N"),
        (
            minimize_newton_exact_plain,
            "newton-exact, LU, no line search",
            _EXACT,
            "one outer iteration a step; tikhonov=γ_N, line_search='none', handle_npd='lu'",
        ),
        (minimize_trust_exact, "trust-exact", _TRUST, _PROXIMAL),
        (
            minimize_trust_exact_wide,
            "trust-exact, wide region",
            _TRUST,
            _PROXIMAL + "; initial_trust_radius=1e8, max_trust_radius=1e9",
        ),
    ),
    *_of(
        "pytorch-minimize",
        "approximate-newton",
        (minimize_newton_cg, "newton-cg", _NEWTON_CG, _PROXIMAL, 0.5),
        (minimize_newton_cg_plain, "newton-cg, no line search", _NEWTON_CG, _PROXIMAL + "; line_search='none'", 0.5),
    ),
    *_of(
        "pytorch-optimizer",
        "first-order",
        (
            optimizer_adahessian,
            "AdaHessian",
            "pytorch_optimizer.AdaHessian: 'Adaptive second-order updates using Hutchinson Hessian estimates'",
            "defaults; gradients keep their graph, as its documentation asks",
        ),
        (
            optimizer_sophia,
            "SophiaH",
            "pytorch_optimizer.SophiaH: 'Clipped second-order updates using Hutchinson Hessian estimates'",
            "defaults; gradients keep their graph, as its documentation asks",
        ),
        (
            optimizer_shampoo,
            "Shampoo",
            "pytorch_optimizer.Shampoo: 'Stochastic tensor optimization with matrix preconditioning'",
        ),
        (optimizer_soap, "SOAP", "pytorch_optimizer.SOAP: 'Adam updates in Shampoo preconditioner eigenbases'"),
    ),
    *_of(
        "curvlinops-for-pytorch",
        "exact-newton",
        (curvlinops_hessian_tight, "Hessian and CG, to rounding", _HESSIAN, _CG + ", rtol=1e-14"),
    ),
    *_of(
        "curvlinops-for-pytorch",
        "approximate-newton",
        (curvlinops_hessian, "Hessian and CG", _HESSIAN, _CG + ", rtol=1e-5, its default", 1e-3),
    ),
    *_of(
        "curvlinops-for-pytorch",
        "gauss-newton",
        (curvlinops_ggn, "GGN and CG", _GGN, _CG + ", rtol=1e-5, its default"),
        (curvlinops_ggn_tight, "GGN and CG, to rounding", _GGN, _CG + ", rtol=1e-14"),
    ),
    *_of(
        "torch-levenberg-marquardt",
        "gauss-newton",
        (
            levenberg_marquardt,
            "LevenbergMarquardtModule",
            _LEVENBERG,
            "as in its README: learning_rate=1, attempts_per_step=10, solve_method='qr'; starting_value=γ_N",
        ),
        (
            levenberg_marquardt_held,
            "LevenbergMarquardtModule, damping held",
            _LEVENBERG,
            "attempts_per_step=0, which takes every step and leaves the damping; starting_value=γ_N",
        ),
    ),
    *_of(
        "nntk",
        "exact-newton",
        (nntk_newton, "RegularizedNewton, indefinite too", _OWN, "scaling='fixed', on_indefinite='step'"),
        (nntk_newton_refusing, "RegularizedNewton", _OWN, "scaling='fixed'"),
    ),
]

ENTRIES: Mapping[str, Entry] = MappingProxyType({entry.id: entry for entry in _ROWS})
"""Every subject of the gallery, by id."""


# --- the page --------------------------------------------------------------------------------------------------------

_INTRODUCTION = """\
# Gallery: what published optimizers compute

Each optimizer was handed to `nntk crosscheck` as published, run as its documentation says, on narrow networks in float64,
with the damping γ_N to be added to the Hessian's diagonal and step size 1. The table says what its first steps turned out to
be, where H + γ_N I is positive definite and where it is indefinite, and how many of the checks of its profile it passed. The
profile is what its documentation claims; under `first-order` no step is prescribed, and a difference from Newton's step is no
fault. These are measurements at the versions given (Python {python}, effort {effort}, seed 0), no judgement of their use.

`make gallery` writes this page; `nntk crosscheck nntk.gallery:ID --profile PROFILE` runs one, and says more.

| optimizer | profile | definite systems | indefinite systems | checks passed |
|---|---|---|---|---|
"""


def page(reports: Mapping[str, Report | None]) -> str:
    """The gallery as a Markdown page, from the reports by id; None where the package is not installed."""
    entries = {id: ENTRIES[id] for id in reports}
    done = next((report for report in reports.values() if report is not None), None)
    effort = done.effort.name.lower() if done is not None else "none"
    head = _INTRODUCTION.format(python=".".join(map(str, sys.version_info[:2])), effort=effort)
    rows = "".join(_row(entry, reports[id]) for id, entry in entries.items())
    return head + rows + "".join(_section(entry, reports[id]) for id, entry in entries.items())


def _row(entry: Entry, report: Report | None) -> str:
    name = f"{entry.distribution} [{entry.title}](#{entry.id})"
    if report is None:
        cells = [name, entry.profile, "not installed", "", ""]
    else:
        said = {d.group: _brief(d) for d in report.diagnosis}
        judged = [r for r in report.results if r.outcome not in ("skipped", "informative")]
        passed = sum(r.outcome == "passed" for r in judged)
        cells = [name, entry.profile, said.get("definite", ""), said.get("indefinite", ""), f"{passed} of {len(judged)}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _brief(found: Diagnosis) -> str:
    """The diagnosis without the fits of the other systems."""
    if found.id in ("unknown", "refused"):
        return {"unknown": "no step of the catalogue", "refused": "refused aloud"}[found.id]
    kinds = re.split(r"; (?=\d+ of \d+ steps: )", found.words)
    words = "; ".join(re.sub(r" \(elsewhere: .*", " (varies)", kind) for kind in kinds)
    return words.partition(", to ")[0].partition(", but for")[0] + f" ({found.error:.0e})"


def _section(entry: Entry, report: Report | None) -> str:
    lines = [
        f'\n## <a id="{entry.id}"></a>{entry.distribution} {entry.version or "(not installed)"}: {entry.title}\n',
        f"* `nntk crosscheck nntk.gallery:{entry.id} --profile {entry.profile}"
        + (f" --rtol {entry.rtol:g}`" if entry.rtol is not None else "`"),
        f"* Claim: {entry.claim}.",
        f"* Settings: {entry.settings}.",
    ]
    if report is not None:
        lines += [f"* {d.group.capitalize()} systems: {d.words}." for d in report.diagnosis if d.group != "consecutive"]
        lines += [f"* Consecutive steps: {d.words}." for d in report.diagnosis if d.group == "consecutive"]
        lines += [f"* `{r.id}` {r.outcome}: {r.finding.why}." for r in report.failed]
        lines += [f"* `{r.id}` skipped: {r.finding.why}." for r in report.results if r.outcome == "skipped"]
        lines += [f"* It {note}." for note in report.notes if note.startswith(("prints", "warns"))]
    return "\n".join(lines) + "\n"


def main(
    write: Annotated[Path | None, typer.Option(help="Write the page here, not to the terminal.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Ids, with commas between.")] = None,
    effort: Annotated[str, typer.Option(help="quick, default or full.")] = "quick",
) -> None:
    """Cross-check the gallery's optimizers whose packages are installed, and write the page."""
    reports: dict[str, Report | None] = {}
    for id in choose("only", only or [], ENTRIES) or ENTRIES:
        entry = ENTRIES[id]
        reports[id] = None
        if entry.version is not None:
            report = check_optimizer(entry.factory, entry.profile, rtol=entry.rtol, effort=effort, name=f"nntk.gallery:{id}")
            if not report.complete:
                raise typer.Abort
            reports[id] = report
        typer.echo(f"{id}: {'not installed' if entry.version is None else entry.version}", err=True)
    if write is None:
        typer.echo(page(reports))
    else:
        write.write_text(page(reports), "utf-8")


if __name__ == "__main__":
    typer.run(main)
