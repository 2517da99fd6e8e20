"""No call, however wrong, does more than return a clear error: nothing fails, nothing changes, nothing is earned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import MAX_CALLS_PER_MESSAGE, Episode
from medgym.tools.errors import ToolError
from medgym.tools.registry import all_tools, get_tool
from medgym.tools.retrieval.index import Index
from medgym.tools.shelf import Shelf
from medgym.tools.spec import JsonObject, ToolSpec

CLEAR = {"invalid_arguments", "unknown_patient", "not_found", "not_computable", "refused"}
CONTROL = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"]
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff", "a\ud83d b"]
HUGE = 10**400
# a value of every JSON type; each parameter gets those that are not of its own
VALUES: dict[str, object] = {
    "string": "text", "integer": 3, "number": 3.5, "boolean": True, "array": ["text"], "object": {"a": 1}, "null": None,
}  # fmt: skip
FITTING = {"integer": {"integer"}, "number": {"integer", "number"}}  # what passes for a type besides itself

Make = Callable[..., Episode]


@pytest.fixture
def episode(starter: Index) -> Make:
    """A fresh episode of a domain on whose shelf every tool lies, `spec` among them."""

    def make(spec: ToolSpec | None = None, domain: str = "clinical_diagnosis", number: int = 0) -> Episode:
        loaded = load_domain(domain)
        made = Episode(loaded.tasks()[number], literature=lambda: starter)
        submit = spec if spec is not None and spec.name == "submit_answer" else loaded.shelf.get("submit_answer")
        made.desk.shelf = Shelf(tuple(all_tools()), submit)
        return made

    return make


def state(made: Episode) -> tuple[object, ...]:
    """Everything that a refused call must leave as it was; what the safety rules said of it is kept elsewhere."""
    offered = [spec.name for spec in made.desk.shelf.offered()]
    return (
        made.record.state_hash(), made.record.now, len(made.record.orders), offered, list(made.desk.shelf.found),
        list(made.desk.marks), set(made.seen), made.submission,
    )  # fmt: skip


def assert_refused(make: Callable[[], Episode], spec: ToolSpec, wrong: list[object], codes: set[str] = CLEAR) -> None:
    """Each of these arguments is refused with one of these codes, and changes nothing."""
    for start in range(0, len(wrong), MAX_CALLS_PER_MESSAGE):
        batch = wrong[start : start + MAX_CALLS_PER_MESSAGE]
        made = make()
        before = state(made)
        turn = made.step("".join(write_call(spec.name, arguments) for arguments in batch))
        assert len(turn.calls) == len(batch)
        for arguments, call in zip(batch, turn.calls, strict=True):
            assert call.error in codes, (arguments, call.result[:300])
            assert call.marks == ()
            assert len(call.result) < 3000
            call.result.encode()  # half a surrogate pair must not come back
        assert state(made) == before


def example(spec: ToolSpec, patient_id: str) -> JsonObject:
    """The example's arguments for another patient."""
    return {key: patient_id if key == "patient_id" else value for key, value in spec.example.items()}


def texts(spec: ToolSpec) -> Iterator[tuple[str, JsonObject, Callable[[str], object]]]:
    """Every text of a tool's arguments: where it stands, its schema, and how to put another text there."""
    for name, schema in spec.parameters["properties"].items():
        if schema.get("type") == "string":
            yield name, schema, lambda text: text
        elif schema.get("type") == "array" and schema["items"].get("type") == "string":
            yield name, schema["items"], lambda text: ["one", text]
        elif schema.get("type") == "object":
            yield name, schema["additionalProperties"]["anyOf"][-1], lambda text: {"sex": text}


def test_arguments_that_are_no_object(spec: ToolSpec, episode: Make):
    wrong: list[object] = [None, [], [1], "", "patient_id", "{}", 5, 5.5, True, [dict(spec.example)]]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_missing_arguments(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wrong: list[object] = [{k: v for k, v in given.items() if k != name} for name in spec.parameters["required"]]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_additional_arguments(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    extra = ["extra", "desk", "self", "spec", "config", "calculator", "", " ", "__class__"]
    extra += ["a" * 5000, "\x00", "\ud800"]
    wrong: list[object] = [given | {name: 1} for name in extra]
    wrong.append(given | {f"extra{number}": number for number in range(500)})
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_values_of_another_type(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wrong: list[object] = []
    for name, schema in spec.parameters["properties"].items():
        fits = FITTING.get(schema["type"], {schema["type"]})
        wrong += [given | {name: value} for kind, value in VALUES.items() if kind not in fits]
        if schema["type"] == "array":
            wrong += [given | {name: [value, value]} for kind, value in VALUES.items() if kind != "string"]
        if schema["type"] == "object":
            wrong += [given | {name: {"sex": value}} for value in (None, [], {}, [1], {"a": 1})]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_numbers_that_are_none(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wild = [float("nan"), float("inf"), float("-inf"), HUGE, -HUGE, 2**64, -(2**63) - 1, 1e308, 0.5]
    wrong: list[object] = []
    for name, schema in spec.parameters["properties"].items():
        if schema["type"] == "object":
            wrong += [given | {name: {"weight_kg": value, "height_cm": 170.0}} for value in wild if value != 0.5]
        else:
            wrong += [given | {name: value} for value in wild]
        if schema["type"] == "integer":
            wrong += [given | {name: value} for value in (schema["minimum"] - 1, schema["maximum"] + 1, True, 3.0)]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})  # NaN is not JSON


def test_empty_texts_where_something_must_be_said(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    empty = ["", " ", "\t", "\n", " \n\t ", "\u00a0", "\u2003\u3000"]
    wrong: list[object] = [
        given | {name: put(text)}
        for name, schema, put in texts(spec)
        for text in empty
        if schema.get("minLength", 0) > 0 or (name in spec.parameters["required"] and "enum" in schema)
    ]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_texts_that_are_too_long(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wrong: list[object] = []
    for name, schema, put in texts(spec):
        if "enum" in schema:
            wrong += [given | {name: put(text)} for text in ("none of these", "x" * 100_000)]
        else:
            wrong += [given | {name: put("x" * (schema["maxLength"] + more))} for more in (1, 100_000)]
            wrong += [given | {name: put("\U0001f600" * (schema["maxLength"] + 1))}]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_lists_that_are_too_long(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wrong: list[object] = []
    for name, schema in spec.parameters["properties"].items():
        if schema["type"] == "array":
            item = schema["items"].get("enum", ["text"])[0]
            wrong += [given | {name: [item] * (schema["maxItems"] + more)} for more in (1, 5000)]
        if schema["type"] == "object":
            wrong.append(given | {name: {f"p{number}": 1 for number in range(schema["maxProperties"] + 1)}})
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_control_characters_and_half_surrogates(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    wrong: list[object] = []
    for name, _, put in texts(spec):
        wrong += [given | {name: put(f"a{character}b")} for character in (*CONTROL, *SURROGATES)]
        wrong += [given | {name: put(character)} for character in ("\x00", "\x1f", "\x85", *SURROGATES)]
    for name, schema in spec.parameters["properties"].items():
        if schema["type"] == "object":
            wrong += [given | {name: {f"a{character}b": 1}} for character in (*CONTROL, *SURROGATES)]
            wrong += [given | {name: {"sex": {"a\x00": [{"b\ud800": "c"}]}}}]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


def test_newline_and_tab_are_text(episode: Make):
    made = episode()
    call = made.step(write_call("think", {"thought": "first\n\tsecond"})).calls[0]
    assert call.error is None


def test_bottomless_nesting(spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    deep: object = 1
    for _ in range(400):
        deep = [deep]
    deeper: object = "\x00"
    for _ in range(400):
        deeper = {"a": deeper}
    names = [*spec.parameters["properties"], "extra"]
    wrong: list[object] = [given | {name: value} for name in names for value in (deep, deeper)]
    assert_refused(lambda: episode(spec), spec, wrong, {"invalid_arguments", "malformed_call"})


@pytest.mark.parametrize("depth", [50, 500, 900, 960, 990, 1000, 5000, 100_000])
def test_a_call_of_any_depth_is_an_observation(depth: int, episode: Make):
    made = episode()
    before = made.record.state_hash()
    text = '<tool_call>{"name": "think", "arguments": {"thought": ' + "[" * depth + "]" * depth + "}}</tool_call>"
    turn = made.step(text)
    assert turn.calls[0].error in ("invalid_arguments", "malformed_call")
    assert made.record.state_hash() == before


UNKNOWN = {
    "patient_id": "unknown_patient",
    "test_name": "not_found",
    "category": "not_found",
    "drug_name": "not_found",
    "drug_a": "not_found",
    "drug_b": "not_found",
    "treatment_a": "not_found",
    "treatment_b": "not_found",
    "condition": "not_found",
    "symptoms": "not_found",
    "pmid": "not_found",
    "entry_id": "not_found",
    "id": "not_found",
    "section": "not_found",
    "score_name": "not_found",
    "icd10_code": "invalid_arguments",
    "diagnosis_codes": "invalid_arguments",
}


@pytest.mark.parametrize(
    "text", ["zzqx", "zzqx wvvk", "../../etc/passwd", "P9999", "DROP TABLE patients", "%s%n{0}", "\u6f22"]
)
def test_names_that_nobody_knows(text: str, spec: ToolSpec, episode: Make):
    given = example(spec, episode().task.chart.patient_id)
    for name in spec.parameters["properties"]:
        code = UNKNOWN.get(name)
        if code is None or spec.name == "submit_answer" or spec.parameters["properties"][name].get("enum"):
            continue
        assert_refused(
            lambda: episode(spec), spec, [given | {name: text[:10] if name == "icd10_code" else text}], {code}
        )


@pytest.mark.parametrize("text", ["???", "-", ".", "'", '"', "***", "\u2013", "\u200b", "\u0301"])
@pytest.mark.parametrize("name", ["drug_name", "condition", "score_name", "test_name", "pmid", "symptoms", "query"])
def test_names_of_punctuation(name: str, text: str, episode: Make):
    """Folded to nothing, they must not match a row whose name is empty."""
    for spec in all_tools().values():
        if spec.parameters["properties"].get(name, {}).get("minLength") and spec.name != "find_tools":
            given = example(spec, episode().task.chart.patient_id)
            assert_refused(lambda: episode(spec), spec, [given | {name: text}])  # noqa: B023


def test_an_error_says_what_is_wrong_and_what_to_do():
    spec = get_tool("prescribe_medication")
    with pytest.raises(ToolError) as caught:
        spec.parse({"patient_id": 5, "drug_nam": "x", "route": "by mouth"})
    said = caught.value.message
    assert caught.value.code == "invalid_arguments"
    assert "patient_id: input should be a valid string" in said
    assert "drug_nam is not a parameter (nearest: drug_name)" in said
    assert "dosage is missing" in said
    assert "'oral'" in said
    assert caught.value.hint.startswith("usage: prescribe_medication(patient_id: string")


@pytest.mark.parametrize(
    "name", ["no_such_tool", "", "get_vital_signs ", "GET_VITAL_SIGNS", "a" * 100_000, "\x00", "\ud800"]
)
def test_a_tool_that_does_not_exist(name: str, episode: Make):
    made = episode()
    before = state(made)
    call = made.step(write_call(name, {})).calls[0]
    assert call.error in ("unknown_tool", "malformed_call")
    assert state(made) == before
    call.result.encode()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["P0000", "warfarin", "Potassium", "BMI", "dx-PE-findings", "pulmonary embolism", "I26.99"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, object]:
    """A tool and arguments: the example with some values replaced, dropped or added, or anything at all."""
    spec = all_tools()[draw(st.sampled_from(list(all_tools())))]
    if draw(st.integers(0, 9)) == 0:
        return spec.name, draw(JSON)
    arguments: JsonObject = dict(spec.example)
    names = st.sampled_from([*spec.parameters["properties"], "extra"])
    for name in draw(st.lists(names, max_size=3, unique=True)):
        schema = spec.parameters["properties"].get(name, {})
        own = st.sampled_from(schema["enum"]) if "enum" in schema else st.text(max_size=60) | st.integers(-3, 120)
        arguments[name] = draw(own | JSON | st.dictionaries(st.sampled_from(["sex", "age", "weight_kg"]), JSON))
    for name in draw(st.lists(names, max_size=1)):
        arguments.pop(name, None)
    return spec.name, arguments


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(call=calls())
def test_any_arguments_at_all(call: tuple[str, object], episode: Make):
    name, arguments = call
    made = episode()
    if isinstance(arguments, dict) and arguments.get("patient_id") == "P0000":
        arguments = arguments | {"patient_id": made.task.chart.patient_id}
    before = state(made)
    turn = made.step(f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>")
    record = turn.calls[0]
    assert record.error in {None, "malformed_call", "blocked_by_safety", "not_confirmed", *CLEAR}
    assert all(verdict.rule != "rule_failed" for verdict in record.verdicts)
    record.result.encode()
    json.loads(record.result, parse_constant=pytest.fail)
    if record.error is not None:
        assert record.marks == ()
        assert state(made) == before
