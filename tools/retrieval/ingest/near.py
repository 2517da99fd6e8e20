"""Near duplicates by MinHash (Broder, On the resemblance and containment of documents, 1997).

A text's *shingles* are its runs of three terms; the share of shingles that two texts have in common is estimated by the
share of equal places in their signatures. Candidates are found by locality-sensitive hashing: two texts are compared
only if one of `BANDS` bands of their signatures is the same, which two texts of similarity s are with probability
1 - (1 - s^ROWS)^BANDS: 0.99998 at 0.9, 0.99 at 0.8, 0.32 at 0.5. One band is held in memory at a time; the signatures
of all passages cost 256 bytes each, so that a library that keeps every band in Python objects would not do here.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

BANDS = 12
ROWS = 5
PLACES = 64
SHINGLE = 3
_generator = np.random.default_rng(20_260_101)
_FACTORS = _generator.integers(0, 1 << 63, PLACES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _generator.integers(0, 1 << 63, PLACES, dtype=np.uint64)


def signature(terms: str) -> bytes:
    """The MinHash signature of terms joined by blanks: `PLACES` numbers of four bytes."""
    words = terms.split()
    count = max(1, len(words) - SHINGLE + 1)
    hashed = (zlib.crc32(" ".join(words[at : at + SHINGLE]).encode()) for at in range(count))
    shingles = np.fromiter(hashed, dtype=np.uint64, count=count)
    # Multiply-shift (Dietzfelbinger et al., 1997): arithmetic modulo 2^64, of which the upper half is taken.
    permuted = (shingles[:, None] * _FACTORS[None, :] + _OFFSETS[None, :]) >> np.uint64(32)
    return permuted.min(axis=0).astype("<u4").tobytes()


def near_duplicates(signatures: NDArray[np.uint32], threshold: float) -> NDArray[np.bool_]:
    """Which texts are so like an earlier text that stays that they should go.

    Args:
        signatures: (n, PLACES), in the order of the texts.
        threshold: least share of equal places, from 0 to 1.

    Returns:
        (n,): True for a text to be dropped.
    """
    n = len(signatures)
    pairs: list[NDArray[np.int64]] = []
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * ROWS))).ravel()
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        # Each text is compared with the one before it of the same band; chains lead back to the first.
        later, earlier = order[1:][same], order[:-1][same]
        alike = np.mean(signatures[later] == signatures[earlier], axis=1) >= threshold
        pairs.append(np.stack([later[alike], earlier[alike]], axis=1))
        starts = np.flatnonzero(np.concatenate([[True], ~same])) if n else np.empty(0, dtype=np.int64)
        firsts = order[np.repeat(starts, np.diff(np.concatenate([starts, [n]])))]
        behind = firsts != order
        later, earlier = order[behind], firsts[behind]
        alike = np.mean(signatures[later] == signatures[earlier], axis=1) >= threshold
        pairs.append(np.stack([later[alike], earlier[alike]], axis=1))
    dropped = np.zeros(n, dtype=np.bool_)
    found = np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)
    for later, earlier in found[np.lexsort((found[:, 1], found[:, 0]))]:
        if not dropped[earlier]:
            dropped[later] = True
    return dropped
