"""The documents say what is so: examples run and print what they show, links lead somewhere, names and claims exist."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nntk", "reference/nntk_reference", "accelerated/nntk_accelerated", "proofs_checks/nntk_proofs_checks")
GENERATED = {"docs/gallery.md", "docs/faults.md"}
_FOLDERS = ("", "docs/", "benchmarks/", "benchmarks/results/")
PAGES = sorted(str(path.relative_to(ROOT)) for folder in _FOLDERS for path in ROOT.glob(f"{folder}*.md"))
WRITTEN = [page for page in PAGES if page not in GENERATED]

ROUNDING = {"README.md": ("1.6862704234241547e-16", "3.27e-34")}
"""Numbers in the documents' outputs that are rounding errors, or bounds of them: another machine shows others of that size."""


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


# --- examples in docstrings ------------------------------------------------------------------------------------------


def modules_with_examples() -> list[str]:
    found = []
    for package in PACKAGES:
        folder = ROOT / package
        for path in sorted(folder.rglob("*.py")):
            if re.search(r"^\s*>>>", path.read_text("utf-8"), re.MULTILINE):
                name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
                found.append(name.removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed, report.getvalue()


# --- examples on the pages -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A block of Python, the line it starts on, and the output that is shown below it, if any is."""

    code: str
    line: int
    shown: str | None


_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<shown>.*?)^```$)?", re.MULTILINE | re.DOTALL)


def examples(text: str) -> list[Example]:
    return [Example(m["code"], text.count("\n", 0, m.start()) + 2, m["shown"]) for m in _BLOCK.finditer(text)]


_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"


def differences(shown: str, printed: str, rounding: tuple[str, ...] = ()) -> Iterator[str]:
    """Where the two differ, line by line. In `shown` an ellipsis stands for anything; of numbers the stable digits count.

    Integers and words are to be the same; numbers of more than 17 digits, which are proved ones, to the last digit but one;
    other numbers to a relative 1e-9; those of `rounding` to a factor of ten.
    """
    wanted, got = shown.splitlines(), printed.splitlines()
    if len(wanted) != len(got):
        yield f"{len(wanted)} lines are shown, {len(got)} printed"
    for line, found in zip(wanted, got, strict=False):
        tokens = re.split(f"({_NUMBER}|…)", line)
        pattern = "".join(re.escape(t) if k % 2 == 0 else ".*" if t == "…" else f"({_NUMBER})" for k, t in enumerate(tokens))
        match = re.fullmatch(pattern, found)
        if match is None:
            yield f"{line!r} is shown, {found!r} printed"
            continue
        numbers = [t for k, t in enumerate(tokens) if k % 2 and t != "…"]
        for number, other in zip(numbers, match.groups(), strict=True):
            if not _agree(number, other, number in rounding):
                yield f"{number} is shown, {other} printed, in {found!r}"


def _agree(shown: str, printed: str, rounding: bool) -> bool:
    if re.fullmatch(r"[-+]?\d+", shown):
        return shown == printed
    a, b = Decimal(shown), Decimal(printed)
    if rounding:
        return abs(a) / 10 <= abs(b) <= abs(a) * 10
    digits = len(a.as_tuple().digits)
    allowed = Decimal(10) ** (1 - digits) if digits > 17 else Decimal("1e-9")
    return abs(a - b) <= allowed * abs(a)


RECIPES = ("swish", "two-intervals")
"""What docs/adding.md registers."""


@pytest.fixture
def without_recipes() -> Iterator[None]:
    """The registries, which the recipes add to, are left as they were."""
    import nntk_accelerated
    import nntk_reference

    kept = [
        (registry, dict(registry))
        for package in (nntk_reference, nntk_accelerated)
        for registry in (package.ACTIVATIONS, package.LAWS)
    ]
    for registry, _ in kept:
        for name in RECIPES:  # somebody may have followed a recipe to its end
            registry.pop(name, None)
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


@pytest.mark.usefixtures("without_recipes")
@pytest.mark.parametrize("page", [page for page in PAGES if examples(read(page))])
def test_examples_on_a_page_run_and_print_what_is_shown(page: str) -> None:
    """In order, in one namespace, as a reader would type them."""
    namespace: dict[str, object] = {"__name__": "__example__"}
    for example in examples(read(page)):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (example.line - 1) + example.code, page, "exec"), namespace)
        if example.shown is not None:
            found = list(differences(example.shown, printed.getvalue(), ROUNDING.get(page, ())))
            assert not found, f"{page}, the example on line {example.line}: " + "; ".join(found)


def test_the_readme_shows_what_its_examples_print() -> None:
    assert sum(example.shown is not None for example in examples(read("README.md"))) >= 2
    for page, numbers in ROUNDING.items():
        assert all(number in read(page) for number in numbers)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a 1", "a 2"),
        ("a 1", "b 1"),
        ("a", "a\na"),
        ("0.5", "0.5000001"),
        ("0.1234567890123456789", "0.1234567890123456889"),
        ("x=1.5, …", "y=1.5, z"),
        ("1e-16", "1e-16 more"),
        ("2e-16", "1e-17"),
    ],
)
def test_a_wrong_output_is_noticed(shown: str, printed: str) -> None:
    assert list(differences(shown, printed, ("2e-16",)))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a -0.5 b", "a -0.50000000001 b"),
        ("x=1.5, …", "x=1.5, y=3, z=[1, 2]"),
        ("2e-16", "1.1e-16"),
        ("0.1234567890123456789", "0.1234567890123456788"),
    ],
)
def test_digits_that_vary_are_no_difference(shown: str, printed: str) -> None:
    assert not list(differences(shown, printed, ("2e-16",)))


def test_the_training_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--width", "1000", "--gamma", "1", "--steps", "2"])
    monkeypatch.delenv("RANK", raising=False)
    runpy.run_path(str(ROOT / "docs" / "examples" / "train.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 0", "step 1"]


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_on_a_page_have_the_options_they_are_shown_with(page: str) -> None:
    import typer

    from nntk.cli import app

    group: Any = typer.main.get_command(app)
    blocks = re.findall(r"^```console\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?nntk (.+)$", "".join(blocks), re.MULTILINE)
    for line in [*shown, *re.findall(r"`nntk ([^`]+)`", prose(read(page)))]:
        command, words = group, line.split("#")[0].split()
        while hasattr(command, "commands") and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts} | {"-h", "--help"}
        for word in words:
            assert not word.startswith("-") or word in known, f"{page}: nntk {line}"


def test_targets_that_are_mentioned_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for page in WRITTEN:
        mentioned = set(re.findall(r"(?:`|^\$ )make ([a-z]\w+)", read(page), re.MULTILINE))
        assert mentioned <= targets, page


# --- links and names -------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them, and those set by hand."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
            broken.append(target)
    assert not broken, f"{page}: {broken}"


WRITTEN_BY_RUNS = {"benchmarks/results/gpu/"}


def exists(name: str) -> bool:
    """Is a dotted name a module of this project, or something in one?"""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            fields = getattr(value, "__annotations__", {})
            if not hasattr(value, part) and part not in fields:
                return False
            value = getattr(value, part, None)
        return True
    return False


@pytest.mark.parametrize("page", [page for page in WRITTEN if page != "CHANGELOG.md"])  # which names what is gone as well
def test_names_in_the_text_exist(page: str) -> None:
    """Dotted names of the four packages, and paths of files, in code spans."""
    text = prose(read(page))
    spans = re.findall(r"`([^`\n]+)`", text)
    names = {m for span in spans for m in re.findall(r"\bnntk(?:_reference|_accelerated|_proofs_checks)?(?:\.\w+)+", span)}
    missing = sorted(name for name in names if not exists(name))
    folders = "nntk|tests|docs|benchmarks|reference|accelerated|proofs_checks"
    paths = {m for span in spans for m in re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]*[\w/]", span)}
    missing += sorted(path for path in paths - WRITTEN_BY_RUNS if not (ROOT / path).exists())
    assert not missing, f"{page}: {missing}"


def test_every_claim_is_derived_under_its_id() -> None:
    """Reports send their readers there."""
    from nntk_proofs_checks import CLAIMS

    for claim in CLAIMS.values():
        page, _, anchor = claim.theory.partition("#")
        assert anchor in anchors(read(page))


def test_the_table_of_claims_names_modules_and_tests_that_exist() -> None:
    from nntk_proofs_checks import CLAIMS

    rows = re.findall(r"^\| ([a-z0-9-]+) \|.*\| ([^|]+) \|$", read("docs/theory.md"), re.MULTILINE)
    assert [id for id, _ in rows if id in CLAIMS] == list(CLAIMS)
    for id, where in rows:
        if id not in CLAIMS:
            continue
        modules, tests = where.split(";")
        for name in re.findall(r"`(\w+)`", modules):
            assert (ROOT / "proofs_checks" / "nntk_proofs_checks" / f"{name}.py").is_file(), f"{id}: {name}"
        for name in re.findall(r"`(\w+)`", tests):
            assert (ROOT / "tests" / "proofs_checks" / f"{name}.py").is_file(), f"{id}: {name}"


def test_every_claim_has_its_control_in_the_guide() -> None:
    from nntk_proofs_checks import CLAIMS

    _, _, section = read("docs/verdicts.md").partition("## Negative controls")
    assert re.findall(r"^\| ([a-z0-9-]+) \|", section.partition("\n## ")[0], re.MULTILINE) == ["claim", *CLAIMS]


def test_the_readme_counts_the_claims_and_the_checks() -> None:
    from nntk.crosscheck import CHECKS
    from nntk_proofs_checks import CLAIMS

    text = read("README.md")
    assert f"\n{len(CLAIMS)} claims hold, {len(CLAIMS)} controls refuted (" in text
    assert f": {len(CHECKS)} checks on " in text
    assert f"\n{len(CHECKS)} checks hold it against the reference.\n" in text


# --- metadata --------------------------------------------------------------------------------------------------------


def test_changelog_and_citation_know_the_version() -> None:
    from nntk import __version__

    assert re.search(rf"^## \[{re.escape(__version__)}\]", read("CHANGELOG.md"), re.MULTILINE)
    assert re.search(rf"^version: {re.escape(__version__)}$", read("CITATION.cff"), re.MULTILINE)


def test_the_package_shows_the_readme() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert (ROOT / project["readme"]).is_file()
    assert "2605.08352" in project["urls"]["Paper"]
