"""Options that commands share: lists, completion, and errors in the words of the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from nntk import __version__
from nntk.bench import TABLES
from nntk.cli import app
from nntk.crosscheck import CHECKS, PROFILES
from nntk_proofs_checks import CLAIMS
from nntk_reference import ACTIVATIONS, LAWS
from tests.nntk.claims import claim

CROSSCHECK = "crosscheck tests.nntk.optimizers:half_residual"


def title(command: str) -> str:
    """What is printed before anything is imported or looked at."""
    return f"nntk {__version__} crosscheck: {command.split()[1]}\n" if command.startswith("crosscheck ") else ""


def statements(command: str) -> dict[str, str]:
    if command == "bench step":
        return {id: table.statement for id, table in TABLES.items()}
    return {id: entry.statement for id, entry in (CLAIMS if command == "verify" else CHECKS).items()}


# --- --list ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["verify", "crosscheck", "bench step"])
def test_list_needs_nothing_else(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--list"])
    assert (result.exit_code, result.stderr) == (0, "")
    listed = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert listed == {id: " ".join(statement.split()) for id, statement in statements(command).items()}


@pytest.mark.parametrize("options", [["--list", "--only", "nonsense"], ["--quick", "--full", "--list"]])
def test_list_comes_before_everything_else(verify: Callable[..., Result], options: list[str]) -> None:
    result = verify(*options, claims=[claim("a"), claim("second")])
    assert (result.exit_code, result.stdout) == (0, "a       s\nsecond  s\n")


# --- completion ------------------------------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    """What bash is offered for the last of the words."""
    env = {"_NNTK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["nntk", *words]), "COMP_CWORD": str(len(words))}
    result = CliRunner().invoke(app, [], prog_name="nntk", env=env)
    assert result.exit_code == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ver"], ["verify"]),
        (["bench", "s"], ["step"]),
        (["verify", "--only", "nntk"], ["nntk-bound"]),
        (["verify", "--only", "one-step,nntk"], ["one-step,nntk-bound"]),
        (["crosscheck", "a:b", "--only", "step-s"], ["step-size-honoured"]),
        (["crosscheck", "a:b", "--skip", "step-s"], ["step-size-honoured"]),
        (["crosscheck", "a:b", "--profile", ""], list(PROFILES)),
        (["crosscheck", "a:b", "--dtype", "float3"], ["float32"]),
        (["plan", "--activation", ""], list(ACTIVATIONS)),
        (["plan", "--law", ""], list(LAWS)),
        (["bench", "step", "--only", "in"], ["inertia"]),
    ],
)
def test_completion(words: list[str], offered: list[str]) -> None:
    assert completed(*words) == offered


# --- the same everywhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["verify", "plan", CROSSCHECK])
@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_the_same_seed_error_everywhere(command: str, seed: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--seed", seed])
    assert (result.exit_code, result.stdout) == (2, title(command))
    assert result.stderr == f"nntk: --seed: expected an integer from 0 to 4294967295, got {seed}\n"


@pytest.mark.parametrize("command", ["verify", CROSSCHECK])
def test_one_effort(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--quick", "--full"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "nntk: --quick: expected one of --quick and --full, got both\n"
