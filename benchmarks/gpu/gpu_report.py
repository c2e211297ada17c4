"""gpu.json: one envelope around the parts' results, as every command's report has it, written anew after each of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENVIRONMENT = ("python", "platform", "machine", "cpus", "versions")


class Report:
    """The JSON file (docs/schemas/gpu.schema.json): what is done, what is left out and why, and the machine."""

    def __init__(self, path: Path, ids: Sequence[str], device: str, seconds: float, surroundings: Mapping[str, Any]) -> None:
        self.path = path
        self.started, self.start = datetime.now(UTC), time.monotonic()
        self.results: list[dict[str, Any]] = []
        self.waiting = list(ids)
        self.left_out: dict[str, str] = {}
        self.unfinished = False  # is something left out that was to be done?
        self.details = {"device": device, "limit": seconds, **surroundings}
        self.written = 0.0
        self.write()

    @property
    def failed(self) -> list[str]:
        """The parts in which something is wrong."""
        return [result["id"] for result in self.results if result["outcome"] == "failed"]

    @property
    def complete(self) -> bool:
        """Has everything been done that this machine allows?"""
        return not self.waiting and not self.unfinished and all(result["complete"] for result in self.results)

    @property
    def passed(self) -> bool:
        """Is all done, and nothing wrong?"""
        return self.complete and not self.failed

    def skip(self, id: str, why: str, *, cannot: bool) -> None:
        """Leave a part out; `cannot` where this machine does not allow it, so that the report is complete without."""
        self.waiting.remove(id)
        self.left_out[id] = why
        self.unfinished |= not cannot

    def write(self) -> None:
        """Write the file, whole or not at all."""
        environment = {key: value for key, value in self.details.items() if key in ENVIRONMENT}
        record = {
            "schema": 2,
            "command": "gpu",
            "complete": self.complete,
            "passed": self.passed,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": time.monotonic() - self.start,
            "environment": environment,
            "effort": None,
            "seed": None,
            "left_out": self.left_out | dict.fromkeys(self.waiting, "not finished"),
            "results": self.results,
            **{key: value for key, value in self.details.items() if key not in ENVIRONMENT},
        }
        write(self.path, record)
        self.written = time.monotonic()

    def update(self) -> None:
        """Write the file, but not more than once a second."""
        if time.monotonic() - self.written > 1:
            self.write()


def write(path: Path, record: Any) -> None:
    """JSON without NaN, in place of what was there, in one move."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(plain(record), ensure_ascii=False, allow_nan=False, indent=2) + "\n", "utf-8")
    draft.replace(path)


def plain(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
