"""Thinking aids: a scratchpad, and the evidence for each option of a multiple-choice question."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError
from ..record.testcatalog import plain
from ..retrieval.analysis import terms
from ..retrieval.rendering import neutralised
from ..spec import JsonObject, Kind, tool
from .literature import mark_shown, search_index

Option = Annotated[str, Field(min_length=1, max_length=300)]


@tool(kind=Kind.REASONING_SCAFFOLD, core=True, minutes=0, example={"thought": "The potassium is high."})
def think(
    desk: Desk,
    thought: Annotated[str, Field(min_length=1, max_length=4000, description="Your reasoning; nobody reads it")],
) -> JsonObject:
    """A private scratchpad: nothing is looked up and nothing is stored in the chart."""
    return {"noted_words": len(thought.split())}


@tool(
    kind=Kind.REASONING_SCAFFOLD,
    core=True,
    minutes=2,
    example={"question": "Which drug raises the INR with warfarin?", "options": ["metronidazole", "paracetamol"]},
)
def analyze_answer_options(
    desk: Desk,
    question: Annotated[str, Field(min_length=1, max_length=2000, description="The question")],
    options: Annotated[list[Option], Field(min_length=2, max_length=10, description="The options' texts")],
) -> JsonObject:
    """For each option the best literature passage on question and option together, and how much of both it covers.

    It does not choose: coverage is counted in words.
    """
    if len({plain(option) or option for option in options}) < len(options):  # "α" and "+" fold to nothing
        raise ToolError("invalid_arguments", "two options are the same", "list each option once")
    asked = set(terms(question))
    rows: list[JsonObject] = []
    for option in options:
        hits = search_index(desk, f"{option} {question}"[:400], 3)
        own = set(terms(option))
        best = max(hits, key=lambda hit: _coverage(hit.passage.text, asked, own), default=None)
        desk.mark(f"option:{plain(option) or option}")
        row: JsonObject = {"option": option, "passage": None, "title": None, "option_words": 0.0, "question_words": 0.0}
        if best is not None:
            mark_shown(desk, best.passage)
            words = set(terms(f"{best.passage.title} {best.passage.text}"))
            row |= {
                "passage": best.passage.id,
                "title": neutralised(best.passage.title),
                "option_words": round(len(own & words) / max(1, len(own)), 2),
                "question_words": round(len(asked & words) / max(1, len(asked)), 2),
            }
        rows.append(row)
    return {"options": rows}


def _coverage(text: str, asked: set[str], own: set[str]) -> float:
    words = set(terms(text))
    return len(own & words) / max(1, len(own)) + len(asked & words) / max(1, len(asked))
