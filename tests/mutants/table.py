"""What is mutated, and by which tests each module is held: `targets`; and which survivors are explained: `EQUIVALENT`."""

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
    _Part("reference/nntk_reference", "nntk_reference", "tests/reference", frozenset({"errors"})),
    _Part(
        "proofs_checks/nntk_proofs_checks",
        "nntk_proofs_checks",
        "tests/proofs_checks",
        frozenset({"panel", "test_claims"}),
        "tests/proofs_checks/test_constants.py",
    ),
    _Part("accelerated/nntk_accelerated", "nntk_accelerated", "tests/accelerated", frozenset({"errors"})),
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
    "nntk_accelerated.instance": ("tests/accelerated/test_step.py", "tests/accelerated/test_against_autograd.py"),
    "nntk_proofs_checks.exponential": (_FAULTS, "-k", "exponential"),
    "nntk_proofs_checks.linearization": (_FAULTS, "-k", "linearization"),
    "nntk_proofs_checks.one_step": ("tests/proofs_checks/test_one_step.py", _FAULTS, "-k", "one_step or one-step"),
    "nntk_proofs_checks.vanishing_updates": (_FAULTS, "-k", "vanishing-updates"),
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
    if not shared or not own:
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


EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "nntk_reference.linalg",
        "if size[0] * row >= _ALPHA * largest * largest:",
        "if size[0] * row > _ALPHA * largest * largest:",
    ): "at equality either pivot keeps the bound on growth that Bunch and Kaufman's threshold is chosen for",
    (
        "nntk_reference.linalg",
        "return np.array([[1 / E[0, 0]]], dtype=object) if _nonzero(E[0, 0]) else None",
        "return np.array([[1 / E[0, 0]]], dtype=object) if _nonzero(E[(-1), 0]) else None",
    ): "E has one row there, which is its first and its last",
    (
        "nntk_proofs_checks.nntk_bound",
        "_RHO = (0.5, 0.9, 0.99)",
        "_RHO = (0.505, 0.9, 0.99)",
    ): "the statement is about every ρ, of which three are tried",
    (
        "nntk_proofs_checks.nntk_bound",
        "for k, (value, b) in enumerate(zip(_nntk_eigenvalues(net, net.hessian, damping, ar), net.base, strict=True))",
        "for k, (value, b) in enumerate(zip(_nntk_eigenvalues(net, net.hessian, damping, ar), net.base, strict=False))",
    ): "there are as many eigenvalues of the one as of the other, by the shapes of the matrices",
    (
        "nntk_proofs_checks.nntk_bound",
        "damping = arb(-float(lowest)) * (1 + _EDGE**2)",
        "damping = arb(-float(lowest)) * (1 + _EDGE*2)",
    ): "either is near enough above -λ_min(H) for the control",
    (
        "nntk_proofs_checks.nntk_bound",
        'Comparison(f"λ_min(D) {where}", net.lowest + damping, "<", arb(0), shown=False),',
        'Comparison(f"λ_min(D) {where}", (net.lowest), "<", arb(0), shown=False),',
    ): "γ_N is just above -λ_min(H), which is at most -λ_min(S), so both signs are the same",
    (
        "nntk_proofs_checks.training_runs",
        "distance = np.linalg.norm(X - X[order[0]], axis=1)",
        "distance = np.linalg.norm(X - X[order[(-1)]], axis=1)",
    ): "the order has one point there, which is its first and its last",
    (
        "nntk_proofs_checks.training_runs",
        "near = np.abs(gap) <= 1e-6 * values[-1]",
        "near = np.abs(gap) < 1e-6 * values[-1]",
    ): "at equality the derivative and the divided difference agree to the tolerance",
    (
        "nntk_reference.arithmetic",
        "return arb(0) if x <= 0 else x.nonnegative_part()",
        "return arb(0) if x <= (-1) else x.nonnegative_part()",
    ): "the nonnegative part of a ball without positive numbers is 0 itself",
    (
        "nntk_reference.validation",
        "if any(want is not None and have != want for want, have in zip(shape, array.shape, strict=True)):",
        "if any(want is not None and have != want for want, have in zip(shape, array.shape, strict=False)):",
    ): "the lengths were compared before",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize >= 8 and not np.all(converted == array):",
    ): "what has 8 bytes and gets here is converted exactly",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize > (7) and not np.all(converted == array):",
    ): "what has 8 bytes and gets here is converted exactly",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize > 9 and not np.all(converted == array):",
    ): "no type has 9 bytes",
    (
        "nntk_reference.validation",
        "if array.dtype != object and np.array_equal(array, array.T):",
        "if array.dtype == object and np.array_equal(array, array.T):",
    ): "the loop below gives the same answer, later",
    (
        "nntk_reference.validation",
        "for i, j in zip(*np.triu_indices(len(array), 1), strict=True):",
        "for i, j in zip(*np.triu_indices(len(array), (0)), strict=True):",
    ): "an entry of the diagonal equals itself, and NaN was refused before",
    (
        "nntk_reference.validation",
        "for i, j in zip(*np.triu_indices(len(array), 1), strict=True):",
        "for i, j in zip(*np.triu_indices(len(array), 1), strict=False):",
    ): "both have one length",
    (
        "nntk_proofs_checks.tried",
        "if count >= len(names):",
        "if count > len(names):",
    ): "where they are equal the gap is 1, or there is one name or none: all come out in order",
    (
        "nntk_proofs_checks.training_runs",
        "out: Array = np.where(near, slope, (power[:, None] - power) / np.where(near, 1.0, gap))",
        "out: Array = np.where(near, slope, (power[:, None] - power) / np.where(near, 2.0, gap))",
    ): "that entry keeps the division from 0/0, and what comes of it is not taken",
    (
        "nntk_proofs_checks.training_runs",
        "width = math.pow(max(sizes) / (_CURVATURE_RATIO * max(self.gamma, 1e-9)), 1 / (1 - _BETA))",
        "width = math.pow(max(sizes) / (_CURVATURE_RATIO * max(self.gamma, 1.01e-09)), 1 / (1 - _BETA))",
    ): "a guard for singular kernels: with either the width is far out of reach",
    (
        "nntk_proofs_checks.rational",
        "signs = [(1 if c > 0 else -1) * (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]",
        "signs = [(1 if c > 0 else -1) / (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]",
    ): "a sign times or divided by a sign is the same",
}
"""Survivors that no test can notice: (module, the line, the line with the change) to the reason.

They stand in the table in a column of their own, and do not count in the score.
"""
