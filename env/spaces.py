"""`ClinicalText`: Gymnasium's text space for any characters ("µ", "≥"), bounded in length only."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Text

_SAMPLED = "abcdefghijklmnopqrstuvwxyz ?µ≥"


class ClinicalText(Text):
    """Any string of up to `max_length` characters.

    Sampling draws short strings from a small alphabet; membership asks for nothing but type and length. Text
    does not fit shared memory: vectorise with `shared_memory=False`.
    """

    def __init__(self, max_length: int, *, seed: int | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=_SAMPLED, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random string of up to 60 characters."""
        length = int(self.np_random.integers(0, min(self.max_length, 60) + 1))
        letters = self.np_random.integers(0, len(_SAMPLED), size=length)
        return "".join(_SAMPLED[int(index)] for index in letters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClinicalText) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash(("ClinicalText", self.max_length))

    def __repr__(self) -> str:
        return f"ClinicalText({self.max_length})"
