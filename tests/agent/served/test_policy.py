"""`openai:MODEL`: in tokens where the tokenizer can be had, else in text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.policies import Policy, PolicyError, PolicyOptions, PolicyUnavailable, make_policy
from medgym.agent.policies.local import LocalChatModel, Words, load_words
from medgym.agent.policies.openai_chat import OpenAIChatModel
from medgym.agent.recorder import Recorder
from medgym.agent.runner import run_many
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.replay import differences
from medgym.env.trajectory import Trajectory

TASKS = load_domain("medical_qa").tasks()


def play(policy: Policy, n: int = 3, **settings: Any) -> list[Trajectory]:
    pairs = [(task, seed) for seed, task in enumerate(TASKS[:n])]
    return list(run_many(policy, pairs, max_turns=5, form=PromptForm(brief=True), **settings))


def recorder_of(trajectory: Trajectory) -> Recorder:
    assert trajectory.tokens is not None
    return Recorder.from_dict(dict(trajectory.tokens))


def check_exact(trajectory: Trajectory, server: Any) -> int:
    """Every turn's ids are what the server answered to exactly the ids before it; the number of turns."""
    recorder = recorder_of(trajectory)
    assert recorder.trainable
    for start, end in recorder.turn_spans():
        assert server.answers[tuple(recorder.ids[:start])] == recorder.ids[start:end]
    assert len(recorder.turns) == len(trajectory.turns)
    return len(recorder.turns)


@pytest.mark.parametrize("named", [False, True])
def test_tokens_where_the_tokenizer_can_be_had(server: Any, words_folder: Path, named: bool) -> None:
    server.lists = not named
    notes: list[str] = []
    options = PolicyOptions(base_url=server.url, tokenizer=str(words_folder) if named else None, max_new_tokens=200)
    with closing(make_policy("openai:policy", options, progress=notes.append)) as policy:
        played = play(policy)
    assert sum(check_exact(one, server) for one in played) == len(server.asked)
    assert not notes
    assert max(len(one.turns) for one in played) > 1
    for one in played:
        assert one.policy == "openai:policy"
        assert differences(one) == []
    again = make_policy("openai:policy", options)
    with closing(again):
        assert play(again) == played


@pytest.mark.parametrize("why", ["lists nothing", "has another folder"])
def test_text_where_it_cannot(server: Any, why: str, tmp_path: Path) -> None:
    server.lists = why != "lists nothing"
    server.folder = tmp_path
    notes: list[str] = []
    with closing(make_policy("openai:policy", PolicyOptions(base_url=server.url), progress=notes.append)) as policy:
        assert isinstance(policy.model_for(Episode(TASKS[0])), OpenAIChatModel)
        played = play(policy, concurrency=2)
    (note,) = notes
    assert "asked in text" in note
    assert "--tokenizer DIR" in note
    assert not any(recorder_of(one).trainable for one in played)
    assert all("messages" in body for body in server.asked)


def test_an_adapter_without_words_takes_its_parents(server: Any, words_folder: Path, tmp_path: Path) -> None:
    from medgym.agent.policies.served.policy import _words_of

    cards = [
        {"id": "base", "root": str(words_folder)},
        {"id": "policy", "root": str(tmp_path), "parent": "base"},
    ]
    words, _ = _words_of(cards, "policy")
    assert words is not None
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    words, _ = _words_of(cards, "policy")
    assert words is not None
    assert {5, 6} < set(words.chat_format.end_ids)
    assert _words_of([{"id": "policy"}], "policy")[0] is None


def test_a_server_whose_logprobs_are_others_is_refused(fake_vllm: Callable[..., Any]) -> None:
    server = fake_vllm(mode="processed_logprobs")
    for temperature, top_p, good in [(1.0, 1.0, True), (0.0, 1.0, True), (0.5, 1.0, False), (1.0, 0.9, False)]:
        options = PolicyOptions(base_url=server.url, temperature=temperature, top_p=top_p)
        with closing(make_policy("openai:policy", options)) as policy:
            if good:
                assert isinstance(policy.model_for(Episode(TASKS[0])), LocalChatModel)
            else:
                with pytest.raises(PolicyUnavailable, match="start it without `--logprobs-mode"):
                    policy.model_for(Episode(TASKS[0]))


def test_a_tokenizer_that_is_none(server: Any, tmp_path: Path, words_folder: Path) -> None:
    with pytest.raises(PolicyError, match=r"holds no tokenizer\.json"):
        make_policy("openai:policy", PolicyOptions(base_url=server.url, tokenizer=str(tmp_path)))
    with pytest.raises(PolicyError, match="goes with --base-url"):
        make_policy("openai:policy", PolicyOptions(tokenizer=str(words_folder)))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(PolicyError, match="cannot be used"):
        make_policy("openai:policy", PolicyOptions(base_url=server.url, tokenizer=str(tmp_path)))


def test_words_need_no_torch_and_no_weights(words_folder: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name.split('.')[0] == 'torch' else real(name, *rest)\n"
        "sys.modules['torch'] = None\n"
        "from medgym.agent.policies import PolicyOptions, make_policy\n"
        "from medgym.env.domain import load_domain\n"
        "from medgym.env.episode import Episode\n"
        f"options = PolicyOptions(base_url='http://127.0.0.1:9', tokenizer={str(words_folder)!r}, waits=False)\n"
        "policy = make_policy('openai:policy', options)\n"
        "print('made')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "made\n", done.stderr
    words = load_words(words_folder, name="w")
    assert isinstance(words, Words)
    with pytest.raises(TypeError, match="no weights here"):
        LocalChatModel(words)


def test_several_servers_share_the_episodes(fake_vllm: Callable[..., Any]) -> None:
    servers = [fake_vllm(), fake_vllm()]
    for one in servers:
        one.hold = 0.02
    options = PolicyOptions(base_url=[one.url for one in servers], concurrency=8, max_new_tokens=200)
    with closing(make_policy("openai:policy", options)) as policy:
        played = play(policy, 16, concurrency=8)
    homes: list[set[int]] = []
    for trajectory in played:
        recorder = recorder_of(trajectory)
        prompts = [tuple(recorder.ids[:start]) for start, _ in recorder.turn_spans()]
        homes.append({at for at, one in enumerate(servers) for prompt in prompts if prompt in one.answers})
    assert all(len(home) == 1 for home in homes)  # each stays, for the sake of its prefix cache
    assert {min(home) for home in homes} == {0, 1}


def test_a_local_policy_batches_what_is_under_way_at_once(
    tiny_tokenizers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from medgym.agent.policies.local.sampler import Sampler

    tokenizer = tiny_tokenizers["chatml"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=16384,
        initializer_range=0.5,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sizes: list[int] = []
    take = Sampler._take

    def counted(self: Sampler, rows: Any, logits: Any) -> None:
        sizes.append(len(rows))
        take(self, rows, logits)

    monkeypatch.setattr(Sampler, "_take", counted)
    runs: list[list[Trajectory]] = []
    for concurrency in (1, 4):
        options = PolicyOptions(max_new_tokens=12, threads=1, dtype="float32", concurrency=concurrency)
        with closing(make_policy(f"local:{tmp_path}", options)) as policy:
            runs.append(sorted(play(policy, 4, concurrency=concurrency), key=lambda one: one.seed))
    assert max(sizes) == 4
    assert [one.actions for one in runs[0]] == [one.actions for one in runs[1]]
