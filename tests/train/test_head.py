"""The output head is computed where an id counts, and nothing else changes: loss, gradient, log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from medgym.train import trl_compat
from medgym.train.trl_compat import score_labelled_only, scoring

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [7, 7, 9, 4, 3, 2, 1, 30]])
LABELS = torch.tensor([[-100, -100, 7, 8, -100, -100, 11, 12], [-100, -100, -100, 4, 3, -100, -100, -100]])


def head(monkeypatch: pytest.MonkeyPatch, labelled: bool) -> tuple[Any, list[int], Any]:
    """Loss, how many positions were scored, gradient."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64
    )
    model: Any = LlamaForCausalLM(config)
    original = chunked_logprob._use_triton
    monkeypatch.setattr(trl_utils, "_use_triton", original)
    if labelled:
        score_labelled_only()
    trl_utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    seen: list[int] = []
    function: Any = chunked_logprob.ChunkedLogProbFunction

    class Counting:
        @staticmethod
        def apply(hidden: Any, *rest: Any) -> Any:
            seen.append(len(hidden))
            return function.apply(hidden, *rest)

    monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", Counting)
    output = model(input_ids=IDS, labels=LABELS, fused_lm_head=True)
    output.loss.backward()
    return output, seen, model.model.embed_tokens.weight.grad


def test_only_labelled_positions_are_scored_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    every, scored_every, gradient_every = head(monkeypatch, False)
    some, scored_some, gradient_some = head(monkeypatch, True)
    assert (scored_every, scored_some) == ([14], [6])
    for name in ("loss", "log_probs", "entropy", "label_mask"):
        assert torch.allclose(getattr(every, name), getattr(some, name), atol=1e-6)
    assert torch.allclose(gradient_every, gradient_some, atol=1e-6)


def test_ids_that_do_not_count_have_no_label() -> None:
    asked: dict[str, Any] = {}

    def model(**given: Any) -> None:
        asked.update(given)

    labels = IDS.clone()
    scoring(model, torch.tensor([[1, 0, 1], [0, 0, 1]]))(labels=labels, input_ids=IDS)  # type: ignore[arg-type]
    assert asked["labels"].tolist() == [[5, 6, 7, 8, 9, 10, -100, 12], [7, 7, 9, 4, 3, -100, -100, 30]]
    assert torch.equal(labels, IDS)
    assert scoring(model, None) is model  # type: ignore[arg-type]


def test_a_trl_that_decides_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl_compat, "HEAD_SEAM", "compact = something_else()")
    assert any("add_fused_lm_head" in one for one in trl_compat.missing_seams())
