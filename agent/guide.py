"""What a guided policy may say next: the shelf's schemas, narrowed to this case.

The patient's id is fixed to the one in the ticket; a tool that was tried is not offered again, but for those that
serve more than once and worked; and with one message left only `submit_answer` is. So a model too small to plan still
moves on and ends its case. None of this narrows what an unguided policy may do.
"""

from __future__ import annotations

import copy
from typing import cast

from ..env.episode import Episode
from ..tools.spec import ToolSpec

JsonObject = dict[str, object]
SMALL_BUDGET = 128  # tokens: room for the call itself and one short text
AGAIN = ("order_lab_test", "wait", "get_lab_results")


def guided_schemas(episode: Episode, max_new_tokens: int | None = None) -> list[JsonObject]:
    """OpenAI schemas for grammar-guided decoding of the next message.

    Args:
        episode: as it stands.
        max_new_tokens: of the message; below `SMALL_BUDGET` only tools are offered whose required arguments are
            short enough to be closed in time.
    """
    offered = episode.desk.shelf.offered()
    calls = [call for turn in episode.turns for call in turn.calls]
    spent = {call.name for call in calls if call.error is not None or call.name not in AGAIN}
    offered = [spec for spec in offered if spec.name == "submit_answer" or spec.name not in spent]
    if max_new_tokens is not None and max_new_tokens < SMALL_BUDGET:
        offered = [spec for spec in offered if spec.name == "submit_answer" or _is_short(spec)]
    if episode.turns_left <= 1:
        offered = [spec for spec in offered if spec.name == "submit_answer"]
    patient = episode.record.chart.patient_id
    schemas: list[JsonObject] = []
    for spec in offered:
        schema = copy.deepcopy(spec.openai)
        function = cast("JsonObject", schema["function"])
        properties = cast("JsonObject", cast("JsonObject", function["parameters"])["properties"])
        if "patient_id" in properties and patient in episode.opening:
            properties["patient_id"] = {"type": "string", "enum": [patient]}
        schemas.append(schema)
    return schemas


def _is_short(spec: ToolSpec) -> bool:
    """At most one free text among the required arguments besides the patient, and no list or object."""
    properties = cast("dict[str, JsonObject]", spec.parameters["properties"])
    required = [properties[name] for name in cast("list[str]", spec.parameters["required"]) if name != "patient_id"]
    texts = [schema for schema in required if schema.get("type") == "string" and "enum" not in schema]
    return len(texts) <= 1 and not any(schema.get("type") in ("array", "object") for schema in required)
