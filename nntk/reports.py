"""Report files: refused before any work if they cannot be written, and then written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from nntk_reference import InputError

__all__ = ["check_report", "write_report"]


def check_report(path: Path) -> None:
    """Find out before any work whether a report can be written to this file. Raises InputError."""
    with _refusals(path):
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


def write_report(path: Path, text: str) -> None:
    """Write a file whole or not at all; until then the one in its place stays as it is. Raises InputError."""
    with _refusals(path):
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
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # the last two: links in a circle, a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError("--json", "a file that can be written", f"{str(path)!r} ({reason})") from None
