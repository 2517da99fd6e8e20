"""Soft overlong punishment of DAPO (arXiv 2503.14476, equation 13), on the policy's own tokens."""

from __future__ import annotations


def overlong_penalty(tokens: int, limit: int, buffer: int) -> float:
    """0 up to `limit - buffer` policy tokens, then falling linearly to -1 at `limit`, and -1 beyond.

    Raises:
        ValueError: the buffer is not between 1 and the limit.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"the overlong buffer of {buffer} tokens must lie between 1 and the limit of {limit}")
    return -min(1.0, max(0.0, (tokens - (limit - buffer)) / buffer))
