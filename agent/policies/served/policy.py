"""`openai:MODEL`: which way its servers are asked, and the policy over them.

To the token where the policy's own tokenizer can be had here (named, or in the folder that the server serves from) and
the server is vLLM: then nothing is tokenised twice. Else through chat completions, in text. The servers are asked for
what they serve when the first episode begins, so that a policy can be made while they are down.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ..factory import Policy, PolicyError, PolicyUnavailable, Progress, sampling_of
from ..local.model import LocalChatModel
from ..local.request import MissingExtraError
from ..local.words import TOKENIZER_FILE, Words, load_words
from ..openai_chat import OpenAIChatModel, open_clients
from .endpoint import Endpoint, ServerError
from .engine import LogprobsMode, ServedEngine, logprobs_mode
from .pool import EndpointPool

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from openai import OpenAI

    from ....env.episode import Episode
    from ..factory import PolicyOptions

Card: TypeAlias = Mapping[str, object]
NO_CARD: Card = {}
PROBE = "Chest pain since this morning."


def served_policy(name: str, model: str, options: PolicyOptions, progress: Progress | None) -> Policy:
    """The policy `name` of what is served as `model`.

    Raises:
        PolicyError: no address and no key, or no tokenizer in the folder named.
        PolicyUnavailable: the package for chat completions is needed and missing.
    """
    served = _Served(model, options, progress)
    return Policy(
        name,
        served.model_for,
        records_tokens=True,
        sampling=sampling_of(name, options),
        around=served.around,
        close=served.close,
    )


class _Served:
    """The servers of one policy; settles how they are asked, once."""

    def __init__(self, model: str, options: PolicyOptions, progress: Progress | None) -> None:
        self.model = model
        self.options = options
        self.progress = progress
        self._settling = threading.Lock()
        self._closed = False
        self._pool: EndpointPool[Endpoint] | None = None
        self._exact: tuple[Words, ServedEngine] | None = None
        self._chat: EndpointPool[OpenAI] | None = None
        self._words = _named_words(options, model)
        if not options.base_urls:
            self._chat = self._chat_pool()
            self._tell("there is no --base-url")
            return
        servers = [
            (url, Endpoint(url, api_key=options.api_key, connections=max(64, options.concurrency)))
            for url in options.base_urls
        ]
        self._pool = EndpointPool(servers, model, patience=options.patience)

    def model_for(self, episode: Episode) -> BaseChatModel:
        """The chat model of an episode. Raises PolicyUnavailable where no server answers at first contact."""
        self._settle()
        options = self.options
        sampling = {
            "max_new_tokens": options.max_new_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": episode.seed,
        }
        if self._exact is not None:
            words, engine = self._exact
            return LocalChatModel(words, engine=engine, **sampling)
        if self._chat is None:
            raise RuntimeError("the policy was not settled")
        return OpenAIChatModel.on(self._chat, model=self.model, **sampling)

    def around(self, owner: object) -> AbstractContextManager[None]:
        """Around an episode whose calls name `owner`, its recorder."""
        return _OnOne(self, owner)

    def close(self) -> None:
        """Let requests that wait give up, and close the connections."""
        self._closed = True
        for pool in (self._pool, self._chat):
            if pool is not None:
                pool.close()
                for handle in pool.handles:
                    handle.close()

    def pool(self) -> EndpointPool[Endpoint] | EndpointPool[OpenAI]:
        """The servers as they are asked."""
        self._settle()
        chosen = self._pool if self._exact is not None else self._chat
        if chosen is None:
            raise RuntimeError("the policy was not settled")
        return chosen

    def _settle(self) -> None:
        with self._settling:
            if self._exact is not None or self._chat is not None:
                return
            if self._closed or self._pool is None:
                raise ServerError("the run was left")
            cards = self._cards(self._pool)
            words, reason = (self._words, "") if self._words is not None else _words_of(cards, self.model)
            if words is None:
                self._chat = self._chat_pool()
                self._tell(reason)
                return
            self._exact = words, self._engine(self._pool, words, cards)

    def _cards(self, pool: EndpointPool[Endpoint]) -> Sequence[Card]:
        """What the servers say they serve; nothing where they do not say."""
        if self.options.waits:
            return pool.call(None, _models)
        return next((cards for cards in pool.first_contact(_models) if cards), ())

    def _engine(self, pool: EndpointPool[Endpoint], words: Words, cards: Sequence[Card]) -> ServedEngine:
        options = self.options
        modes: set[LogprobsMode] = {"raw_logprobs"}
        if options.temperature not in (0.0, 1.0) or options.top_p != 1.0:  # elsewhere the modes agree
            prompt = words.chat_format.prompt_ids(None, PROBE)
            modes = set(pool.first_contact(lambda server: logprobs_mode(server, self.model, prompt)))
        if "processed_logprobs" in modes:
            raise ServerError(
                f"{pool.where} gives log-probabilities of temperature {options.temperature:g} and top_p "
                f"{options.top_p:g}, and recordings hold those of the model itself: start it without "
                "`--logprobs-mode processed_logprobs`, or take --temperature 1"
            )
        length = _card(cards, self.model).get("max_model_len") or _parent(cards, self.model).get("max_model_len")
        context = length if isinstance(length, int) else None
        return ServedEngine(pool, self.model, words.chat_format.end_ids, max_context=context)

    def _chat_pool(self) -> EndpointPool[OpenAI]:
        return EndpointPool(open_clients(self.options), self.model, patience=self.options.patience)

    def _tell(self, reason: str) -> None:
        if self.progress is not None:
            self.progress(
                f"{self.model} is asked in text, not in tokens, since {reason}: what the server tokenises anew cannot "
                "be trained on"
            )


class _OnOne(AbstractContextManager[None]):
    """Seats an episode at a server once it is known how servers are asked."""

    def __init__(self, served: _Served, owner: object) -> None:
        self._served = served
        self._owner = owner
        self._seat: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._seat = self._served.pool().episode(self._owner)
        self._seat.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._seat is not None:
            self._seat.__exit__(None, None, None)


def _models(server: Endpoint) -> Sequence[Card]:
    try:
        listed = server.get_json("/v1/models")
    except ServerError:
        return []  # a server may serve and not list
    found = cast("Mapping[str, object]", listed).get("data") if isinstance(listed, dict) else None
    return [cast("Card", card) for card in cast("list[object]", found or []) if isinstance(card, dict)]


def _card(cards: Sequence[Card], model: str) -> Card:
    return next((card for card in cards if card.get("id") == model), NO_CARD)


def _parent(cards: Sequence[Card], model: str) -> Card:
    return _card(cards, str(_card(cards, model).get("parent")))


def _words_of(cards: Sequence[Card], model: str) -> tuple[Words | None, str]:
    """The tokenizer of a served model, from the folder that the server names; else why not."""
    roots = [str(card.get("root") or "") for card in (_card(cards, model), _parent(cards, model)) if card]
    folders = [Path(root) for root in roots if root]
    found = next((folder for folder in folders if (folder / TOKENIZER_FILE).is_file()), None)
    if found is None:
        seen = f"no {TOKENIZER_FILE} is in {' or '.join(roots)}" if folders else "the server names no folder of it"
        return None, f"{seen} (--tokenizer DIR names one)"
    try:
        return load_words(found, name=model, ends_from=folders), ""
    except (MissingExtraError, ValueError) as error:
        return None, str(error)


def _named_words(options: PolicyOptions, model: str) -> Words | None:
    if options.tokenizer is None:
        return None
    if not options.base_urls:
        raise PolicyError("--tokenizer goes with --base-url: no other server takes token ids")
    folder = Path(options.tokenizer)
    if not (folder / TOKENIZER_FILE).is_file():
        raise PolicyError(f"--tokenizer {folder} holds no {TOKENIZER_FILE}")
    try:
        return load_words(folder, name=model, ends_from=[folder])
    except MissingExtraError as error:
        raise PolicyUnavailable(str(error)) from error
    except (ValueError, json.JSONDecodeError) as error:
        raise PolicyError(f"--tokenizer {folder} cannot be used: {error}") from error
