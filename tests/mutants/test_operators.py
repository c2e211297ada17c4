"""Each operator makes the changes that it says, at the place that it says, and no others."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.operators import OPERATORS, mutants
from tests.mutants.table import ROOT, targets


def changes(source: str) -> set[tuple[str, str]]:
    """(operator, the line with the change)."""
    text = source.encode()
    return {(mutant.operator, mutant.after(text)) for mutant in mutants(text)}


CASES = {
    "a < b": {("relation", "a <= b"), ("relation", "a >= b")},
    "a >= b": {("relation", "a > b"), ("relation", "a < b")},
    "a == b != c": {("relation", "a != b != c"), ("relation", "a == b == c")},
    "a is not None": {("relation", "a is None")},
    "a not in b": {("relation", "a in b")},
    "(a) < (b < c)": {
        ("relation", "(a) <= (b < c)"),
        ("relation", "(a) >= (b < c)"),
        ("relation", "(a) < (b <= c)"),
        ("relation", "(a) < (b >= c)"),
    },
    "a + b": {("arithmetic", "a - b"), ("term", "(a)"), ("term", "(b)")},
    "a - b": {("arithmetic", "a + b"), ("term", "(a)")},
    "a * b": {("arithmetic", "a / b")},
    "a / b": {("arithmetic", "a * b")},
    "a**b": {("arithmetic", "a*b")},
    "a & b": {("arithmetic", "a | b")},
    "a += b": {("arithmetic", "a -= b"), ("statement", "pass")},
    "-a": {("sign", "(a)")},
    "not a": {("not", "(a)")},
    "a and b and c": {("connective", "a or b and c"), ("connective", "a and b or c")},
    "a or b": {("connective", "a and b")},
    "True": {("constant", "False")},
    "0": {("constant", "1"), ("constant", "(-1)")},
    "3": {("constant", "4"), ("constant", "(2)")},
    "0.5": {("constant", "0.505"), ("constant", "1.0")},
    "0.0": {("constant", "1.0")},
    "y = math.sqrt(x)": {("call", "y = (x)")},
    "y = x.sqrt()": {("call", "y = (x)")},
    "y = abs(x)": {("call", "y = (x)")},
    "y = max(a, b)": {
        ("call", "y = min(a, b)"),
        ("call", "y = (a)"),
        ("call", "y = (b)"),
    },
    "y = x.any()": {("call", "y = x.all()")},
    "y = range(n)": {("slice", "y = range((n) - 1)")},
    "y = range(k, n)": {("slice", "y = range(k, (n) - 1)"), ("neighbour", "y = range(n, k)")},
    "y = f(a, b, *c)": {("neighbour", "y = f(b, a, *c)")},
    "v[k:n]": {("slice", "v[(k) + 1:n]"), ("slice", "v[k:(n) + 1]")},
    "v[:n]": {("slice", "v[:(n) + 1]"), ("slice", "v[1:n]")},
    "v[k:, j]": {("slice", "v[(k) + 1:, j]"), ("slice", "v[k:-1, j]")},
    "f(x)": {("statement", "pass")},
    "y = a if b else c": {("not", "y = a if (not b) else c")},
    "y = [a for a in v if a.good]": {("not", "y = [a for a in v if (not a.good)]")},
    "def f(a, b): return a, b": {("neighbour", "def f(a, b): return b, a")},
    "while a: break": {("not", "while (not a): break"), ("statement", "while a: continue")},
    "if a: raise ValueError(1)": {("not", "if (not a): raise ValueError(1)"), ("statement", "if a: pass")},
}


@pytest.mark.parametrize("source", CASES)
def test_an_operator_makes_what_it_says(source: str) -> None:
    assert changes(source) == CASES[source]


def test_every_operator_has_a_case() -> None:
    assert {operator for found in CASES.values() for operator, _ in found} == set(OPERATORS)


LEFT_OUT = [
    '"""Words, 1 of 2."""',
    '__all__ = ["a", 1 + 2]',
    "import a.b",
    "from a import b",
    "x: a | b",
    "def f(a: b | c) -> d | e: pass",
    "@dataclass(frozen=True)\nclass A: pass",
    "@overload\ndef f(a=1): pass",
    "def f(a) -> Panel: return Panel(1)",
    "y = Series(1 + 2, colour=3)",
    "y = zip(a, strict=True)",
    "y = np.random.default_rng([seed, a, 3])",
    "y = np.hypot(a, b)",
    "def __str__(self): return 1",
    "y = f'{1 + 2}'",
    "y = 'a' + b",
    "warnings.warn(f(1), stacklevel=2)",
    "if TYPE_CHECKING: x = 1",
    "raise ValueError(a + 1)",
]


@pytest.mark.parametrize("source", LEFT_OUT)
def test_what_changes_no_result_is_left_out(source: str) -> None:
    assert changes(source) == set()


def test_places_are_exact_beside_letters_of_several_bytes() -> None:
    source = "# γ_N ≤ 1\ny = 'γ < 2' if (γ  # is γ < 1?\n     < δ) else α\n".encode()
    (one, other) = mutants(source)
    assert (one.line, one.column) == (3, 5)
    assert {one.after(source), other.after(source)} == {"<= δ) else α", ">= δ) else α"}


def test_the_modules_of_the_table_and_their_tests_exist() -> None:
    found = targets()
    assert len({target.module for target in found}) == len(found)
    for target in found:
        assert (ROOT / target.source).is_file()
        assert target.tests, target.module
        for test in target.tests:
            assert not test.endswith(".py") or (ROOT / test).is_file(), test


@pytest.mark.parametrize("name", ["nntk_reference.laws", "nntk_accelerated.blocks", "nntk_proofs_checks.wide"])
def test_every_mutant_of_a_module_compiles_and_differs(name: str) -> None:
    (target,) = (target for target in targets() if target.module == name)
    source = (ROOT / target.source).read_bytes()
    original = ast.dump(ast.parse(source))
    found = mutants(source)
    assert found
    assert len({mutant.applied(source) for mutant in found}) == len(found)
    for mutant in found:
        changed = mutant.applied(source)
        compile(changed, name, "exec", dont_inherit=True)
        assert ast.dump(ast.parse(changed)) != original
        assert mutant.before(source) != mutant.after(source) or "\n" in changed[mutant.start : mutant.end].decode()


def test_what_is_explained_is_a_mutant_of_todays_source_and_has_a_reason() -> None:
    sources = {target.module: (ROOT / target.source).read_bytes() for target in targets()}
    for (module, before, after), reason in EQUIVALENT.items():
        source = sources[module]
        assert reason
        assert (before, after) in {(m.before(source), m.after(source)) for m in mutants(source)}, (module, before, after)
