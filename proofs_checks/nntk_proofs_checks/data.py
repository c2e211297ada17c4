"""Data sets for the claims: the default one, and CSV and NPZ files, read exactly or refused with the place of the fault."""

from __future__ import annotations

import csv
import math
import re
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nntk_proofs_checks.claim import Problem
from nntk_reference import InputError
from nntk_reference.validation import data_set

__all__ = ["DataFileError", "default_data", "load"]

_DELIMITERS = "\t;,"  # on a tie the comma comes last: it may be a decimal comma, which is then refused by its place
_COMMENT = re.compile(r"(^|\s)#.*")
# Narrower than Python's float(), which takes "1_000", "nan", "infinity" and the digits of every script.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_HEXADECIMAL = re.compile(r"[+-]?0x[0-9a-f]", re.IGNORECASE)


class DataFileError(InputError):
    """A file does not hold a data set. `place` has the file and, in a CSV file, `line` and `column`, both from 1."""

    def __init__(
        self, file: str, expected: str, got: str, line: int | None = None, column: int | None = None, name: str = ""
    ) -> None:
        super().__init__("data", expected, got)
        place = [file, f"line {line}" if line else "", f"column {column}" if column else ""]
        self.place = ", ".join(filter(None, place)) + (f" ({name})" if name else "")
        self.file, self.line, self.column = file, line, column

    def __str__(self) -> str:
        return f"{self.argument}: {self.place}: expected {self.expected}, got {self.got}"


def default_data() -> Problem:
    """16 equally spaced points of y = 2x + 0.4 sin(5πx) on [0, 1]."""
    x = np.linspace(0.0, 1.0, 16)
    return Problem(x[:, None], 2 * x + 0.4 * np.sin(5 * np.pi * x), "16 points of y = 2x + 0.4 sin(5πx) on [0, 1]")


def load(data: str | PathLike[str]) -> Problem:
    """A data set of at least two points from a file. Raises DataFileError.

    .csv   UTF-8 text; the last column is y. The delimiter is a comma, a semicolon or a tab. A first row without any number is
           a header; blank lines are skipped, and so is what follows a `#` at the head of a line or after a space.
    .npz   NumPy arrays X (M, d) and y (M,) of real numbers; nothing pickled is read.
    """
    path = Path(data)
    # A name that is not UTF-8 must not break the report that shows it.
    file = str(path).encode("utf-8", "backslashreplace").decode()
    readers = {".csv": _read_csv, ".npz": _read_npz}
    try:
        if not path.exists():
            raise DataFileError(file, "a file", "nothing there")
        if not path.is_file():
            raise DataFileError(file, "a file", "a directory" if path.is_dir() else "something else")
        if path.suffix.lower() not in readers:
            raise DataFileError(
                file, f"a name ending in {' or '.join(readers)}", repr(path.suffix) if path.suffix else "neither"
            )
        if path.stat().st_size == 0:
            raise DataFileError(file, "a data set", "an empty file")
        X, y = readers[path.suffix.lower()](path, file)
    except DataFileError:
        raise
    except (OSError, ValueError) as error:
        raise DataFileError(file, "a readable file", getattr(error, "strerror", None) or str(error)) from None
    if len(y) < 2:
        raise DataFileError(file, "at least 2 points", f"{len(y)}")
    return Problem(X, y, file)


def _read_csv(path: Path, file: str) -> tuple[Any, Any]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        ends = re.findall(rb"\r\n?|\n", raw[: error.start])
        raise DataFileError(file, "UTF-8 text", f"byte 0x{raw[error.start]:02x}", len(ends) + 1) from None
    lines = ((i, _COMMENT.sub("", line).strip(" ")) for i, line in enumerate(re.split(r"\r\n?|\n", text), start=1))
    rows = [(i, line) for i, line in lines if line.strip()]
    if not rows:
        raise DataFileError(file, "a data set", "no line but blanks and comments")
    delimiter = max(_DELIMITERS, key=lambda d: _fit([_split(line, d) for _, line in rows[:100]]))
    top, top_line = rows[0]
    first = _split(top_line, delimiter)
    names = _header(top_line, delimiter) if any(first) and not any(map(_like_number, first)) else []
    width = len(names or first)
    if width < 2:
        raise DataFileError(
            file, "at least 2 columns, set apart by commas, semicolons or tabs", f"one: {_shown(top_line)}", top
        )
    if names:
        rows = rows[1:]
    if not rows:
        raise DataFileError(file, "numbers below the header", "nothing", top)
    table = np.empty((len(rows), width))
    for k, (i, line) in enumerate(rows):
        fields = _split(line, delimiter)
        if len(fields) != width:
            raise DataFileError(file, f"{width} columns, as in the rows above", f"{len(fields)}", i)
        for j, field in enumerate(fields):
            number = float(field) if _NUMBER.fullmatch(field) else math.nan
            if not math.isfinite(number):
                expected = "a number that float64 holds" if math.isinf(number) else "a finite decimal number such as -1.5e-3"
                name = names[j] if names else ""
                raise DataFileError(file, expected, _shown(field), i, j + 1, name and _shown(name))
            table[k, j] = number
    return table[:, :-1], table[:, -1]


def _split(line: str, delimiter: str) -> list[str]:
    return [field.strip() for field in line.split(delimiter)]


def _header(line: str, delimiter: str) -> list[str]:
    """Column names, which unlike numbers may be quoted and then hold the delimiter."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    except csv.Error:
        return _split(line, delimiter)


def _fit(rows: list[list[str]]) -> tuple[int, int, int]:
    """How well a delimiter explains the rows: whole rows of numbers, then numbers, then columns."""
    likely = [[_like_number(field) for field in row] for row in rows]
    return sum(len(row) > 1 and all(row) for row in likely), sum(map(sum, likely)), len(rows[0])


def _like_number(field: str) -> bool:
    """Was a number meant, even one that is refused later? A first row of such must not pass for a header."""
    field = field.strip("\"' ")
    try:
        float(_DECIMAL_COMMA.sub(".", field))
    except ValueError:
        return bool(_HEXADECIMAL.match(field))
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…") if text else "an empty field"


def _read_npz(path: Path, file: str) -> tuple[Any, Any]:
    with path.open("rb") as handle:
        if not zipfile.is_zipfile(handle):
            raise DataFileError(file, "an NPZ archive, as numpy.savez writes it", "another format, or a damaged archive")
        handle.seek(0)
        X, y = _arrays(handle, file)
    try:
        return data_set(X, y)
    except InputError as error:
        raise DataFileError(file, error.expected, error.got, name=error.argument) from None


def _arrays(handle: BinaryIO, file: str) -> tuple[Any, Any]:
    arrays, key = [], ""
    try:
        with np.load(handle, allow_pickle=False) as archive:
            missing = [key for key in ("X", "y") if key not in archive]
            if missing:
                has = ", ".join(archive.files) or "none"
                raise DataFileError(file, "the arrays X and y", f"no {' and no '.join(missing)} (it holds: {has})")
            for key in ("X", "y"):
                arrays.append(archive[key])
    except DataFileError:
        raise
    # A damaged or hostile archive can fail in the zip layer, in decompression, in the header or in the allocation.
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise DataFileError(file, "real numbers (float or integer dtype)", "pickled objects", name=key) from None
        raise DataFileError(file, "an intact NPZ archive", f"{type(error).__name__}: {error}", name=key) from None
    return arrays[0], arrays[1]
