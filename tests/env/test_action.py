"""Parsing messages into calls and speech."""

from __future__ import annotations

import json

import pytest

from medgym.env.action import MAX_DEPTH, Call, Malformed, parse_action, write_call

ONE = '<tool_call>{"name": "wait", "arguments": {"minutes": 5}}</tool_call>'
WAIT = Call("wait", {"minutes": 5})


@pytest.mark.parametrize(
    ("text", "calls", "speech"),
    [
        ("", (), ""),
        ("Where does it hurt?", (), "Where does it hurt?"),
        (ONE, (WAIT,), ""),
        (ONE + ONE, (WAIT, WAIT), ""),
        (f"First. {ONE}\n Then\n{ONE} done", (WAIT, WAIT), "First. Then done"),
        ('<tool_call>\n{"name": "wait"}\n</tool_call>', (Call("wait", {}),), ""),
        ('<tool_call>{"name": "wait", "arguments": null}</tool_call>', (Call("wait", None),), ""),
        ('<tool_call>{"name": "wait", "arguments": [1, 2]}</tool_call>', (Call("wait", [1, 2]),), ""),
        (
            '<tool_call>{"name": "f", "arguments": {"a": {"b": {"c": "}"}}}}</tool_call>',
            (Call("f", {"a": {"b": {"c": "}"}}}),),
            "",
        ),
        ('<tool_call>{"name": "日本", "arguments": {"x": "µ≥ é"}}</tool_call>', (Call("日本", {"x": "µ≥ é"}),), ""),
        (f"<think>{ONE} and so on</think>{ONE}", (WAIT,), ""),
        (f"<think>never closed {ONE}", (), ""),
        (f"opened by the template, is it?</think>Hello. {ONE}", (WAIT,), "Hello."),
        (f"<think>a</think>b<think>c</think>{ONE}", (WAIT,), "b"),
        ("<think></think>", (), ""),
        ('```json\n{"name": "wait"}\n```', (), '```json {"name": "wait"} ```'),
    ],
)
def test_calls_and_speech(text: str, calls: tuple[Call, ...], speech: str) -> None:
    action = parse_action(text)
    assert action.calls == calls
    assert action.speech == speech


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<tool_call>", "not closed"),
        ('<tool_call>{"name": "wait"}', "not closed"),
        ("<tool_call></tool_call>", "not JSON"),
        ("<tool_call>wait(5)</tool_call>", "not JSON"),
        ('<tool_call>{"name": "wait"</tool_call>', "not JSON"),
        ('<tool_call>```json\n{"name": "wait"}\n```</tool_call>', "not JSON"),
        ("<tool_call>{'name': 'wait'}</tool_call>", "not JSON"),
        ('<tool_call>{"name": "wait", "arguments": {"minutes": NaN}}</tool_call>', "NaN"),
        ('<tool_call>{"name": "wait", "arguments": {"minutes": -Infinity}}</tool_call>', "Infinity"),
        ('<tool_call>["wait", {}]</tool_call>', "not a JSON object"),
        ('<tool_call>"wait"</tool_call>', "not a JSON object"),
        ('<tool_call>{"arguments": {}}</tool_call>', "no name"),
        ('<tool_call>{"name": "", "arguments": {}}</tool_call>', "no name"),
        ('<tool_call>{"name": 5, "arguments": {}}</tool_call>', "no name"),
        ('<tool_call>{"name": "wait", "minutes": 5}</tool_call>', "unexpected minutes"),
        ('<tool_call>{"name": "wait", "arguments": ' + "[" * 40 + "]" * 40 + "}</tool_call>", "deep"),
        ('<tool_call>{"name": "wait", "arguments": ' + "[" * 5000 + "]" * 5000 + "}</tool_call>", ""),
        ('<tool_call>{"name": "wait", "arguments": ' + "9" * 9000 + "}</tool_call>", "not JSON"),
    ],
)
def test_a_tag_that_is_no_call_is_counted_with_its_fault(text: str, why: str) -> None:
    (call,) = parse_action(text).calls
    assert isinstance(call, Malformed)
    assert why in call.why


def test_a_stray_close_tag_is_malformed_and_no_speech() -> None:
    action = parse_action(f"Hello </tool_call> there {ONE}")
    assert action.calls[1] == WAIT
    assert isinstance(action.calls[0], Malformed)
    assert action.speech == "Hello there"


def test_a_doubled_tag_spoils_the_call() -> None:
    action = parse_action(f"<tool_call>{ONE}</tool_call>")
    assert [type(call) for call in action.calls] == [Malformed, Malformed]


def test_a_bad_call_does_not_hide_the_good_ones_around_it() -> None:
    action = parse_action(f"{ONE}<tool_call>oops</tool_call>{ONE}")
    assert [type(call) for call in action.calls] == [Call, Malformed, Call]


def test_arguments_may_be_nested_up_to_the_limit() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH - 1):  # the call is an object itself
        value = [value]
    assert parse_action(write_call("f", value)).calls == (Call("f", value),)
    assert isinstance(parse_action(write_call("f", [value])).calls[0], Malformed)


@pytest.mark.parametrize("text", ["</tool_call>", "<tool_call>", "<think>", "a </think> b", "< 5 and > 3", "\\u003c"])
def test_written_calls_survive_tags_in_their_strings(text: str) -> None:
    written = write_call("think", {"thought": text, text: 1})
    assert parse_action(written).calls == (Call("think", {"thought": text, text: 1}),)


def test_written_calls_are_plain_json_and_keep_letters() -> None:
    body = write_call("f", {"a": "µ≥"}).removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert "µ≥" in body
    assert json.loads(body) == {"name": "f", "arguments": {"a": "µ≥"}}
