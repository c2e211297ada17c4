"""Neurons spread over processes: the same numbers on every rank and as without, messages independent of N, no half steps.

This file is its own worker: `python test_sharding.py JOB FOLDER`, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set as
torchrun sets them. A process takes seconds to start, so each job does all its work at once and leaves it in FOLDER/RANK.pt.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import nntk_accelerated as accelerated
from nntk_accelerated import InputError, ProcessGroupError, RegularizedNewton, ShallowNet, init_process_group, sharding
from tests.tolerances import EPS, THRESHOLD

WIDTH, POINTS = 101, 5
CASES = {"definite": (1.0, "width"), "indefinite": (0.1, "width"), "border": (0.024667988, "fixed")}
"""gamma and scaling; in the border case one block has an eigenvalue of about 1e-9. A test makes sure of the names."""
WORLDS = (2, 3)
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
    for name, (gamma, scaling) in CASES.items():
        for kind in ("newton_step", "gauss_newton_step"):
            step = vars(getattr(accelerated, kind)(net, X, y, gamma, scaling=scaling)).copy()
            del step["seconds"]
            found[f"own {kind} {name}"] = step.pop("update").clone()
            step["certificate"] = vars(step["certificate"])
            found[f"{kind} {name}"] = step
        counted = vars(accelerated.inertia(net, X, y, gamma, scaling=scaling)).copy()
        found[f"inertia {name}"] = counted | {"certificate": vars(counted["certificate"])}
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


def main() -> None:
    job, folder = sys.argv[1], Path(sys.argv[2])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kind, _, option = job.partition(":")
    found = (work_quantities if kind == "quantities" else work_lost)(rank, world, option)
    torch.save(found, folder / f"{rank}.pt")
    sys.stdout.flush()
    os._exit(0)  # after a lost peer, gloo's own threads may not end


# --- the launcher ------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def launch(job: str, world: int, folder: Path) -> list[Any]:
    """Run a job on so many ranks; what each left behind, None where it left nothing."""
    here = Path(__file__).resolve()
    ours = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    processes = []
    for rank in range(world):
        environment = os.environ | ours | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths}
        with (folder / f"{rank}.log").open("wb") as log:
            processes.append(
                subprocess.Popen([sys.executable, str(here), job, str(folder)], env=environment, stdout=log, stderr=log)
            )
    try:
        for process in processes[:-1] if job.startswith("lost") else processes:
            process.wait(timeout=150)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    left = []
    for rank, process in enumerate(processes):
        path = folder / f"{rank}.pt"
        if process.returncode not in ((0, 17, -9) if job.startswith("lost") else (0,)):
            raise RuntimeError(f"rank {rank} of {world} in {job}:\n{(folder / f'{rank}.log').read_text()}")
        left.append(torch.load(path, weights_only=False) if path.exists() else None)
    return left


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return launch("quantities:cpu", request.param, tmp_path_factory.mktemp(f"ranks{request.param}"))


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return measure(*case())


# --- how far two orders of summation may be apart ----------------------------------------------------------------------------


class Sizes:
    """What the rounding errors of one case are relative to, from the reference's dense matrices."""

    def __init__(self, gamma: float, scaling: str) -> None:
        import nntk_reference as reference  # here, as the workers do without

        net, X, y = case()
        c, w, eta = (p.detach().numpy() for p in net.parameters())
        twin = reference.Network(c, w, eta, net.beta, "tanh")
        M, N = POINTS, WIDTH
        J = np.asarray(reference.jacobian(twin, X.numpy())).reshape(M, -1)
        S = np.asarray(reference.residual_hessian(twin, X.numpy(), y.numpy()))
        mu = gamma * N ** (1 - 2 * net.beta) if scaling == "width" else gamma
        self.H = np.asarray(reference.hessian(twin, X.numpy(), y.numpy()))
        self.values = np.linalg.eigvalsh(self.H) + mu
        r = np.asarray(reference.outputs(twin, X.numpy())) - y.numpy()
        # f is a sum of terms of both signs
        self.terms = np.linalg.norm(np.abs(np.tanh(X.numpy() @ w.T + eta)) @ np.abs(c)) * N**-net.beta
        self.J, self.r = float(np.linalg.norm(J)), float(np.linalg.norm(r)) + self.terms
        self.gradient = self.J * self.r / M
        self.inverse = 1 / np.abs(self.values).min()
        self.condition = np.abs(self.values).max() * self.inverse
        self.gauss_newton = (np.linalg.norm(J, 2) ** 2 / M + mu) / mu, 1 / mu
        # the system that nntk solves without refinement, border and all
        blocks, vectors = np.linalg.eigh(S + mu * np.eye(S.shape[1]))
        near = np.abs(blocks) < 1e-4 * max(mu, float(np.sqrt((S**2).sum() / N)))
        self.border = int(near.sum())
        along = np.einsum("mip,ipk->mik", J.reshape(M, N, -1), vectors)
        G = np.einsum("mik,ik,nik->mn", along, np.where(near, 0, 1 / np.where(near, 1, blocks)), along)
        JV = along[:, near]
        W = np.block([[M * np.eye(M) + G, JV], [JV.T, -np.diag(blocks[near])]])
        back, image = np.linalg.norm(np.linalg.inv(W), 2), np.linalg.norm(np.hstack([G, JV]), 2)
        terms = M + self.J**2 / np.abs(blocks[~near]).min()
        self.kernel = (image * back + 1) * back * terms


@cache
def sizes(name: str) -> Sizes:
    return Sizes(*CASES[name])


def allowed(size: float) -> float:
    """Both answers may err by this: sums of up to N terms, and solves that are backward stable."""
    return THRESHOLD * EPS["float64"] * size


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).norm())


def joined(ranks: list[Any], name: str) -> torch.Tensor:
    return torch.cat([rank["measured"][name] for rank in ranks])


# --- the same numbers --------------------------------------------------------------------------------------------------------


def test_the_cases_are_what_their_names_say(whole: dict[str, Any]) -> None:
    assert {name: whole[f"newton_step {name}"]["negative_eigenvalues"] > 0 for name in CASES} == {
        "definite": False,
        "indefinite": True,
        "border": True,
    }
    assert {name: whole[f"newton_step {name}"]["border"] for name in CASES} == {"definite": 0, "indefinite": 0, "border": 1}
    assert [sizes(name).border for name in CASES] == [0, 0, 1]
    assert all(
        whole[f"newton_step {name}"]["negative_eigenvalues"] == int((size.values < 0).sum())
        for name, size in ((name, sizes(name)) for name in CASES)
    )


def test_slices_partition_the_neurons(ranks: list[Any]) -> None:
    slices = [rank["neurons"] for rank in ranks]
    assert slices[0][0] == 0
    assert slices[-1][1] == WIDTH
    assert all(a[1] == b[0] for a, b in itertools.pairwise(slices))
    counts = [b - a for a, b in slices]
    assert counts == [rank["parameters"] for rank in ranks]
    assert max(counts) - min(counts) == 1  # as even as 101 neurons can be
    for rank, (a, b) in zip(ranks, slices, strict=True):
        assert f"width={WIDTH}" in rank["repr"]
        assert f"neurons {a}:{b}" in rank["repr"]


def test_every_rank_has_the_same_numbers_to_the_bit(ranks: list[Any]) -> None:
    first, *others = [rank["measured"] for rank in ranks]
    for name, value in first.items():
        if name.startswith("own"):
            continue
        for other in others:
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[name]), name
            else:
                assert value == other[name], name


@pytest.mark.parametrize("name", ["outputs", "forward"])
def test_outputs(name: str, ranks: list[Any], whole: dict[str, Any]) -> None:
    assert apart(ranks[0]["measured"][name], whole[name]) <= allowed(sizes("definite").terms)


def test_loss(ranks: list[Any], whole: dict[str, Any]) -> None:
    assert apart(ranks[0]["measured"]["loss"], whole["loss"]) <= allowed(sizes("definite").r ** 2 / POINTS)


def test_gradients(ranks: list[Any], whole: dict[str, Any]) -> None:
    assert apart(joined(ranks, "own gradient"), whole["own gradient"]) <= allowed(sizes("definite").gradient)


def test_ntk(ranks: list[Any], whole: dict[str, Any]) -> None:
    assert apart(ranks[0]["measured"]["ntk"], whole["ntk"]) <= allowed(float(whole["ntk"].trace()))


def test_gauss_newton_nntk(ranks: list[Any], whole: dict[str, Any]) -> None:
    condition, _ = sizes("definite").gauss_newton
    size = condition * POINTS**0.5  # B/(gamma_N + B) in the Frobenius norm
    assert apart(ranks[0]["measured"]["gauss_newton_nntk"], whole["gauss_newton_nntk"]) <= allowed(size)


@pytest.mark.parametrize("name", CASES)
def test_nntk(name: str, ranks: list[Any], whole: dict[str, Any]) -> None:
    assert apart(ranks[0]["measured"][f"nntk {name}"], whole[f"nntk {name}"]) <= allowed(sizes(name).kernel)


@pytest.mark.parametrize("name", CASES)
def test_newton_step(name: str, ranks: list[Any], whole: dict[str, Any]) -> None:
    size, alone = sizes(name), whole[f"own newton_step {name}"]
    error = apart(joined(ranks, f"own newton_step {name}"), alone)
    assert error <= allowed(size.condition * float(alone.norm()) + size.inverse * size.gradient)
    compare_records(ranks[0]["measured"][f"newton_step {name}"], whole[f"newton_step {name}"], size)


@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_step(name: str, ranks: list[Any], whole: dict[str, Any]) -> None:
    size, alone = sizes(name), whole[f"own gauss_newton_step {name}"]
    condition, inverse = size.gauss_newton
    error = apart(joined(ranks, f"own gauss_newton_step {name}"), alone)
    assert error <= allowed(condition * float(alone.norm()) + inverse * size.gradient)
    compare_records(ranks[0]["measured"][f"gauss_newton_step {name}"], whole[f"gauss_newton_step {name}"], size)


def compare_records(part: dict[str, Any], alone: dict[str, Any], size: Sizes) -> None:
    for field in ("damping", "negative_eigenvalues", "border"):
        assert part[field] == alone[field], field
    for field in ("verdict", "negative", "at_least"):
        assert part["certificate"][field] == alone["certificate"][field], field
    assert abs(part["loss"] - alone["loss"]) <= allowed(size.r**2 / POINTS)
    assert abs(part["gradient_norm"] - alone["gradient_norm"]) <= allowed(size.gradient)
    assert 0 <= part["residual"] <= THRESHOLD * EPS["float64"]


@pytest.mark.parametrize("name", CASES)
def test_inertia(name: str, ranks: list[Any], whole: dict[str, Any]) -> None:
    part, alone = ranks[0]["measured"][f"inertia {name}"], whole[f"inertia {name}"]
    assert [part[field] for field in ("negative", "positive", "proved")] == [
        alone[field] for field in ("negative", "positive", "proved")
    ]
    assert part["positive"] + part["negative"] == WIDTH * 4
    assert part["negative"] == int((sizes(name).values < 0).sum())


def test_min_eigenvalue(ranks: list[Any], whole: dict[str, Any]) -> None:
    part, alone = ranks[0]["measured"]["min_eigenvalue"], whole["min_eigenvalue"]
    assert part["proved"]
    assert part["converged"]
    # the same bisection from brackets that differ by the bounds of rounding errors, which know the number of ranks
    check_same_interval((part["lower"], part["upper"]), (alone["lower"], alone["upper"]))
    assert part["lower"] <= part["value"] <= part["upper"]


def check_same_interval(part: tuple[float, float], alone: tuple[float, float]) -> None:
    """Both hold the same number, so they overlap; and they are as wide as was asked for."""
    assert max(part[0], alone[0]) <= min(part[1], alone[1])
    assert 0.4 <= (part[1] - part[0]) / (alone[1] - alone[0]) <= 2.5


def test_required_gamma(ranks: list[Any], whole: dict[str, Any]) -> None:
    part, alone = ranks[0]["measured"]["required_gamma"], whole["required_gamma"]
    assert part["proved"] == alone["proved"]
    # sufficient is linear in |r|, which f's rounding moves; the others are min_eigenvalue's times N^(2 beta - 1)
    about = sizes("definite")
    *_, y = case()
    r = float((whole["outputs"] - y).norm())
    assert abs(part["sufficient"] - alone["sufficient"]) <= allowed(alone["sufficient"] * about.r / r * POINTS**0.5)
    check_same_interval((part["lower"], part["upper"]), (alone["lower"], alone["upper"]))


def test_a_trajectory(ranks: list[Any], whole: dict[str, Any]) -> None:
    part, alone = ranks[0]["measured"]["trajectory"], whole["trajectory"]
    assert [(s[1], *s[3:]) for s in part] == [(s[1], *s[3:]) for s in alone]
    about = Sizes(3.0, "width")
    # four steps, each of which at most doubles what came before: at gamma 3, |S| is far below the damping
    scale = 2**4 * about.condition
    for a, b in zip(part, alone, strict=True):
        assert abs(a[0] - b[0]) <= allowed(scale * about.r**2 / POINTS)
    error = apart(joined(ranks, "own trajectory"), whole["own trajectory"])
    assert error <= allowed(scale * (about.inverse * about.gradient + float(whole["own trajectory"].norm())))


def test_increased_damping(ranks: list[Any], whole: dict[str, Any]) -> None:
    (part,), (alone,) = ranks[0]["measured"]["increase"], whole["increase"]
    assert part[4] == alone[4] == "positive definite"
    assert part[1] == alone[1]  # bisection of fixed numbers
    # the smallest damping to 1 %: the distance to singular is at least... what the reference says
    values = np.linalg.eigvalsh(sizes("definite").H) + part[1]
    assert values[0] > 0
    size = (values[-1] * float(whole["own increase"].norm()) + sizes("definite").gradient) / values[0]
    assert apart(joined(ranks, "own increase"), whole["own increase"]) <= allowed(size)


def test_one_neuron_a_rank(ranks: list[Any]) -> None:
    net = case(len(ranks))[0].requires_grad_(False)
    X = case()[1]
    alone = accelerated.outputs(net, X)
    size = float((torch.tanh(X @ net.w.t() + net.eta).abs() @ net.c.abs()).norm()) * net.scale
    for rank in ranks:
        assert apart(rank["narrowest"], alone) <= allowed(size)


def test_a_subgroup_shares_the_net_among_its_own(ranks: list[Any], whole: dict[str, Any]) -> None:
    for rank in ranks[:2]:
        assert apart(rank["pair"], whole["outputs"]) <= allowed(sizes("definite").terms)
    for rank in ranks[2:]:
        assert rank["pair"] == ("InputError", "group")


def test_what_cannot_be_shared_is_refused(ranks: list[Any]) -> None:
    for rank in ranks:
        assert rank["a part again"] == ("InputError", "net")
        assert rank["too narrow"] == ("InputError", "net")


# --- what is sent ------------------------------------------------------------------------------------------------------------


def test_what_is_sent_does_not_depend_on_the_width(ranks: list[Any]) -> None:
    for rank in ranks:
        narrow, wide = rank["messages"][100], rank["messages"][1000]
        assert narrow == wide
        assert sum(narrow) <= 40 * 41 + 8 * 40  # the M by M sum, and a few vectors
        assert max(narrow) == 40 * 40
        assert sum(narrow) > sum(rank["small messages"])  # it is counted indeed


# --- a lost rank -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "world"), [("first", 2), ("last", 3), ("silent", 2)])
def test_a_lost_rank_is_an_error_and_not_half_a_step(how: str, world: int, tmp_path: Path) -> None:
    *survivors, lost = launch(f"lost:{how}", world, tmp_path)
    assert lost is None
    for found in survivors:
        assert found is not None
        assert found["collectives"] >= 5
        assert found["error"] == "ProcessGroupError", found["message"]
        assert f"of {world}" in found["message"]
        assert found["unchanged"]
        assert found["steps"] == [2, 2, 2]
        assert found["seconds"] < PATIENCE + SLACK
    if how == "silent":
        assert survivors[0]["seconds"] > PATIENCE / 2  # it waited


# --- joining -----------------------------------------------------------------------------------------------------------------

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_a_missing_environment_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv(missing)
    with pytest.raises(InputError, match=missing) as caught:
        init_process_group("gloo")
    assert caught.value.argument == "environment"
    assert not dist.is_initialized()


def test_nobody_there_is_an_error_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(ENVIRONMENT, ("1", "2", "127.0.0.1", str(free_port())), strict=True):
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(ProcessGroupError, match="did not find each other"):
        init_process_group("gloo", timeout=1.0)
    assert time.monotonic() - began < 1.0 + SLACK
    assert not dist.is_initialized()


def test_a_failed_collective_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", broken)
    tensor = torch.ones(3)
    with pytest.raises(ProcessGroupError, match=r"rank 1 of 2: .*connection closed by peer"):
        sharding.Ranks(2, 1).sum(tensor)
    sharding.Ranks().sum(tensor)  # one rank alone sends nothing
    assert tensor.tolist() == [1, 1, 1]


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("size", [7, 8, 100])
def test_slices_are_even_and_complete(count: int, size: int) -> None:
    slices = [sharding.Ranks(count, rank).slice(size) for rank in range(count)]
    assert [i for a, b in slices for i in range(a, b)] == list(range(size))
    assert {b - a for a, b in slices} <= {size // count, size // count + 1}


# --- on GPUs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_nccl_gives_what_one_gpu_gives(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("nccl: needs two CUDA devices")
    parts, alone = launch("quantities:cuda", 2, tmp_path), measure(*case(device="cuda"))
    test_every_rank_has_the_same_numbers_to_the_bit(parts)
    for name in CASES:
        test_newton_step(name, parts, alone)
        test_inertia(name, parts, alone)
    test_outputs("forward", parts, alone)
    test_gradients(parts, alone)
    test_a_trajectory(parts, alone)


if __name__ == "__main__":
    main()
