"""The machine, its versions, its GPU and what is missing, sent as a line of JSON to the pipe of `run.py`."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# The import name of each package that is used where it is there, the name of its distribution, and what goes without it.
OPTIONAL = {
    "numpy": ("numpy", "nothing can be run"),
    "scipy": ("scipy", "tests that use its statistics are skipped"),
    "pytest": ("pytest", "no tests are run"),
    "flint": (
        "python-flint",
        "tests against the reference implementation are skipped; comparisons are with dense float64 autograd instead",
    ),
    "mpmath": ("mpmath", "tests against the reference implementation are skipped"),
    "hypothesis": ("hypothesis", "tests that draw their cases are skipped"),
    "threadpoolctl": ("threadpoolctl", "the threads of NumPy's BLAS stay as they are; a GPU has no need of it"),
    "numba": ("numba", "on a CPU torch does the work of the compiled loops; on a GPU it does so anyway"),
    "typer": ("typer", "the command line `nntk` does not start; its functions are called directly"),
    "rich": ("rich", "the command line `nntk` does not start; its functions are called directly"),
}
KERNEL = Path("/proc/driver/nvidia/version")
VERSIONS = ("numpy", "scipy", "mpmath", "python-flint", "torch", "sympy")


def installed(module: str) -> bool:
    """Can it be found to import?"""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def version(distribution: str) -> str | None:
    """The installed version, None without one."""
    module = next((m for m, (name, _) in OPTIONAL.items() if name == distribution), distribution)
    try:
        return metadata.version(distribution) if installed(module) else None
    except metadata.PackageNotFoundError:
        return None


def driver() -> str | None:
    """The version of NVIDIA's driver, from nvidia-smi or the kernel."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", KERNEL.read_text())
    except OSError:
        return None
    return found[0] if found else None


def gpu() -> dict[str, Any] | None:
    """The first CUDA device as torch describes it; None without one. `error` where it is there and does not compute."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    found: dict[str, Any] = {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": list(torch.cuda.get_device_capability(0)),
        "multiprocessors": properties.multi_processor_count,
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "driver": driver(),
    }
    try:
        ones = torch.ones(64, 64, dtype=torch.float64, device="cuda")
        if float((ones @ ones).sum()) != 64**3:
            found["error"] = "the GPU does not multiply matrices of ones correctly"
    except Exception as error:  # a driver that does not fit, a device that is taken, …
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def surroundings() -> dict[str, Any]:
    """All of it, of JSON's own types."""
    from nntk import __version__

    torch_here = installed("torch")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": {"nntk": __version__, **{name: version(name) for name in VERSIONS}}
        | {"torch": _torch() if torch_here else None},
        "missing": {name: why for module, (name, why) in OPTIONAL.items() if not installed(module)},
        "card": any(Path("/dev").glob("nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None,
        "gpu": gpu() if torch_here else None,
    }


def _torch() -> str:
    import torch

    return str(torch.__version__)  # with the build, as in 2.11.0+cu130, which the distribution's version may lack


if __name__ == "__main__":
    os.write(int(os.environ["NNTK_GPU_PIPE"]), json.dumps(surroundings()).encode() + b"\n")
