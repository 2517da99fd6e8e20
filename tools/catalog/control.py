"""The tools on every shelf besides the domain's own: submit, find tools, let time pass. (`browse` is literature.)"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, cast

from pydantic import BaseModel, Field

from ..desk import Desk
from ..retrieval.index import UnknownPassage
from ..spec import Arguments, Effect, JsonObject, Kind, ToolSpec, tool


class GenericAnswer(Arguments):
    """The answer of a case without a domain: used where `submit_answer` is listed outside an episode."""

    answer: Annotated[str, Field(min_length=1, max_length=2000, description="The final answer")]
    reasoning: Annotated[str, Field(max_length=4000, description="Why, in short")] = ""


def submit_spec(answer: type[BaseModel], description: str, example: JsonObject) -> ToolSpec:
    """`submit_answer` whose arguments are the fields of a domain's typed answer."""
    return ToolSpec(
        name="submit_answer",
        description=description,
        kind=Kind.INTERVENTION_ACTION,
        effect=Effect.TERMINAL,
        core=True,
        minutes=0,
        args=answer,
        handler=_submitted,
        example=example,
    )


def _submitted(desk: Desk, **answer: object) -> JsonObject:
    submitted: JsonObject = {"status": "submitted", "at": desk.record.now, **answer}
    if cited := cast("list[str]", answer.get("evidence", [])):
        submitted["sha256"] = _hashes(desk, cited)
    return submitted


def _hashes(desk: Desk, cited: list[str]) -> dict[str, str]:
    """The hash of each cited passage's text as it is stored, by id; an id that the literature lacks is left out."""
    hashes: dict[str, str] = {}
    for passage_id in cited:
        with suppress(UnknownPassage):
            hashes[passage_id] = desk.literature.get(passage_id).content_hash
    return hashes


submit_answer = submit_spec(
    GenericAnswer, "Submit the final answer. This ends the case.", {"answer": "no abnormality found"}
)


@tool(kind=Kind.REASONING_SCAFFOLD, minutes=0, example={"query": "renal dose adjustment"})
def find_tools(
    desk: Desk,
    query: Annotated[str, Field(min_length=1, max_length=200, description="What you need to do")],
    k: Annotated[int, Field(ge=1, le=10, description="How many tools")] = 5,
) -> JsonObject:
    """Search all tools by need and put the best ones on this shelf, so that they can be called."""
    specs = desk.shelf.find(query, k)
    return {"tools": [{"name": spec.name, "usage": spec.signature} for spec in specs]}


@tool(kind=Kind.CLINICAL_ASSESSMENT, effect=Effect.WRITE, minutes=0, example={"minutes": 30})
def wait(
    desk: Desk,
    minutes: Annotated[int, Field(ge=1, le=1440, description="At most this many minutes")] = 60,
) -> JsonObject:
    """Let time pass until the next result comes in, but no longer than the given minutes."""
    record = desk.record
    ahead = record.next_event()
    arrived = record.advance(min(minutes, ahead) if ahead is not None else minutes)
    return {
        "now": record.now,
        "results_in": [order.test for order in arrived],
        "pending": [{"test": order.test, "due": order.due} for order in record.pending()],
    }
