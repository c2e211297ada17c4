"""Accelerated implementation of the regularized Newton method for wide shallow networks, on torch."""
