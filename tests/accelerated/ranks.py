"""Work that several ranks do together, for the tests, and what starts the ranks.

`python -m tests.accelerated.ranks` is a server: it imports torch once, then forks the ranks of every job that it is sent,
each a process of its own. A job is a line of JSON on stdin; its answer, a line of exit statuses on stdout.
What a rank finds is left in FOLDER/RANK.pt, what it prints in FOLDER/RANK.log.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import nntk_accelerated as accelerated
from nntk_accelerated import InputError, RegularizedNewton, ShallowNet, init_process_group

WIDTH, POINTS = 101, 5
CASES = {"definite": (1.0, "width"), "indefinite": (0.1, "width"), "border": (0.024667988, "fixed")}
"""gamma and scaling; in the border case one block has an eigenvalue of about 1e-9. A test makes sure of the names."""
PATIENCE, SLACK = 5.0, 20.0
"""Seconds: the group's timeout, and what a busy machine may add."""


def case(width: int = WIDTH, points: int = POINTS, device: str = "cpu") -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    net = ShallowNet(width, 2, beta=0.75, generator=generator)
    X, y = (torch.randn(*size, dtype=torch.float64, generator=generator) for size in ((points, 2), (points,)))
    return net.to(device), X.to(device), y.to(device)


def measure(net: ShallowNet, X: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """Everything that a part must give as the whole does. Per-neuron results have names that start with 'own'."""
    found: dict[str, Any] = {
        "outputs": accelerated.outputs(net, X),
        "loss": accelerated.loss(net, X, y),
        "ntk": accelerated.ntk(net, X),
        "gauss_newton_nntk": accelerated.gauss_newton_nntk(net, X, 1.0),
        "min_eigenvalue": vars(accelerated.min_eigenvalue(net, X, y, rtol=1e-2)),
        "required_gamma": vars(accelerated.required_gamma(net, X, y, rtol=1e-2)),
    }
    at = accelerated.prepare(net, X, y)
    for name, (gamma, scaling) in CASES.items():
        for kind in ("newton_step", "gauss_newton_step"):
            step = vars(getattr(accelerated, kind)(net, X, y, gamma, scaling=scaling)).copy()
            del step["seconds"]
            found[f"own {kind} {name}"] = step.pop("update").clone()
            step["certificate"] = vars(step["certificate"])
            found[f"{kind} {name}"] = step
        counted = vars(accelerated.inertia(net, X, y, gamma, scaling=scaling)).copy()
        found[f"inertia {name}"] = counted | {"certificate": vars(counted["certificate"])}
        damping = found[f"newton_step {name}"]["damping"]
        found[f"prepared {name}"] = {
            "negative": at.negative_eigenvalues(damping),
            "certificate": vars(at.certificate(damping, count=True)),
            "sufficient_gamma": at.sufficient_gamma,
            "same step": torch.equal(at.step(damping).update, found[f"own newton_step {name}"]),
        }
        found[f"nntk {name}"] = accelerated.nntk(net, X, y, gamma, scaling=scaling)
    net.zero_grad()
    f = net(X)
    found["forward"] = f.detach().clone()
    ((f - y).square().sum() / (2 * len(y))).backward()
    found["own gradient"] = torch.cat([net.c.grad[:, None], net.w.grad, net.eta.grad[:, None]], 1)

    def train(gamma: float, steps: int, **options: Any) -> tuple[list[Any], torch.Tensor]:
        part = ShallowNet.from_arrays(net.c, net.w, net.eta, beta=net.beta, activation=net.activation)
        part.width, part.ranks = net.width, net.ranks
        method = RegularizedNewton(part, gamma, 0.7, **options)
        taken = [method.step(X, y) for _ in range(steps)]
        numbers = [(s.loss, s.damping, s.residual, s.negative_eigenvalues, s.certificate.verdict) for s in taken]
        return numbers, torch.cat([part.c[:, None], part.w, part.eta[:, None]], 1).detach()

    found["trajectory"], found["own trajectory"] = train(3.0, 4)
    found["increase"], found["own increase"] = train(0.1, 1, on_indefinite="increase")
    return {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in found.items()}


# --- the worker --------------------------------------------------------------------------------------------------------------


def refused(action: Callable[[], Any]) -> tuple[str, str]:
    try:
        action()
    except InputError as error:
        return type(error).__name__, error.argument
    return "nothing", ""


def messages(width: int, points: int, gamma: float) -> list[int]:
    """How many numbers each collective of one step sends."""
    part, (_, X, y) = case(width, points)[0].shard(), case(width, points)
    counts, plain = [], dist.all_reduce

    def counted(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        counts.append(tensor.numel())
        return plain(tensor, *arguments, **options)

    def forbidden(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("another collective than all_reduce")

    others = ("all_gather", "all_gather_into_tensor", "broadcast", "gather", "reduce", "send", "all_gather_object")
    kept = {name: getattr(dist, name) for name in others}
    try:
        dist.all_reduce = counted
        for name in others:
            setattr(dist, name, forbidden)
        verdict = accelerated.newton_step(part, X, y, gamma).certificate.verdict
    finally:
        dist.all_reduce = plain
        for name, function in kept.items():
            setattr(dist, name, function)
    assert verdict == "positive definite"
    return counts


def work_quantities(rank: int, world: int, device: str) -> dict[str, Any]:
    init_process_group(timeout=60)
    whole, X, y = case(device=device)
    part = whole.shard()
    found = {"neurons": (part.neurons.start, part.neurons.stop), "repr": repr(part), "parameters": part.c.numel()}
    found["measured"] = measure(part, X, y)
    if device == "cpu":
        found["messages"] = {width: messages(width, 40, 5.0) for width in (100, 1000)}
        found["small messages"] = messages(100, 4, 5.0)
        found["a part again"] = refused(part.shard)
        found["too narrow"] = refused(ShallowNet(world - 1, 2, beta=0.75).shard)
        found["narrowest"] = accelerated.outputs(case(world)[0].shard(), X)
        pair = dist.new_group([0, 1])
        # two of the ranks alone: the third is told so, and the two get what they should
        found["pair"] = refused(lambda: whole.shard(pair)) if rank > 1 else accelerated.outputs(whole.shard(pair), X)
    dist.destroy_process_group()
    return found


def work_lost(rank: int, world: int, how: str) -> dict[str, Any]:
    """Two good steps, and a third in which the last rank exits, or falls silent, halfway."""
    init_process_group("gloo", timeout=PATIENCE)
    whole, X, y = case()
    part = whole.shard()
    method = RegularizedNewton(part, 3.0)
    method.step(X, y)
    calls, plain = 0, dist.all_reduce

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if rank == world - 1 and calls == goal:
            if how == "silent":
                time.sleep(PATIENCE + SLACK)
            os._exit(17)
        return plain(*arguments, **options)

    dist.all_reduce, goal = counted, 0
    method.step(X, y)
    total, calls = calls, 0
    goal = {"first": 1, "silent": total // 2, "last": total}[how]
    before = [p.detach().clone() for p in part.parameters()]
    began, error = time.monotonic(), None
    try:
        method.step(X, y)
    except Exception as caught:
        error = caught
    return {
        "error": type(error).__name__,
        "message": str(error),
        "seconds": time.monotonic() - began,
        "unchanged": all(torch.equal(a, b) for a, b in zip(before, part.parameters(), strict=True)),
        "steps": [state["step"] for state in method.state.values()],
        "collectives": total,
    }


def rank_main(job: str, folder: Path, rank: int, world: int) -> None:
    """One rank's process, from its fork to its end."""
    with (folder / f"{rank}.log").open("wb") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        kind, _, option = job.partition(":")
        found = {"quantities": work_quantities, "lost": work_lost}[kind](rank, world, option)
        torch.save(found, folder / f"{rank}.pt")
        status = 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # after a lost peer, gloo's own threads may not end


# --- the server --------------------------------------------------------------------------------------------------------------

TIME = 150.0
"""Seconds that a job may take."""


def serve() -> None:
    """Fork the ranks of every job on stdin."""
    for line in sys.stdin:
        job = json.loads(line)
        children = []
        for rank in range(job["world"]):
            os.environ.update(job["environment"], RANK=str(rank), LOCAL_RANK=str(rank))
            child = os.fork()
            if child == 0:
                rank_main(job["job"], Path(job["folder"]), rank, job["world"])
            children.append(child)
        print(json.dumps(joined(children, job["wait_for"])), flush=True)


def joined(children: list[int], wait_for: int) -> list[int]:
    """Exit statuses, once the first `wait_for` have ended or time is up; the others are killed then."""
    deadline, status = time.monotonic() + TIME, dict[int, int]()
    while len(status) < len(children):
        waiting = [child for child in children[:wait_for] if child not in status]
        for child in (child for child in children if child not in status):
            if not waiting or time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                _, how = os.waitpid(child, 0)
            else:
                ended, how = os.waitpid(child, os.WNOHANG)
                if not ended:
                    continue
            status[child] = os.waitstatus_to_exitcode(how)
        time.sleep(0.01)
    return [status[child] for child in children]


# --- the client --------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Launcher:
    """The server's process, started at the first job."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.server: subprocess.Popen[str] | None = None

    def launch(self, job: str, world: int) -> list[Any]:
        """Run a job on so many ranks; what each left behind, None where it left nothing."""
        if self.server is None:
            root = str(Path(__file__).resolve().parents[2])
            paths = os.pathsep.join([root, *(path for path in sys.path if path)])
            threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
            self.server = subprocess.Popen(
                [sys.executable, "-m", "tests.accelerated.ranks"],
                env=os.environ | threads | {"PYTHONPATH": paths},
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        lost = job.startswith("lost")
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        order = {"job": job, "world": world, "folder": str(folder), "environment": environment, "wait_for": world - lost}
        print(json.dumps(order), file=self.server.stdin, flush=True)
        answer = self.server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server of {job} ended with {self.server.wait()}")
        left = []
        for rank, status in enumerate(json.loads(answer)):
            if status not in ((0, 17, -signal.SIGKILL) if lost else (0,)):
                log = (folder / f"{rank}.log").read_text()
                raise RuntimeError(f"rank {rank} of {world} in {job} ended with {status}:\n{log}")
            path = folder / f"{rank}.pt"
            left.append(torch.load(path, weights_only=False) if path.exists() else None)
        return left

    def close(self) -> None:
        """End the server, which has no job then."""
        if self.server is not None and self.server.stdin is not None and self.server.stdout is not None:
            self.server.stdin.close()
            self.server.wait(timeout=60)
            self.server.stdout.close()


if __name__ == "__main__":
    serve()
