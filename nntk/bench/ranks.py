"""The exact step on several processes of this machine, joined by gloo, one thread each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from nntk.bench.measuring import GAMMA, default_problem, timed
from nntk_accelerated import init_process_group, newton_step

__all__ = ["on_ranks"]


def _rank(rank: int, ranks: int, file: str, width: int, points: int, rounds: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(file).name[6:]}
    init_process_group("gloo")
    whole, X, y = default_problem(width, points)
    net = whole.shard()
    seconds, step = timed(lambda: newton_step(net, X, y, GAMMA), "cpu", rounds)
    if rank == 0:
        Path(file).write_text(json.dumps({"seconds": seconds, "loss": step.loss}))
    torch.distributed.destroy_process_group()


def on_ranks(ranks: int, width: int, points: int, rounds: int) -> float:
    """Median seconds of a step on this many gloo ranks with one thread each."""
    import socket
    import tempfile

    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        file = Path(folder) / f"ranks-{free.getsockname()[1]}"
        free.close()
        spawn(_rank, (ranks, str(file), width, points, rounds), nprocs=ranks)  # type: ignore[no-untyped-call]
        return float(json.loads(file.read_text())["seconds"])
