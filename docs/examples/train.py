"""Train a wide network by the exact regularized Newton method; every step with its loss and its certificate.

python docs/examples/train.py --width 100000
torchrun --nproc-per-node 2 docs/examples/train.py --width 100000      # the same losses, the neurons on two processes
python docs/examples/train.py --width 1000 --gamma 0.01 --on-indefinite raise      # or step, or increase
"""

from __future__ import annotations

import argparse
import os

import torch

from nntk_accelerated import IndefiniteError, RegularizedNewton, ShallowNet, init_process_group, regularization
from nntk_proofs_checks.data import default_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=100_000)
    parser.add_argument("--beta", type=float, default=0.75)
    parser.add_argument("--gamma", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--on-indefinite", default="raise", choices=("raise", "step", "increase"))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    data = default_data()
    X, y = (torch.tensor(v, device=options.device) for v in (data.X, data.y))
    net = ShallowNet(
        options.width, X.shape[1], beta=options.beta, device=options.device, generator=torch.Generator().manual_seed(0)
    )
    distributed = "RANK" in os.environ
    if distributed:
        init_process_group()
        net = net.shard()
    first = not distributed or torch.distributed.get_rank() == 0
    optimizer = RegularizedNewton(net, options.gamma, on_indefinite=options.on_indefinite)
    unit = regularization(1.0, options.width, options.beta)
    for k in range(options.steps):
        try:
            step = optimizer.step(X, y)
        except IndefiniteError as error:
            if first:
                print(f"step {k}: refused. {error}")
            break
        if first:
            print(
                f"step {k}: loss {step.loss:.15e}  gamma {step.damping / unit:.4g}  residual {step.residual:.1e}  "
                f"negative eigenvalues {step.negative_eigenvalues}  {step.certificate.verdict}"
            )
    if distributed:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
