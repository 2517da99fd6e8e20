"""OpenAI conversations in the policies' text protocol, by the Python rendering and by the chat template."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.agent.protocol import (
    Message,
    PlainMessage,
    ProtocolError,
    form_for,
    form_of_policy,
    parse_reply,
    plain_messages,
    prompt_ids,
    written_calls,
)
from medgym.agent.protocol_template import protocol_template
from medgym.env.briefing import CALLS, PROTOCOL, PromptForm, system_prompt
from medgym.env.domain import load_domain
from medgym.env.episode import Episode

FORMS = [PromptForm(), PromptForm(specs="arguments"), PromptForm(specs="names", observation_limit=60)]
FORMS.append(PromptForm(specs="none", observation_limit=10))

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Looks a thing up. With a second sentence.",
            "parameters": {
                "type": "object",
                "properties": {"thing": {"type": "string"}, "how": {"enum": ["fast", "slow"]}, "deep": {}},
                "required": ["thing"],
            },
        },
    },
    {"type": "function", "function": {"name": "bare"}},
]


def call(name: str, arguments: object) -> dict[str, object]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def rendered(messages: list[Message], tools: list[Any], form: PromptForm, base: str = "{{ messages | tojson }}") -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = protocol_template(base, form)
    texts, _ = render_jinja_template(
        [messages], tools=tools or None, chat_template=template, add_generation_prompt=True
    )
    return texts[0]


def grouped(plain: list[PlainMessage]) -> list[dict[str, str]]:
    """Results in their tags, as messages of the user, joined with what follows."""
    out: list[dict[str, str]] = []
    for one in plain:
        tagged = f"<tool_response>\n{one['content']}\n</tool_response>"
        role, text = ("user", tagged) if one["role"] == "tool" else (one["role"], one["content"])
        if out and out[-1]["role"] == role:
            out[-1]["content"] += f"\n{text}"
        else:
            out.append({"role": role, "content": text})
    return out


words = st.text(st.sampled_from('ab <>{}"\\\né_/think'), max_size=90)
arguments = st.dictionaries(st.sampled_from(["thing", "how"]), st.one_of(words, st.integers(), st.booleans()))
answers = st.builds(
    lambda text, calls: {"role": "assistant", "content": text, "tool_calls": calls},
    words,
    st.lists(st.builds(call, st.just("look_up"), arguments), max_size=2),
)
results = st.lists(st.builds(lambda text: {"role": "tool", "tool_call_id": "1", "content": text}, words), max_size=2)
said = st.lists(st.builds(lambda text: {"role": "user", "content": text}, words), min_size=1, max_size=2)
opening = st.lists(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "developer"]), words),
    max_size=2,
)
exchanges = st.lists(st.builds(lambda a, r, u: [a, *r, *u], answers, results, said), max_size=3)
conversations = st.builds(lambda o, u, e: [*o, *u, *chain.from_iterable(e)], opening, said, exchanges)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.specs)
@given(conversation=conversations, with_tools=st.booleans())
def test_the_template_says_what_the_python_rendering_says(
    form: PromptForm, conversation: list[Message], with_tools: bool
):
    tools = TOOLS if with_tools else []
    plain = plain_messages(conversation, tools, form)
    assert json.loads(rendered(conversation, tools, form)) == grouped(plain)


@pytest.mark.parametrize("domain", ["clinical_diagnosis", "medical_qa"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.specs)
def test_tools_are_told_in_the_words_of_an_episode(domain: str, form: PromptForm):
    episode = Episode(load_domain(domain).tasks()[0])
    specs = episode.desk.shelf.offered()
    policy = episode.domain.policy.strip()
    messages: list[Message] = [{"role": "system", "content": policy}, {"role": "user", "content": episode.opening}]
    told = plain_messages(messages, [spec.openai for spec in specs], form)[0]["content"]
    assert told == system_prompt(episode.domain, specs, form)
    assert json.loads(rendered(messages, [spec.openai for spec in specs], form))[0]["content"] == told


def test_a_system_message_that_explains_calls_is_left_as_it_is():
    messages: list[Message] = [{"role": "system", "content": f"Be kind. {CALLS}"}, {"role": "user", "content": "Hi"}]
    assert plain_messages(messages, TOOLS)[0]["content"] == f"Be kind. {CALLS}"
    assert PROTOCOL not in plain_messages([{"role": "user", "content": "Hi"}], TOOLS)[0]["content"]


def test_what_was_called_reads_back():
    text = f"Let me see.\n{written_calls([('look_up', {'thing': 'a </tool_call> b'}), ('bare', '{}')])}"
    reply = parse_reply(text)
    assert reply.content == "Let me see."
    assert [(one.name, json.loads(one.arguments)) for one in reply.calls] == [
        ("look_up", {"thing": "a </tool_call> b"}),
        ("bare", {}),
    ]


@pytest.mark.parametrize("broken", ["<tool_call>{not json</tool_call>", '<tool_call>{"name": "x"', "</tool_call>"])
def test_a_malformed_call_stays_as_written(broken: str):
    reply = parse_reply(f"<think>hm</think>First {broken}")
    assert (reply.content, reply.calls) == (f"First {broken}", ())


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "must begin with a user message"),
        ([{"role": "system", "content": "x"}], "must begin with a user message"),
        ([{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}], "must begin with a user message"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "last message is the assistant's"),
        ([{"role": "patient", "content": "x"}], "messages\\[0\\]: role 'patient'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "reads text only"),
        ([{"role": "user", "content": 3}], "neither text nor a list"),
        ([{"role": "assistant", "tool_calls": [{}]}], "without function and name"),
    ],
)
def test_what_cannot_be_said_is_refused(messages: list[Message], fault: str):
    with pytest.raises(ProtocolError, match=fault):
        plain_messages(messages)


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert plain_messages([{"role": "user", "content": parts}]) == [{"role": "user", "content": "ab"}]


def test_control_tokens_in_a_content_are_parted():
    template = protocol_template("{{ messages[0].content }}", specials=["<|im_end|>"])
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template([[{"role": "user", "content": "a<|im_end|>b"}]], chat_template=template)
    assert texts[0] == "a<\u200b|im_end|>b"


def test_ids_are_those_of_the_text_rendering(tiny_tokenizers: dict[str, Any]):
    from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat

    tokenizer = tiny_tokenizers["chatml"]
    messages: list[Message] = [
        {"role": "user", "content": "Who has a fever?"},
        {"role": "assistant", "content": None, "tool_calls": [call("look_up", {"thing": "fever"})]},
        {"role": "tool", "tool_call_id": "1", "content": '{"found": 3}'},
    ]
    text = rendered(messages, TOOLS, PromptForm(), CHATML_TEMPLATE)
    ids = prompt_ids(messages, TOOLS, ChatFormat(tokenizer, CHATML_TEMPLATE))
    assert tokenizer.decode(ids) == text
    assert text.endswith('<tool_response>\n{"found": 3}\n</tool_response><|im_end|>\n<|im_start|>assistant\n')


def test_the_form_of_a_policy_is_read_from_its_folder(tmp_path: Path):
    assert form_of_policy(tmp_path) == PromptForm()
    stored = {"prompt": {"brief": True, "specs": "names", "observation_limit": 256}}
    (tmp_path / "protocol.json").write_text(json.dumps(stored))
    assert form_of_policy(tmp_path) == PromptForm(True, "names", 256)
    (tmp_path / "protocol.json").write_text('{"prompt": {"colour": 1}}')
    with pytest.raises(ProtocolError, match="does not say how the policy was prompted"):
        form_of_policy(tmp_path)


def test_a_local_policy_is_prompted_as_it_was_trained(tmp_path: Path) -> None:
    trained = PromptForm(brief=False, specs="names", observation_limit=320)
    (tmp_path / "protocol.json").write_text(json.dumps({"prompt": {"specs": "names", "observation_limit": 320}}))
    assert form_for(f"local:{tmp_path}") == trained
    assert form_for(f"local:{tmp_path}", brief=True) == replace(trained, brief=True)
    assert form_for("local:smollm2") == form_for("expert") == PromptForm()
    assert form_for("openai:policy", brief=True) == PromptForm(brief=True)
