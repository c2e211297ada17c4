"""The changes that are planted in a module's source, each at an exact place: `mutants`.

What is left out changes no result: docstrings and other strings, `__all__`, types, imports, decorators, the words of an error
or a warning, `__str__` and `__repr__`, drawings and functions that return one, what `zip` is told of lengths, and what random
generators are seeded with.
"""

from __future__ import annotations

import ast
import bisect
import io
import itertools
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_RELATIONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
}
_SIGNS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
_DROPPED = {"sqrt", "abs", "fabs", "ceil", "floor"}
_SWAPPED = {"max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "any": "all", "all": "any"}
_SWAPPED |= {"amax": "amin", "amin": "amax", "argmax": "argmin", "argmin": "argmax", "ceil": "floor", "floor": "ceil"}
_SYMMETRIC = {"max", "min", "maximum", "minimum", "fmax", "fmin", "hypot", "array_equal", "gcd"}
_DRAWINGS = {"Panel", "Series"}
_WORDS = {"__str__", "__repr__"}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of a source: its bytes from `start` to `end` become `replacement`.

    line    of the change, from 1; column, in bytes, from 0.
    """

    line: int
    column: int
    operator: str
    start: int
    end: int
    replacement: str

    @property
    def key(self) -> str:
        """What tells it from the others of its source."""
        return f"{self.start}-{self.end}:{self.operator}:{self.replacement}"

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]

    def before(self, source: bytes) -> str:
        """The line, without its indentation."""
        return _line(source, self.line)

    def after(self, source: bytes) -> str:
        """The line with the change."""
        return _line(self.applied(source), self.line)


def _line(source: bytes, number: int) -> str:
    return source.decode().split("\n")[number - 1].strip()


def mutants(source: bytes) -> list[Mutant]:
    """All changes of a module's source, in order of their places; every one compiles."""
    return sorted(set(_Walk(source).of(ast.parse(source))))


class _Walk:
    def __init__(self, source: bytes) -> None:
        self.source = source
        self.lines = source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.tokens = [
            (self._offset(token.start), self._offset(token.end), token.string)
            for token in tokenize.tokenize(io.BytesIO(source).readline)
            if token.type in (tokenize.OP, tokenize.NAME)
        ]

    def _offset(self, place: tuple[int, int]) -> int:
        """Of a token, whose columns are characters; those of the tree are bytes."""
        row, column = place
        if row > len(self.lines):
            return len(self.source)
        return self.starts[row - 1] + len(self.lines[row - 1].decode()[:column].encode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def change(self, operator: str, start: int, end: int, replacement: str) -> Mutant:
        row = bisect.bisect_right(self.starts, start) - 1
        return Mutant(row + 1, start - self.starts[row], operator, start, end, replacement)

    def instead(self, operator: str, node: ast.expr | ast.stmt, replacement: str) -> Mutant:
        return self.change(operator, *self.span(node), replacement)

    def sign(self, left: ast.expr, right: ast.expr, sign: str) -> tuple[int, int]:
        """Where an operator stands between its operands; it may be of two words."""
        first, last = self.span(left)[1], self.span(right)[0]
        words = sign.split()
        between = [token for token in self.tokens if first <= token[0] and token[1] <= last and token[2] in words]
        return between[0][0], between[len(words) - 1][1]

    def of(self, node: ast.AST) -> Iterator[Mutant]:
        if _left_out(node):
            return
        for kind, rule in _RULES:
            if isinstance(node, kind):
                yield from rule(self, node)
        for name, value in ast.iter_fields(node):
            if name in _FIELDS_LEFT_OUT:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.of(child)


_FIELDS_LEFT_OUT = {"annotation", "returns", "decorator_list", "type_params"}


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _left_out(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Raise():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(value=ast.Subscript(value=ast.Name(id="Callable" | "Literal" | "Union"))):
            return True
        case ast.Call():
            return _name(node.func) in {"warn", "TypeVar", "NewType", "cast", "default_rng"} | _DRAWINGS
        case ast.keyword(arg="strict"):
            return True
        case ast.FunctionDef():
            marked = any(_name(decorator) == "overload" for decorator in node.decorator_list)
            returned = node.returns and {_name(part) for part in ast.walk(node.returns)} & _DRAWINGS
            return marked or node.name in _WORDS or bool(returned)
    return False


def _is_text(node: ast.AST) -> bool:
    """A string, or a sum of strings."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def _relations(walk: _Walk, node: ast.Compare) -> Iterator[Mutant]:
    operands = [node.left, *node.comparators]
    for left, right, relation in zip(operands, operands[1:], node.ops, strict=False):
        word = _COMPARISONS[type(relation)]
        place = walk.sign(left, right, word)
        for other in _RELATIONS[word]:
            yield walk.change("relation", *place, other)


def _arithmetic(walk: _Walk, node: ast.BinOp) -> Iterator[Mutant]:
    if type(node.op) not in _SIGNS or _is_text(node):
        return
    sign, other = _SIGNS[type(node.op)]
    yield walk.change("arithmetic", *walk.sign(node.left, node.right, sign), other)
    if isinstance(node.op, ast.Add | ast.Sub):
        yield walk.instead("term", node, f"({walk.text(node.left)})")
    if isinstance(node.op, ast.Add):
        yield walk.instead("term", node, f"({walk.text(node.right)})")


def _in_place(walk: _Walk, node: ast.AugAssign) -> Iterator[Mutant]:
    if type(node.op) in _SIGNS and not _is_text(node.value):
        sign, other = _SIGNS[type(node.op)]
        yield walk.change("arithmetic", *walk.sign(node.target, node.value, sign + "="), other + "=")
        yield walk.instead("statement", node, "pass")


def _unary(walk: _Walk, node: ast.UnaryOp) -> Iterator[Mutant]:
    if not isinstance(node.op, ast.UAdd):
        yield walk.instead("not" if isinstance(node.op, ast.Not) else "sign", node, f"({walk.text(node.operand)})")


def _connectives(walk: _Walk, node: ast.BoolOp) -> Iterator[Mutant]:
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in itertools.pairwise(node.values):
        yield walk.change("connective", *walk.sign(left, right, word), other)


def _constants(walk: _Walk, node: ast.Constant) -> Iterator[Mutant]:
    match node.value:
        case bool():
            others = [repr(not node.value)]
        case int():
            others = [str(node.value + 1), f"({node.value - 1})"]
        case float() if node.value == 0:
            others = ["1.0"]
        case float():
            others = [repr(1.01 * node.value), repr(2 * node.value)]
        case _:
            return
    for other in others:
        yield walk.instead("constant", node, other)


def _calls(walk: _Walk, node: ast.Call) -> Iterator[Mutant]:
    name = _name(node.func)
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if name in _DROPPED and plain and not node.keywords:
        if len(node.args) == 1:
            yield walk.instead("call", node, f"({walk.text(node.args[0])})")
        elif not node.args and isinstance(node.func, ast.Attribute):
            yield walk.instead("call", node, f"({walk.text(node.func.value)})")
    if name in _SWAPPED:
        end = walk.span(node.func)[1]
        yield walk.change("call", end - len(name.encode()), end, _SWAPPED[name])
    if name in {"max", "min", "maximum", "minimum"} and plain and len(node.args) > 1 and not node.keywords:
        for argument in node.args:
            yield walk.instead("call", node, f"({walk.text(argument)})")
    if name == "range" and plain and node.args:
        stop = node.args[min(1, len(node.args) - 1)]
        yield walk.instead("slice", stop, f"({walk.text(stop)}) - 1")
    if name not in _SYMMETRIC:
        yield from _neighbours(walk, node.args)


def _neighbours(walk: _Walk, arguments: list[ast.expr]) -> Iterator[Mutant]:
    """Two names side by side, in each other's place."""
    for one, two in itertools.pairwise(arguments):
        if isinstance(one, ast.Name) and isinstance(two, ast.Name) and one.id != two.id:
            start, end = walk.span(one)[0], walk.span(two)[1]
            between = walk.source[walk.span(one)[1] : walk.span(two)[0]].decode()
            yield walk.change("neighbour", start, end, f"{two.id}{between}{one.id}")


def _slices(walk: _Walk, node: ast.Slice) -> Iterator[Mutant]:
    start, end = walk.span(node)
    for bound in (node.lower, node.upper):
        if bound is not None and not isinstance(bound, ast.Constant):
            yield walk.instead("slice", bound, f"({walk.text(bound)}) + 1")
    if node.lower is None and node.upper is not None:
        yield walk.change("slice", start, start, "1")
    if node.upper is None and node.lower is not None and node.step is None:
        yield walk.change("slice", end, end, "-1")


def _conditions(walk: _Walk, node: ast.If | ast.While | ast.IfExp) -> Iterator[Mutant]:
    yield from _condition(walk, node.test)


def _condition(walk: _Walk, test: ast.expr) -> Iterator[Mutant]:
    if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
        yield walk.instead("not", test, f"(not {walk.text(test)})")


def _filters(walk: _Walk, node: ast.comprehension) -> Iterator[Mutant]:
    for test in node.ifs:
        yield from _condition(walk, test)


def _statements(walk: _Walk, node: ast.Expr) -> Iterator[Mutant]:
    if isinstance(node.value, ast.Call) and _name(node.value.func) != "warn":
        yield walk.instead("statement", node, "pass")


def _errors(walk: _Walk, node: ast.If) -> Iterator[Mutant]:
    """Nothing is refused: each `raise` that a condition leads to."""
    for statement in [*node.body, *node.orelse]:
        if isinstance(statement, ast.Raise) and statement.exc is not None:
            yield walk.instead("statement", statement, "pass")


def _jumps(walk: _Walk, node: ast.Break | ast.Continue) -> Iterator[Mutant]:
    yield walk.instead("statement", node, "continue" if isinstance(node, ast.Break) else "break")


def _returns(walk: _Walk, node: ast.Return) -> Iterator[Mutant]:
    if isinstance(node.value, ast.Tuple):
        yield from _neighbours(walk, node.value.elts)


_RULES: tuple[tuple[type | tuple[type, ...], Callable[..., Iterator[Mutant]]], ...] = (
    (ast.Compare, _relations),
    (ast.BinOp, _arithmetic),
    (ast.AugAssign, _in_place),
    (ast.UnaryOp, _unary),
    (ast.BoolOp, _connectives),
    (ast.Constant, _constants),
    (ast.Call, _calls),
    (ast.Slice, _slices),
    ((ast.If, ast.While, ast.IfExp), _conditions),
    (ast.comprehension, _filters),
    (ast.Expr, _statements),
    (ast.If, _errors),
    ((ast.Break, ast.Continue), _jumps),
    (ast.Return, _returns),
)
OPERATORS = (
    "arithmetic",
    "call",
    "connective",
    "constant",
    "neighbour",
    "not",
    "relation",
    "sign",
    "slice",
    "statement",
    "term",
)
