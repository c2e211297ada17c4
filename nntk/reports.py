"""Report files: refused before any work if they cannot be written, and then written whole or not at all; times in them."""

from __future__ import annotations

import errno
import math
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import uuid4

from nntk import __version__
from nntk_reference import InputError

__all__ = ["check_distinct", "check_report", "environment", "plain", "seconds", "shown_name", "write_report"]

_DISTRIBUTIONS = ("numpy", "scipy", "mpmath", "python-flint", "torch", "sympy")


def seconds(duration: float) -> str:
    """A duration in seconds to three digits, with its unit."""
    return f"{duration:.{2 if duration < 9.995 else 1 if duration < 99.95 else 0}f} s"


def check_report(path: Path, option: str = "--json") -> None:
    """Find out before any work whether a report can be written to this file. Raises InputError, which names the option."""
    with _refusals(path, option):
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise OSError(errno.EISDIR, "a directory" if target.is_dir() else "not a regular file")
        if target.exists() and not os.access(target, os.W_OK):
            raise OSError(errno.EACCES, "write-protected")
        if not target.parent.is_dir():
            raise OSError(errno.ENOENT, f"no folder {str(path.parent)!r}")
        probe = _beside(target)
        probe.touch(exist_ok=False)
        probe.unlink()


def check_distinct(files: Mapping[str, Path | None]) -> None:
    """Refuse a report that would replace another file of the run; `files` maps options to files, those read first.

    Raises InputError.
    """
    given = [(option, path) for option, path in files.items() if path is not None]
    for (first, taken), (option, path) in combinations(given, 2):
        if path.resolve() == taken.resolve() or (path.exists() and taken.exists() and path.samefile(taken)):
            raise InputError(option, f"a file other than {first}'s", repr(str(path)))


def write_report(path: Path, text: str, option: str = "--json") -> None:
    """Write a file whole or not at all; until then the one in its place stays as it is. Raises InputError."""
    with _refusals(path, option):
        target = path.resolve()
        draft = _beside(target)
        try:
            with draft.open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write(text)
            if target.exists():
                shutil.copymode(target, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".nntk-{uuid4().hex}")


@contextmanager
def _refusals(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # the last two: links in a circle, a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(option, "a file that can be written", f"{str(path)!r} ({reason})") from None


@cache
def environment() -> dict[str, Any]:
    """The machine and the versions, for a report."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": {"nntk": __version__, **{name: _version(name) for name in _DISTRIBUTIONS}},
    }


def shown_name(path: Path) -> str:
    """A file's name; what is not UTF-8 in it is shown escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def plain(value: Any) -> Any:
    """The same of JSON's own types. JSON has no NaN and no infinity: such a number is null."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | str | int | None):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
