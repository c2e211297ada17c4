"""The exact step on two processes, as an object with step(X, y): this process is rank 0, a child of it is rank 1.

This file is its own child: `python sharded_optimizer.py RENDEZVOUS`. The child starts with the first step, follows rank 0's
broadcasts, and lives until `close` or as long as its parent. All steps of a process share it, as it takes seconds to start.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nntk_accelerated import ShallowNet, newton_step


class Sharded:
    """θ ← θ - (H + damping I)⁻¹ ∇L with the neurons spread over two gloo ranks. As a context manager it ends the child."""

    def __init__(self, model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> None:
        self.model, self.damping = model, damping

    def step(self, X: Tensor, y: Tensor) -> None:
        _pair.start()
        model = self.model
        arrays = [p.detach().cpu() for p in (model.c, model.w, model.eta)]
        options = {"beta": model.beta, "activation": model.activation, "negative_control": model.negative_control}
        job = (arrays, options, X.cpu(), y.cpu(), self.damping)
        try:
            dist.broadcast_object_list([job], src=0)
            found = work(job)
        except BaseException:  # an interrupt amid a collective: the two are out of step from here on
            _pair.close()
            raise
        for rank, answer in enumerate(found):
            if isinstance(answer, str):
                raise ArithmeticError(f"rank {rank}: {answer}")
        update = torch.cat(found)[: model.width].to(model.c)
        model.move_(update)

    def close(self) -> None:
        _pair.close()

    def __enter__(self) -> Sharded:
        return self

    def __exit__(self, *error: object) -> None:
        _pair.close()


class Pair:
    """The child process, once it is needed, and the process group with it."""

    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.child is not None:
            return
        self.folder = Path(tempfile.mkdtemp())
        self.child = subprocess.Popen([sys.executable, __file__, str(self.folder / "ranks")], stdin=subprocess.DEVNULL)
        atexit.register(self.close)
        join(self.folder / "ranks", 0, seconds=60)

    def close(self) -> None:
        """End the child and leave the group; the next step starts another. Nothing to do twice."""
        if self.child is None:
            return
        atexit.unregister(self.close)
        self.child.kill()
        self.child.wait()
        self.child = None
        if dist.is_initialized():
            dist.destroy_process_group()
        shutil.rmtree(self.folder, ignore_errors=True)


_pair = Pair()


def join(rendezvous: Path, rank: int, seconds: float) -> None:
    patience = datetime.timedelta(seconds=seconds)
    dist.init_process_group("gloo", init_method=rendezvous.as_uri(), world_size=2, rank=rank, timeout=patience)


def work(job: Any) -> list[Any]:
    """This rank's part of a step, then what each rank found: its neurons' update, or what went wrong."""
    arrays, options, X, y, damping = job
    try:
        net = ShallowNet.from_arrays(*arrays, **options)
        part = net.shard() if net.width > 1 else net  # a single neuron stays whole, on both
        own: Any = newton_step(part, X, y, damping, scaling="fixed").update.contiguous()
    except Exception as error:
        own = f"{type(error).__name__}: {error}"
    found: list[Any] = [None, None]
    dist.all_gather_object(found, own)
    return found


def follow(rendezvous: Path) -> None:
    torch.set_num_threads(1)
    join(rendezvous, 1, seconds=86400)  # between two steps it waits; where the parent ends, the connection does
    with contextlib.suppress(RuntimeError):
        while True:
            job: list[Any] = [None]
            dist.broadcast_object_list(job, src=0)
            work(job[0])
    os._exit(0)  # after a lost peer, gloo's own threads may not end


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
