"""What lies in a policy's folder, as a server needs it: base, adapter, tokenizer, template, how it was prompted.

A folder that training wrote is an adapter or a whole model, with its tokenizer, its chat template and
`protocol.json`. Any Hugging Face folder or PEFT adapter will do; what it lacks is taken from its base. Nothing is
loaded here: weights are the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ...env.briefing import PromptForm
from ..policies.local.loading import resolve_policy
from ..policies.local.smollm2 import Progress
from ..policies.packaged import folder_of
from ..protocol import form_of_policy
from ..protocol_template import protocol_template


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """A policy to serve.

    Attributes:
        spec: as it was asked for.
        base: folder of the whole model, an absolute path like the others, since a server works in a folder of its own.
        adapter: folder of the LoRA adapter, or None.
        words: folder of the tokenizer.
        form: how it was prompted when it was trained.
    """

    spec: str
    base: Path
    adapter: Path | None
    words: Path
    form: PromptForm

    @property
    def rank(self) -> int:
        """The adapter's LoRA rank, the greatest where it has several; 0 without an adapter."""
        if self.adapter is None:
            return 0
        config = _json(self.adapter / "adapter_config.json")
        patterns = cast("Mapping[str, int]", config.get("rank_pattern") or {})
        return max([int(cast("int", config.get("r", 8))), *patterns.values()])

    @property
    def own_template(self) -> str:
        """The chat template that the policy was trained with.

        Raises:
            ValueError: there is none.
        """
        for folder in (self.words, self.base):
            file = folder / "chat_template.jinja"
            if file.is_file():
                return file.read_text(encoding="utf-8")
            stored = _json(folder / "tokenizer_config.json").get("chat_template")
            if isinstance(stored, str):
                return stored
        raise ValueError(f"{self.words} has no chat template: put one into {self.words / 'chat_template.jinja'}")

    @property
    def template(self) -> str:
        """The template for servers: tools, calls and results in the policy's own protocol."""
        return protocol_template(self.own_template, self.form, self.control_tokens)

    @property
    def control_tokens(self) -> list[str]:
        """The tokenizer's special tokens as they are spelled."""
        added = cast("Sequence[Mapping[str, object]]", _json(self.words / "tokenizer.json").get("added_tokens") or ())
        return [str(token["content"]) for token in added if token.get("special")]


def policy_files(
    spec: str, *, base: str | None = None, cache_dir: Path | None = None, progress: Progress | None = None
) -> PolicyFiles:
    """The files of a policy: a folder, or a packaged one.

    Args:
        spec: a model folder, an adapter folder, `smollm2` or `trained`.
        base: the base model of an adapter, where it is not where its configuration says.
        cache_dir: where packaged models are kept once converted.
        progress: told before each long step.

    Raises:
        FileNotFoundError: no such policy, or no such base.
        ValueError: the adapter's base is itself an adapter, or a file of the policy is damaged.
    """
    _json(folder_of(spec) / "adapter_config.json")  # so that a damaged one is named
    below, adapter = resolve_policy(spec, base, cache_dir, progress)
    own = adapter if adapter is not None else below
    words = own if (own / "tokenizer.json").is_file() else below
    whole = adapter.absolute() if adapter is not None else None
    return PolicyFiles(spec, below.absolute(), whole, words.absolute(), form_of_policy(own))


def _json(file: Path) -> Mapping[str, object]:
    if not file.is_file():
        return {}
    try:
        stored: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{file} is damaged: it is no JSON object")
    return cast("Mapping[str, object]", stored)
