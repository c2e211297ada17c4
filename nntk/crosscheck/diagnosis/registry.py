"""The order of the explanations, the simplest first. What each is stands at its function."""

from __future__ import annotations

from nntk.crosscheck.diagnosis import blocks, curvature, data, firstorder, memory
from nntk.crosscheck.diagnosis.explanation import REGISTERED

__all__ = ["EXPLANATIONS", "MODULES", "ORDER"]

MODULES = (curvature, blocks, data, memory, firstorder)
"""Where explanations are defined: importing a module registers its own."""

ORDER = (
    "newton",
    "gauss-newton",
    "diagonal",
    "absolute-diagonal",
    "diagonal-gauss-newton",
    "per-tensor",
    "per-neuron",
    "per-tensor-gauss-newton",
    "per-neuron-gauss-newton",
    "saddle-free",
    "clipped-eigenvalues",
    "flipped-spectrum",
    "empirical-fisher",
    "residual-term-only",
    "zero",
    "gradient",
    "gradient-over-damping",
    "levenberg-marquardt",
    "scaled-damping",
    "marquardt-newton",
    "coupling-dropped",
    "neuron-left-out",
    "data-subset",
    "batch-means",
    "batch-sums",
    "stale",
    "stale-gradient",
    "single-precision-data",
    "several-steps",
    "cg",
    "cg-gauss-newton",
    "quasi-newton",
    "lbfgs",
    "residual-share",
    "block-share",
    "newton-damping",
    "gauss-newton-damping",
    "scaled-newton",
    "scaled-gauss-newton",
    "scaled-gradient",
    "sign",
    "adafactor",
    "shampoo",
    "soap",
    "adahessian",
    "momentum",
    "nesterov-ahead",
    "weight-decay",
    "penalty",
    "entries-clipped",
    "output-scale",
    "eigenvalues-floored",
    "magnitudes-floored",
    "scaled-quasi-newton",
    "diagonal-damping",
    "absolute-diagonal-damping",
    "diagonal-gauss-newton-damping",
    "per-tensor-damping",
    "per-neuron-damping",
    "saddle-free-damping",
    "clipped-eigenvalues-damping",
    "scaled-diagonal",
    "scaled-absolute-diagonal",
    "scaled-diagonal-gauss-newton",
    "scaled-per-tensor",
    "scaled-per-neuron",
    "scaled-saddle-free",
    "scaled-clipped-eigenvalues",
    "gradient-momentum",
    "nesterov",
    "adaptive",
    "muon",
    "tensor-damping",
    "krylov",
    "newton-damping-rate",
    "gauss-newton-damping-rate",
)
"""Where two fit equally well with as many fitted numbers, the one that stands first here is reported."""

EXPLANATIONS = tuple(sorted((REGISTERED[id] for id in ORDER), key=lambda entry: entry.fitted))
"""The catalogue, the simplest first."""
