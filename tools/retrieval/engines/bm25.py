"""BM25 as both engines score it: the formula, and the rounding of passage lengths to one byte.

A term t in a passage d scores

    idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(d) / avglen)),
    idf(t) = ln(1 + (N - n(t) + 0.5) / (n(t) + 0.5))

(Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; the 1 in the logarithm keeps it
above 0), where N passages are indexed and n(t) hold t. len(d), the number of terms, is rounded down to one of 256
steps: exact up to 40, within an eighth above. k1, b and the steps are tantivy's own, which cannot be set; the Whoosh
engine follows it.
"""

from __future__ import annotations

import math
from bisect import bisect_right

K1 = 1.2
B = 0.75
EXACT = 24  # steps of 1 before the floating-point part, which is exact for 16 more


def _step(code: int) -> int:
    """The length that a byte stands for: above `EXACT` a number with a mantissa of four bits, its first bit implied."""
    if code < EXACT:
        return code
    exponent, mantissa = divmod(code - EXACT, 8)
    return EXACT + (mantissa if exponent == 0 else (mantissa + 8) << (exponent - 1))


STEPS = tuple(_step(code) for code in range(256))


def length_code(length: int) -> int:
    """The byte of a length: that of the largest step which is not above it."""
    return bisect_right(STEPS, length) - 1


def idf(n_passages: int, frequency: int) -> float:
    """Inverse document frequency of a term that `frequency` of `n_passages` hold."""
    return math.log(1 + (n_passages - frequency + 0.5) / (frequency + 0.5))


def length_weights(average: float) -> list[float]:
    """k1 * (1 - b + b * len / avglen) for each of the 256 lengths."""
    return [K1 * (1 - B + B * step / average) for step in STEPS]
