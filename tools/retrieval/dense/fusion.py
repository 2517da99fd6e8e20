"""Several rankings made one: reciprocal-rank fusion.

After Cormack GV, Clarke CLA, Büttcher S. Reciprocal rank fusion outperforms Condorcet and individual rank learning
methods. SIGIR 2009:758-759, with a weight for each ranking.
"""

import math
from collections.abc import Sequence

RRF_K = 60
"""The constant of the paper: how little it matters to be first rather than second."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], weights: Sequence[float], k: int = RRF_K
) -> list[tuple[int, float]]:
    """Each number with the sum over the rankings of weight / (k + its rank from 1); best first, then lower numbers.

    Sums are rounded once, so numbers with the same ranks in whatever order of rankings are equal.

    Args:
        rankings: distinct numbers, best first; not all need to occur in all rankings.
        weights: one for each ranking, not negative; a ranking of weight 0 is left out.
        k: at least 0.

    Raises:
        ValueError: if an argument is not as said.
    """
    if k < 0:
        raise ValueError(f"k is {k}: it must be at least 0")
    if len(weights) != len(rankings):
        raise ValueError(f"there are {len(rankings)} rankings and {len(weights)} weights: give one for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(f"the weights are {tuple(weights)}: none may be negative and one must be above 0")
    parts: dict[int, list[float]] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        if len(set(ranking)) < len(ranking):
            raise ValueError("a ranking names a number twice")
        if weight:
            for rank, number in enumerate(ranking, start=1):
                parts.setdefault(number, []).append(weight / (k + rank))
    fused = [(number, math.fsum(found)) for number, found in parts.items()]
    return sorted(fused, key=lambda one: (-one[1], one[0]))
