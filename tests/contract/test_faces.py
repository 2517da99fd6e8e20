"""One definition, four faces: name, description and schema are the same through each, and so is what a call returns."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from langchain_core.tools import StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from transformers.utils import get_json_schema

from medgym.tools.desk import Desk
from medgym.tools.errors import ToolError
from medgym.tools.faces import (
    as_langchain_tool,
    as_mcp_tool,
    as_openai_tool,
    as_trl_function,
    desk_executor,
    is_error,
    langchain_tools,
    mcp_tools,
    openai_tools,
    trl_functions,
)
from medgym.tools.registry import get_tool
from medgym.tools.spec import Effect, ToolSpec

DeskFor = Callable[[ToolSpec], Desk]


def nothing(name: str, arguments: dict[str, object]) -> str:
    raise AssertionError(f"{name} was called with {arguments}")


def in_trl_words(schema: dict) -> dict:
    """A property's schema in what `get_json_schema` has words for: type, enum, items, values, description."""
    if "anyOf" in schema:
        said: dict = {"type": sorted(option["type"] for option in schema["anyOf"])}
    else:
        said = {"type": schema["type"]}
    for key in ("enum", "description"):
        if key in schema:
            said[key] = schema[key]
    if "items" in schema:
        said["items"] = in_trl_words(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        said["additionalProperties"] = in_trl_words(schema["additionalProperties"])
    return said


def test_langchain_says_what_the_spec_says(spec: ToolSpec):
    tool = as_langchain_tool(spec, nothing)
    assert isinstance(tool, StructuredTool)
    assert convert_to_openai_tool(tool) == spec.openai
    assert tool.name == spec.name
    assert tool.description == spec.description


def test_openai_says_what_the_spec_says(spec: ToolSpec):
    assert as_openai_tool(spec) == {
        "type": "function",
        "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
    }


def test_mcp_says_what_the_spec_says(spec: ToolSpec):
    sent = as_mcp_tool(spec).model_dump(by_alias=True, exclude_none=True)
    assert sent == {
        "name": spec.name,
        "description": spec.description,
        "inputSchema": spec.parameters,
        "annotations": {
            "readOnlyHint": spec.effect is Effect.READ,
            "destructiveHint": spec.effect is Effect.TERMINAL,
            "openWorldHint": False,
        },
    }


def test_trl_says_what_the_spec_says(spec: ToolSpec):
    said = get_json_schema(as_trl_function(spec, nothing))["function"]
    assert said["name"] == spec.name
    assert said["description"] == spec.description
    assert said["parameters"].get("required", []) == spec.parameters["required"]
    wanted = {name: in_trl_words(schema) for name, schema in spec.parameters["properties"].items()}
    assert said["parameters"]["properties"] == wanted


def test_trl_signature_holds_the_defaults(spec: ToolSpec):
    signature = inspect.signature(as_trl_function(spec, nothing))
    defaults = {
        name: schema["default"] for name, schema in spec.parameters["properties"].items() if "default" in schema
    }
    empty = inspect.Parameter.empty
    assert {n: p.default for n, p in signature.parameters.items() if p.default is not empty} == defaults


def test_a_face_is_a_copy(spec: ToolSpec):
    before = json.dumps(spec.openai)
    as_openai_tool(spec)["function"]["parameters"]["properties"].clear()
    tool = as_mcp_tool(spec)
    (tool.inputSchema if hasattr(tool, "inputSchema") else tool.input_schema).clear()  # mcp 1, mcp 2
    as_langchain_tool(spec, nothing).args_schema.clear()
    assert json.dumps(spec.openai) == before


def test_every_face_returns_the_same(spec: ToolSpec, desk_for: DeskFor):
    arguments = dict(spec.example)
    text = desk_executor(desk_for(spec))(spec.name, arguments)
    assert not is_error(text)
    tool = as_langchain_tool(spec, desk_executor(desk_for(spec)))
    assert tool.invoke(arguments) == text
    tool = as_langchain_tool(spec, desk_executor(desk_for(spec)))
    assert asyncio.run(tool.ainvoke(arguments)) == text
    assert as_trl_function(spec, desk_executor(desk_for(spec)))(**arguments) == text


@pytest.mark.parametrize("extra", ["self", "config", "run_manager", "callbacks", "arguments", "name", "desk"])
def test_an_argument_that_does_not_exist_is_an_error_in_every_face(extra: str, desk_for: DeskFor):
    spec = get_tool("calculate_bmi")
    desk = desk_for(spec)
    before = desk.record.state_hash()
    arguments = {"patient_id": "P0000", extra: 1}
    execute = desk_executor(desk)
    text = execute(spec.name, arguments)
    assert json.loads(text)["error"]["code"] == "invalid_arguments"
    assert f"{extra} is not a parameter" in text
    tool = as_langchain_tool(spec, execute)
    assert tool.invoke(arguments) == text
    call = {"type": "tool_call", "id": "c1", "name": spec.name, "args": arguments}
    message = tool.invoke(call)
    assert (message.status, message.content, message.tool_call_id) == ("error", text, "c1")
    message = asyncio.run(tool.ainvoke(call))
    assert (message.status, message.content) == ("error", text)
    assert as_trl_function(spec, execute)(**arguments) == text
    assert desk.record.state_hash() == before
    assert desk.take_marks() == ()


def test_a_success_is_a_tool_message_of_status_success(desk_for: DeskFor):
    spec = get_tool("calculate_bmi")
    tool = as_langchain_tool(spec, desk_executor(desk_for(spec)))
    message = tool.invoke({"type": "tool_call", "id": "c1", "name": spec.name, "args": {"patient_id": "P0000"}})
    assert message.status == "success"
    assert json.loads(message.content)["value"] == 26.47


def test_a_tool_error_that_the_executor_raises_reaches_the_model_as_json():
    def refuse(name: str, arguments: dict[str, object]) -> str:
        raise ToolError("refused", "not today", "come back")

    tool = as_langchain_tool(get_tool("think"), refuse)
    shown = {"error": {"code": "refused", "message": "not today", "hint": "come back"}}
    assert json.loads(tool.invoke({"thought": "so"})) == shown
    tool.handle_tool_error = False
    with pytest.raises(ToolException, match="not today"):
        tool.invoke({"thought": "so"})


def test_text_in_place_of_arguments_is_an_error(desk_for: DeskFor):
    spec = get_tool("think")
    tool = as_langchain_tool(spec, desk_executor(desk_for(spec)))
    assert json.loads(tool.invoke("hello"))["error"]["code"] == "invalid_arguments"


def test_the_executor_moves_the_clock_by_the_minutes_of_the_tool_and_keeps_marks(desk_for: DeskFor):
    spec = get_tool("get_drug_information")
    desk = desk_for(spec)
    desk_executor(desk)(spec.name, {"drug_name": "warfarin"})
    assert desk.record.now == spec.minutes == 2
    assert desk.take_marks() == ("drug:warfarin",)


def test_the_executor_drops_the_marks_of_a_call_that_failed_halfway(desk_for: DeskFor):
    spec = get_tool("compare_treatments")
    desk = desk_for(spec)
    execute = desk_executor(desk)
    execute("get_drug_information", {"drug_name": "warfarin"})
    text = execute(spec.name, {"treatment_a": "warfarin", "treatment_b": "apixaban", "condition": "zzzz qqqq"})
    assert json.loads(text)["error"]["code"] == "not_found"
    assert desk.take_marks() == ("drug:warfarin",)


def test_the_executor_reports_a_bug_in_a_tool_without_raising(desk_for: DeskFor, caplog: pytest.LogCaptureFixture):
    spec = get_tool("get_vital_signs")
    desk = desk_for(spec)
    desk.record.chart = None  # type: ignore[assignment]
    text = desk_executor(desk)(spec.name, {"patient_id": "P0000"})
    assert json.loads(text)["error"]["code"] == "tool_failed"
    assert "Traceback" in caplog.text


def test_the_executor_refuses_a_tool_that_does_not_exist(desk_for: DeskFor):
    text = desk_executor(desk_for(get_tool("think")))("get_vital_sings", {})
    error = json.loads(text)["error"]
    assert error["code"] == "unknown_tool"
    assert "get_vital_signs" in error["hint"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"error": {"code": "refused", "message": "no"}}', True),
        ('{"error": 1, "other": 2}', False),
        ('{"errors": []}', False),
        ("{}", False),
    ],
)
def test_an_error_text_is_an_object_with_the_one_key_error(text: str, error: bool):
    assert is_error(text) is error


def test_a_shelf_keeps_its_order_in_every_face():
    specs = [get_tool(name) for name in ("think", "browse", "calculate_bmi")]
    names = [spec.name for spec in specs]
    assert [tool.name for tool in langchain_tools(specs, nothing)] == names
    assert [tool.name for tool in mcp_tools(specs)] == names
    assert [tool["function"]["name"] for tool in openai_tools(specs)] == names
    assert [function.__name__ for function in trl_functions(specs, nothing)] == names


def test_importing_the_faces_imports_no_framework():
    code = (
        "import sys, medgym.tools.faces, medgym.tools.demo\n"
        "heavy = {'langchain_core', 'mcp', 'transformers', 'torch', 'trl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
