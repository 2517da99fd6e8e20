"""Whole episodes of tiny random models through the LangGraph agent: recorded is what the model saw and said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from medgym.agent.chat_format import ChatFormat
from medgym.agent.graph import build_case_graph
from medgym.agent.policies import Policy
from medgym.agent.policies.local import LoadedModel, LocalChatModel, RollingBatcher
from medgym.agent.policies.local.sampler import Sampler
from medgym.agent.recorder import Recorder
from medgym.agent.runner import run_episode
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.replay import differences
from medgym.env.trajectory import FILE_NAME, Trajectory, append, encode, read_file

CONTEXT = 16_384


def build_model(tokenizer: Any) -> Any:
    """A random one-layer Llama that sees a whole episode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def policies(tiny_tokenizers: dict[str, Any]) -> dict[str, LoadedModel]:
    return {
        style: LoadedModel(build_model(tokenizer), tokenizer, ChatFormat(tokenizer), f"tiny-{style}")
        for style, tokenizer in tiny_tokenizers.items()
    }


@pytest.fixture
def loaded(style: str, policies: dict[str, LoadedModel]) -> LoadedModel:
    return policies[style]


def policy_of(loaded: LoadedModel, guided: bool, engine: Any = None) -> Policy:
    engine = engine or Sampler(loaded.model, loaded.chat_format)

    def model_for(episode: Any) -> LocalChatModel:
        return LocalChatModel(
            loaded,
            engine=engine,
            max_new_tokens=160 if guided else 24,
            temperature=1.0,
            seed=episode.seed,
            guided_max_string=12,
            guided_drop_optional=True,
        )

    return Policy(f"local:{loaded.name}", model_for, records_tokens=True, guided=guided)


def play(policy: Policy, domain: str, seed: int, turns: int = 5) -> Trajectory:
    agent = build_case_graph(policy.model_for, guided=policy.guided)
    task = load_domain(domain).tasks()[seed]
    return run_episode(agent, policy, task, seed, max_turns=turns, form=PromptForm(brief=True))


@contextmanager
def spied(model: Any) -> Iterator[list[int]]:
    """Every id that is fed to the model, in order."""
    fed: list[int] = []

    def note(_module: Any, _args: Any, kwargs: Any) -> None:
        (row,) = kwargs["input_ids"].tolist()
        fed.extend(row)

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield fed
    finally:
        hook.remove()


def recorder_of(trajectory: Trajectory) -> Recorder:
    assert trajectory.tokens is not None
    return Recorder.from_dict(dict(trajectory.tokens))


def check_exact(recorder: Recorder, loaded: LoadedModel) -> None:
    """The mask is 1 exactly on sampled ids, and one float32 pass over the stream gives their log-probabilities."""
    import torch

    assert len(recorder.ids) == len(recorder.mask) == len(recorder.logprobs) < CONTEXT
    sampled = {at for start, end in recorder.turn_spans() for at in range(start, end)}
    assert recorder.mask == [int(at in sampled) for at in range(len(recorder.ids))]
    model: Any = loaded.model
    with torch.no_grad():
        full = torch.log_softmax(model(torch.tensor([recorder.ids])).logits[0].float(), -1)
    ids = torch.tensor(recorder.ids[1:])
    expected = full[:-1].gather(1, ids[:, None])[:, 0] * torch.tensor(recorder.mask[1:])
    assert recorder.logprobs[0] == 0.0
    torch.testing.assert_close(torch.tensor(recorder.logprobs[1:]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("domain", ["clinical_diagnosis", "medical_qa"])
def test_an_episode_is_recorded_to_the_token(tmp_path: Path, loaded: LoadedModel, domain: str, guided: bool) -> None:
    policy = policy_of(loaded, guided)
    with spied(loaded.model) as fed:
        trajectory = play(policy, domain, 3)
    recorder = recorder_of(trajectory)
    assert recorder.trainable
    assert len(recorder.turns) == len(trajectory.turns)
    never_fed = 1 + len(recorder.turns[-1].forced_ids)  # the last sampled id, and what is forced after it
    assert fed == recorder.ids[:-never_fed]
    check_exact(recorder, loaded)
    texts = [loaded.chat_format.text_of(turn.output_ids) for turn in recorder.turns]
    assert texts == trajectory.actions
    if guided:
        calls = [cast("Any", turn["calls"]) for turn in trajectory.turns]
        assert all(len(made) == 1 and made[0]["error"] != "malformed_call" for made in calls)
        assert any(made[0]["error"] is None for made in calls)
        assert trajectory.ended in ("submitted", "budget")
        assert calls[-1][0]["name"] == "submit_answer"
    assert recorder.to_dict() == trajectory.tokens
    path = tmp_path / FILE_NAME
    append(path, trajectory)
    (stored,) = read_file(path)
    assert encode(stored) == encode(trajectory)
    assert recorder_of(stored).ids == recorder.ids
    assert differences(stored) == []


def test_everything_that_came_back_is_in_the_stream(loaded: LoadedModel) -> None:
    """The prompt holds the ticket, and each later context the observation that came before it."""
    trajectory = play(policy_of(loaded, True), "clinical_diagnosis", 2, turns=3)
    recorder = recorder_of(trajectory)
    decode = cast("Any", loaded.tokenizer).decode
    contexts = [decode(list(turn.context_ids)) for turn in recorder.turns]
    assert trajectory.opening in contexts[0]
    for turn, context in zip(trajectory.turns, contexts[1:], strict=False):
        for call in cast("Any", turn["calls"]):
            assert call["result"] in context


def test_the_same_seed_gives_the_same_bytes(policies: dict[str, LoadedModel]) -> None:
    policy = policy_of(policies["chatml"], False)
    first, again, other = (play(policy, "medical_qa", seed, turns=2) for seed in (3, 3, 4))
    assert encode(first) == encode(again)
    assert first.actions != other.actions


def test_episodes_at_once_keep_their_streams_apart(policies: dict[str, LoadedModel]) -> None:
    """Through one compiled agent and one micro-batcher; each recorder holds its own episode and nothing else."""
    loaded = policies["qwen"]
    tasks = load_domain("medical_qa").tasks()
    with RollingBatcher(Sampler(loaded.model, loaded.chat_format)) as batcher:
        policy = policy_of(loaded, True, batcher)
        agent = build_case_graph(policy.model_for, guided=True)

        def one(seed: int) -> Trajectory:
            return run_episode(agent, policy, tasks[seed], seed, max_turns=2, form=PromptForm(brief=True))

        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(one, range(4)))
    for trajectory in together:
        recorder = recorder_of(trajectory)
        check_exact(recorder, loaded)
        assert [loaded.chat_format.text_of(turn.output_ids) for turn in recorder.turns] == trajectory.actions
        first = cast("Any", loaded.tokenizer).decode(list(recorder.turns[0].context_ids))
        assert json.dumps(trajectory.opening)[1:60] in json.dumps(first)
