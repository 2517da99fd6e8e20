"""Which prepared rows stay: exact duplicates by content hash, near ones by MinHash; ids made unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .chunks import Kept, read_keys, write_kept
from .near import PLACES, near_duplicates

_HELD = 16  # bytes of a content hash that are compared: two texts in 10^19 would be taken for one


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of it: rows that stay, what was dropped by reason, and texts and passages by place of the input file.

    `renamed` rows stay under another id, since theirs was taken.
    """

    n_passages: int
    renamed: int
    dropped: dict[str, int]
    texts: dict[int, int]
    kept: dict[int, int]


def decide(work: Path, n_chunks: int, near: float | None, spared: Collection[int] = ()) -> Decided:
    """Decide for all chunks and write it down (`chunks.write_kept`). The first of equal texts stays.

    Args:
        work: the work folder.
        n_chunks: number of chunks, all done.
        near: similarity from which a text is a near duplicate; None to look for exact ones only.
        spared: places of input files whose texts are no near duplicates of others.
    """
    masks: list[bytearray] = []
    seen: set[bytes] = set()
    dropped: Counter[str] = Counter()
    for keys in read_keys(work, n_chunks):
        mask = bytearray(len(keys.ids))
        for at, content in enumerate(keys.contents):
            held = content[:_HELD]
            if held not in seen:
                seen.add(held)
                mask[at] = 1
        dropped["duplicate"] += len(mask) - sum(mask)
        masks.append(mask)
    seen.clear()
    if near is not None:
        dropped["near duplicate"] = _drop_near(work, masks, near, spared)
    texts: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    renamed: dict[tuple[int, int], str] = {}
    taken: set[str] = set()
    again: Counter[str] = Counter()
    for number, (keys, mask) in enumerate(zip(read_keys(work, n_chunks), masks, strict=True)):
        texts[keys.file] += keys.counts["texts"]
        kept[keys.file] += sum(mask)
        for reason in ("empty", "licence"):
            dropped[reason] += keys.counts[reason]
        for at, (stays, passage_id) in enumerate(zip(mask, keys.ids, strict=True)):
            if not stays:
                continue
            new = passage_id
            while new in taken:
                again[passage_id] += 1
                new = f"{passage_id}.{again[passage_id] + 1}"
            if new != passage_id:
                renamed[number, at] = new
            taken.add(new)
    write_kept(work, Kept([bytes(mask) for mask in masks], renamed))
    counts = {reason: count for reason, count in sorted(dropped.items()) if count}
    return Decided(sum(kept.values()), len(renamed), counts, texts, kept)


def _drop_near(work: Path, masks: list[bytearray], near: float, spared: Collection[int]) -> int:
    """Take near duplicates out of the masks; how many. The signatures of all lie in a file, of which parts are read."""
    places: list[tuple[int, int]] = []
    with (work / "signatures").open("wb") as file:
        for number, keys in enumerate(read_keys(work, len(masks))):
            for at, stays in enumerate(masks[number] if keys.file not in spared else b""):
                if stays:
                    file.write(keys.signatures[at * PLACES * 4 : (at + 1) * PLACES * 4])
                    places.append((number, at))
    if not places:
        return 0
    matrix = np.memmap(work / "signatures", dtype="<u4", mode="r").reshape(-1, PLACES)
    gone = np.flatnonzero(near_duplicates(matrix, near)).tolist()
    for place in gone:
        number, at = places[place]
        masks[number][at] = 0
    return len(gone)
