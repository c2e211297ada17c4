"""Report files: refused before any work if they cannot be written, and then written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from uuid import uuid4

from nntk_reference import InputError

__all__ = ["check_distinct", "check_report", "shown_name", "write_report"]


def check_report(path: Path, argument: str = "json") -> None:
    """Find out before any work whether a report can be written to this file. Raises InputError, which names the argument."""
    with _refusals(path, argument):
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
    """Refuse a report that would replace another file of the run; `files` maps arguments to files, those read first.

    Raises InputError.
    """
    given = [(argument, path) for argument, path in files.items() if path is not None]
    for (first, taken), (argument, path) in combinations(given, 2):
        if path.resolve() == taken.resolve() or (path.exists() and taken.exists() and path.samefile(taken)):
            raise InputError(argument, f"a file other than `{first}`'s", repr(str(path)))


def write_report(path: Path, text: str, argument: str = "json") -> None:
    """Write a file whole or not at all; until then the one in its place stays as it is. Raises InputError."""
    with _refusals(path, argument):
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
def _refusals(path: Path, argument: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # the last two: links in a circle, a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(argument, "a file that can be written", f"{str(path)!r} ({reason})") from None


def shown_name(path: Path) -> str:
    """A file's name; what is not UTF-8 in it is shown escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
