"""What a guided policy may say next: the shelf's schemas, narrowed to this case.

The patient's id is fixed to the one in the ticket; a tool that has answered is not offered again, but for those
that serve more than once; and with one message left only `submit_answer` is. So a model too small to plan still
moves on and ends its case. None of this narrows what an unguided policy may do.
"""

from __future__ import annotations

import copy
from typing import cast

from ..env.episode import Episode

JsonObject = dict[str, object]
AGAIN = ("order_lab_test", "wait", "get_lab_results", "submit_answer")


def guided_schemas(episode: Episode) -> list[JsonObject]:
    """OpenAI schemas for grammar-guided decoding of the next message."""
    offered = episode.desk.shelf.offered()
    answered = {call.name for turn in episode.turns for call in turn.calls if call.error is None}
    offered = [spec for spec in offered if spec.name in AGAIN or spec.name not in answered]
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
