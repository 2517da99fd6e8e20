"""What is asked of the sampler and what it answers: plain ids and numbers, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ...recorder import FinishReason


class MissingExtraError(ImportError):
    """An optional package is not installed; the message names the command that installs it."""

    def __init__(self, purpose: str, command: str) -> None:
        super().__init__(f"{purpose} needs packages that are not installed: {command}")


class ContextLengthError(ValueError):
    """The prompt leaves no room for an answer within the model's context."""


class AbandonedError(RuntimeError):
    """Nobody waits for this answer any more, so that it was not sampled to its end."""


TopLogprobs: TypeAlias = tuple[tuple[int, float], ...]
"""The likeliest ids at one place with their log-probabilities, likeliest first."""


class Listener(Protocol):
    """Told of an answer while it is sampled, in the sampling thread; must be quick and must not raise."""

    def sampled(self, token: int, logprob: float, top: TopLogprobs) -> None:
        """One more id, the end token included; `top` is empty unless `top_logprobs` was asked for."""
        ...

    def wanted(self) -> bool:
        """Whether somebody still waits; asked before sampling begins and after each id. If not, the answer ends."""
        ...


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One answer to sample.

    Attributes:
        prompt_ids: everything the model is to see, from the beginning of the stream.
        max_new_tokens: limit on sampled ids, the end token included.
        temperature: 0 takes the likeliest id; otherwise logits are divided by it.
        top_p: smallest set of likeliest ids with at least this much probability is sampled from; 1 is all.
        seed: of this answer's own generator, so that the result does not depend on what else is in the batch.
        grammar: llguidance Lark grammar that the answer must follow; None is free text.
        scored_at: temperature of the recorded log-probabilities; a trainer that samples at T needs those of T.
        stop: strings that end the answer; they stay in the ids.
        owner: whose stream this is; its key-value cache is kept while this object lives. None keeps none.
        top_logprobs: how many of the likeliest ids are reported at each place, with `logprobs`' meaning.
        listener: told each id as soon as it is sampled.
    """

    prompt_ids: Sequence[int]
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    grammar: str | None = None
    scored_at: float = 1.0
    stop: tuple[str, ...] = ()
    owner: object | None = None
    top_logprobs: int = 0
    listener: Listener | None = None

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("prompt_ids is empty")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if not self.temperature >= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if not self.scored_at > 0:
            raise ValueError(f"scored_at is {self.scored_at}; it must be above 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_logprobs < 0:
            raise ValueError(f"top_logprobs is {self.top_logprobs}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class SampleOutput:
    """A sampled answer: its ids (end token included if sampled), their log-probabilities, and why it ended.

    The log-probabilities are the model's own: at the temperature `scored_at` (1), before grammar and top_p. `top` has
    one entry per id where the request asked for it, else none. An answer that its listener no longer wanted ends
    with `stop` as well.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    top: tuple[TopLogprobs, ...] = ()


class Engine(Protocol):
    """What the chat model needs: a sampler, or a batcher before one."""

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer; blocks until it is done."""
        ...
