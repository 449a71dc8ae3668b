"""JSON from clients."""

from __future__ import annotations

import json
from typing import Any


class NotJSON(Exception):
    """The text is not readable as JSON."""


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        NotJSON: wrong syntax or encoding, a number with thousands of digits, or brackets nested too deep
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # json.loads raises nothing else
        raise NotJSON(str(error)) from None
