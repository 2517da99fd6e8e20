"""Log-probabilities of chosen ids, against one full forward pass per sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from medgym.train.opd.scoring import Scored, picked_logits, sampled_logps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config).eval()


SEQUENCES = [
    Scored([1, 2, 3, 4, 5, 6, 7], [3, 4, 6]),
    Scored([9, 8], [1]),
    Scored([5] * 20, []),
    Scored(list(range(10, 30)), [1, 12]),
    Scored((), ()),
]


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equal_to_whole_forwards(model: Any, batch: int, temperature: float) -> None:
    with torch.no_grad():
        found = sampled_logps(model, SEQUENCES, temperature=temperature, batch=batch, device=CPU)
        for one, logps in zip(SEQUENCES, found, strict=True):
            assert logps.shape == (len(one.places),)
            assert logps.dtype == torch.float32
            if one.places:
                whole = (model(input_ids=torch.tensor([list(one.ids)])).logits[0] / temperature).log_softmax(-1)
                expected = torch.stack([whole[place - 1, one.ids[place]] for place in one.places])
                assert torch.allclose(logps, expected, atol=1e-5)


def test_what_comes_after_the_last_place_is_not_fed(model: Any) -> None:
    fed: list[torch.Tensor] = []

    def spy(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        fed.append(kwargs["input_ids"])

    handle = model.register_forward_pre_hook(spy, with_kwargs=True)
    with torch.no_grad():
        picked_logits(model, [SEQUENCES[0], SEQUENCES[3]], temperature=1.0, device=CPU)
    handle.remove()
    assert fed[0].shape == (2, 12)


def test_gradients_pass(model: Any) -> None:
    sampled_logps(model, SEQUENCES[:1], temperature=1.0, batch=1, device=CPU)[0].sum().backward()
    assert model.lm_head.weight.grad.abs().sum() > 0
    model.zero_grad()


def test_the_first_id_has_no_log_probability(model: Any) -> None:
    with pytest.raises(ValueError, match="nothing stands before it"):
        picked_logits(model, [Scored([1, 2], [0, 1])], temperature=1.0, device=CPU)
