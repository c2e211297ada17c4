"""Neurons spread over the ranks of torch.distributed: every rank sums its own neurons' part, then the ranks add up.

All sums run through `Ranks.sum`, so that a dead or silent rank shows in one place, as ProcessGroupError, before any parameter
has changed. What is sent does not depend on the width N.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nntk_accelerated.errors import InputError, ProcessGroupError
from nntk_accelerated.validation import choice, positive

__all__ = ["Ranks", "init_process_group"]

TIMEOUT = 60.0


def init_process_group(backend: str | None = None, *, timeout: float = TIMEOUT) -> None:
    """Join the processes that `torchrun` started; NCCL where each has a GPU, gloo otherwise.

    A rank that stays silent for `timeout` seconds is given up.
    Raises InputError for a timeout that is not positive, ProcessGroupError if the processes do not find each other.
    """
    seconds = min(positive("timeout", timeout), 1e6)
    if backend is not None:
        choice("backend", backend, ("gloo", "nccl", "mpi", "ucc"))
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            "environment", "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them", f"no {missing[0]}"
        )
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group(backend, timeout=datetime.timedelta(seconds=seconds))
    except (RuntimeError, ValueError) as error:
        raise ProcessGroupError(f"the processes did not find each other: {error}") from error


@dataclass(frozen=True)
class Ranks:
    """A process group, this process's place in it, and the two things done with it: dividing neurons and adding up."""

    count: int = 1
    rank: int = 0
    group: Any = None

    @classmethod
    def of(cls, group: Any = None) -> Ranks:
        """The ranks of `group`, or of the default group. Raises InputError where there is none or this process is not in it."""
        if not (dist.is_available() and dist.is_initialized()):
            raise InputError(
                "group", "an initialized torch.distributed process group", "none (run under torchrun and initialize it)"
            )
        rank = dist.get_rank(group)
        if rank < 0:
            raise InputError("group", "a group that this process belongs to", "another")
        return cls(dist.get_world_size(group), rank, group)

    def slice(self, size: int) -> tuple[int, int]:
        """Which of `size` items are this rank's: first and one past the last."""
        return size * self.rank // self.count, size * (self.rank + 1) // self.count

    def sum(self, *tensors: Tensor) -> None:
        """Add up each tensor over the ranks, in place, in one message per dtype and device."""
        self._reduce(tensors, dist.ReduceOp.SUM if self.count > 1 else None)

    def max(self, *tensors: Tensor) -> None:
        """The largest over the ranks, elementwise and in place."""
        self._reduce(tensors, dist.ReduceOp.MAX if self.count > 1 else None)

    def _reduce(self, tensors: tuple[Tensor, ...], op: Any) -> None:
        if self.count == 1:
            return
        buffer = tensors[0] if len(tensors) == 1 and tensors[0].is_contiguous() else torch.cat([t.reshape(-1) for t in tensors])
        try:
            dist.all_reduce(buffer, op, group=self.group)
        except RuntimeError as error:
            raise ProcessGroupError(f"rank {self.rank} of {self.count}: a sum over the ranks failed: {error}") from error
        if buffer is not tensors[0]:
            for t, part in zip(tensors, torch.split(buffer, [t.numel() for t in tensors]), strict=True):
                t.copy_(part.view_as(t))

    def agree(self, values: Tensor) -> bool:
        """Have all ranks the same values (k,), bit for bit? nan is never the same."""
        both = torch.cat([values, -values])
        most = both.clone()
        self.max(most)
        return bool((most == both).all())

    def gather(self, values: Tensor) -> Tensor:
        """The ranks' tensors (k, …), joined along the first dimension; k may differ between ranks."""
        if self.count == 1:
            return values
        sizes = torch.zeros(self.count, dtype=torch.int64, device=values.device)
        sizes[self.rank] = values.shape[0]
        self.sum(sizes)
        most = int(sizes.max())
        padded = values.new_zeros((self.count, most, *values.shape[1:]))
        padded[self.rank, : values.shape[0]] = values
        self.sum(padded)
        return torch.cat([padded[k, :size] for k, size in enumerate(sizes.tolist())])

    def differentiable_sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks, each of which then differentiates its own part."""
        return values if self.count == 1 else _Sum.apply(values, self)  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        total = values.clone()
        ranks.sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
