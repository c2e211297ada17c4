"""The package's exceptions. Each message names the argument, what was expected and what came."""

from __future__ import annotations

__all__ = [
    "DegenerateKernelError",
    "InputError",
    "NntkError",
    "NoiseWarning",
    "PrecisionError",
    "QuadratureError",
    "RangeError",
    "SingularSystemError",
    "SizeError",
    "UnknownActivationError",
    "UnprovedError",
]


class NntkError(Exception):
    """Base of every exception this project raises on purpose."""


class InputError(NntkError, ValueError):
    """An argument is not what the function takes."""

    def __init__(self, argument: str, expected: str, got: str) -> None:
        super().__init__(argument, expected, got)
        self.argument, self.expected, self.got = argument, expected, got

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.got}"


class UnknownActivationError(InputError):
    """The name is in no registry entry; the message offers the nearest one."""


class SizeError(InputError):
    """The dense P×P definition was asked for at a size that does not fit in memory."""


class SingularSystemError(NntkError, ArithmeticError):
    """The matrix is singular, or nearer to it than the arithmetic can tell."""


class PrecisionError(NntkError, ArithmeticError):
    """The precision cap was reached before the answer was settled or proved."""


class QuadratureError(PrecisionError):
    """A Gaussian expectation missed the error that was asked for."""


class UnprovedError(PrecisionError):
    """A proved enclosure was asked for where only an estimate is known."""


class DegenerateKernelError(NntkError, ArithmeticError):
    """The limit kernel is exactly singular (duplicate inputs), and the quantity needs its smallest eigenvalue."""


class RangeError(NntkError, OverflowError):
    """A result is not a finite number in the arithmetic that was asked for."""


class NoiseWarning(UserWarning):
    """Some returned float64 eigenvalues are smaller than the rounding error they carry."""
