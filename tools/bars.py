"""Silence for transformers' progress bars while something is loaded; long steps report through a callback instead."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_progress_bars() -> Generator[None]:
    """Without transformers' bars inside; the caller's setting afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
