"""The package's exceptions. Each message names the argument, what was expected and what came."""

from __future__ import annotations

__all__ = [
    "AcceleratedError",
    "IndefiniteError",
    "InputError",
    "MemoryLimitError",
    "ProcessGroupError",
    "RangeError",
    "RefinementError",
    "SingularSystemError",
    "UnknownActivationError",
]


class AcceleratedError(Exception):
    """Base of every exception this package raises on purpose."""


class InputError(AcceleratedError, ValueError):
    """An argument is not what the function takes."""

    def __init__(self, argument: str, expected: str, got: str) -> None:
        super().__init__(argument, expected, got)
        self.argument, self.expected, self.got = argument, expected, got

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.got}"


class UnknownActivationError(InputError):
    """The name is in no registry entry; the message offers the nearest one."""


class MemoryLimitError(AcceleratedError, MemoryError):
    """The work does not fit in memory; the message names the sizes and what to lower."""


class SingularSystemError(AcceleratedError, ArithmeticError):
    """The damped Hessian is singular, or nearer to it than the arithmetic can tell."""


class RefinementError(AcceleratedError, ArithmeticError):
    """Iterative refinement did not reach the accuracy of the arithmetic."""


class RangeError(AcceleratedError, OverflowError):
    """A result is not a finite number in the arithmetic that was asked for."""


class IndefiniteError(AcceleratedError, ArithmeticError):
    """The damped Hessian is not proved positive definite, and the caller asked not to step in that case."""


class ProcessGroupError(AcceleratedError, RuntimeError):
    """A collective operation failed: another process died, disagreed, or did not answer within the timeout."""
