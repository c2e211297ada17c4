"""What a run keeps while it works: its clock, its JSON report, and a stdout that may go away without the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from nntk.reporting.envelope import write
from nntk_reference import InputError

__all__ = ["Recorder"]


class Recorder:
    """Made when the work starts; `keep` after each part, `close` at the end.

    record   makes the report of what is finished by then (`nntk.reporting.envelope`), from `times`.
    json     the file to write it to; None for none.
    html     the file of a page that is written in the end; None for none.
    """

    def __init__(
        self, out: Console, record: Callable[[], dict[str, Any]], *, json: Path | None = None, html: Path | None = None
    ) -> None:
        self.out, self.record, self.json = out, record, json
        self.reported = json is not None or html is not None
        self.started, self._start = datetime.now(UTC), time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall clock since the start."""
        return time.perf_counter() - self._start

    @property
    def times(self) -> dict[str, Any]:
        """What `envelope` takes: started, seconds."""
        return {"started": self.started, "seconds": self.seconds}

    def keep(self) -> None:
        """Write what is finished. A file that cannot be written now is left to `close`."""
        with suppress(InputError):
            self.close()

    def close(self) -> None:
        """Write what is finished. Raises InputError where the file cannot be written."""
        if self.json is not None:
            write(self.json, self.record())

    def show(self, *lines: RenderableType) -> None:
        """Print these."""
        for line in lines:
            with self.printing():
                self.out.print(line)

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Go on where nobody reads stdout any more, for which rich ends the process, as long as there is a report to write."""
        try:
            yield
        except (BrokenPipeError, SystemExit):
            if not self.reported:
                raise
