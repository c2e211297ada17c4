"""What every command prints with: plain text, rows that stream, a spinner, and a number beside its limit."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from nntk.reporting.characters import visible
from nntk_proofs_checks.claim import Finding
from nntk_reference import Verdict

__all__ = ["columns", "console", "count", "decisive", "one_line", "progress", "seconds", "text"]

_OPPOSITE = {"≤": ">", "≥": "<", "<": "≥", ">": "≤", "=": "≠", "≲": ">", "≈": "≉"}
_ASCII = str.maketrans(
    {
        **{
            "≤": "<=",
            "≥": ">=",
            "≠": "!=",
            "≲": "<~",
            "≈": "~",
            "≉": "!~",
            "±": "+-",
            "×": "x",
            "·": "*",
            "√": "sqrt",
            "–": "-",
        },
        **{"α": "alpha", "β": "beta", "γ": "gamma", "η": "eta", "θ": "theta", "λ": "lambda", "π": "pi", "ρ": "rho"},
        **{"σ": "sigma", "Δ": "Delta", "∇": "grad ", "̄": "_bar", "₁": "_1", "₂": "_2", "⁻": "^-", "¹": "1", "ᵀ": "^T"},
    }
)


def console(stream: TextIO) -> Console:
    """Prints text as it is: brackets are intervals here, not markup. Lines are wrapped at words, and only on a terminal."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, width=None if stream.isatty() else 10_000, markup=False, highlight=False, emoji=False)


def text(words: str, out: Console, style: str = "") -> Text:
    """The words, in ASCII where the console has nothing else, with control characters made visible."""
    shown = visible(words)
    return Text(shown.translate(_ASCII) if out.options.ascii_only else shown, style)


def progress(description: str, out: Console) -> Progress:
    """What is at work, on a terminal only, and gone when it is finished."""
    shown = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    bar = Progress(*shown, console=out, transient=True, disable=not out.is_interactive, redirect_stdout=False)
    bar.add_task(description, total=None)
    return bar


def columns(
    titles: Sequence[str], widths: Sequence[int], right: Sequence[str], out: Console
) -> tuple[Text | None, Callable[[Iterable[str | Text]], Text]]:
    """(the head of a table, what makes a row of its cells), laid out before any row is known; those in `right` end flush.

    The head is None where the console is too narrow.
    """
    gap = 2 if sum(widths) + 2 * len(widths[1:]) <= out.width else 1
    narrow = sum(widths) + gap * len(widths[1:]) > out.width

    def line(cells: Iterable[str | Text]) -> Text:
        """A cell that is too wide moves those after it, and no further than it must."""
        row, start = Text(), 0
        for title, width, content in zip(titles, widths, cells, strict=True):
            cell = content if isinstance(content, Text) else text(content, out)
            begin = start + (width - cell.cell_len if title in right else 0)
            row.append(" " * max(begin - row.cell_len, 1 if row else 0))
            row.append_text(cell)
            start += width + gap
        return row

    return None if narrow else line(Text(title, "bold") for title in titles), line


def decisive(finding: Finding) -> str:
    """The number beside its limit, as the verdict has it (3 > 1 if 3 ≤ 1 is refuted), to enough digits to see it."""
    a, b, relation = finding.number, finding.limit, finding.relation
    if a is None:
        return "-"
    if b is None:
        return _digits(a, 3)
    if finding.verdict is Verdict.REFUTED:
        relation = _OPPOSITE.get(relation, relation)
    elif finding.verdict is Verdict.UNDECIDED:
        relation += "?"
    digits = next((n for n in range(3, 17) if a == b or _digits(a, n) != _digits(b, n)), 17)
    return f"{_digits(a, digits)} {relation} {_digits(b, digits)}"


def _digits(number: float, digits: int) -> str:
    return str(int(number)) if abs(number) < 1e6 and number == int(number) else f"{number:.{digits}g}"


def count(number: int, total: int, noun: str) -> str:
    """How many of how many, in words."""
    return f"{number} {noun}{'s' * (number != 1)}" if number == total else f"{number} of {total} {noun}s"


def one_line(words: str) -> str:
    """Without line breaks."""
    return " ".join(words.split())


def seconds(duration: float) -> str:
    """A duration in seconds to three digits, with its unit."""
    return f"{duration:.{2 if duration < 9.995 else 1 if duration < 99.95 else 0}f} s"
