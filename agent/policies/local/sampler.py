"""The decoding loop: ids in, ids and log-probabilities out.

Owns batching with left padding, per-request generators, the key-value caches of running episodes and the log-prob
that is recorded: float32 log-softmax of the model's own logits, before grammar, temperature and top_p. Knows nothing
of messages. Needs torch.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .guided import GuidedMasker, GuideState
from .request import ContextLengthError, SampleOutput, SampleRequest

if TYPE_CHECKING:
    from ...chat_format import ChatFormat
    from ...recorder import FinishReason


class KeyValueCache(Protocol):
    """A transformers cache; only passed back to the model."""

    def get_seq_length(self) -> int: ...


class CausalOutput(Protocol):
    """What a causal language model returns: `logits` (batch, positions, vocabulary) and its cache."""

    logits: Tensor
    past_key_values: KeyValueCache | None


class CausalModel(Protocol):
    """What is needed of a transformers (or PEFT) causal language model."""

    training: bool

    @property
    def device(self) -> torch.device: ...
    @property
    def config(self) -> object: ...
    def train(self, mode: bool = True) -> object: ...
    def __call__(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        past_key_values: KeyValueCache | None,
        use_cache: bool,
        logits_to_keep: int,
    ) -> CausalOutput: ...


@dataclass(slots=True)
class _Row:
    """One answer while it is being sampled."""

    request: SampleRequest
    limit: int
    generator: torch.Generator
    guide: GuideState | None
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    finish: FinishReason | None = None


@dataclass(slots=True)
class _Cached:
    """What a stream has fed so far, and the cache that holds it."""

    fed: list[int]
    past: KeyValueCache


@dataclass(slots=True)
class _Feed:
    """Input of the next forward pass. `ids` and `positions`: (batch, new); `mask`: (batch, past + new)."""

    ids: Tensor
    mask: Tensor
    positions: Tensor
    past: KeyValueCache | None

    def after(self, tokens: Sequence[int], past: KeyValueCache | None) -> _Feed:
        ids = torch.tensor(tokens, device=self.ids.device).unsqueeze(1)
        return _Feed(ids, torch.cat([self.mask, torch.ones_like(ids)], 1), self.positions[:, -1:] + 1, past)


class Sampler:
    """Samples answers of one model. Thread-safe; one call runs at a time.

    Args:
        model: a causal language model; put in evaluation mode while sampling and back afterwards.
        chat_format: for the end ids and for decoding stop strings.
        max_context: positions the model can see; None takes the config's `max_position_embeddings`.
        max_caches: streams whose key-value cache is kept at once; the oldest goes first.
    """

    def __init__(
        self, model: CausalModel, chat_format: ChatFormat, *, max_context: int | None = None, max_caches: int = 8
    ) -> None:
        self.model = model
        self.chat_format = chat_format
        known = getattr(model.config, "max_position_embeddings", None)
        self.max_context = max_context or (known if isinstance(known, int) else None)
        self._max_caches = max_caches
        self._caches: WeakKeyDictionary[object, _Cached] = WeakKeyDictionary()
        self._vocabulary = len(chat_format.tokenizer)
        self._lock = threading.Lock()
        self._masker: GuidedMasker | None = None
        self._masker_lock = threading.Lock()

    @property
    def masker(self) -> GuidedMasker:
        """Grammar masks over this tokenizer; made at the first grammar, which takes seconds."""
        with self._masker_lock:
            if self._masker is None:
                self._masker = GuidedMasker(self.chat_format.tokenizer, self.chat_format.turn_end)
            return self._masker

    def drop_caches(self) -> None:
        """Forget the key-value caches: call it when weights changed while a stream goes on."""
        with self._lock:
            self._caches.clear()

    def check(self, request: SampleRequest) -> None:
        """Raises ContextLengthError if the prompt leaves no room, ValueError for a bad grammar."""
        self._limit(request)
        if request.grammar is not None:
            self.masker.start(request.grammar)

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer; errors as in `generate`."""
        return self.generate([request])[0]

    def generate(self, requests: Sequence[SampleRequest]) -> list[SampleOutput]:
        """One output per request, in order; together in one batch.

        Raises:
            ContextLengthError: a prompt leaves no room for an answer.
            ValueError: a grammar is wrong.
            FloatingPointError: the model's logits are not finite.
        """
        if not requests:
            return []
        with self._lock, torch.no_grad(), _evaluating(self.model):
            rows = [self._row(request) for request in requests]
            owner = requests[0].owner if len(requests) == 1 else None
            held = self._resume(owner, requests[0].prompt_ids)
            past = self._decode(rows, self._prefill(requests, held))
            if owner is not None and past is not None:
                self._keep(owner, _Cached([*requests[0].prompt_ids, *rows[0].ids[:-1]], past))
        return [SampleOutput(tuple(row.ids), tuple(row.logprobs), row.finish or "length") for row in rows]

    def _limit(self, request: SampleRequest) -> int:
        if self.max_context is None:
            return request.max_new_tokens
        room = self.max_context - len(request.prompt_ids)
        if room < 1:
            raise ContextLengthError(
                f"the prompt has {len(request.prompt_ids)} tokens and the model sees {self.max_context}: "
                "shorten the episode or take a model with a longer context"
            )
        return min(room, request.max_new_tokens)

    def _row(self, request: SampleRequest) -> _Row:
        guide = None if request.grammar is None else self.masker.start(request.grammar)
        return _Row(request, self._limit(request), torch.Generator().manual_seed(request.seed), guide)

    def _resume(self, owner: object | None, prompt: Sequence[int]) -> _Cached | None:
        """The owner's cache if the prompt continues it; taken out, since the forward pass changes it in place."""
        cached = None if owner is None else self._caches.pop(owner, None)
        if cached is None or len(cached.fed) >= len(prompt) or list(prompt[: len(cached.fed)]) != cached.fed:
            return None
        return cached

    def _keep(self, owner: object, cached: _Cached) -> None:
        self._caches[owner] = cached
        while len(self._caches) > self._max_caches:
            del self._caches[next(iter(self._caches))]

    def _prefill(self, requests: Sequence[SampleRequest], held: _Cached | None) -> _Feed:
        device = self.model.device
        known = 0 if held is None else len(held.fed)
        prompts = [list(request.prompt_ids) for request in requests]
        width = max(map(len, prompts))
        pad = self.chat_format.turn_end
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return _Feed(ids[:, known:], mask, positions[:, known:], None if held is None else held.past)

    def _decode(self, rows: Sequence[_Row], feed: _Feed) -> KeyValueCache | None:
        """Fill `rows`; returns the cache, which then holds all ids but each row's last."""
        while True:
            output = self.model(
                input_ids=feed.ids,
                attention_mask=feed.mask,
                position_ids=feed.positions,
                past_key_values=feed.past,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[:, -1].float().cpu()
            for row, scores in zip(rows, logits, strict=True):
                if row.finish is None:
                    self._take(row, scores)
            if all(row.finish for row in rows):
                return output.past_key_values
            feed = feed.after([row.ids[-1] for row in rows], output.past_key_values)

    def _take(self, row: _Row, logits: Tensor) -> None:
        """Sample one id from `logits` (vocabulary,) into `row`."""
        scores = logits.clone()
        scores[self._vocabulary :] = -torch.inf  # rows that only pad the embedding
        if row.guide is not None:
            allowed = self.masker.mask(row.guide)
            scores[: len(allowed)].masked_fill_(~allowed, -torch.inf)
        token = _draw(scores, row.request, row.generator)
        logprob = float(torch.log_softmax(logits, -1)[token])
        if not -float("inf") < logprob <= 0.0:
            raise FloatingPointError(f"the model gave log-probability {logprob}: its weights or inputs are not finite")
        row.ids.append(token)
        row.logprobs.append(logprob)
        if token in self.chat_format.end_ids:
            row.finish = "stop"
            return
        if row.guide is not None:
            self.masker.advance(row.guide, token)
        if row.request.stop and any(text in self.chat_format.text_of(row.ids) for text in row.request.stop):
            row.finish = "stop"
        elif len(row.ids) >= row.limit:
            row.finish = "length"


def _draw(scores: Tensor, request: SampleRequest, generator: torch.Generator) -> int:
    if request.temperature == 0:
        return int(scores.argmax())
    probabilities = torch.softmax(scores / request.temperature, -1)
    if not bool(torch.isfinite(probabilities).all()):
        raise FloatingPointError("the model's logits are not finite: check its weights and dtype")
    if request.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        beyond = ordered.cumsum(-1) - ordered >= request.top_p
        probabilities[order[beyond]] = 0.0
    return int(torch.multinomial(probabilities, 1, generator=generator))


@contextmanager
def _evaluating(model: CausalModel) -> Generator[None]:
    was_training = model.training
    if was_training:
        model.train(False)
    try:
        yield
    finally:
        if was_training:
            model.train(True)
