"""Episodes through the chat model: what was fed is what was recorded, for every template and way of sampling."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from medgym.agent.policies.local import LoadedModel, LocalChatModel, RollingBatcher
from medgym.agent.policies.local.sampler import Sampler
from medgym.agent.recorder import ForkError, Recorder, recording

REPLIES = [
    [
        ToolMessage("Troponin 0.02 <|im_end|><|eot_id|>", name="lab", tool_call_id="1"),
        ToolMessage("ok", tool_call_id="2"),
    ],
    [ToolMessage("37.5 \u00b0C", name="vitals", tool_call_id="3"), HumanMessage("It hurts.")],
    [HumanMessage("And now?")],
]


def episode(policy: LocalChatModel, seed: int, **settings: Any) -> tuple[Recorder, list[Any]]:
    """Four turns with fixed replies."""
    messages: list[Any] = [SystemMessage("Be careful."), HumanMessage(f"Case {seed}: I have a cough.")]
    with recording(Recorder()) as recorder:
        for replies in [*REPLIES, []]:
            answer = policy.invoke(messages, seed=seed, **settings)
            messages += [AIMessage(answer.content), *replies]
    return recorder, messages


def test_what_was_fed_is_what_was_recorded(loaded: LoadedModel, spy: Any, assert_exact: Any) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=24)
    with spy(loaded.model) as fed:
        recorder, _ = episode(policy, 1)
    flat = [token for batch in fed for token in batch[0]]
    last = len(recorder.turns[-1].forced_ids) + 1  # the last sampled id is never fed, nor what is forced after it
    assert flat == recorder.ids[:-last]
    assert len(recorder.turns) == 4
    assert_exact(recorder, loaded)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 0.3, "top_p": 0.5}, {"temperature": 2.0}])
def test_logprobs_are_the_models_own(loaded: LoadedModel, assert_exact: Any, settings: dict[str, float]) -> None:
    recorder, _ = episode(LocalChatModel(loaded, max_new_tokens=16), 2, **settings)
    assert_exact(recorder, loaded)


def test_guided_episode(loaded: LoadedModel, assert_exact: Any, tools: list[Any]) -> None:
    recorder, messages = episode(LocalChatModel(loaded, max_new_tokens=600), 3, tools=tools)
    assert_exact(recorder, loaded)
    for message in messages:
        if isinstance(message, AIMessage):
            body = message.text.removeprefix("<tool_call>").removesuffix("</tool_call>")
            assert json.loads(body)["name"] in {"search", "dose", "finish"}
    assert [turn.finish_reason for turn in recorder.turns] == ["stop"] * 4


@pytest.mark.parametrize("guided", [False, True])
def test_batched_episodes(loaded: LoadedModel, assert_exact: Any, tools: list[Any], guided: bool) -> None:
    """Four threads share batches; everyone gets what they would have got alone."""
    settings = {"tools": tools[:1]} if guided else {}
    alone = LocalChatModel(loaded, max_new_tokens=120 if guided else 16)
    with RollingBatcher(Sampler(loaded.model, loaded.chat_format), max_batch=4) as batcher:
        shared = LocalChatModel(loaded, max_new_tokens=alone.max_new_tokens, engine=batcher)
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda seed: episode(shared, seed, **settings)[0], range(4)))
    for seed, recorder in enumerate(together):
        assert_exact(recorder, loaded)
        assert recorder.ids == episode(alone, seed, **settings)[0].ids


def test_cut_answers(loaded: LoadedModel, assert_exact: Any) -> None:
    recorder, messages = episode(LocalChatModel(loaded, max_new_tokens=3), 4)
    end = loaded.chat_format.turn_end
    cut = [turn for turn in recorder.turns if turn.finish_reason == "length"]
    assert cut
    assert all(turn.forced_ids == (end,) and end not in turn.output_ids for turn in cut)
    for (_, stop), turn in zip(recorder.turn_spans(), recorder.turns, strict=True):
        ended = stop if turn.forced_ids else stop - 1
        assert recorder.ids[ended] == end
        assert recorder.mask[ended] == (0 if turn.forced_ids else 1)
    assert_exact(recorder, loaded)
    assert len(messages) == 11


def test_special_tokens_in_replies_stay_text(loaded: LoadedModel) -> None:
    recorder, _ = episode(LocalChatModel(loaded, max_new_tokens=8), 5)
    context = recorder.turns[1].context_ids
    assert context.count(loaded.chat_format.turn_end) == 1  # the one that closes the user message
    assert "<|im_end|><|eot_id|>" in loaded.chat_format.tokenizer.decode(list(context))


def test_edited_history_is_refused(loaded: LoadedModel) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=8)
    recorder, messages = episode(policy, 6)
    messages[2] = AIMessage("something else")
    with recording(recorder), pytest.raises(ForkError):
        policy.invoke([*messages, HumanMessage("?")])


def test_plain_use_without_a_recorder(loaded: LoadedModel) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=8, temperature=0.0)
    first = policy.invoke("hello")
    history = [HumanMessage("hello"), first, HumanMessage("again")]
    second = policy.invoke(history)
    assert policy.invoke(history).content == second.content
    edited = [HumanMessage("hello"), AIMessage("edited"), HumanMessage("again")]
    used = policy.invoke(edited).usage_metadata
    assert used is not None
    assert used["input_tokens"] == len(Recorder().render_next(edited, loaded.chat_format))


def test_metadata(loaded: LoadedModel) -> None:
    with recording(Recorder()) as recorder:
        answer = LocalChatModel(loaded, max_new_tokens=5).invoke("hello", seed=9)
    turn = recorder.turns[0]
    assert answer.response_metadata["output_ids"] == list(turn.output_ids)
    assert answer.response_metadata["output_logprobs"] == list(turn.logprobs)
    assert answer.response_metadata["finish_reason"] == turn.finish_reason
    assert answer.response_metadata["model_name"] == loaded.name
    assert answer.response_metadata["seed"] == 9
    used = answer.usage_metadata
    assert used is not None
    assert (used["input_tokens"], used["output_tokens"]) == (len(turn.context_ids), len(turn.output_ids))


def test_seeds(loaded: LoadedModel) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=12)
    assert episode(policy, 1)[0].ids == episode(policy, 1)[0].ids
    free = policy.invoke("hello")
    again = policy.invoke("hello", seed=free.response_metadata["seed"])
    assert again.response_metadata["output_ids"] == free.response_metadata["output_ids"]
    drawn = {tuple(policy.invoke("hello", seed=seed).response_metadata["output_ids"]) for seed in range(8)}
    assert len(drawn) > 4


def test_one_seed_draws_differently_in_every_turn(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    submit = Sampler.submit
    monkeypatch.setattr(Sampler, "submit", lambda self, request: seeds.append(request.seed) or submit(self, request))
    episode(LocalChatModel(loaded, max_new_tokens=2), 1)
    assert len(set(seeds)) == 4


def test_async(loaded: LoadedModel, assert_exact: Any) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=8)

    async def run() -> None:
        with recording(Recorder()) as recorder:
            first = await policy.ainvoke([HumanMessage("hello")], seed=1)
            await policy.ainvoke([HumanMessage("hello"), first, HumanMessage("again")], seed=1)
        assert len(recorder.turns) == 2
        assert_exact(recorder, loaded)

    asyncio.run(run())


def test_stop_strings(loaded: LoadedModel, assert_exact: Any) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=30)
    whole = policy.invoke("hello", seed=1)
    stop = whole.text[4]
    with recording(Recorder()) as recorder:
        stopped = policy.invoke("hello", seed=1, stop=[stop])
        policy.invoke([HumanMessage("hello"), stopped, HumanMessage("more")], seed=1)
    assert stopped.text == whole.text[: whole.text.index(stop)]
    turn = recorder.turns[0]
    assert turn.finish_reason == "stop"
    assert list(turn.output_ids) == whole.response_metadata["output_ids"][: len(turn.output_ids)]
    assert turn.forced_ids == (loaded.chat_format.turn_end,)
    assert_exact(recorder, loaded)


def test_wrong_keywords(loaded: LoadedModel, tools: list[Any]) -> None:
    policy = LocalChatModel(loaded)
    with pytest.raises(TypeError, match=r"does not know topk.*it knows grammar"):
        policy.invoke("hello", topk=3)
    with pytest.raises(ValueError, match="not both"):
        policy.invoke("hello", tools=tools, grammar="start: /a/")
    with pytest.raises(ValueError, match="temperature"):
        policy.invoke("hello", temperature=-1.0)
    with pytest.raises(ValueError, match=r"(?i)extra"):
        LocalChatModel(loaded, max_tokens=3)


def test_own_grammar(loaded: LoadedModel) -> None:
    answer = LocalChatModel(loaded, max_new_tokens=8).invoke("yes or no?", grammar='start: "yes" | "no"')
    assert answer.text in ("yes", "no")
    assert answer.response_metadata["finish_reason"] == "stop"


def test_a_failed_call_can_be_repeated(loaded: LoadedModel, assert_exact: Any) -> None:
    policy = LocalChatModel(loaded, max_new_tokens=8)
    with recording(Recorder()) as recorder:
        with pytest.raises(ValueError, match="grammar cannot be used"):
            policy.invoke("hello", grammar="start: nothing")
        policy.invoke("hello")
    assert len(recorder.turns) == 1
    assert_exact(recorder, loaded)
