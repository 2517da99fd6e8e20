"""Adapters that are loaded at run time answer as they would alone, side by side with the policy."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from medgym.agent.policies.local import LoadedModel, SampleRequest
from medgym.agent.policies.local.sampler import Sampler

from .conftest import build_model

Serving = Callable[..., AbstractContextManager[str]]
PROMPT = list(range(20, 60))


def write_adapter(tokenizer: Any, folder: Path, rank: int, targets: list[str]) -> Path:
    torch.manual_seed(rank)
    config = LoraConfig(r=rank, lora_alpha=8 * rank, target_modules=targets, task_type="CAUSAL_LM")
    model: Any = get_peft_model(build_model(tokenizer), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folders(policy: LoadedModel, tmp_path: Path) -> dict[str, Path]:
    words = policy.tokenizer
    return {
        "first": write_adapter(words, tmp_path / "first", 2, ["q_proj", "v_proj"]),
        "second": write_adapter(words, tmp_path / "second", 4, ["q_proj", "down_proj"]),
    }


def alone(policy: LoadedModel, folder: Path | None, seed: int) -> list[int]:
    model = build_model(policy.tokenizer)
    if folder is not None:
        model = PeftModel.from_pretrained(model, str(folder)).eval()
    sampler = Sampler(model, policy.chat_format)
    return list(sampler.submit(SampleRequest(PROMPT, 20, seed=seed)).ids)


def ask(url: str, model: str | None, seed: int) -> httpx.Response:
    body = {"model": model, "prompt": PROMPT, "max_tokens": 20, "seed": seed, "return_token_ids": True}
    return httpx.post(f"{url}/v1/completions", json=body, timeout=60)


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["token_ids"]


def load(url: str, name: str, folder: Path) -> httpx.Response:
    return httpx.post(f"{url}/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)}, timeout=60)


def unload(url: str, name: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": name}, timeout=60)


def test_several_names_share_the_weights(
    policy: LoadedModel, fresh_policy: LoadedModel, folders: dict[str, Path], serving: Serving
) -> None:
    expected = {
        name: [alone(policy, folder, seed) for seed in range(6)] for name, folder in {"policy": None, **folders}.items()
    }
    assert len({tuple(rows[0]) for rows in expected.values()}) == 3
    with serving(fresh_policy, runtime_lora=True) as url:
        assert ids(ask(url, None, 0)) == expected["policy"][0]
        for name, folder in folders.items():
            assert load(url, name, folder).status_code == 200
        cards = httpx.get(f"{url}/v1/models").json()["data"]
        assert [(card["id"], card["parent"]) for card in cards] == [
            ("policy", None),
            ("first", "policy"),
            ("second", "policy"),
        ]
        assert cards[1]["root"] == str(folders["first"])
        again = load(url, "first", folders["first"])
        assert (again.status_code, "already been loaded" in again.text) == (400, True)
        jobs = [(name, seed) for seed in range(6) for name in expected]
        with ThreadPoolExecutor(18) as pool:
            answers = list(pool.map(lambda job: ids(ask(url, *job)), jobs))
        assert answers == [expected[name][seed] for name, seed in jobs]
        assert unload(url, "first").status_code == 200
        assert ask(url, "first", 0).status_code == 404
        assert unload(url, "first").status_code == 404
        assert ids(ask(url, "second", 1)) == expected["second"][1]
        assert unload(url, "second").status_code == 200
        assert ids(ask(url, "policy", 2)) == expected["policy"][2]
        assert load(url, "second", folders["first"]).status_code == 200
        assert ids(ask(url, "second", 3)) == expected["first"][3]
        assert unload(url, "policy").status_code == 400


def test_what_does_not_fit_leaves_the_policy_as_it_was(
    policy: LoadedModel, fresh_policy: LoadedModel, folders: dict[str, Path], tmp_path: Path, serving: Serving
) -> None:
    wrong = write_adapter(policy.tokenizer, tmp_path / "wrong", 2, ["q_proj"])
    weights = wrong / "adapter_model.safetensors"
    torch.manual_seed(0)
    from safetensors.torch import load_file, save_file

    save_file({name: torch.cat([part, part], 1) for name, part in load_file(weights).items()}, weights)
    broken = write_adapter(policy.tokenizer, tmp_path / "broken", 2, ["q_proj"])
    (broken / "adapter_config.json").write_text("{")
    with serving(fresh_policy, runtime_lora=True) as url:
        for held in (False, True):
            assert load(url, "none", tmp_path / "nothing").status_code == 404
            for folder in (wrong, broken):
                answer = load(url, "bad", folder)
                assert (answer.status_code, "cannot be loaded" in answer.text) == (400, True)
            assert ids(ask(url, "policy", 2)) == alone(policy, None, 2)
            if not held:
                assert load(url, "good", folders["first"]).status_code == 200
        assert ids(ask(url, "good", 2)) == alone(policy, folders["first"], 2)


def test_a_policy_that_is_an_adapter_itself(
    policy: LoadedModel, fresh_policy: LoadedModel, folders: dict[str, Path], serving: Serving
) -> None:
    model: Any = PeftModel.from_pretrained(fresh_policy.model, str(folders["first"])).eval()  # type: ignore[arg-type]
    loaded = LoadedModel(model, policy.tokenizer, policy.chat_format, "adapter")
    with serving(loaded, runtime_lora=True, parent="base") as url:
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["parent"] == "base"
        assert ids(ask(url, None, 1)) == alone(policy, folders["first"], 1)
        assert load(url, "second", folders["second"]).status_code == 200
        assert ids(ask(url, "second", 1)) == alone(policy, folders["second"], 1)
        assert ids(ask(url, None, 2)) == alone(policy, folders["first"], 2)
        assert unload(url, "second").status_code == 200
        assert ids(ask(url, None, 3)) == alone(policy, folders["first"], 3)
