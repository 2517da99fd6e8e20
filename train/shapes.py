"""The size of a model from its name or its config.json, without torch and without its weights.

Counts are exact for decoder-only transformers of the Llama and Qwen3 kind, and near for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ..agent.policies.packaged import folder_of
from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory and time depend on.

    Attributes:
        width: of the residual stream; `inner` of the feed-forward part; `head` of one attention head.
        caching: layers that keep a key-value cache.
        tied: whether output and input embedding are one matrix.
        stored_bytes: of one weight as stored.
        qk_norm: whether queries and keys are normalised.
        known: parameters as published; None counts them from the shape.
    """

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    caching: int
    tied: bool = True
    stored_bytes: int = 2
    qk_norm: bool = False
    known: int | None = None

    @property
    def linears(self) -> Mapping[str, tuple[int, int]]:
        """Inputs and outputs of a layer's linear maps, by name."""
        attention, shared = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (self.width, attention),
            "k_proj": (self.width, shared),
            "v_proj": (self.width, shared),
            "o_proj": (attention, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    @property
    def parameters(self) -> int:
        """All of them."""
        if self.known is not None:
            return self.known
        embedding = self.vocabulary * self.width * (1 if self.tied else 2)
        norms = 2 * self.width + (2 * self.head if self.qk_norm else 0)
        layer = sum(ins * outs for ins, outs in self.linears.values()) + norms
        return embedding + self.layers * layer + self.width

    def adapter_parameters(self, rank: int, targets: str | tuple[str, ...]) -> int:
        """Of a LoRA adapter of that rank on the named linear maps; `all-linear`, or an expression, is taken as all."""
        chosen = [size for name, size in self.linears.items() if isinstance(targets, str) or name in targets]
        return self.layers * rank * sum(ins + outs for ins, outs in chosen)


KNOWN: Mapping[str, Shape] = MappingProxyType(
    {
        # config of SmolLM2-135M-Instruct
        "smollm2": Shape(30, 576, 1536, 9, 3, 64, 49_152, 30),
        # published figures of Qwen3.5-9B: 8 x (3 gated delta nets, 1 attention layer); the former keep no cache that
        # grows. Taken as 32 attention layers otherwise, and without its vision part.
        "Qwen3.5-9B": Shape(32, 4096, 12_288, 16, 4, 256, 248_320, 8, tied=False, known=8_950_000_000),
    }
)


def shape_of(recipe: Recipe) -> Shape | None:
    """The shape of the recipe's base model; None where there is neither such a folder nor a known name."""
    if recipe.model.path == "tiny":
        tiny = recipe.tiny
        heads = tiny.heads
        shared = heads // 2 if heads % 2 == 0 else heads
        head = tiny.width // heads
        return Shape(
            tiny.layers,
            tiny.width,
            3 * tiny.width,
            heads,
            shared,
            head,
            tiny.vocabulary,
            tiny.layers,
            stored_bytes=4,
            qk_norm=True,
        )
    return _shape_at(recipe.model.path)


def _shape_at(path: str) -> Shape | None:
    folder = folder_of(path)
    if (folder / "adapter_config.json").is_file():
        named = _json(folder / "adapter_config.json").get("base_model_name_or_path")
        inside = folder / "base"
        return _shape_at(str(inside) if inside.is_dir() else str(named))
    if (folder / "config.json").is_file():
        return _shape_from(_json(folder / "config.json"))
    return KNOWN.get(path) or KNOWN.get(folder.name)


def _json(path: Path) -> Mapping[str, object]:
    return cast("Mapping[str, object]", json.loads(path.read_text("utf-8")))


def _shape_from(config: Mapping[str, object]) -> Shape | None:
    """From a transformers config; of a model with several parts the text part. None where it lacks a size."""
    text = config.get("text_config")
    held = {**config, **cast("Mapping[str, object]", text)} if isinstance(text, dict) else dict(config)

    def number(name: str, default: int | None = None) -> int | None:
        value = held.get(name)
        return value if isinstance(value, int) else default

    layers, width, heads = number("num_hidden_layers"), number("hidden_size"), number("num_attention_heads")
    inner, vocabulary = number("intermediate_size"), number("vocab_size")
    if None in (layers, width, heads, inner, vocabulary):
        return None
    sizes = cast("tuple[int, int, int, int, int]", (layers, width, heads, inner, vocabulary))
    kinds = held.get("layer_types")
    caching = [kind for kind in cast("list[str]", kinds) if "linear" not in kind] if isinstance(kinds, list) else None
    return Shape(
        layers=sizes[0],
        width=sizes[1],
        inner=sizes[3],
        heads=sizes[2],
        kv_heads=number("num_key_value_heads") or sizes[2],
        head=number("head_dim") or sizes[1] // sizes[2],
        vocabulary=sizes[4],
        caching=len(caching) if caching is not None else sizes[0],
        tied=bool(held.get("tie_word_embeddings", False)),
        stored_bytes=2 if str(held.get("dtype") or held.get("torch_dtype")) in ("bfloat16", "float16") else 4,
        qk_norm="qwen3" in str(held.get("model_type")),
    )
