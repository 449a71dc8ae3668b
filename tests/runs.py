"""What tests of trainings share: stopping one, and its log without what a clock says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class StopError(Exception):
    """Somebody stopped the run."""


def stop_after(calls: int) -> Callable[[], None]:
    """A check for a run that raises when it is asked for the so-manyth time: once a file, then once a step."""
    left = calls

    def check() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise StopError

    return check


def log(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def better_by_epoch(
    evaluate: Callable[..., tuple[dict[str, Any], float]],
) -> Callable[..., tuple[dict[str, Any], float]]:
    """An evaluation by which every epoch is better than the last, so that each writes a best network."""

    def better(task: Any) -> tuple[dict[str, Any], float]:
        figures, score = evaluate(task)
        return figures, score + task._epoch

    return better
