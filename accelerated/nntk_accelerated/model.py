"""The network (E1) as a torch module, whole or with its neurons spread over the ranks of a process group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nntk_accelerated.activations import activation
from nntk_accelerated.errors import InputError, MemoryLimitError
from nntk_accelerated.sharding import Ranks
from nntk_accelerated.validation import number, whole_number

__all__ = ["ShallowNet"]


class ShallowNet(nn.Module):
    """f(x) = N^(-β) Σᵢ cᵢ σ(wᵢ·x + ηᵢ), equation (E1) of arXiv:2605.08352.

    Parameters c (n,), w (n, d), eta (n,). `width` is N; n = N unless the net is one rank's part (see `shard`), where f(x) is
    still the sum over all ranks. A new net draws c ~ U(-1, 1) and w, η ~ N(0, 1), the law of (E9), from `generator`.

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
        where = torch.device("cpu") if generator is None else generator.device
        try:
            device = torch.empty(0, device=device).device
        except (RuntimeError, TypeError, AssertionError) as error:
            raise InputError("device", "a device that torch has", repr(device)) from error

        def draw(law: Any, *size: int) -> nn.Parameter:
            # float64 first, so that both dtypes start from one network
            values = law(*size, dtype=torch.float64, device=where, generator=generator)
            return nn.Parameter(values.to(device=device, dtype=dtype))

        try:
            self.c = draw(lambda *size, **kw: torch.rand(*size, **kw).mul_(2).sub_(1), n)
            self.w = draw(torch.randn, n, d)
            self.eta = draw(torch.randn, n)
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
            if not bool(torch.isfinite(t).all()):
                raise InputError(name, "finite numbers", "inf or nan among them")
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._describe(tensors["c"].shape[0], beta, activation, negative_control)
        for name, t in tensors.items():
            setattr(net, name, nn.Parameter(t.detach().clone(memory_format=torch.contiguous_format)))
        return net

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
