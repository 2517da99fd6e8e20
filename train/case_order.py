"""`CaseOrder`: which cases a run plays at which step, as one sequence over all of its steps.

TRL's `RepeatSampler` draws a new order each epoch from a generator that no checkpoint holds, so that a run resumed in
its second epoch would play the first one's cases again. Here the whole run is one epoch: shuffles of the cases follow
each other without a seam, the n-th rollout depends on seed and n alone, and a resume skips what was served.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import Sampler


class CaseOrder(Sampler[int]):
    """Indices of cases in the order that a trainer of groups wants them.

    Each rollout's cases, every one `group` times in a row, are given `serves` times: once for each micro-step that the
    rollout serves.

    Args:
        cases: how many there are.
        prompts: different cases of a rollout; more than there are cases repeats some.
        group: episodes per case.
        serves: micro-steps per rollout, over all its updates.
        rollouts: how many the run makes.
        seed: of the order.
    """

    def __init__(self, cases: int, *, prompts: int, group: int, serves: int, rollouts: int, seed: int) -> None:
        self._cases, self._prompts, self._group, self._serves = cases, prompts, group, serves
        self._rollouts, self._seed = rollouts, seed

    def __iter__(self) -> Iterator[int]:
        stream = self._stream()
        for _ in range(self._rollouts):
            chosen = list(islice(stream, self._prompts))
            for _ in range(self._serves):
                for index in chosen:
                    yield from [index] * self._group

    def __len__(self) -> int:
        return self._rollouts * self._prompts * self._group * self._serves

    def _stream(self) -> Iterator[int]:
        """Shuffles of all cases, one after the other."""
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield from map(int, torch.randperm(self._cases, generator=generator))
