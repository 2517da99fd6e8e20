"""Does nothing: says something empty until the case is closed."""

from __future__ import annotations

from ..domain import Script
from .play import Briefing


def do_nothing(given: Briefing) -> Script:
    """Never calls a tool, never asks, never submits."""
    del given
    while True:
        yield "I see."
