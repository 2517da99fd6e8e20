"""The task in inspect_ai's own loop: `inspect_ai.eval` with a scripted model, logs and all."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inspect_ai
import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.solver import basic_agent
from inspect_ai.tool import ToolCall, ToolInfo

from medgym.agent.adapters.inspect_task import clinical_task
from medgym.env.action import Call, parse_action, write_call
from medgym.env.baselines import play_script
from medgym.env.baselines.play import expert
from medgym.env.domain import find_task, load_domain
from medgym.env.episode import Episode

DOMAINS = ("clinical_diagnosis", "medical_qa")

pytestmark = [
    # inspect's own retries name a parameter that tenacity has renamed
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated"),
    # inspect does not close the stream by which a tool's result comes back
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObjectReceiveStream:ResourceWarning"),
]

Say = Callable[[list[ChatMessage], list[ToolInfo]], ModelOutput]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What inspect left open is collected here, where its warning is expected, not in somebody else's test."""
    yield
    gc.collect()


def saying(text: str = "", *calls: Call) -> ModelOutput:
    made = [ToolCall(id=f"c{n}", function=call.name, arguments=call.arguments) for n, call in enumerate(calls)]
    message = ChatMessageAssistant(content=text, tool_calls=made or None)
    output = ModelOutput.from_message(message, "tool_calls" if made else "stop")
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else the mock downloads a tokenizer
    return output


def expert_says(messages: list[ChatMessage], tools: list[ToolInfo]) -> ModelOutput:
    """The expert's next message: the script is played anew from what inspect's messages say came back."""
    ticket = next(message.text for message in messages if isinstance(message, ChatMessageUser))
    script = load_domain("medical_qa" if ticket.startswith("Question") else "clinical_diagnosis").solve(ticket)
    text = next(script)
    heard: list[str] = []
    for message in messages[messages.index(next(m for m in messages if isinstance(m, ChatMessageUser))) + 1 :]:
        if isinstance(message, ChatMessageAssistant):
            if heard:
                text = script.send("\n".join(heard))
            heard = []
        elif isinstance(message, ChatMessageTool):
            assert message.error is None
            heard.append(f"<tool_response>\n{message.text}\n</tool_response>")
        else:
            heard.append(message.text)
    if heard:
        text = script.send("\n".join(heard))
    action = parse_action(text)
    assert {call.name for call in action.calls} <= {tool.name for tool in tools}
    return saying(action.speech, *action.calls)


def run(folder: Path, say: Say, **options: Any) -> Any:
    task = options.pop("task", None) or clinical_task(**options)
    model = get_model("mockllm/model", custom_outputs=lambda messages, tools, choice, config: say(messages, tools))
    [log] = inspect_ai.eval(
        task, model=model, log_dir=str(folder), log_format="json", display="none", max_samples=8, score=True
    )
    assert log.status == "success", log.error
    return log


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_expert_earns_the_reward_through_inspect(domain: str, tmp_path: Path):
    log = run(tmp_path, expert_says, domain=domain, split="test", limit=6)
    assert len(log.samples) == 6
    for sample in log.samples:
        score = sample.scores["composite"]
        assert score.value >= 0.99
        episode = play_script(Episode(find_task(sample.id)), expert)
        told = score.metadata
        assert told["messages"] == len(episode.turns)  # as many messages as in our own loop
        assert (told["ended"], told["verdicts"]) == ("submitted", [])
        assert told["composite"] == pytest.approx(score.value)
        assert json.loads(score.answer) == json.loads(json.dumps(dict(episode.submission), default=str))
        assert any(event.event == "tool" for event in sample.events)
    metrics = log.results.scores[0].metrics
    assert metrics["mean"].value >= 0.99
    assert "stderr" in metrics


def test_doing_nothing_earns_nothing(tmp_path: Path):
    log = run(tmp_path, lambda messages, tools: saying("I see."), domain="medical_qa", limit=2)
    assert [sample.scores["composite"].value for sample in log.samples] == [0, 0]
    assert {sample.scores["composite"].metadata["ended"] for sample in log.samples} == {"dead_end"}


def test_no_answer_is_in_a_sample_or_a_log_before_it_is_given(tmp_path: Path):
    task = clinical_task("clinical_diagnosis", limit=4)
    for sample in task.dataset:
        case = find_task(sample.id)
        shown = json.dumps([sample.input, sample.target, sample.metadata])
        assert not any(answer in shown for answer in case.key.answers)
    run(tmp_path, lambda messages, tools: saying("I see."), task=task)
    file = next(tmp_path.glob("*.json"))
    for sample in read_eval_log(str(file)).samples:
        assert sample.store == {"medgym:case": {"task_id": sample.id}}
    logged = file.read_text()
    for sample in task.dataset:
        case = find_task(sample.id)
        assert not any(answer in logged for answer in case.key.answers if len(answer) > 6)  # others are parts of words
        assert not any(phrase in logged for group in case.key.rubric for phrase in group if len(phrase) > 12)


def test_tools_are_those_of_the_specs(tmp_path: Path):
    offered: list[list[ToolInfo]] = []

    def look(messages: list[ChatMessage], tools: list[ToolInfo]) -> ModelOutput:
        offered.append(tools)
        return saying("", Call("find_tools", {"query": "body mass index"}))

    run(tmp_path, look, domain="medical_qa", limit=1)
    first = load_domain("medical_qa").shelf.offered()
    for tool, spec in zip(offered[0], first, strict=True):
        shown = tool.parameters.model_dump(exclude_none=True)
        assert (tool.name, tool.description) == (spec.name, spec.description)
        assert shown["required"] == spec.parameters["required"]
        assert shown["properties"].keys() == spec.parameters["properties"].keys()
        for name, schema in spec.parameters["properties"].items():
            for word in ("type", "description", "enum", "default"):
                assert shown["properties"][name].get(word) == schema.get(word)
    assert len(offered[1]) > len(first)  # what find_tools found is at hand


def test_samples_share_nothing(tmp_path: Path):
    """Eight at a time: each searches a different number of times, and is told so by its own case."""
    turns: dict[str, int] = {}

    def say(messages: list[ChatMessage], tools: list[ToolInfo]) -> ModelOutput:
        ticket = next(message.text for message in messages if isinstance(message, ChatMessageUser))
        wanted = turns.setdefault(ticket, len(turns) + 1)
        said = sum(isinstance(message, ChatMessageAssistant) for message in messages)
        if said < wanted:
            return saying("", Call("think", {"thought": f"thought {said}"}))
        return saying("", Call("submit_answer", {"option": "A", "evidence": []}))

    log = run(tmp_path, say, domain="medical_qa", limit=8)
    counted = {sample.input: sample.scores["composite"].metadata["messages"] for sample in log.samples}
    assert counted == {ticket: wanted + 1 for ticket, wanted in turns.items()}
    assert sorted(turns.values()) == list(range(1, 9))


def test_wrong_calls_are_told_and_counted(tmp_path: Path):
    heard: list[ChatMessage] = []

    def say(messages: list[ChatMessage], tools: list[ToolInfo]) -> ModelOutput:
        heard[:] = messages
        wrong = Call("submit_answer", {"option": 7})
        unknown = Call("no_such_tool", {})
        right = Call("think", {"thought": "well"})
        if len(messages) < 3:
            made = saying("", wrong, unknown, right, right)
            made.message.tool_calls[3].parse_error = "not JSON"
            return made
        if len(messages) < 10:  # a model that knows only the text protocol
            return saying(write_call("think", {"thought": "in tags"}))
        return saying("", Call("submit_answer", {"option": "A", "evidence": []}))

    log = run(tmp_path, say, domain="medical_qa", limit=1)
    results = [message for message in heard if isinstance(message, ChatMessageTool)]
    assert [bool(message.error) for message in results] == [True, True, False, True]
    assert any("<tool_response>" in message.text for message in heard if isinstance(message, ChatMessageUser))
    told = log.samples[0].scores["composite"].metadata
    assert told["ended"] == "submitted"
    assert told["format"] < 1


def test_a_foreign_solver_may_work_the_case(tmp_path: Path):
    task = clinical_task("medical_qa", limit=3)
    task.solver = basic_agent(message_limit=80)
    log = run(tmp_path, foreign, task=task)
    assert [sample.scores["composite"].value >= 0.99 for sample in log.samples] == [True] * 3


def foreign(messages: list[ChatMessage], tools: list[ToolInfo]) -> ModelOutput:
    """The expert under a solver with a `submit` of its own, which it calls when the case is closed."""
    last = messages[-1]
    if isinstance(last, ChatMessageTool) and last.function == "submit_answer":
        return saying("", Call("submit", {"answer": "done"}))
    return expert_says(messages, tools)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="no tasks in split"):
        clinical_task("medical_qa", split="all")  # type: ignore[arg-type]


def test_a_file_of_ones_own_works(tmp_path: Path):
    """As `inspect eval FILE` finds it."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from inspect_ai import Task, task\n"
        "from medgym.agent.adapters.inspect_task import clinical_task\n"
        "@task\n"
        "def mine(limit: int = 1) -> Task:\n"
        "    return clinical_task('medical_qa', limit=limit)\n"
    )
    log = run(tmp_path / "logs", expert_says, task=f"{file}@mine")
    assert log.results.scores[0].metrics["mean"].value >= 0.99
