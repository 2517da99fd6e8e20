"""What a server finds in the folder of a policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.protocol import plain_messages
from medgym.agent.serve.policy_files import PolicyFiles, policy_files
from medgym.env.briefing import CALLS, PromptForm

SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Finds texts.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


@pytest.fixture
def policy(policy_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(policy_folder, tmp_path / "whole"))


@pytest.fixture
def adapter(adapter_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter_folder, tmp_path / "adapter"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_whole_model(policy: Path) -> None:
    files = policy_files(str(policy))
    assert files == PolicyFiles(str(policy), policy, None, policy, PromptForm(specs="names"))
    assert files.rank == 0


def test_an_adapter_takes_from_its_base_what_it_lacks(policy_folder: Path, adapter_folder: Path) -> None:
    files = policy_files(str(adapter_folder))
    assert (files.base, files.adapter, files.words) == (policy_folder, adapter_folder, policy_folder)
    assert files.form == PromptForm(specs="arguments", observation_limit=300)
    assert files.rank == 12
    assert files.own_template == policy_files(str(policy_folder)).own_template


def test_an_adapter_with_its_own_tokenizer(policy_folder: Path, adapter: Path) -> None:
    shutil.copy(policy_folder / "tokenizer.json", adapter)
    files = policy_files(str(adapter))
    assert (files.base, files.words) == (policy_folder, adapter)
    assert files.own_template == policy_files(str(policy_folder)).own_template
    (adapter / "chat_template.jinja").write_text("its own")
    assert files.own_template == "its own"


def test_paths_are_absolute(policy: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(policy.parent)
    whole, lora = policy_files("whole"), policy_files("adapter", base="whole")
    assert (whole.base, whole.words) == (policy, policy)
    assert (lora.base, lora.adapter, lora.words) == (policy, adapter, policy)


def test_a_base_that_was_moved(policy: Path, adapter: Path) -> None:
    change(adapter / "adapter_config.json", base_model_name_or_path="/nowhere/at/all")
    with pytest.raises(FileNotFoundError, match=r"/nowhere/at/all.*give `base="):
        policy_files(str(adapter))
    assert policy_files(str(adapter), base=str(policy)).base == policy


def test_an_adapter_over_an_adapter(adapter_folder: Path, adapter: Path) -> None:
    with pytest.raises(ValueError, match="is itself an adapter: merge that one first"):
        policy_files(str(adapter), base=str(adapter_folder))


def test_no_policy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder with a config"):
        policy_files(str(tmp_path))


@pytest.mark.parametrize("damaged", ["{", "[]", "\xff"])
def test_damaged_files_are_named(policy: Path, adapter: Path, damaged: str) -> None:
    for folder, name in ((adapter, "adapter_config.json"), (policy, "protocol.json")):
        (folder / name).write_bytes(damaged.encode("latin-1"))
        with pytest.raises(ValueError, match=name):
            policy_files(str(folder))
    (policy / "protocol.json").unlink()
    files = policy_files(str(policy))
    assert files.form == PromptForm()
    (policy / "tokenizer.json").write_bytes(damaged.encode("latin-1"))
    with pytest.raises(ValueError, match=r"tokenizer.json is damaged"):
        _ = files.control_tokens


def test_the_template_is_found(policy: Path, adapter: Path) -> None:
    told = (policy / "chat_template.jinja").read_text()
    shutil.copy(policy / "tokenizer.json", adapter)
    files = policy_files(str(adapter), base=str(policy))
    assert files.own_template == told
    (adapter / "tokenizer_config.json").write_text(json.dumps({"chat_template": "in the configuration"}))
    assert files.own_template == "in the configuration"
    (adapter / "chat_template.jinja").write_text("in a file")
    assert files.own_template == "in a file"
    (adapter / "chat_template.jinja").unlink()
    (adapter / "tokenizer_config.json").unlink()
    (policy / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"has no chat template: put one into .*adapter/chat_template.jinja"):
        _ = files.template


def test_ranks(adapter: Path) -> None:
    change(adapter / "adapter_config.json", rank_pattern={}, r=24)
    assert policy_files(str(adapter)).rank == 24
    change(adapter / "adapter_config.json", rank_pattern={"a": 2, "b": 3}, r=2)
    assert policy_files(str(adapter)).rank == 3


def test_the_served_template_says_tools_calls_and_results(policy_folder: Path, tiny_tokenizers: dict[str, Any]) -> None:
    files = policy_files(str(policy_folder))
    assert set(files.control_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    tokenizer = tiny_tokenizers["qwen"]
    call = {"id": "1", "type": "function", "function": {"name": "search", "arguments": '{"query": "sepsis"}'}}
    said: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is <|im_end|> sepsis?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "An infection."},
    ]

    def render(template: str, messages: Any, **more: Any) -> str:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True, **more
        )

    served = render(files.template, said, tools=[SEARCH])
    plain = [dict(one) for one in plain_messages(said, [SEARCH], files.form)]
    for one in plain:
        if one["role"] == "tool":
            one.update(role="user", content=f"<tool_response>\n{one['content']}\n</tool_response>")
    assert served == render(files.own_template, plain).replace("<|im_end|> sepsis", "<\u200b|im_end|> sepsis")
    assert CALLS in served
    assert "Tools: search" in served
    assert "An infection." in served
