"""The decoding loop: ids in, ids and log-probabilities out.

Owns batching with left padding, per-request random numbers, which streams go on from their key-value caches, and the
log-prob that is recorded: float32 log-softmax of the model's own logits at `scored_at`, before grammar, temperature
and top_p. Layout of caches is in `layers`, a batch's rows in `rows`, the draw in `draws`. Knows nothing of messages.
Needs torch.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor

from .caches import HeldCaches, StreamCache, common_beginning
from .draws import draw, likeliest
from .guided import GuidedMasker
from .layers import Layers, layers_of, row_of, stacked
from .request import ContextLengthError, SampleOutput, SampleRequest, TopLogprobs
from .rows import Batch, Done, Feed, Row, chunks, drop_ended, joined, right_mask, seat

if TYPE_CHECKING:
    from ...chat_format import ChatFormat

Arrival: TypeAlias = tuple[SampleRequest, Done]
"""A request that comes while others are sampled, and who is told of its answer."""

_HELD_BYTES = 2 << 30
_PREFILL = {"cpu": 1024, "cuda": 8192}  # a processor is faster on few rows: less padding, and no mask for a single one


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


class Sampler:
    """Samples answers of one model. Thread-safe; one call runs at a time.

    Args:
        model: a causal language model; put in evaluation mode while sampling and back afterwards.
        chat_format: for the end ids and for decoding stop strings.
        max_context: positions the model can see; None takes the config's `max_position_embeddings`.
        max_caches: streams whose key-value cache is kept at once; the oldest goes first.
        max_cache_bytes: most memory of the kept caches; the oldest goes first. None takes 2 GiB, on a CUDA device an
            eighth of its memory if that is more. The caches of the running batch come on top.
        prefill_tokens: most ids, padding included, that one forward pass over prompts is fed (a single prompt may
            be longer). None takes 1024, on a CUDA device 8192.
    """

    def __init__(
        self,
        model: CausalModel,
        chat_format: ChatFormat,
        *,
        max_context: int | None = None,
        max_caches: int = 64,
        max_cache_bytes: int | None = None,
        prefill_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.chat_format = chat_format
        known = getattr(model.config, "max_position_embeddings", None)
        self.max_context = max_context or (known if isinstance(known, int) else None)
        self._prefill_tokens = prefill_tokens or _PREFILL.get(model.device.type, _PREFILL["cpu"])
        self._caches = HeldCaches(_held_bytes(model) if max_cache_bytes is None else max_cache_bytes, max_caches)
        self._opaque = False
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
        """Forget the key-value caches: call it whenever weights changed, since a cache may serve other streams too."""
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
            for batch in self._prefill(self._feeds(rows)):
                while self._advance(batch):
                    pass
        return [row.output() for row in rows]

    def run(self, arrivals: Callable[[int], Sequence[Arrival]]) -> None:
        """Sample what arrives until nothing is left; who comes later joins those that are being sampled.

        Each answer is what it would be alone, and is told as soon as it has ended, errors as in `generate` included.

        Args:
            arrivals: asked before every id, with the number of answers that are being sampled; must not wait.
        """
        running: list[Batch] = []
        with self._lock, torch.no_grad(), _evaluating(self.model):
            while True:
                new = arrivals(sum(len(batch.going) for batch in running))
                if new:
                    running = self._admit(running, new)
                if not running:
                    return
                running = [batch for batch in running if self._advance(batch)]

    def _admit(self, running: Sequence[Batch], new: Sequence[Arrival]) -> list[Batch]:
        """The batches with the new rows; one batch if the caches can be joined."""
        for batch in running:
            self._keep_ended(batch)  # the new rows may go on from streams that have just ended
        rows: list[Row] = []
        for request, done in new:
            try:
                rows.append(self._row(request, done))
            except ValueError as error:  # its own fault
                done(error)
        fed = list(self._prefill(self._feeds(rows)))
        if len(running) == len(fed) == 1 and seat(running[0], fed[0]):
            return [running[0]]
        for batch in running:
            drop_ended(batch)
        together = [*(batch for batch in running if batch.going), *fed]
        parts = [(layers_of(batch.past), batch) for batch in together]
        known = [(layers, batch) for layers, batch in parts if layers is not None]
        opaque = [batch for layers, batch in parts if layers is None]
        return [*opaque, joined(known)] if known else opaque

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

    def _row(self, request: SampleRequest, done: Done | None = None) -> Row:
        guide = None if request.grammar is None else self.masker.start(request.grammar)
        prompt = list(request.prompt_ids)
        return Row(request, prompt, self._limit(request), random.Random(request.seed), guide, done)

    def _feeds(self, rows: Sequence[Row]) -> list[Feed]:
        """What each row needs; what several new prompts begin with is fed once, here."""
        feeds = [Feed(row, self._caches.recall(row.request.owner, row.prompt)) for row in rows]
        for row in rows:
            self._caches.forget(row.request.owner)  # the end of this call keeps the longer one
        new = [feed for feed in feeds if feed.known is None]
        beginning = [] if self._opaque else common_beginning([feed.row.prompt for feed in new])
        if beginning:
            layers = layers_of(self._forward([None], [beginning])[0].past_key_values)
            self._opaque = layers is None
            for feed in new:
                feed.known = None if layers is None else StreamCache(beginning, layers)
        return feeds

    def _prefill(self, feeds: Sequence[Feed]) -> Generator[Batch]:
        """Feed the prompts and sample each row's first id; one batch, or several if caches cannot be joined."""
        parts: list[tuple[Layers, Batch]] = []
        for chunk in chunks(feeds, self._prefill_tokens):
            rows = [feed.row for feed in chunk]
            output, mask, last = self._forward([feed.known for feed in chunk], [feed.fresh for feed in chunk])
            self._take(rows, output.logits[:, -1])
            batch = Batch(rows, output.past_key_values, mask, last)
            layers = layers_of(batch.past)
            self._opaque = layers is None
            if layers is None:
                yield batch
            else:
                parts.append((layers, batch))
            for feed in chunk:
                feed.known = None  # copied by now
        if parts:
            yield joined(parts)

    def _forward(
        self, known: Sequence[StreamCache | None], fresh: Sequence[list[int]]
    ) -> tuple[CausalOutput, Tensor, Tensor]:
        """The output after `fresh`, the mask over all positions (rows, known + fresh), and the last positions."""
        device = self.model.device
        width = max(map(len, fresh))
        pad = self.chat_format.turn_end
        past = stacked([None if cache is None else cache.layers for cache in known], width)
        old = right_mask([0 if cache is None else len(cache.fed) for cache in known])
        mask = torch.cat([old, right_mask([len(ids) for ids in fresh])], 1).to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=torch.tensor([[pad] * (width - len(ids)) + ids for ids in fresh], device=device),
            attention_mask=mask,
            position_ids=positions[:, old.shape[1] :],
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        )
        return output, mask, positions[:, -1:]

    def _advance(self, batch: Batch) -> bool:
        """Sample one id for every row that has not ended; whether any is left. Caches of ended rows are kept."""
        going = batch.going
        if 2 * len(going) <= len(batch.rows):
            self._keep_ended(batch)
            drop_ended(batch)
        if going:
            self._step(batch)
        return bool(going)

    def _keep_ended(self, batch: Batch) -> None:
        """Hold the caches of rows that have ended, for the streams to go on from."""
        layers = layers_of(batch.past)
        if layers is None:
            return
        for at, row in enumerate(batch.rows):
            if row.finish is None or row.kept:
                continue
            row.kept = True
            if row.error is None and row.request.owner is not None:
                fed = [*row.prompt, *row.ids[:-1]]
                self._caches.keep(row.request.owner, StreamCache(fed, row_of(layers, batch.mask, at)))

    def _step(self, batch: Batch) -> None:
        """One id for every row that has not ended; the others are fed their last id again, masked."""
        device = batch.mask.device
        going = batch.going
        counts = torch.tensor([[int(row.finish is None)] for row in batch.rows], device=device)
        batch.mask = torch.cat([batch.mask, counts], 1)
        batch.last = batch.last + counts
        output = self.model(
            input_ids=torch.tensor([row.ids[-1:] or row.prompt[-1:] for row in batch.rows], device=device),
            attention_mask=batch.mask,
            position_ids=batch.last,
            past_key_values=batch.past,
            use_cache=True,
            logits_to_keep=1,
        )
        batch.past = output.past_key_values
        logits = output.logits[:, -1]
        if len(going) < len(batch.rows):
            logits = logits[torch.tensor(going, device=device)]
        self._take([batch.rows[at] for at in going], logits)

    def _take(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Sample one id from `logits` (rows, vocabulary) into each row."""
        logits = logits.float()
        if logits.device.type not in ("cpu", "cuda"):
            logits = logits.cpu()  # draws need float64
        scores = logits.clone()
        scores[:, self._vocabulary :] = -torch.inf  # columns that only pad the embedding
        for at, row in enumerate(rows):
            if row.guide is not None:
                try:
                    allowed = self.masker.mask(row.guide).to(scores.device)
                except ValueError as error:
                    row.fail(error)
                    continue
                scores[at, : len(allowed)].masked_fill_(~allowed, -torch.inf)
        tokens = draw(scores, [row.request for row in rows], [row.random.random() for row in rows])
        scale = torch.tensor([[row.request.scored_at] for row in rows], device=logits.device)
        scored = torch.log_softmax(logits / scale, -1)
        top = likeliest(scored[:, : self._vocabulary], [row.request.top_logprobs for row in rows])
        logprobs = scored.gather(1, tokens[:, None])[:, 0].cpu()
        tokens = tokens.cpu()
        for at, row in enumerate(rows):
            if row.error is None:
                self._note(row, int(tokens[at]), float(logprobs[at]), top[at])
            row.tell()

    def _note(self, row: Row, token: int, logprob: float, top: TopLogprobs) -> None:
        if not -float("inf") < logprob <= 0.0:
            said = f"the model gave log-probability {logprob}: its weights or inputs are not finite"
            row.fail(FloatingPointError(said))
            return
        row.ids.append(token)
        row.logprobs.append(logprob)
        listener = row.request.listener
        if row.request.top_logprobs:
            row.top.append(top)
        if listener is not None:
            listener.sampled(token, logprob, top)
        if token in self.chat_format.end_ids:
            row.finish = "stop"
            return
        if row.guide is not None:
            try:
                self.masker.advance(row.guide, token)
            except ValueError as error:
                row.fail(error)
                return
        if (listener is not None and not listener.wanted()) or self._stopped(row):
            row.finish = "stop"
        elif len(row.ids) >= row.limit:
            row.finish = "length"

    def _stopped(self, row: Row) -> bool:
        """Whether a stop string has been said."""
        return bool(row.request.stop) and any(text in self.chat_format.text_of(row.ids) for text in row.request.stop)


def _held_bytes(model: CausalModel) -> int:
    if model.device.type != "cuda":
        return _HELD_BYTES
    return max(_HELD_BYTES, torch.cuda.mem_get_info(model.device)[1] // 8)


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
