"""What is mutated, and by which tests each module is held: `targets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATHS = (".", "reference", "accelerated", "proofs_checks")
"""What stands on the import path, from the root."""


@dataclass(frozen=True)
class Target:
    """A module, its source, and what pytest is given to run its own tests; paths are relative to the root."""

    module: str
    source: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """A folder of modules: all that hold mathematics or judge; those of `left_out` do neither. `shared` tests concern each."""

    folder: str
    package: str
    tests: str
    left_out: frozenset[str]
    shared: str = ""


_PARTS = (
    _Part(
        "reference/nntk_reference",
        "nntk_reference",
        "tests/reference",
        frozenset({"errors"}),
        "tests/reference/test_bad_input.py",
    ),
    _Part(
        "proofs_checks/nntk_proofs_checks",
        "nntk_proofs_checks",
        "tests/proofs_checks",
        frozenset({"panel", "test_claims"}),
        "tests/proofs_checks/test_constants.py",
    ),
    _Part(
        "accelerated/nntk_accelerated",
        "nntk_accelerated",
        "tests/accelerated",
        frozenset({"errors"}),
        "tests/accelerated/test_bad_input.py",
    ),
    _Part(
        "nntk/crosscheck",
        "nntk.crosscheck",
        "tests/nntk/crosscheck",
        frozenset({"command", "options", "report", "snippet", "subject", "testing"}),
    ),
    _Part("nntk/crosscheck/checks", "nntk.crosscheck.checks", "tests/nntk/crosscheck", frozenset()),
    _Part("nntk/crosscheck/diagnosis", "nntk.crosscheck.diagnosis", "tests/nntk/crosscheck", frozenset()),
)

_FAULTS = "tests/proofs_checks/test_faults.py"
_OWN: dict[str, tuple[str, ...]] = {
    "nntk_reference.verdict": ("tests/reference/test_linalg.py",),
    "nntk_accelerated.validation": ("tests/accelerated/test_bad_input.py",),
    "nntk_accelerated.instance": (
        "tests/accelerated/test_step.py",
        "tests/accelerated/test_against_autograd.py",
        "tests/accelerated/test_sharding.py",
    ),
    "nntk_proofs_checks.exponential": (_FAULTS, "-k", "exponential"),
    "nntk_proofs_checks.linearization": (_FAULTS, "-k", "linearization"),
    "nntk_proofs_checks.one_step": ("tests/proofs_checks/test_one_step.py", _FAULTS, "-k", "one_step or one-step"),
    "nntk_proofs_checks.vanishing_updates": (
        "tests/proofs_checks/test_vanishing_updates.py",
        _FAULTS,
        "-k",
        "vanishing_updates or vanishing-updates",
    ),
    "nntk.crosscheck.result": ("tests/nntk/crosscheck/test_result.py", "tests/nntk/crosscheck/test_drawn.py"),
    "nntk.crosscheck.checks.behaviour": ("tests/nntk/crosscheck/test_battery.py",),
    "nntk.crosscheck.checks.learning": ("tests/nntk/crosscheck/test_battery.py",),
    "nntk.crosscheck.checks.symmetry": ("tests/nntk/crosscheck/test_battery.py",),
    "nntk.crosscheck.checks.check": ("tests/nntk/crosscheck/test_checks.py",),
    "nntk.crosscheck.checks.registry": ("tests/nntk/crosscheck/test_registries.py",),
}
"""The tests of modules that have no file of tests of their name, or share in another."""


def targets(root: Path = ROOT) -> list[Target]:
    """Every module that is mutated, in order of the packages and of their names."""
    found = []
    for part in _PARTS:
        for path in sorted((root / part.folder).glob("*.py")):
            if path.stem.startswith("__") or path.stem in part.left_out:
                continue
            module = f"{part.package}.{path.stem}"
            own = _OWN.get(module) or _mirrored(root, part, path.stem)
            found.append(Target(module, f"{part.folder}/{path.name}", _with(part.shared, own)))
    return found


def _with(shared: str, own: tuple[str, ...]) -> tuple[str, ...]:
    if not shared or not own or shared in own:
        return own
    *files, last = own  # what -k selects, if it stands there, selects the shared tests as well
    return (shared, *files, f"{last} or {Path(shared).stem}" if "-k" in files else last)


def _mirrored(root: Path, part: _Part, stem: str) -> tuple[str, ...]:
    """The tests of the module's name; a module in a folder has them under the folder's name, or shares those of the folder."""
    folder = Path(part.folder).name
    names = [f"test_{stem}.py", f"test_{folder}_{stem}.py", f"test_{folder}.py"]
    for name in names:
        if (root / part.tests / name).is_file():
            return (f"{part.tests}/{name}",)
    return ()
