"""Log-probabilities of given ids under a model, by its plain forward pass.

Only what is asked for is projected onto the vocabulary, sequences are cut after the last id that counts and batched by
length: a teacher needs some hundred sampled ids of an episode of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Scored:
    """A sequence of which some ids are to be scored.

    Attributes:
        ids: all of it.
        places: indices of the ids to score, rising, none of them 0.
    """

    ids: Sequence[int]
    places: Sequence[int]


def sampled_logps(
    model: nn.Module, sequences: Sequence[Scored], *, temperature: float, batch: int, device: torch.device
) -> list[Tensor]:
    """For each sequence the natural log-probability of the ids at its places, given what stands before them.

    Args:
        model: a causal language model; gradients and mode are the caller's.
        sequences: to score; one without places gives an empty tensor.
        temperature: that the logits are divided by.
        batch: sequences per forward pass.
        device: where the model is.

    Returns:
        Float32 tensors of (places,), on `device`.
    """
    found = [torch.zeros(0, device=device) for _ in sequences]
    order = [at for at in sorted(range(len(sequences)), key=lambda at: _needed(sequences[at])) if sequences[at].places]
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        chosen = [sequences[at] for at in members]
        logits = picked_logits(model, chosen, temperature=temperature, device=device)
        targets = torch.tensor([one.ids[place] for one in chosen for place in one.places], device=device)
        logps = logits.gather(1, targets.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1)
        end = 0
        for at, one in zip(members, chosen, strict=True):
            begin, end = end, end + len(one.places)
            found[at] = logps[begin:end]
    return found


def picked_logits(model: nn.Module, sequences: Sequence[Scored], *, temperature: float, device: torch.device) -> Tensor:
    """(all places, vocabulary) float32 logits that predict the ids at the places, one sequence after the other."""
    longest = max(_needed(one) for one in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(sequences):
        needed = min(_needed(one), len(one.ids))
        ids[row, :needed] = torch.tensor(one.ids[:needed])
        mask[row, :needed] = 1
    rows = torch.tensor([row for row, one in enumerate(sequences) for _ in one.places], device=device)
    before = torch.tensor([place - 1 for one in sequences for place in one.places], device=device)
    if int(before.min()) < 0:
        raise ValueError("the first id of a sequence has no log-probability: nothing stands before it")
    kept, index = cast("tuple[Tensor, Tensor]", before.unique(return_inverse=True))  # pyright: ignore
    forward = cast("Callable[..., _Output]", model)
    output = forward(input_ids=ids.to(device), attention_mask=mask.to(device), logits_to_keep=kept, use_cache=False)
    return output.logits[rows, index].float() / temperature


@dataclass
class _Output:
    """What is read of a model's output."""

    logits: Tensor


def _needed(one: Scored) -> int:
    """Ids up to the last one that is scored; that one itself need not be fed."""
    return one.places[-1] if one.places else 0
