"""Accelerated implementation of the regularized Newton method for wide shallow networks, on torch."""
from nntk_accelerated.model import ShallowNet
from nntk_accelerated.step import NewtonStep, gauss_newton_step, newton_step
