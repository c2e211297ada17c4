"""The frame that everything else stands on: metadata, packages, markers, profiles and import rules."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "nntk": ROOT / "nntk",
    "nntk_reference": ROOT / "reference" / "nntk_reference",
    "nntk_accelerated": ROOT / "accelerated" / "nntk_accelerated",
    "nntk_proofs_checks": ROOT / "proofs_checks" / "nntk_proofs_checks",
}
FORBIDDEN_IMPORTS = [
    ("nntk_reference", "torch"),
    ("nntk_reference", "nntk_accelerated"),
    ("nntk_reference", "nntk_proofs_checks"),
    ("nntk_reference", "nntk"),
    ("nntk_accelerated", "nntk_reference"),
    ("nntk_accelerated", "nntk_proofs_checks"),
    ("nntk_accelerated", "nntk"),
    ("nntk_proofs_checks", "nntk"),
    ("nntk_proofs_checks", "nntk_reference.finite"),
    ("nntk_proofs_checks", "nntk_accelerated.stream"),
    ("nntk_proofs_checks.one_step", "nntk_proofs_checks.exponential"),
    ("nntk_proofs_checks.sharp_rate", "nntk_proofs_checks.planted_helper"),  # which imports a claim
    ("nntk", "nntk_reference.activations"),
    ("nntk", "nntk_accelerated.stream"),
    ("nntk", "nntk_proofs_checks.ensemble"),
    ("nntk", "nntk_proofs_checks.one_step"),
]


# --- packages --------------------------------------------------------------------------------------------------------


def test_metadata_version_is_the_package_version() -> None:
    import nntk

    assert importlib.metadata.version("nntk") == nntk.__version__


def test_console_script_is_declared() -> None:
    (script,) = importlib.metadata.distribution("nntk").entry_points.select(group="console_scripts", name="nntk")
    assert script.value == "nntk.cli:main"


@pytest.mark.parametrize("name", PACKAGES)
def test_package_imports_and_is_typed(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert files(name).joinpath("py.typed").is_file()


def test_reference_does_not_import_torch() -> None:
    code = (
        "import pkgutil, sys, importlib, nntk_reference as r\n"
        "for m in pkgutil.walk_packages(r.__path__, 'nntk_reference.'):\n"
        "    if not m.name.endswith('__main__'):\n"
        "        importlib.import_module(m.name)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


# --- markers and profiles --------------------------------------------------------------------------------------------


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty project with this one's pytest settings and conftest."""
    shutil.copy(ROOT / "pyproject.toml", pytester.path)
    shutil.copy(ROOT / "tests" / "conftest.py", pytester.path)
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:xdist", "-p", "no:benchmark", "-p", "no:cacheprovider", *args)


def test_slow_tests_skip_with_a_reason_unless_asked_for(project: pytest.Pytester) -> None:
    path = project.makepyfile(test_it="import pytest\n@pytest.mark.slow\ndef test_a(): pass\ndef test_b(): pass\n")
    result = run(project, str(path))
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*slow: run with --run-slow*"])
    run(project, "--run-slow", str(path)).assert_outcomes(passed=2)


@pytest.mark.parametrize("available", [False, True])
def test_gpu_tests_skip_with_a_reason_where_there_is_no_gpu(project: pytest.Pytester, available: bool) -> None:
    # A stand-in for torch, found first because pytest puts the test's own folder at the head of the path.
    project.makepyfile(torch=f"class cuda:\n    is_available = staticmethod(lambda: {available})\n")
    path = project.makepyfile(test_it="import pytest\n@pytest.mark.gpu\ndef test_a(): pass\n")
    result = run(project, str(path))
    if available:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED*gpu: torch finds no CUDA device*"])


def test_torch_stays_out_where_no_gpu_test_is_collected(project: pytest.Pytester) -> None:
    path = project.makepyfile(test_it="import sys\ndef test_a(): assert 'torch' not in sys.modules\n")
    run(project, str(path)).assert_outcomes(passed=1)


def test_unknown_marker_and_warning_are_errors(project: pytest.Pytester) -> None:
    path = project.makepyfile(test_it="import warnings\ndef test_a(): warnings.warn('w', stacklevel=1)\n")
    run(project, str(path)).assert_outcomes(failed=1)
    path = project.makepyfile(test_it="import pytest\n@pytest.mark.slwo\ndef test_a(): pass\n")
    run(project, str(path)).assert_outcomes(errors=1)


def test_profiles() -> None:
    assert settings.get_profile("dev").max_examples == 25
    ci = settings.get_profile("ci")
    assert ci.derandomize
    assert ci.print_blob
    assert ci.deadline is None
    assert ci.max_examples == 40
    assert settings.get_profile("deep").max_examples >= 1000


@pytest.mark.parametrize(("profile", "examples"), [(None, 25), ("ci", 40), ("deep", 2000)])
def test_environment_chooses_the_profile(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, profile: str | None, examples: int
) -> None:
    if profile is None:
        monkeypatch.delenv("HYPOTHESIS_PROFILE", raising=False)
    else:
        monkeypatch.setenv("HYPOTHESIS_PROFILE", profile)
    path = project.makepyfile(
        test_it=f"from hypothesis import settings\ndef test_a(): assert settings().max_examples == {examples}\n"
    )
    run(project, str(path)).assert_outcomes(passed=1)


# --- import rules ----------------------------------------------------------------------------------------------------


def contracts() -> dict[str, dict[str, Any]]:
    """The import contracts of this project, by id."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}


def lint_imports(tree: Path, planted: list[tuple[str, str]]) -> subprocess.CompletedProcess[str]:
    """Run this project's import contracts on a skeleton of the four packages with the planted imports in it.

    A package imports its target in a module of its own, `planted_…`.
    """
    pytest.importorskip("importlinter", reason="import-linter comes with the dev extra")
    shutil.copy(ROOT / "pyproject.toml", tree)
    sources = {f"{name}.__init__": "" for name in PACKAGES} | dict.fromkeys(contracts()["claims"]["modules"], "")
    sources["nntk_proofs_checks.planted_helper"] = "import nntk_proofs_checks.ntk_decay\n"
    for _, target in planted:
        sources.setdefault(target if "." in target or target == "torch" else f"{target}.__init__", "")
    for source, target in planted:
        module = source if "." in source else f"{source}.planted_{target.replace('.', '_')}"
        sources[module] = sources.get(module, "") + f"import {target}\n"
    for module, text in sources.items():
        if module != "torch":
            path = tree.joinpath(*module.split(".")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_contracts_hold_on_allowed_imports(tmp_path: Path) -> None:
    allowed = [
        ("nntk", "nntk_reference"),
        ("nntk", "nntk_reference.formulas"),
        ("nntk", "nntk_accelerated"),
        ("nntk", "nntk_proofs_checks"),
        ("nntk", "nntk_proofs_checks.data"),
        ("nntk", "nntk_proofs_checks.registry"),
        ("nntk_proofs_checks", "nntk_reference"),
        ("nntk_proofs_checks", "nntk_reference.linalg"),
        ("nntk_proofs_checks", "nntk_accelerated"),
        ("nntk_proofs_checks.registry", "nntk_proofs_checks.one_step"),
        ("nntk_proofs_checks.one_step", "nntk_proofs_checks.certify"),
        ("nntk_accelerated", "torch"),
        ("nntk_accelerated", "nntk_accelerated.stream"),
    ]
    done = lint_imports(tmp_path, allowed)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_contracts_catch_each_planted_violation(tmp_path: Path) -> None:
    done = lint_imports(tmp_path, FORBIDDEN_IMPORTS)
    assert done.returncode == 1, done.stdout + done.stderr
    for source, target in FORBIDDEN_IMPORTS:
        module = source if "." in source else f"{source}.planted_{target.replace('.', '_')}"
        assert re.search(rf"(?<![.\w]){re.escape(module)} -> {re.escape(target)}(?![.\w])", done.stdout), (
            module,
            target,
            done.stdout,
        )
