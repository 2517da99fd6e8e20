"""From a policy's name to the models that play it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...env.baselines import POLICIES
from ...env.episode import Episode
from ..guide import SMALL_BUDGET
from .human import HumanChatModel
from .scripted import ScriptedChatModel

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class PolicyError(ValueError):
    """A policy that does not exist or cannot be had; the message says what to do."""


class PolicyUnavailable(PolicyError):
    """A package that is not installed or a server that does not answer: nothing is wrong with the policy's name."""


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """How a model policy samples and loads; scripted policies ignore it.

    Attributes:
        guided: decode under the grammar of the shelf.
        threads: torch's; None picks the fastest count by a short trial.
        base_url: address of a server, or of several that serve the same.
        tokenizer: folder of a served policy's tokenizer; None looks where the server says that its model lies.
        patience: seconds that a server may be away in the middle of a run.
        concurrency: most episodes at once.
        waits: whether patience holds at first contact, too; else a server that does not answer then is an error.
    """

    guided: bool = False
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    threads: int | None = None
    base_url: str | Sequence[str] | None = None
    api_key: str | None = None
    cache_dir: Path | None = None
    tokenizer: str | None = None
    patience: float = 300.0
    concurrency: int = 1
    waits: bool = False

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses, one by one."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else tuple(self.base_url)


def _nothing() -> None:
    """What closes a policy that holds nothing open."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy ready to play.

    Attributes:
        name: as it was asked for.
        model_for: the chat model for an episode; cheap, one per episode.
        records_tokens: whether a recorder should run along.
        guided: whether messages are decoded under the grammar of the shelf.
        max_new_tokens: of a message, where the policy has such a limit.
        sampling: settings for the trajectory.
        around: entered around an episode, with the recorder that its calls belong to.
        close: gives back what the policy holds open; requests that wait give up.
    """

    name: str
    model_for: Callable[[Episode], BaseChatModel]
    records_tokens: bool = False
    guided: bool = False
    max_new_tokens: int | None = None
    sampling: Mapping[str, object] = field(default_factory=dict[str, object])
    around: Callable[[object], AbstractContextManager[object]] = nullcontext
    close: Callable[[], None] = _nothing


Ask = Callable[[str], str]
Progress = Callable[[str], None]


def policy_names() -> list[str]:
    """The names that `make_policy` knows, placeholders for the open ones."""
    return [*POLICIES, "human", "openai:MODEL", "local:PATH"]


def make_policy(
    name: str, options: PolicyOptions | None = None, *, ask: Ask | None = None, progress: Progress | None = None
) -> Policy:
    """The policy of that name.

    Args:
        name: see `policy_names`.
        options: sampling and loading.
        ask: how a human is asked; needed for `human`.
        progress: told of long steps.

    Raises:
        PolicyError: unknown name.
        PolicyUnavailable: a part that is not installed.
    """
    chosen = options or PolicyOptions()
    kind, _, rest = name.partition(":")
    if name in POLICIES:
        return Policy(name, lambda episode: ScriptedChatModel.of(name, episode))
    if name == "human":
        if ask is None:
            raise PolicyError("the policy 'human' needs a terminal: use `medgym play --policy human`")
        return Policy(name, lambda episode: HumanChatModel.of(episode, ask))
    if kind == "openai" and rest:
        from .served.policy import served_policy

        return served_policy(name, rest, chosen, progress)
    if kind == "local" and rest:
        return _local(name, rest, chosen, progress)
    raise PolicyError(f"no policy {name!r}: one of {', '.join(policy_names())}")


def _local(name: str, path: str, options: PolicyOptions, progress: Progress | None) -> Policy:
    from .local import LocalChatModel, MissingExtraError, RollingBatcher, load_model

    try:
        loaded = load_model(
            path,
            dtype=options.dtype,
            threads="auto" if options.threads is None else options.threads,
            cache_dir=options.cache_dir,
            progress=progress,
        )
    except MissingExtraError as error:
        raise PolicyUnavailable(str(error)) from error
    except FileNotFoundError as error:
        raise PolicyError(str(error)) from error
    from .local.sampler import Sampler  # imports torch, which is known to be there by now

    sampler = Sampler(loaded.model, loaded.chat_format)
    playing = _Playing()
    batcher: RollingBatcher | None = None
    if options.concurrency > 1:
        batcher = RollingBatcher(sampler, max_batch=options.concurrency, company=playing.count)
    engine = batcher or sampler

    def model_for(episode: Episode) -> BaseChatModel:
        return LocalChatModel(
            loaded,
            engine=engine,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=episode.seed,
            guided_max_string=min(48, max(12, options.max_new_tokens // 3)),
            guided_drop_optional=options.max_new_tokens < SMALL_BUDGET,
        )

    return Policy(
        name,
        model_for,
        records_tokens=True,
        guided=options.guided,
        max_new_tokens=options.max_new_tokens,
        sampling=sampling_of(name, options),
        around=playing.around,
        close=batcher.close if batcher is not None else _nothing,
    )


def sampling_of(name: str, options: PolicyOptions) -> dict[str, object]:
    """The sampling that a policy of that name writes into its trajectories; nothing for one that does not sample."""
    kind = name.partition(":")[0]
    if kind not in ("openai", "local"):
        return {}
    sampling: dict[str, object] = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_new_tokens": options.max_new_tokens,
    }
    return sampling if kind == "openai" else {**sampling, "guided": options.guided, "dtype": options.dtype}


class _Playing:
    """How many episodes are under way: a batch waits for those that will ask soon."""

    def __init__(self) -> None:
        self._count = 0
        self._counting = threading.Lock()

    def count(self) -> int:
        """Episodes under way now."""
        return self._count

    @contextmanager
    def around(self, owner: object) -> Generator[None]:
        """Around one of them."""
        with self._counting:
            self._count += 1
        try:
            yield
        finally:
            with self._counting:
                self._count -= 1
