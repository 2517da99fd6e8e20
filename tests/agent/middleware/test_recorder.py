"""What an agent did, its exact tokens, and nothing of a patient's that was not asked for."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from medgym.agent import Budget, SafetyInterlock, TrajectoryRecorder
from medgym.agent.middleware import RunRecord, read_runs
from medgym.agent.middleware.recorder import LEFT_OUT, NOT_SAMPLED, token_stream
from medgym.agent.middleware.run_record import RunRecordError
from medgym.agent.toolkit import episode_tools
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.trajectory import Trajectory, encode
from medgym.tools.record import Record

TASK = load_domain("clinical_diagnosis").tasks()[0]
SECRET = "Mrs Quokka, potassium 6.9"


def sampled(prompt: list[int], ids: list[int], **more: Any) -> dict[str, Any]:
    """What our chat models put into `response_metadata`."""
    content = [{"token": str(one), "logprob": -0.5} for one in ids]
    given = {"prompt_token_ids": prompt, "token_ids": ids, "logprobs": {"content": content}}
    return {**given, "finish_reason": "stop", "model_name": "tiny", "raw_text": "as written", **more}


def exact(stage: Any) -> Any:
    """A model of two turns whose second prompt continues the first."""
    first = stage.calls(stage.call("look", value="here"), response_metadata=sampled([1, 2, 3], [4, 5]))
    last = AIMessage("All well.", response_metadata=sampled([1, 2, 3, 4, 5, 6], [7], finish_reason="length"))
    return stage.Script.of(first, last)


def test_a_run_is_recorded(stage: Any, ward: Any, tmp_path: Path) -> None:
    path, given = tmp_path / "runs.jsonl.zst", []
    recorder = TrajectoryRecorder(path, write=given.append)
    agent = create_agent(exact(stage), [ward.tool("look")], system_prompt="Be kind.", middleware=[recorder])
    stage.ask(agent, "What is wrong?")
    (record,) = read_runs(path)
    assert record == given[0] == recorder.runs[0]
    assert [row["role"] for row in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert record.messages[2]["calls"] == [{"id": "call-look-0", "name": "look", "arguments": {"value": "here"}}]
    assert record.messages[2]["raw_text"] == "as written"
    assert record.messages[3]["content"] == "done"
    assert (record.model, record.tools, record.ended, record.begins) == ("tiny", ("look",), "answered", 1)
    assert not record.redacted
    assert "time" not in json.dumps(record.to_json())


def test_the_token_stream_is_exact(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder()
    stage.ask(create_agent(exact(stage), [ward.tool("look")], middleware=[recorder]))
    stream = recorder.recorder()
    assert stream.trainable
    assert stream.ids == [1, 2, 3, 4, 5, 6, 7]
    assert stream.mask == [0, 0, 0, 1, 1, 0, 1]
    assert [turn.finish_reason for turn in stream.turns] == ["stop", "length"]
    assert stream.turns[1].context_ids == (6,)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, NOT_SAMPLED),
        (sampled([1, 2, 3], []), NOT_SAMPLED),
        (sampled([1, 9, 3, 4, 5, 6], [7]), "do not begin with the recorded ones"),
        ({**sampled([1, 2, 3, 4, 5, 6], [7, 8]), "logprobs": {"content": [{"logprob": -1.0}]}}, "2 sampled ids but 1"),
        ({**sampled([1, 2, 3, 4, 5], [7]), "logprobs": {"content": [{"logprob": float("nan")}]}}, "must be finite"),
    ],
)
def test_a_stream_with_a_gap_is_not_trained_on(metadata: dict[str, Any], reason: str) -> None:
    said = [HumanMessage("Go."), AIMessage("a", response_metadata=sampled([1, 2, 3], [4, 5])), HumanMessage("And?")]
    stream = token_stream([*said, AIMessage("b", response_metadata=metadata)])
    assert not stream.trainable
    assert reason in str(stream.reason)


def test_a_later_run_of_a_thread_has_its_own_stream(stage: Any) -> None:
    answers = iter([sampled([1], [2]), sampled([1, 2, 3], [4])])

    class Model(stage.Script):
        def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
            message = AIMessage("Yes.", response_metadata=next(answers))
            return ChatResult(generations=[ChatGeneration(message=message)])

    recorder = TrajectoryRecorder()
    agent = create_agent(Model(), [], middleware=[recorder], checkpointer=InMemorySaver())
    for text in ("One.", "Two."):
        stage.ask(agent, text, {"configurable": {"thread_id": "a"}})
    first, second = recorder.runs
    assert (first.begins, second.begins) == (0, 2)
    assert first.thread == "a"
    assert [first.recorder().ids, second.recorder().ids] == [[1, 2], [1, 2, 3, 4]]
    assert second.recorder().mask == [0, 0, 0, 1]


def secretive(stage: Any, ward: Any, recorder: TrajectoryRecorder) -> Any:
    tools = [ward.tool("read_chart", result=SECRET, metadata={"redact": True}), ward.tool("note")]
    model = stage.Script.of(
        stage.calls(stage.call("note", value="before")),
        stage.calls(stage.call("read_chart", value="Mrs Quokka"), response_metadata=sampled([1], [2])),
        stage.calls(stage.call("note", value=SECRET), response_metadata=sampled([1, 2, 3], [4], raw_text=SECRET)),
        AIMessage(f"I read: {SECRET}", response_metadata={"model_name": "tiny"}),
    )
    return create_agent(model, tools, middleware=[recorder], system_prompt="Be kind.")


def test_nothing_of_the_patient_is_written(stage: Any, ward: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.zst"
    recorder = TrajectoryRecorder(path)
    stage.ask(secretive(stage, ward, recorder))
    (record,) = read_runs(path)
    text = json.dumps(record.to_json())
    assert "Quokka" not in text
    assert "6.9" not in text
    assert record.redacted
    assert record.tokens["turns"] == []
    assert recorder.recorder().reason == LEFT_OUT
    assert record.messages[2]["calls"][0]["arguments"] == {"value": "before"}  # type: ignore[index]
    assert record.messages[-1]["content"] == f"[left out: {len('I read: ' + SECRET)} characters]"
    assert [row.get("name") for row in record.messages if row["role"] == "tool"] == ["note", "read_chart", "note"]


def test_unless_asked(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder(redact=False)
    stage.ask(secretive(stage, ward, recorder))
    assert SECRET in json.dumps(recorder.runs[0].to_json())
    assert not recorder.runs[0].redacted


def test_a_call_of_no_known_tool_is_left_out_beside_secret_ones(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder()
    model = stage.Script.of(stage.calls(stage.call("read_charts", value="Mrs Quokka")), AIMessage("Sorry."))
    tools = [ward.tool("read_chart", metadata={"redact": True})]
    stage.ask(create_agent(model, tools, middleware=[recorder]))
    assert "Quokka" not in json.dumps(recorder.runs[0].to_json())


def test_an_error_of_the_model_ends_the_run(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder()
    model = stage.Script.of(stage.calls(stage.call("look")), OSError("the server is gone"))
    with pytest.raises(OSError, match="gone"):
        stage.ask(create_agent(model, [ward.tool("look")], middleware=[recorder]))
    (record,) = recorder.runs
    assert (record.ended, record.error) == ("failed", "OSError: the server is gone")
    assert [row["role"] for row in record.messages] == ["user", "assistant", "tool"]


def test_a_run_that_is_left_is_written_on_closing(stage: Any, ward: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.zst"
    with TrajectoryRecorder(path) as recorder:
        model = stage.Script.of(stage.calls(stage.call("look")))
        agent = create_agent(model, [ward.tool("look", result=OSError("no light"))], middleware=[recorder])
        with pytest.raises(OSError, match="no light"):
            stage.ask(agent)
        assert not recorder.runs
    (record,) = read_runs(path)
    assert record.ended == "left"
    assert record.messages[-1]["calls"]


def test_what_the_budget_says_is_no_sample(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder()
    model = stage.Script.of(stage.calls(stage.call("look"), response_metadata=sampled([1], [2])))
    agent = create_agent(model, [ward.tool("look")], middleware=[recorder, Budget(model_calls=1)])
    stage.ask(agent)
    (record,) = recorder.runs
    assert record.ended == "stopped"
    assert record.messages[-1]["source"] == "budget"
    assert record.recorder().trainable
    assert record.recorder().ids == [1, 2]


def test_verdicts_are_recorded(stage: Any, ward: Any) -> None:
    recorder = TrajectoryRecorder()
    allergen = TASK.chart.allergies[0].allergen
    interlock = SafetyInterlock(
        Record(TASK.chart), adapters={"order": lambda args: ("prescribe_medication", {"drug_name": args["value"]})}
    )
    model = stage.Script.of(stage.calls(stage.call("order", value=allergen)), AIMessage("Sorry."))
    stage.ask(create_agent(model, [ward.tool("order")], middleware=[recorder, interlock]))
    row = recorder.runs[0].messages[2]
    assert row["status"] == "error"
    assert row["safety"][0]["severity"] == 5  # type: ignore[index]


def test_concurrent_runs_do_not_mix(stage: Any, ward: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.zst"
    model = stage.Script.of(stage.calls(stage.call("look")), AIMessage("All well."))
    agent = create_agent(model, [ward.tool("look")], middleware=[TrajectoryRecorder(path)])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: stage.ask(agent, f"run {number}"), range(20)))
    asyncio.run(agent.ainvoke({"messages": [("user", "run 20")]}))
    records = list(read_runs(path))
    assert sorted(str(record.messages[0]["content"]) for record in records) == sorted(f"run {n}" for n in range(21))
    assert {len(record.messages) for record in records} == {4}


def test_the_trajectory_of_a_case(stage: Any) -> None:
    episode, recorder = Episode(TASK, 3), TrajectoryRecorder()
    patient = TASK.chart.patient_id
    model = stage.Script.of(
        stage.calls(stage.call("get_vital_signs", patient_id=patient), response_metadata=sampled([1], [2])),
        stage.calls(stage.call("submit_answer", diagnosis="gout"), response_metadata=sampled([1, 2, 3], [4])),
        AIMessage("Done.", response_metadata=sampled([1, 2, 3, 4, 5], [6])),
    )
    with pytest.raises(LookupError, match="invoke the agent first"):
        recorder.trajectory(episode)
    stage.ask(create_agent(model, episode_tools(episode), middleware=[recorder]), episode.opening)
    made = recorder.trajectory(episode)
    assert Trajectory.from_json(json.loads(encode(made))) == made
    assert (made.policy, made.seed, made.ended, len(made.turns)) == ("tiny", 3, "submitted", 2)
    assert made.reward["composite"] == episode.reward.composite
    assert made.tokens is not None
    assert len(made.tokens["turns"]) == 3  # type: ignore[arg-type]
    assert made.tokens["reason"] is None


def test_a_damaged_file_is_named(tmp_path: Path, stage: Any) -> None:
    path = tmp_path / "runs.jsonl.zst"
    agent = create_agent(stage.Script.of(AIMessage("Yes.")), [], middleware=[TrajectoryRecorder(path)])
    stage.ask(agent)
    stage.ask(agent)
    assert len(list(read_runs(path))) == 2
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunRecordError, match=r"runs.jsonl.zst, line 2 is cut"):
        list(read_runs(path))
    with pytest.raises(RunRecordError, match="format_version"):
        RunRecord.from_json({"kind": "run", "format_version": 9})
    with pytest.raises(RunRecordError, match="fields missing: model"):
        RunRecord.from_json({"kind": "run", "format_version": 1})
