"""Attention of new ids, one per stream or a prompt: keys and values copied for every query head, and not, in one run.

`python benchmarks/decode_attention.py --json` prints milliseconds per layer for both ways and their ratio, in bfloat16
and float32 (medians; the heads of SmolLM2-135M: nine in three groups of width 64).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from medgym.agent.policies.local.attention import grouped_attention

HEADS, GROUPS, WIDTH, REPEATS = 9, 3, 64, 40


def median_ms(call: Callable[[], Any]) -> float:
    """Median milliseconds of a call, after one that does not count."""
    call()
    taken: list[float] = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def compare(dtype: torch.dtype, streams: int, length: int, new: int) -> dict[str, float]:
    """Both ways on the same random tensors."""
    layer: Any = SimpleNamespace(num_key_value_groups=HEADS // GROUPS, is_causal=True)
    query = torch.randn(streams, HEADS, new, WIDTH, dtype=dtype)
    keys, values = (torch.randn(streams, GROUPS, length, WIDTH, dtype=dtype) for _ in range(2))
    mask = torch.ones(streams, 1, new, length, dtype=torch.bool).tril(length - new)
    mask[:, :, :, : length // 10] = False
    with torch.no_grad():
        copied = median_ms(lambda: sdpa_attention_forward(layer, query, keys, values, mask))
        grouped = median_ms(lambda: grouped_attention(layer, query, keys, values, mask))
    return {"copied_ms": copied, "grouped_ms": grouped, "ratio": copied / grouped}


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--length", type=int, default=1200)
    parser.add_argument("--new", type=int, default=1, help="ids per stream that are fed at once")
    options = parser.parse_args()
    figures = {
        str(dtype).removeprefix("torch."): compare(dtype, options.streams, options.length, options.new)
        for dtype in (torch.bfloat16, torch.float32)
    }
    print(json.dumps(figures) if options.json else figures)


if __name__ == "__main__":
    main()
