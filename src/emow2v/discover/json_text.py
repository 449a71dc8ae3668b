"""JSON that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any


class NotJSON(Exception):
    """A text is no JSON that can be read."""


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        NotJSON: syntax, encoding, a number with thousands of digits, or brackets nested too deep
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # all of these, and nothing else, are what json.loads says of a text
        raise NotJSON(str(error)) from None
