"""How fast an index answers: queries to ask, and the time and memory that they take."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .analysis import STOP_WORDS, terms, words
from .index import Index

_WORDS = 6
_WARM = 20  # searches that are not timed: the first ones read the files


def read_queries(path: Path, n: int) -> list[str]:
    """The first `n` distinct lines of a text file that are not blank."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = list(dict.fromkeys(line for line in lines if line))[:n]
    if not found:
        raise ValueError(f"{path} holds no query: write one a line")
    return found


def drawn_queries(index: Index, n: int, seed: int) -> list[str]:
    """`n` queries, each of six content words of one passage."""
    draw = random.Random(seed)
    found: list[str] = []
    for _ in range(n):
        (passage,) = index.passages([draw.randrange(len(index))])
        content = sorted({word for word in words(passage.text) if word not in STOP_WORDS and len(word) > 2})
        found.append(" ".join(draw.sample(content, min(_WORDS, len(content)))) or passage.title)
    return found


def resident_mb() -> float:
    """Resident memory of this process now; where the system does not say, the most that it was."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(index: Index, queries: Sequence[str], k: int = 10) -> dict[str, float]:
    """Milliseconds of a search for `k` passages, and the resident memory afterwards, in MB.

    Queries without a searchable word, and those with the same words as another, are left out; `n` is what remains.
    """
    asked = list({frozenset(terms(query)): query for query in queries if terms(query)}.values())
    if not asked:
        raise ValueError("no query has a word to search for")
    for query in asked[:_WARM]:
        index.search(query, k + 1)  # another k, so that no timed search comes from the cache
    taken: list[float] = []
    for query in asked:
        started = time.perf_counter()
        index.search(query, k)
        taken.append(1000 * (time.perf_counter() - started))
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]).round(3).tolist()
    return {"n": len(taken), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "rss_mb": round(resident_mb(), 1)}
