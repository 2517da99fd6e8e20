"""The part of a passage to show for a hit: a window of about thirty words around the densest match.

Owns the choice of the window. The words are shown as they stand in the text, with "..." where it was cut.
"""

from collections import Counter
from collections.abc import Set as AbstractSet

from .analysis import terms

WINDOW = 30


def snippet(text: str, wanted: AbstractSet[str], window: int = WINDOW) -> str:
    """The `window` consecutive words of `text` that cover most of the terms `wanted`, the earliest such window.

    Different terms count before repeats of one term.
    """
    shown = text.split()
    if len(shown) <= window:
        return " ".join(shown)
    matches = [[found for found in terms(word) if found in wanted] for word in shown]
    counts: Counter[str] = Counter()
    best, best_key = 0, (-1, -1)
    for end, found in enumerate(matches):
        counts.update(found)
        start = end - window + 1
        if start > 0:
            counts.subtract(matches[start - 1])
            counts = +counts
        if start >= 0:
            present = [count for count in counts.values() if count > 0]
            key = (len(present), sum(present))
            if key > best_key:
                best, best_key = start, key
    # The best window that starts earliest often ends on the last match: move it to have the match in its middle.
    hits = [place for place in range(best, best + window) if matches[place]]
    if hits:
        centred = (hits[0] + hits[-1]) // 2 - window // 2
        best = max(0, hits[-1] - window + 1, min(centred, len(shown) - window, hits[0]))
    before, after = "... " if best else "", " ..." if best + window < len(shown) else ""
    return before + " ".join(shown[best : best + window]) + after
