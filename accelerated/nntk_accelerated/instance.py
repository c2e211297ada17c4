"""A network at its data, checked once: what every streaming pass reads, and how the passes run over chunks of neurons."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from nntk_accelerated.activations import Activation, activation
from nntk_accelerated.errors import AcceleratedError, InputError, MemoryLimitError
from nntk_accelerated.model import ShallowNet
from nntk_accelerated.sharding import Ranks
from nntk_accelerated.validation import all_finite, choice, whole_number

__all__ = ["NO_TARGETS", "PRECISIONS", "Instance", "Precision", "instance", "memory_guard"]

T = TypeVar("T")


@dataclass(frozen=True)
class Precision:
    """`working`: parameters, blocks, residuals and update. `product`: the M×M sum over neurons and its factorization."""

    working: torch.dtype
    product: torch.dtype


PRECISIONS = {
    "float64": Precision(torch.float64, torch.float64),
    "mixed": Precision(torch.float64, torch.float32),
    "float32": Precision(torch.float32, torch.float32),
}

_LANE_LIMIT = 1024
"""Up to this M each thread sums its own chunks; beyond, one chunk's products are large enough to be shared out by BLAS."""

_FUSED_FROM = 2**16
"""Entries of σ from which compiled loops are worth loading the compiler."""

_FUSED_DIM = 16

_WORKING_SET = 6 * 2**20
"""Bytes of one lane's temporaries on a CPU: they stay in its share of the last-level cache."""


@dataclass(frozen=True)
class Instance:
    """One net and one data set in the working precision, and how the passes run.

    X1 (M, d+1) = (1, x). In every loop of this package a neuron's parameters stand in the order (η, w, c), as X1 does with the
    bias first; in public, and in the reference, the order is (c, w, η), and x̃ = (x, 1). `stream` changes between the two.

    p = d+2 parameters a neuron; `local` neurons here, N in all; scale = N^(-β).
    fused: the number of the activation's compiled loops (see `fused`), None where torch does the work.
    """

    net: ShallowNet
    c: Tensor
    w: Tensor
    eta: Tensor
    X1: Tensor
    y: Tensor
    activation: Activation
    precision: Precision
    ranks: Ranks
    chunk: int
    lanes: int
    fused: int | None = None

    @property
    def M(self) -> int:
        """Number of data points."""
        return self.X1.shape[0]

    @property
    def p(self) -> int:
        """Parameters a neuron."""
        return self.X1.shape[1] + 1

    @property
    def local(self) -> int:
        """Neurons held by this process."""
        return self.c.shape[0]

    @property
    def scale(self) -> float:
        """N^(-β)."""
        return self.net.scale

    @property
    def dtype(self) -> torch.dtype:
        """The working dtype."""
        return self.precision.working

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.c.device

    @property
    def depth(self) -> int:
        """Additions behind one entry of a sum over all neurons, one term each: within a chunk, over chunks, lanes and ranks."""
        return self.chunk + -(-self.net.width // self.chunk) + self.lanes + self.ranks.count

    @property
    def block(self) -> int:
        """Neurons at a time where each takes a dozen temporaries of p×p, which must not grow with N.

        On a CPU they stay in the cache; on a GPU a call on few neurons takes as long as one on many.
        """
        return 2**14 if self.device.type == "cpu" else max(2**14, 2**22 // self.p**2)

    def zeros(self, *size: int, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros of the working dtype."""
        return torch.zeros(*size, dtype=dtype or self.dtype, device=self.device)

    def jets(self, part: slice | Tensor, order: int) -> tuple[Tensor, ...]:
        """(σ, σ', σ'')[:order+1] at z = wᵢ·xₘ + ηᵢ, each (M, n), for the neurons of `part`."""
        eta, w = self.eta[part].to(self.dtype), self.w[part].to(self.dtype)
        x = self.X1[:, 1:]
        z = torch.addcmul(eta, x, w[:, 0]) if w.shape[1] == 1 else torch.addmm(eta, x, w.t())
        return self.activation.jets(z, order)

    def sweep(self, work: Callable[[list[slice]], T]) -> list[T]:
        """`work` on each lane's chunks; the results in the lanes' order, so that sums do not depend on timing."""
        chunks = [slice(a, min(a + self.chunk, self.local)) for a in range(0, self.local, self.chunk)]
        narrow = torch.float32 in (self.precision.working, self.precision.product)
        with _full_float32() if narrow else contextlib.nullcontext():
            return self._lanes(work, chunks)

    def _lanes(self, work: Callable[[list[slice]], T], chunks: list[slice]) -> list[T]:
        if self.lanes == 1:
            with torch.no_grad(), _blas_threads(torch.get_num_threads() if self.device.type == "cpu" else None):
                return [work(chunks)]

        def lane(k: int) -> T:
            torch.set_num_threads(1)
            with torch.no_grad():
                return work(chunks[k :: self.lanes])

        threads = torch.get_num_threads()
        try:
            with _blas_threads(1), ThreadPoolExecutor(self.lanes) as pool:
                return list(pool.map(lane, range(self.lanes)))
        finally:
            torch.set_num_threads(threads)  # the lanes set it for threads yet to come, too


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Products of float32 numbers in float32: the error bounds know nothing of TF32 or bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _controller() -> Any:
    """What sets the threads of NumPy's BLAS; None without threadpoolctl, of which a GPU has no need."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def _blas_threads(count: int | None) -> Any:
    if count is None or _controller() is None:
        return contextlib.nullcontext()
    return _controller().limit(limits=count, user_api="blas")


NO_TARGETS = object()
"""In place of y, for quantities that need none."""


def instance(
    net: Any,
    X: Any,
    y: Any,
    *,
    precision: str | None = None,
    chunk: int | None = None,
) -> Instance:
    """Check a net and its data, and choose the chunk.

    precision   "float64", "mixed" or "float32"; by default the net's own dtype.
    chunk       neurons at a time; by default what fits the cache, or a part of the device's memory.

    Raises InputError naming the argument; MemoryLimitError if the M×M matrix cannot fit. Nothing has been computed then.
    """
    if not isinstance(net, ShallowNet):
        raise InputError("net", "a ShallowNet", type(net).__name__)
    refusal = None
    try:
        X, y, chosen, size, lanes = _checked(net, X, y, precision, chunk)
    except AcceleratedError as error:
        refusal = error
    if net.ranks.count > 1:
        _agreed(net, X, y, refusal)
    if refusal is not None:
        raise refusal
    M = X.shape[0]
    on_cpu = X.device.type == "cpu"
    X1 = torch.cat([torch.ones(M, 1, dtype=chosen.working, device=X.device), X.detach().to(chosen.working)], 1)
    return Instance(
        net=net,
        c=net.c.detach(),
        w=net.w.detach(),
        eta=net.eta.detach(),
        X1=X1,
        y=y.detach().to(chosen.working).contiguous(),
        activation=activation(net.activation),
        precision=chosen,
        ranks=net.ranks,
        chunk=size,
        lanes=lanes,
        fused=_fused(net, chosen, M) if on_cpu else None,
    )


def _fused(net: ShallowNet, chosen: Precision, M: int) -> int | None:
    """The compiled loops' number of the activation, where they can do this work and it is large enough."""
    if M * net.c.shape[0] < _FUSED_FROM:  # a fixed number: what ran before must not change a result's last bits
        return None
    if chosen.working != torch.float64 or net.c.dtype != torch.float64 or M > _LANE_LIMIT or net.dim > _FUSED_DIM:
        return None
    try:
        from nntk_accelerated import fused  # noqa: F401 - is it there?
    except ImportError:  # numba is an extra
        return None
    return activation(net.activation).compiled


def _data(name: str, value: Any, net: ShallowNet, dims: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(name, "a torch tensor", type(value).__name__)
    if value.dtype != net.c.dtype:
        raise InputError(name, f"{net.c.dtype}, as the net", str(value.dtype))
    if value.device != net.c.device:
        raise InputError(name, f"a tensor on {net.c.device}, as the net", str(value.device))
    if value.layout != torch.strided or value.is_meta:
        raise InputError(name, "a dense tensor with data", f"{value.layout} on {value.device}")
    if value.dim() != dims:
        raise InputError(name, "shape (M, d)" if dims == 2 else "shape (M,)", f"shape {tuple(value.shape)}")
    return value


def _memory(device: torch.device) -> int:
    """Bytes free for new tensors on the device; what the allocator keeps for reuse counts as free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        with open("/proc/meminfo") as lines:
            available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return available * 1024
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return 2**62  # unknown: the allocator will say


def _memory_message(M: int, N: int, chunk: int, need: int | None) -> str:
    about = f" (about {need / 2**30:.1f} GiB)" if need else ""
    return (
        f"M = {M}, N = {N}, chunk = {chunk} do not fit in memory{about}: lower chunk, or M (the M×M matrix takes M² numbers), "
        "or use more ranks"
    )


@contextlib.contextmanager
def memory_guard(task: Instance) -> Iterator[None]:
    """Turn the allocator's error into MemoryLimitError, which says what to lower."""
    try:
        yield
    except AcceleratedError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MemoryLimitError(_memory_message(task.M, task.net.width, task.chunk, None)) from error
    except RuntimeError as error:
        if "memory" in str(error).lower():
            raise MemoryLimitError(_memory_message(task.M, task.net.width, task.chunk, None)) from error
        raise


def _checked(net: ShallowNet, X: Any, y: Any, precision: Any, chunk: Any) -> tuple[Tensor, Tensor, Precision, int, int]:
    """(X, y, precision, chunk, lanes), or the error that says what is wrong with them on this rank."""
    parameters = tuple((name, getattr(net, name)) for name in ("c", "w", "eta"))
    for name, parameter in parameters:
        if parameter.dtype != net.c.dtype or parameter.device != net.c.device:
            raise InputError(
                f"net.{name}", f"{net.c.dtype} on {net.c.device}, as net.c", f"{parameter.dtype} on {parameter.device}"
            )
        if parameter.is_meta:
            raise InputError(f"net.{name}", "a tensor with data", "one on the meta device")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise InputError(f"net.{name}", "float32 or float64", str(parameter.dtype))
    X = _data("X", X, net, 2)
    if X.shape[1] != net.dim:
        raise InputError("X", f"shape (M, {net.dim}), as net.w", f"shape {tuple(X.shape)}")
    if X.shape[0] == 0:
        raise InputError("X", "at least one data point", "M = 0")
    if y is NO_TARGETS:
        y = X.new_zeros(X.shape[0])
    y = _data("y", y, net, 1)
    if y.shape[0] != X.shape[0]:
        raise InputError("y", f"shape ({X.shape[0]},), as X has rows", f"shape {tuple(y.shape)}")
    for name, values in (("X", X), ("y", y), *((f"net.{name}", p) for name, p in parameters)):
        if not all_finite(values.detach()):
            raise InputError(name, "finite numbers", "inf or nan among them")
    if precision is None:
        precision = "float64" if net.c.dtype == torch.float64 else "float32"
    chosen = PRECISIONS[choice("precision", precision, PRECISIONS)]
    M, p, local = X.shape[0], net.dim + 2, net.c.shape[0]
    if chunk is not None:
        whole_number("chunk", chunk, "a whole number of neurons, at least 1")
    on_cpu = net.c.device.type == "cpu"
    lanes = torch.get_num_threads() if on_cpu and M <= _LANE_LIMIT else 1
    size = chosen.working.itemsize * (M * (p + 4) + 6 * p * p)  # temporaries for one neuron
    memory = _memory(net.c.device)
    matrices = M * M * chosen.product.itemsize
    if chunk is None:
        budget = _WORKING_SET if on_cpu else min(memory // 8, 2**31)
        chunk = max(min(budget // size, 2**17), 128 if on_cpu else 1024, 1)
        if M > _LANE_LIMIT:  # an M×M sum is read and written once a chunk: give each chunk enough to do
            chunk = max(chunk, min(1024, memory // 8 // size), 1)
    chunk = min(chunk, local)
    lanes = max(1, min(lanes, -(-local // chunk)))
    need = (lanes + 1) * matrices + lanes * chunk * size
    if need > memory:
        raise MemoryLimitError(_memory_message(M, net.width, chunk, need))
    return X, y, chosen, chunk, lanes


def _agreed(net: ShallowNet, X: Any, y: Any, refusal: AcceleratedError | None) -> None:
    """Find out before any work that every rank has good input, and the same data. Raises InputError where another has not."""
    state = torch.tensor([refusal is not None], dtype=torch.float64, device=net.c.device)
    net.ranks.max(state)
    if refusal is not None:
        return
    if bool(state.any()):
        raise InputError("net, X, y", "good input on every rank", "input that another rank refused")
    weights = torch.arange(1, X.shape[0] + 1, dtype=torch.float64, device=X.device)
    marks = [X.double().sum(1) @ weights, y.double() @ weights, X.double().abs().sum(), y.double().abs().sum()]
    shape = torch.tensor([X.shape[0], X.shape[1], net.width, net.beta], dtype=torch.float64, device=X.device)
    if not net.ranks.agree(torch.cat([torch.stack(marks), shape])):
        raise InputError("X, y", "the same data, width and beta on every rank", "others on another rank")
