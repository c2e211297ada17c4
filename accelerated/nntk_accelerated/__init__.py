"""Accelerated implementation of the regularized Newton method for wide shallow networks, on torch: exact steps in O(N)."""

from nntk_accelerated.activations import ACTIVATIONS, Activation, activation, register
from nntk_accelerated.certificate import Certificate
from nntk_accelerated.errors import (
    AcceleratedError,
    IndefiniteError,
    InputError,
    MemoryLimitError,
    ProcessGroupError,
    RangeError,
    RefinementError,
    SingularSystemError,
    UnknownActivationError,
)
from nntk_accelerated.laws import LAWS, InitialLaw, OutputLaw, register_law
from nntk_accelerated.model import ShallowNet
from nntk_accelerated.optimizer import RegularizedNewton
from nntk_accelerated.prepared import PreparedNetwork, prepare
from nntk_accelerated.quantities import Modes, gauss_newton_nntk, loss, modes, nntk, ntk, outputs
from nntk_accelerated.scaling import regularization
from nntk_accelerated.sharding import init_process_group
from nntk_accelerated.spectrum import (
    Inertia,
    MinEigenvalue,
    RequiredGamma,
    RequiredWidth,
    inertia,
    min_eigenvalue,
    required_gamma,
    required_width,
    sufficient_gamma,
)
from nntk_accelerated.step import NewtonStep, gauss_newton_step, newton_step

__all__ = [
    "ACTIVATIONS",
    "BUILT_IN",
    "LAWS",
    "AcceleratedError",
    "Activation",
    "Certificate",
    "IndefiniteError",
    "Inertia",
    "InitialLaw",
    "InputError",
    "MemoryLimitError",
    "MinEigenvalue",
    "Modes",
    "NewtonStep",
    "OutputLaw",
    "PreparedNetwork",
    "ProcessGroupError",
    "RangeError",
    "RefinementError",
    "RegularizedNewton",
    "RequiredGamma",
    "RequiredWidth",
    "ShallowNet",
    "SingularSystemError",
    "UnknownActivationError",
    "activation",
    "gauss_newton_nntk",
    "gauss_newton_step",
    "inertia",
    "init_process_group",
    "loss",
    "min_eigenvalue",
    "modes",
    "newton_step",
    "nntk",
    "ntk",
    "outputs",
    "prepare",
    "register",
    "register_law",
    "regularization",
    "required_gamma",
    "required_width",
    "sufficient_gamma",
]

BUILT_IN = {"ACTIVATIONS": frozenset(ACTIVATIONS), "LAWS": frozenset(LAWS)}
"""The names in either registry that the package comes with; what a program registers comes on top."""
