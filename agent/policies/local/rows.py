"""The rows of a batch while they are sampled: what each still needs, what they have been fed, how batches join.

Owns the bookkeeping between requests and tensors; the model's passes and the draws are the sampler's. Needs torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from .caches import StreamCache
from .guided import GuideState
from .layers import Layers, as_past, layers_of, picked, seated, stacked
from .request import SampleOutput, SampleRequest, TopLogprobs

if TYPE_CHECKING:
    from ...recorder import FinishReason
    from .sampler import KeyValueCache

_PADDING = 32
_WORTH_A_COPY = 4  # when one of so many rows is of no use

Done: TypeAlias = "Callable[[SampleOutput | Exception], None]"
"""Told how one answer ended, in the sampling thread; must be quick and must not raise."""


@dataclass(slots=True)
class Row:
    """One answer while it is being sampled. `kept`: what it has fed is held, or was not to be, after it has ended."""

    request: SampleRequest
    prompt: list[int]
    limit: int
    random: random.Random
    guide: GuideState | None
    done: Done | None = None
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    top: list[TopLogprobs] = field(default_factory=list[TopLogprobs])
    finish: FinishReason | None = None
    error: Exception | None = None
    kept: bool = False

    def fail(self, error: Exception) -> None:
        """End this row alone; the rest of the batch goes on."""
        self.error, self.finish = error, "stop"

    def output(self) -> SampleOutput:
        """What was sampled. Raises what the row failed with."""
        if self.error is not None:
            raise self.error
        return SampleOutput(tuple(self.ids), tuple(self.logprobs), self.finish or "length", tuple(self.top))

    def tell(self) -> None:
        """Tell whoever waits for this row alone, once it has ended."""
        if self.finish is not None and self.done is not None:
            done, self.done = self.done, None
            done(self.output() if self.error is None else self.error)


@dataclass(slots=True)
class Feed:
    """What is known of a row's prompt already, and what has to be fed before its first answer id."""

    row: Row
    known: StreamCache | None

    @property
    def fresh(self) -> list[int]:
        return self.row.prompt[0 if self.known is None else len(self.known.fed) :]


@dataclass(slots=True)
class Batch:
    """Rows that are decoded together; each has been fed all its ids but the last.

    `mask`: (rows, positions), 0 for padding and for what was fed after a row's end; `last`: (rows, 1), the position
    of the last id that was fed.
    """

    rows: list[Row]
    past: KeyValueCache | None
    mask: Tensor
    last: Tensor

    @property
    def going(self) -> list[int]:
        """Places of the rows that have not ended."""
        return [at for at, row in enumerate(self.rows) if row.finish is None]


def chunks(feeds: Sequence[Feed], most: int) -> list[list[Feed]]:
    """Rows that are fed together: of similar length, at most `most` ids with padding."""
    found: list[list[Feed]] = []
    shortest = 0
    for length, feed in sorted(((len(feed.fresh), feed) for feed in feeds), key=lambda pair: pair[0]):
        if found and (len(found[-1]) + 1) * length <= most and length <= 2 * shortest + _PADDING:
            found[-1].append(feed)
        else:
            found.append([feed])
            shortest = length
    return found


def joined(parts: Sequence[tuple[Layers, Batch]]) -> Batch:
    """One batch of several."""
    batches = [batch for _, batch in parts]
    if len(batches) == 1:
        if type(batches[0].past) is DynamicCache:  # which copies everything for each new position
            batches[0].past = as_past(parts[0][0])
        return batches[0]
    width = max(batch.mask.shape[1] for batch in batches)
    masks = [torch.nn.functional.pad(batch.mask, (width - batch.mask.shape[1], 0)) for batch in batches]
    rows = [row for batch in batches for row in batch.rows]
    past = stacked([layers for layers, _ in parts])
    return Batch(rows, past, torch.cat(masks), torch.cat([batch.last for batch in batches]))


def seat(batch: Batch, new: Batch) -> bool:
    """Put the rows of `new` where others have ended; whether that can be done without copying the rest.

    It cannot where there are too few places, or so many that dropping them is worth a copy. What the ended rows have
    fed must be held already (`Row.kept`): it is written over.
    """
    layers = layers_of(new.past)
    places = [at for at, row in enumerate(batch.rows) if row.finish is not None]
    assert all(batch.rows[at].kept for at in places)
    empty = len(places) - len(new.rows)
    if layers is None or not 0 <= empty * _WORTH_A_COPY <= len(batch.rows):
        return False
    taken = places[: len(new.rows)]
    mask = seated(batch.past, batch.mask, taken, batch.going, layers, new.mask)
    if mask is None:
        return False
    batch.mask = mask
    for at, row, last in zip(taken, new.rows, new.last, strict=True):
        batch.rows[at] = row
        batch.last[at] = last
    return True


def drop_ended(batch: Batch) -> None:
    """Go on without the rows that have ended, where caches can be taken apart and any row goes on."""
    layers, going = layers_of(batch.past), batch.going
    if layers is None or not going or len(going) == len(batch.rows):
        return
    batch.past, batch.mask = picked(layers, batch.mask, going)
    batch.last = batch.last[torch.tensor(going, device=batch.last.device)]
    batch.rows = [batch.rows[at] for at in going]


def right_mask(lengths: Sequence[int]) -> Tensor:
    """(rows, longest): 1 for the last `length` columns of each row."""
    return (torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]).long()
