"""Attention while sampling without copies of keys and values: the same numbers as transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from medgym.agent.policies.local.attention import GROUPED, use_grouped_attention

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
}


def made(kind: str, groups: int) -> Any:
    torch.manual_seed(0)
    shape = {**SHAPE, "num_key_value_heads": groups}
    model = LlamaForCausalLM(LlamaConfig(**shape)) if kind == "llama" else Qwen3ForCausalLM(Qwen3Config(**shape))
    return model.eval()


def decoded(model: Any, padded: bool) -> torch.Tensor:
    """Logits after a prompt and three more ids, one at a time."""
    mask = torch.ones(2, 8, dtype=torch.long)
    if padded:
        mask[1, :3] = 0
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(64, (2, 8), generator=generator)
    past, found = None, []
    with torch.no_grad():
        for _ in range(4):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
            )
            past = out.past_key_values
            found.append(out.logits[:, -1])
            ids = out.logits[:, -1:].argmax(-1)
            mask = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], 1)
    return torch.stack(found)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_same_logits(kind: str, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(kind, 2)
    plain = decoded(model, padded)
    assert use_grouped_attention(model)
    assert model.config._attn_implementation == GROUPED
    torch.testing.assert_close(decoded(model, padded), plain, atol=1e-6, rtol=0)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda query, *_, **__: query * 0)
    assert not torch.allclose(decoded(model, padded), plain, atol=1e-3)


def test_keys_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("llama", 2)
    use_grouped_attention(model)
    heads: list[tuple[int, int]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Any, key: Any, *rest: Any, **named: Any) -> Any:
        heads.append((query.shape[1], key.shape[1]))
        return plain(query, key, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    decoded(model, padded=True)
    assert heads == [(6, 2)] * 8  # two layers; the prompt and three ids


def test_a_training_pass_is_transformers_own() -> None:
    plain, grouped = made("llama", 3), made("llama", 3)
    use_grouped_attention(grouped)
    ids = torch.arange(20).reshape(2, 10)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1, :4] = 0
    for model in (plain, grouped):
        model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    for one, other in zip(plain.parameters(), grouped.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_model_without_groups_is_left_alone(tmp_path: Path) -> None:
    model = made("llama", 6)
    assert not use_grouped_attention(model)
    assert model.config._attn_implementation == "sdpa"


def test_a_saved_model_does_not_ask_for_it(tmp_path: Path) -> None:
    model = made("llama", 2)
    use_grouped_attention(model)
    model.save_pretrained(tmp_path)
    assert GROUPED not in (tmp_path / "config.json").read_text()
    assert LlamaForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
