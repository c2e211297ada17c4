"""The ground truth: exact regularized Newton steps and Newton neural tangent kernels, plain, slow and right.

One source for three arithmetics: `FLOAT64` (NumPy), `Multiprecision(digits)` (mpmath) and `Ball(bits)` (proved enclosures).

>>> import numpy as np
>>> from nntk_reference import Ball, newton_step, sample_network
>>> X = np.linspace(0, 1, 4)[:, None]
>>> net = sample_network(5, 1, beta=0.75, seed=0)
>>> step = newton_step(net, X, np.sin(X[:, 0]), gamma=1.0, arithmetic=Ball(200))
>>> step.update.shape, step.negative_eigenvalues
((5, 3), 0)
"""

from nntk_reference.activations import ACTIVATIONS, Activation, Pair, Strip, activation, register
from nntk_reference.arithmetic import FLOAT64, Arithmetic, Ball, Multiprecision
from nntk_reference.errors import (
    DegenerateKernelError,
    InputError,
    NntkError,
    NoiseWarning,
    PrecisionError,
    QuadratureError,
    RangeError,
    SingularSystemError,
    SizeError,
    UnknownActivationError,
    UnprovedError,
)
from nntk_reference.finite import (
    NewtonStep,
    gauss_newton_nntk,
    gauss_newton_step,
    gradient,
    gradient_descent_step,
    hessian,
    jacobian,
    loss,
    newton_step,
    nntk,
    ntk,
    outputs,
    regularization,
    residual_hessian,
)
from nntk_reference.infinite import (
    LimitKernel,
    Modes,
    contraction_factors,
    enclose_limit_ntk,
    gradient_descent_trajectory,
    limit_nntk,
    limit_ntk,
    limit_spectrum,
    limit_trajectory,
)
from nntk_reference.laws import LAWS, InitialLaw, OutputLaw, register_law
from nntk_reference.linalg import (
    Inertia,
    cholesky,
    eigenvalues,
    inertia,
    positive_definite,
    solve,
)
from nntk_reference.network import Network, sample_network, scaling_exponent
from nntk_reference.verdict import Verdict

__all__ = [
    "ACTIVATIONS",
    "BUILT_IN",
    "FLOAT64",
    "LAWS",
    "Activation",
    "Arithmetic",
    "Ball",
    "DegenerateKernelError",
    "Inertia",
    "InitialLaw",
    "InputError",
    "LimitKernel",
    "Modes",
    "Multiprecision",
    "Network",
    "NewtonStep",
    "NntkError",
    "NoiseWarning",
    "OutputLaw",
    "Pair",
    "PrecisionError",
    "QuadratureError",
    "RangeError",
    "SingularSystemError",
    "SizeError",
    "Strip",
    "UnknownActivationError",
    "UnprovedError",
    "Verdict",
    "activation",
    "cholesky",
    "contraction_factors",
    "eigenvalues",
    "enclose_limit_ntk",
    "gauss_newton_nntk",
    "gauss_newton_step",
    "gradient",
    "gradient_descent_step",
    "gradient_descent_trajectory",
    "hessian",
    "inertia",
    "jacobian",
    "limit_nntk",
    "limit_ntk",
    "limit_spectrum",
    "limit_trajectory",
    "loss",
    "newton_step",
    "nntk",
    "ntk",
    "outputs",
    "positive_definite",
    "register",
    "register_law",
    "regularization",
    "residual_hessian",
    "sample_network",
    "scaling_exponent",
    "solve",
]

BUILT_IN = {"ACTIVATIONS": frozenset(ACTIVATIONS), "LAWS": frozenset(LAWS)}
"""The names in either registry that the package comes with; what a program registers comes on top."""
