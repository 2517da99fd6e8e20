"""A policy's words without its weights: tokenizer and chat format, for policies that are sampled elsewhere.

Needs transformers for the tokenizer's template, and no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...chat_format import ChatFormat, ChatTokenizer
from .request import MissingExtraError

if TYPE_CHECKING:
    from typing import Any

TOKENIZER_FILE = "tokenizer.json"
_GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Words:
    """How a policy reads and writes. `name` is what it is called; `chat_format` holds the tokenizer's template."""

    tokenizer: ChatTokenizer
    chat_format: ChatFormat
    name: str


def load_words(folder: str | os.PathLike[str], *, name: str, ends_from: Sequence[Path] = ()) -> Words:
    """The tokenizer and template in a model's or adapter's folder.

    Args:
        folder: with a tokenizer.json, and a chat template.
        name: of the policy.
        ends_from: folders whose generation_config.json, if there, names further ids that end an answer.

    Raises:
        MissingExtraError: transformers or jinja2 is not installed.
        ValueError: the folder's tokenizer is not a fast one, or its chat template cannot be used.
    """
    try:
        import jinja2  # noqa: F401  # pyright: ignore[reportUnusedImport]
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("a policy's chat template", 'pip install "medgym[local]"') from error
    try:
        tokenizer = cast("Any", AutoTokenizer).from_pretrained(os.fspath(folder), local_files_only=True)
    except (OSError, KeyError) as error:  # a damaged file shows as either
        raise ValueError(f"the tokenizer in {os.fspath(folder)} cannot be read: {error!r}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{os.fspath(folder)} has no fast tokenizer ({TOKENIZER_FILE})")
    ends = [end for place in ends_from for end in _generation_ends(place)]
    typed = cast("ChatTokenizer", tokenizer)
    return Words(typed, ChatFormat(typed, extra_end_ids=ends), name)


def _generation_ends(folder: Path) -> list[int]:
    try:
        config = cast("Mapping[str, object]", json.loads((folder / _GENERATION_FILE).read_text("utf-8")))
    except FileNotFoundError:
        return []
    ends = config.get("eos_token_id")
    return [ends] if isinstance(ends, int) else list(cast("list[int]", ends or []))
