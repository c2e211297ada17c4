"""The network (E1) as a torch module, whole or with its neurons spread over the ranks of a process group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nntk_accelerated.activations import activation
from nntk_accelerated.errors import InputError, MemoryLimitError, RangeError
from nntk_accelerated.laws import InitialLaw, initial_law
from nntk_accelerated.sharding import Ranks
from nntk_accelerated.validation import all_finite, number, whole_number

__all__ = ["ShallowNet", "columns"]


def columns(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(c, w, η), views of θ or of an update (n, d+2)."""
    return rows[:, 0], rows[:, 1:-1], rows[:, -1]


class ShallowNet(nn.Module):
    """f(x) = N^(-β) Σᵢ cᵢ σ(wᵢ·x + ηᵢ), equation (E1) of arXiv:2605.08352.

    Parameters c (n,), w (n, d), eta (n,). `width` is N; n = N unless the net is one rank's part (see `shard`), where f(x) is
    still the sum over all ranks. A new net draws its neurons by `generator` from `law`, an InitialLaw or the name of c's law;
    the default is that of (E9), c ~ U(-1, 1), w and η ~ N(0, 1).

    Raises InputError for sizes below 1, β outside (1/2, 1) (the ends need negative_control=True), or a dtype that is neither
    float32 nor float64; UnknownActivationError for a name in no registry entry.
    """

    c: nn.Parameter
    w: nn.Parameter
    eta: nn.Parameter

    def __init__(
        self,
        width: int,
        dim: int,
        *,
        beta: float,
        activation: str = "tanh",
        law: InitialLaw | str = "uniform",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
        negative_control: bool = False,
    ) -> None:
        super().__init__()
        n, d = whole_number("width", width), whole_number("dim", dim)
        if dtype not in (torch.float32, torch.float64):
            raise InputError("dtype", "torch.float32 or torch.float64", str(dtype))
        if generator is not None and not isinstance(generator, torch.Generator):
            raise InputError("generator", "a torch.Generator", repr(generator))
        self._describe(n, beta, activation, negative_control)
        drawn_from = initial_law(law)
        where = torch.device("cpu") if generator is None else generator.device
        try:
            device = torch.empty(0, device=device).device
        except (RuntimeError, TypeError, AssertionError) as error:
            raise InputError("device", "a device that torch has", repr(device)) from error

        def normal(scale: float, *size: int) -> Tensor:
            return torch.randn(*size, dtype=torch.float64, device=where, generator=generator).mul_(scale)

        def kept(values: Tensor) -> nn.Parameter:
            # drawn in float64, so that both dtypes start from one network
            return nn.Parameter(values.to(device=device, dtype=dtype))

        try:
            self.c = kept(drawn_from.output.draw(n, generator, where))
            self.w = kept(normal(drawn_from.w_scale, n, d))
            self.eta = kept(normal(drawn_from.eta_scale, n))
        except (RuntimeError, MemoryError) as error:
            raise MemoryLimitError(f"{n} neurons of dimension {d} do not fit in memory: lower width") from error

    @classmethod
    def from_arrays(
        cls,
        c: Any,
        w: Any,
        eta: Any,
        *,
        beta: float,
        activation: str,
        negative_control: bool = False,
    ) -> ShallowNet:
        """A net with copies of c (N,), w (N, d), eta (N,), tensors or anything torch.as_tensor takes (E1).

        Raises InputError for shapes that do not agree, mixed dtypes or devices, complex or non-finite numbers.
        """
        arrays = {"c": c, "w": w, "eta": eta}
        tensors = {name: _floating(name, value) for name, value in arrays.items()}
        for name, dims in (("c", 1), ("w", 2), ("eta", 1)):
            t = tensors[name]
            if t.dim() != dims or t.shape[0] != tensors["c"].shape[0] or t.numel() == 0:
                expected = f"{dims} dimension{'s' if dims > 1 else ''}, as many neurons as c, and at least one number"
                raise InputError(name, expected, f"shape {tuple(t.shape)}, with c of shape {tuple(tensors['c'].shape)}")
            if (t.dtype, t.device) != (tensors["c"].dtype, tensors["c"].device):
                raise InputError(name, f"{tensors['c'].dtype} on {tensors['c'].device}, as c", f"{t.dtype} on {t.device}")
            if not all_finite(t.detach()):
                raise InputError(name, "finite numbers", "inf or nan among them")
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._describe(tensors["c"].shape[0], beta, activation, negative_control)
        for name, t in tensors.items():
            setattr(net, name, nn.Parameter(t.detach().clone(memory_format=torch.contiguous_format)))
        return net

    @classmethod
    def from_theta(cls, theta: Any, *, beta: float, activation: str, negative_control: bool = False) -> ShallowNet:
        """A net with a copy of θ (N, d+2), a row (cᵢ, wᵢ, ηᵢ) for each neuron, tensor or array. Raises as `from_arrays`."""
        rows = _floating("theta", theta)
        if rows.dim() != 2 or rows.shape[0] == 0 or rows.shape[1] < 3:
            raise InputError("theta", "shape (N, d+2): a row (c, w, eta) for each neuron", f"shape {tuple(rows.shape)}")
        if not all_finite(rows.detach()):
            raise InputError("theta", "finite numbers", "inf or nan among them")
        return cls.from_arrays(*columns(rows), beta=beta, activation=activation, negative_control=negative_control)

    @property
    def theta(self) -> Tensor:
        """A copy of the parameters (n, d+2), a row (cᵢ, wᵢ, ηᵢ) for each neuron held here; without gradients."""
        return torch.cat([self.c.detach()[:, None], self.w.detach(), self.eta.detach()[:, None]], 1)

    def assign_(self, theta: Tensor) -> ShallowNet:
        """Put θ (n, d+2) in the place of the parameters, rounded to their dtype; returns the net.

        Raises InputError, and RangeError where a number overflows; the net is then as it was.
        """
        return self._put(columns(self._rows("theta", theta)))

    @torch.no_grad()
    def move_(self, update: Tensor) -> ShallowNet:
        """Add an update (n, d+2) to the parameters, in place; returns the net. Raises as `assign_`."""
        moves = columns(self._rows("update", update))
        return self._put([parameter + move for parameter, move in zip((self.c, self.w, self.eta), moves, strict=True)])

    def _rows(self, name: str, rows: Any) -> Tensor:
        """A tensor (n, d+2) of numbers that may become parameters."""
        if not isinstance(rows, Tensor) or tuple(rows.shape) != (self.c.shape[0], self.dim + 2):
            raise InputError(name, f"a tensor of shape ({self.c.shape[0]}, {self.dim + 2})", _described(rows))
        numbers = _floating(name, rows)
        if numbers.device != self.c.device:
            raise InputError(name, f"a tensor on {self.c.device}, as the net", str(numbers.device))
        if not all_finite(numbers.detach()):
            raise InputError(name, "finite numbers", "inf or nan among them")
        return numbers

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> ShallowNet:
        parameters = (self.c, self.w, self.eta)
        rounded = [value.to(parameter.dtype) for parameter, value in zip(parameters, values, strict=True)]
        if not all(map(all_finite, rounded)):
            raise RangeError(f"a parameter would leave the range of {self.c.dtype}")
        for parameter, value in zip(parameters, rounded, strict=True):
            parameter.copy_(value)
        return self

    def _describe(self, width: int, beta: Any, name: str, negative_control: bool) -> None:
        beta = number("beta", beta)
        inside = 0.5 <= beta <= 1 if negative_control else 0.5 < beta < 1
        if not inside:
            raise InputError("beta", "1/2 < beta < 1 (1/2 and 1 with negative_control=True)", repr(beta))
        self.width = width
        self.beta = beta
        self.activation = activation(name).name
        self.negative_control = negative_control
        self.ranks = Ranks()

    @property
    def dim(self) -> int:
        """d, the dimension of the inputs."""
        return int(self.w.shape[1])

    @property
    def scale(self) -> float:
        """N^(-β)."""
        return math.pow(self.width, -self.beta)

    def shard(self, group: Any = None) -> ShallowNet:
        """The rank's part of the net: neurons spread evenly over the ranks of a torch.distributed group (default: all).

        Call it with the same net on every rank. All quantities of this package then take the part in place of the net, return
        the same numbers on every rank, and per-neuron results for the rank's own neurons, `neurons`.
        Raises InputError if torch.distributed is not initialized, the net is a part already, or N is below the number of ranks.
        """
        if self.ranks.count > 1:
            raise InputError("net", "a whole net", "one rank's part")
        ranks = Ranks.of(group)
        if self.width < ranks.count:
            raise InputError("net", f"at least one neuron for each of {ranks.count} ranks", f"{self.width} neurons")
        low, high = ranks.slice(self.width)
        part = ShallowNet.from_arrays(
            self.c.detach()[low:high],
            self.w.detach()[low:high],
            self.eta.detach()[low:high],
            beta=self.beta,
            activation=self.activation,
            negative_control=self.negative_control,
        )
        part.width, part.ranks = self.width, ranks
        return part

    @property
    def neurons(self) -> slice:
        """Which neurons of the whole net these are."""
        return slice(*self.ranks.slice(self.width))

    def forward(self, X: Any) -> Tensor:
        """f(X) (M,) for X (M, d), equation (E1). Differentiable; the same numbers on every rank of a sharded net.

        Memory is O(MN) here; `outputs` streams. Raises InputError for another shape, dtype or device.
        """
        if not isinstance(X, Tensor) or X.dim() != 2 or X.shape[1] != self.dim:
            raise InputError("X", f"a tensor of shape (M, {self.dim})", _described(X))
        if X.dtype != self.w.dtype or X.device != self.w.device:
            raise InputError("X", f"{self.w.dtype} on {self.w.device}, as the net", f"{X.dtype} on {X.device}")
        z = torch.addmm(self.eta, X, self.w.t())
        f = activation(self.activation).function(z) @ self.c * self.scale
        return self.ranks.differentiable_sum(f)

    def extra_repr(self) -> str:
        part = f", neurons {self.neurons.start}:{self.neurons.stop}" if self.ranks.count > 1 else ""
        return f"width={self.width}, dim={self.dim}, beta={self.beta}, activation={self.activation!r}{part}"


def _floating(name: str, value: Any) -> Tensor:
    try:
        t = value if isinstance(value, Tensor) else torch.tensor(np.array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "an array of numbers", repr(value)) from error
    if t.dtype not in (torch.float32, torch.float64):
        raise InputError(name, "float32 or float64 numbers", str(t.dtype))
    if t.layout != torch.strided or t.is_meta:
        raise InputError(name, "a dense tensor with data", f"{t.layout} on {t.device}")
    return t


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
