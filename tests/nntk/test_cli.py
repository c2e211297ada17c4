"""The command line as a whole: it is light, and shows examples."""

from __future__ import annotations

import subprocess
import sys

import nntk

PROGRAM = """
import sys
from nntk.cli import app

for line in ("--help", "verify --help", "plan --help", "crosscheck --help", "bench step --help", "--version"):
    print("---")
    app(line.split(), prog_name="nntk", standalone_mode=False)
print("---")
print(sorted({"torch", "flint", "numpy"} & {*sys.modules}))
"""


def test_help_is_light_and_shows_an_example() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *shown, modules = done.stdout.split("---")
    assert modules.strip() == "[]"
    for text, part in zip(
        shown,
        [
            "verify",
            "\n    nntk verify --data points.csv --only ",
            "\n    nntk plan --data points.csv --rate ",
            "\n    nntk crosscheck mypackage.optim:make ",
            "Example: nntk bench step ",
            f"\nnntk {nntk.__version__}\n",
        ],
        strict=True,
    ):
        assert part in text
        assert max(map(len, text.splitlines())) <= 80
