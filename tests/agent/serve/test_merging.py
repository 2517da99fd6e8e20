"""An adapter folded into its base says what the two said together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medgym.agent.policies.local import load_model
from medgym.agent.protocol import form_of_policy
from medgym.agent.serve.merging import merged
from medgym.agent.serve.policy_files import PolicyFiles, policy_files

IDS = torch.tensor([list(range(20, 60))])


def logits(folder: Path) -> torch.Tensor:
    model: Any = load_model(folder).model
    with torch.no_grad():
        return model(IDS).logits


def merge(folder: Path, cache: Path, **settings: Any) -> tuple[PolicyFiles, list[str]]:
    told: list[str] = []
    return merged(policy_files(str(folder), **settings), cache, told.append), told


@pytest.fixture
def adapter(adapter_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter_folder, tmp_path / "adapter"))


def test_the_merged_model_is_the_policy(policy_folder: Path, adapter_folder: Path, tmp_path: Path) -> None:
    files, told = merge(adapter_folder, tmp_path)
    assert told == [f"merging {adapter_folder} into {policy_folder}"]
    assert files.adapter is None
    assert files.base == files.words
    assert files.base.parent == tmp_path / "models"
    torch.testing.assert_close(logits(files.base), logits(adapter_folder), rtol=1e-4, atol=1e-4)
    assert float((logits(files.base) - logits(policy_folder)).abs().max()) > 0.1
    assert files.form == form_of_policy(adapter_folder) == form_of_policy(files.base)
    assert files.own_template == policy_files(str(adapter_folder)).own_template
    assert (files.words / "tokenizer.json").read_bytes() == (policy_folder / "tokenizer.json").read_bytes()
    config = json.loads((files.base / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "medgym" not in json.dumps(config)  # our own attention is no part of the weights
    assert policy_files(str(files.base)).base == files.base


def test_it_is_made_once_for_each_adapter(policy_folder: Path, adapter: Path, tmp_path: Path) -> None:
    first, _ = merge(adapter, tmp_path)
    made = (first.base / "model.safetensors").stat()
    again, told = merge(adapter, tmp_path)
    assert (again.base, told) == (first.base, [])
    assert (first.base / "model.safetensors").stat() == made
    weights = adapter / "adapter_model.safetensors"
    save_file({name: part * 2 for name, part in load_file(weights).items()}, weights)
    other, told = merge(adapter, tmp_path)
    assert (other.base != first.base, len(told)) == (True, 1)
    assert sorted(one.name for one in (tmp_path / "models").iterdir() if one.is_dir()) == sorted(
        [first.base.name, other.base.name]
    )


def test_a_base_that_was_trained_anew_is_merged_anew(policy_folder: Path, adapter: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(policy_folder, tmp_path / "base"))
    first, _ = merge(adapter, tmp_path, base=str(base))
    weights = base / "model.safetensors"
    parts = load_file(weights)
    save_file({name: part * 1.5 for name, part in parts.items()}, weights, metadata={"format": "pt"})
    os.utime(weights, ns=(1, 1))
    second, told = merge(adapter, tmp_path, base=str(base))
    assert (second.base != first.base, len(told)) == (True, 1)


def test_its_own_tokenizer_with_the_bases_template(policy_folder: Path, adapter: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(policy_folder / name, adapter)
    files, _ = merge(adapter, tmp_path)
    assert files.own_template == (policy_folder / "chat_template.jinja").read_text()
    (adapter / "tokenizer_config.json").write_text(
        json.dumps(
            {
                **json.loads((adapter / "tokenizer_config.json").read_text()),
                "chat_template": files.own_template + "{# its own #}",
            }
        )
    )
    changed, _ = merge(adapter, tmp_path)
    assert changed.base != files.base
    assert changed.own_template.endswith("{# its own #}")


def test_a_base_in_bfloat16_stays_so(policy_folder: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = Path(shutil.copytree(policy_folder, tmp_path / "base"))
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
    model.save_pretrained(base)
    files, _ = merge(adapter, tmp_path, base=str(base))
    assert {part.dtype for part in load_file(files.base / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((files.base / "config.json").read_text())["dtype"] == "bfloat16"


def test_nothing_to_merge(policy_folder: Path, adapter: Path, tmp_path: Path) -> None:
    files = policy_files(str(policy_folder))
    assert merged(files, tmp_path, pytest.fail) is files
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no adapter weights"):
        merge(adapter, tmp_path)
    assert not (tmp_path / "models").exists()
