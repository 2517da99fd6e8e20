"""`@tool` makes the definition from the function; `parse` accepts exactly what the schema says."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import pytest
from pydantic import Field

from medgym.tools.demo import demo_desk
from medgym.tools.desk import Desk
from medgym.tools.errors import CODES, ToolError, nearest
from medgym.tools.spec import MAX_FAULTS, MAX_KEY, Effect, JsonObject, Kind, PatientId, ToolSpec, tool

Tag = Annotated[str, Field(min_length=1, max_length=5)]


@tool(kind=Kind.CLINICAL_ASSESSMENT, minutes=3, example={"patient_id": "P0000", "dose": 1.5})
def weigh_dose_(
    desk: Desk,
    patient_id: PatientId,
    dose: Annotated[float, Field(gt=0, le=100, description="Dose in mg")],
    times: Annotated[int, Field(ge=1, le=6, description="Times a day")] = 1,
    route: Annotated[Literal["oral", "IV"], Field(description="Route")] = "oral",
    tags: Annotated[list[Tag], Field(max_length=2, description="Tags")] = [],  # noqa: B006
    note: Annotated[str, Field(max_length=9, description="A note")] = "",
    title: Annotated[str, Field(max_length=9, description="A property that is called title")] = "",
) -> JsonObject:
    """Weigh a dose.

    Two lines of text.
    """
    return {"id": desk.patient(patient_id).chart.patient_id, "daily": dose * times, "route": route, "tags": tags}


GIVEN: JsonObject = {"patient_id": "P0000", "dose": 2.5}


def fault(arguments: object, spec: ToolSpec = weigh_dose_) -> ToolError:
    with pytest.raises(ToolError) as caught:
        spec.parse(arguments)
    assert caught.value.code == "invalid_arguments"
    return caught.value


def test_the_function_is_the_definition():
    assert weigh_dose_.name == "weigh_dose"
    assert weigh_dose_.description == "Weigh a dose.  Two lines of text."
    assert (weigh_dose_.kind, weigh_dose_.effect, weigh_dose_.minutes) == (Kind.CLINICAL_ASSESSMENT, Effect.READ, 3)
    assert not weigh_dose_.core


def test_the_schema_of_the_arguments():
    assert weigh_dose_.parameters == {
        "type": "object",
        "properties": {
            "patient_id": {
                "type": "string", "minLength": 1, "maxLength": 32, "description": "Id of the patient of this case",
            },
            "dose": {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "description": "Dose in mg"},
            "times": {"type": "integer", "minimum": 1, "maximum": 6, "default": 1, "description": "Times a day"},
            "route": {"type": "string", "enum": ["oral", "IV"], "default": "oral", "description": "Route"},
            "tags": {
                "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 5}, "maxItems": 2,
                "default": [], "description": "Tags",
            },
            "note": {"type": "string", "maxLength": 9, "default": "", "description": "A note"},
            "title": {
                "type": "string", "maxLength": 9, "default": "", "description": "A property that is called title",
            },
        },
        "required": ["patient_id", "dose"],
        "additionalProperties": False,
    }  # fmt: skip


def test_the_signature_is_one_line():
    assert weigh_dose_.signature == (
        "weigh_dose(patient_id: string, dose: number, times?: integer, route?: oral|IV, tags?: array, note?: string, "
        "title?: string): Weigh a dose"
    )


def test_a_spec_runs_what_it_parsed():
    desk = demo_desk()
    parsed = weigh_dose_.parse(GIVEN | {"times": 2, "route": "IV", "tags": ["a"]})
    assert weigh_dose_.run(desk, parsed) == {"id": "P0000", "daily": 5.0, "route": "IV", "tags": ["a"]}


def test_texts_are_stripped_before_they_are_measured():
    parsed = weigh_dose_.parse({"patient_id": "  P0000\n", "dose": 1, "note": " " * 20})
    assert parsed.model_dump() == {
        "patient_id": "P0000", "dose": 1.0, "times": 1, "route": "oral", "tags": [], "note": "", "title": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dose": "2.5"}, "dose: input should be a valid number"),
        ({"dose": True}, "dose: input should be a valid number"),
        ({"dose": 0}, "dose: input should be greater than 0"),
        ({"dose": float("nan")}, "dose: input should be"),
        ({"dose": float("inf")}, "dose: input should be"),
        ({"dose": 10**400}, "dose: input should be"),
        ({"dose": None}, "dose: input should be a valid number"),
        ({"times": 1.0}, "times: input should be a valid integer"),
        ({"times": "1"}, "times: input should be a valid integer"),
        ({"times": 7}, "times: input should be less than or equal to 6"),
        ({"times": 10**400}, "times: input should be less than or equal to 6"),
        ({"route": "ORAL"}, "route: input should be 'oral' or 'IV'"),
        ({"tags": "a"}, "tags: input should be a valid list"),
        ({"tags": ("a",)}, "tags: input should be a valid list"),
        ({"tags": ["a", 5]}, "tags.1: input should be a valid string"),
        ({"tags": ["a", " "]}, "tags.1: string should have at least 1 character"),
        ({"tags": ["a", "b", "c"]}, "tags: list should have at most 2 items"),
        ({"patient_id": " \t"}, "patient_id: string should have at least 1 character"),
        ({"patient_id": b"P0000"}, "patient_id: input should be a valid string"),
        ({"note": "x" * 10}, "note: string should have at most 9 characters"),
        ({"rout": "IV"}, "rout is not a parameter (nearest: route"),
        ({"note": "\x00"}, "note contains a control character"),
        ({"tags": ["\x7f"]}, "tags contains a control character"),
        ({"tags": [{"a": ["\ud800"]}]}, "tags contains a control character"),
        ({"tags": [{"a\x1b": 1}]}, "tags has a parameter name"),
        ({"a\x85": 1}, "arguments has a parameter name"),
        ({"a" * (MAX_KEY + 1): 1}, "arguments has a parameter name"),
        ({"note": [[[[[[[[[[1]]]]]]]]]]}, "note is nested too deeply"),
    ],
)
def test_what_does_not_fit_is_named(change: JsonObject, said: str):
    error = fault(GIVEN | change)
    assert said in error.message
    assert error.message.startswith("weigh_dose: ")
    assert error.hint
    error.message.encode()


@pytest.mark.parametrize("arguments", [None, [], "text", 5, [GIVEN], weigh_dose_])
def test_arguments_must_be_an_object(arguments: object):
    assert "arguments must be a JSON object" in fault(arguments).message


def test_all_faults_are_named_at_once():
    message = fault({"dose": "x", "route": "x", "more": 1}).message
    assert all(word in message for word in ("patient_id is missing", "dose: ", "route: ", "more is not a parameter"))


def test_of_very_many_faults_the_first_are_named():
    message = fault(GIVEN | {f"extra{number}": 1 for number in range(1000)}).message
    assert message.endswith(f"and {1000 - MAX_FAULTS} more")
    assert len(message) < 1000


def test_a_wrong_call_does_not_change_its_arguments():
    arguments = {"patient_id": " P0000 ", "dose": 1, "tags": [" a "]}
    weigh_dose_.parse(arguments)
    assert arguments == {"patient_id": " P0000 ", "dose": 1, "tags": [" a "]}


def test_a_default_list_is_not_shared():
    first = weigh_dose_.parse(GIVEN).__dict__["tags"]
    first.append("x")
    assert weigh_dose_.parse(GIVEN).__dict__["tags"] == []


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        weigh_dose_.name = "other"  # type: ignore[misc]


def test_an_error_code_is_one_of_the_known():
    with pytest.raises(ValueError, match="unknown tool error code 'oops'"):
        ToolError("oops", "message")
    assert len(set(CODES)) == len(CODES)


def test_an_error_is_shown_with_its_hint_if_it_has_one():
    assert ToolError("refused", "no").to_json() == {"error": {"code": "refused", "message": "no"}}
    assert ToolError("refused", "no", "ask").to_json()["error"] == {"code": "refused", "message": "no", "hint": "ask"}


def test_the_nearest_names_are_a_hint():
    assert nearest("warfarine", ["metformin", "warfarin", "aspirin"], n=1) == "nearest: warfarin"
    assert nearest("qqqq", ["warfarin", "aspirin"]) == ""
