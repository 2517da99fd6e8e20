"""Tiny tokenizers in three styles, made on the spot: ChatML as in SmolLM2, Qwen-like, Llama-3-like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SMOLLM2_LIKE = (
    "{%- if messages[0].role != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a small assistant.<|im_end|>\n' }}"
    "{%- endif -%}"
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

QWEN_LIKE = (
    "{%- if tools -%}{{ '<|im_start|>system\n# Tools\n' + (tools | tojson) + '<|im_end|>\n' }}{%- endif -%}"
    "{%- set place = namespace(last=-1) -%}"
    "{%- for m in messages -%}{%- if m.role == 'user' and not m.content.startswith('<tool_response>') -%}"
    "{%- set place.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'assistant' -%}"
    "{%- set said = m.content.split('</think>')[-1].lstrip('\n') -%}"
    "{{ '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > place.last -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    "{{ said + '<|im_end|>\n' }}"
    "{%- else -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    "{%- endif -%}"
)

LLAMA3_LIKE = (
    "{{ bos_token }}"
    "{%- for m in messages -%}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)

STYLES: dict[str, dict[str, Any]] = {
    "chatml": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "added": [],
        "end": "<|im_end|>",
        "template": SMOLLM2_LIKE,
    },
    "qwen": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "added": ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"],
        "end": "<|im_end|>",
        "template": QWEN_LIKE,
    },
    "llama3": {
        "special": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "added": [],
        "end": "<|end_of_text|>",
        "template": LLAMA3_LIKE,
    },
}

CORPUS = [
    "You are a careful clinician. Call one tool at a time and then answer the patient in plain words.",
    "The patient reports chest pain, fever and cough for three days; blood pressure 120/80 mmHg, 37.5 C.",
    'user assistant system tool <tool_call>{"name": "search", "arguments": {"query": "chest pain"}}</tool_call>',
    "<tool_response>\nTroponin 0.02 ng/mL, normal.\n</tool_response>\nWhat should I do next?\n\n",
]


def build_tokenizer(style: str) -> Any:
    """A byte-level BPE tokenizer of about 400 tokens with the special tokens and template of `style`."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    parts = STYLES[style]
    backend = Tokenizer(models.BPE(ignore_merges=style == "llama3"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if style != "chatml":  # line breaks stay together, as in the younger tokenizers
        words = Regex(r" ?\w+| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    backend.decoder = decoders.ByteLevel()
    if style == "qwen":
        backend.normalizer = normalizers.NFC()
    in_vocabulary = style == "chatml"  # the others hold their special tokens outside of the model's vocabulary
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=parts["special"] if in_vocabulary else [],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in parts["special"]])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in parts["added"]])
    if style == "llama3":
        bos = parts["special"][0]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=parts["end"],
        bos_token=parts["special"][0] if style == "llama3" else None,
        pad_token=parts["special"][1],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = parts["template"]
    return tokenizer


@pytest.fixture(scope="session", params=list(STYLES))
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def tiny_tokenizers() -> dict[str, Any]:
    """A tokenizer per style; read only."""
    return {style: build_tokenizer(style) for style in STYLES}


@pytest.fixture
def tokenizer(style: str, tiny_tokenizers: dict[str, Any]) -> Any:
    return tiny_tokenizers[style]


@pytest.fixture(scope="session")
def policy_folder(tiny_tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama as training would have saved it; read only."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path_factory.mktemp("policy") / "whole", tiny_tokenizers["qwen"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.25,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "protocol.json").write_text('{"prompt": {"specs": "names"}}')
    return folder


@pytest.fixture(scope="session")
def adapter_folder(policy_folder: Path) -> Path:
    """A random LoRA adapter over `policy_folder`, without a tokenizer of its own; read only."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = policy_folder.parent / "adapter"
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"down_proj": 12},
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    model: Any = AutoModelForCausalLM.from_pretrained(policy_folder, local_files_only=True)
    get_peft_model(model, config).save_pretrained(folder)
    (folder / "protocol.json").write_text('{"prompt": {"specs": "arguments", "observation_limit": 300}}')
    return folder
