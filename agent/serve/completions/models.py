"""The names that are served: the policy itself, and LoRA adapters that were loaded later over the same weights.

Every name has its own sampler, since key-value caches of one are worthless to another, and its own batch. They share
one set of weights: each forward pass takes it for itself and puts the right adapter in, so that batches of several
names take turns. Needs torch, and peft for adapters.
"""

# PEFT is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...policies.local import LoadedModel, MissingExtraError
from ...policies.local.rolling import RollingBatcher
from .answers import ModelCard
from .errors import ApiError
from .texts import Texts

if TYPE_CHECKING:
    import torch

    from ...policies.local.sampler import CausalModel, CausalOutput

_STREAMS = 64  # conversations whose key-value caches may be gone on from; the sampler bounds their memory
_ADAPTER_CACHES = 256 << 20  # bytes of kept caches for each adapter that was loaded later


class Served:
    """One served name. `batcher` samples for it; `keep` remembers whose cache may serve the next turn."""

    def __init__(
        self,
        loaded: LoadedModel,
        model: CausalModel,
        card: ModelCard,
        max_batch: int,
        max_cache_bytes: int | None = None,
    ) -> None:
        from ...policies.local.sampler import Sampler

        self.chat_format = loaded.chat_format
        self.card = card
        sampler = Sampler(
            model,
            loaded.chat_format,
            max_context=card.max_model_len,
            max_caches=_STREAMS,
            max_cache_bytes=max_cache_bytes,
        )
        self.batcher = RollingBatcher(sampler, max_batch=max_batch)
        self._owners: deque[object] = deque(maxlen=_STREAMS)

    def owner(self) -> object:
        """Whose cache it is, for one more answer."""
        owner = _Owner()
        self._owners.append(owner)
        return owner


class _Owner:
    """Keeps a cache alive."""


class ServedModels:
    """All served names.

    Args:
        loaded: the policy.
        name: what it is called.
        root: its folder as told to clients; None takes `loaded.name`.
        parent: what it is an adapter of, if it is one.
        max_model_len: most tokens of prompt and answer; None or more than the model's takes the model's.
        max_batch: most answers of one name that are sampled together.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        name: str,
        *,
        root: str | None,
        parent: str | None,
        max_model_len: int | None,
        max_batch: int,
    ) -> None:
        known = getattr(loaded.model.config, "max_position_embeddings", None)
        limits = [one for one in (max_model_len, known) if isinstance(one, int)]
        self.texts = Texts(loaded.chat_format)
        self.max_model_len = min(limits) if limits else None
        self._loaded = loaded
        self._max_batch = max_batch
        self._weights = _Weights(loaded.model)
        self._gate = threading.Lock()
        self._base = name
        card = self._card(name, root or loaded.name, parent)
        self._served = {name: Served(loaded, self._weights.under(None), card, max_batch)}

    def find(self, name: str | None) -> Served:
        """The served name; None is the policy. Raises ApiError (404)."""
        found = self._served.get(self._base if name is None else name)
        if found is None:
            said = f"the model {name!r} does not exist here; there is {', '.join(self._served)}"
            raise ApiError(404, said, param="model", code="model_not_found")
        return found

    def cards(self) -> list[ModelCard]:
        """All names."""
        return [served.card for served in list(self._served.values())]

    def load(self, name: str, folder: Path) -> None:
        """Serve an adapter. Raises ApiError (400, 404) where the name is taken or the adapter does not fit."""
        with self._gate:
            if name in self._served:
                raise ApiError(400, f"the model {name!r} has already been loaded", param="lora_name")
            if not (folder / "adapter_config.json").is_file():
                raise ApiError(404, f"{folder} holds no adapter (adapter_config.json)", param="lora_path")
            self._weights.load(name, folder)
            card = self._card(name, str(folder), self._base)
            view = self._weights.under(name)
            self._served[name] = Served(self._loaded, view, card, self._max_batch, _ADAPTER_CACHES)

    def unload(self, name: str) -> None:
        """Finish what the adapter samples and forget it. Raises ApiError (400, 404)."""
        with self._gate:
            if name == self._base:
                raise ApiError(400, f"{name!r} is the policy itself and stays", param="lora_name")
            if name not in self._served:
                raise ApiError(404, f"the adapter {name!r} is not loaded", param="lora_name", code="model_not_found")
            self._served.pop(name).batcher.close()
            self._weights.unload(name)

    def close(self) -> None:
        """Finish what is sampled and stop."""
        for served in list(self._served.values()):
            served.batcher.close()

    def _card(self, name: str, root: str, parent: str | None) -> ModelCard:
        return ModelCard(
            id=name,
            object="model",
            created=int(time.time()),
            owned_by="medgym",
            root=root,
            parent=parent,
            max_model_len=self.max_model_len,
        )


class _Weights:
    """One model and the adapter that is in it now."""

    def __init__(self, model: CausalModel) -> None:
        self.model = cast("Any", model)
        self._lock = threading.Lock()
        self._own: list[str] = list(getattr(self.model, "active_adapters", ())) if self._wrapped else []
        self._current: str | None = None

    @property
    def _wrapped(self) -> bool:
        return hasattr(self.model, "get_base_model")

    def under(self, name: str | None) -> CausalModel:
        """The model with an adapter; None is the model as it was given."""
        return cast("CausalModel", _View(self, name))

    def forward(self, name: str | None, given: dict[str, Any]) -> CausalOutput:
        """A forward pass under one adapter."""
        with self._lock:
            self._switch(name)
            return self.model(**given)

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter. Raises ApiError (400) where it does not fit."""
        try:
            from peft import PeftConfig, get_peft_model
        except ImportError as error:
            raise MissingExtraError(f"the adapter {folder}", 'pip install "medgym[local]"') from error
        with self._lock:
            try:
                if not self._wrapped:  # with weights that change nothing, so that a failure can be undone
                    config = PeftConfig.from_pretrained(str(folder))
                    self.model = cast("Any", get_peft_model(self.model, config, adapter_name=name)).eval()
                    self._current = name
                found = self.model.load_adapter(str(folder), adapter_name=name)
                if found.unexpected_keys:
                    raise ValueError(f"it has weights for {found.unexpected_keys[0]}, which the model lacks")
                self.model.eval()
            except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
                if self._wrapped and name in self.model.peft_config:
                    self._remove(name)
                raise ApiError(400, f"the adapter {folder} cannot be loaded: {error}", param="lora_path") from error

    def unload(self, name: str) -> None:
        """Remove an adapter."""
        with self._lock:
            self._remove(name)

    def _remove(self, name: str) -> None:
        others = [one for one in self.model.peft_config if one != name]
        if others:
            self._switch(others[0] if others[0] not in self._own else None)
            self.model.delete_adapter(name)
        else:
            self.model = self.model.unload()
            self._current = None

    def _switch(self, name: str | None) -> None:
        if name == self._current:
            return
        layers = self.model.base_model
        if name is None and not self._own:
            layers.disable_adapter_layers()
        else:
            layers.enable_adapter_layers()
            self.model.set_adapter(self._own[0] if name is None else name)
            self.model.requires_grad_(False)
        self._current = name


class _View:
    """A model as one served name sees it."""

    def __init__(self, weights: _Weights, name: str | None) -> None:
        self._weights = weights
        self._name = name

    @property
    def training(self) -> bool:
        return bool(self._weights.model.training)

    @property
    def device(self) -> torch.device:
        return self._weights.model.device

    @property
    def config(self) -> object:
        return self._weights.model.config

    def train(self, mode: bool = True) -> object:
        return self._weights.model.train(mode)

    def __call__(self, **given: Any) -> CausalOutput:
        return self._weights.forward(self._name, given)
