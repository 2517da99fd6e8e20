"""Uniform over the shelf, schema-valid arguments from values seen so far, then a random well-formed answer."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import cast

from ...tools.spec import JsonObject, ToolSpec
from ..action import write_call
from ..domain import Script
from .play import Briefing

CALLS = 12  # random calls before the random answer
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]{3,}")
_ID = re.compile(r"\bP\d{4}\b")


def random_policy(given: Briefing) -> Script:
    """Draws from a generator of its own, seeded by the episode's seed and the ticket."""
    rng = random.Random(f"{given.seed}/{given.ticket}")
    seen = given.ticket
    tools = [spec for spec in given.shelf if spec.name != "submit_answer"]
    for _ in range(CALLS):
        spec = rng.choice(tools)
        observation = yield write_call(spec.name, random_arguments(rng, spec, seen))
        seen = f"{seen}\n{observation}"[-20_000:]
    yield write_call("submit_answer", random_arguments(rng, given.submit, seen))


def random_arguments(rng: random.Random, spec: ToolSpec, seen: str) -> JsonObject:
    """Schema-valid arguments: every required one, each optional one by a coin."""
    properties = cast("dict[str, JsonObject]", spec.parameters["properties"])
    required = cast("list[str]", spec.parameters["required"])
    return {
        name: _value(rng, name, schema, seen)
        for name, schema in properties.items()
        if name in required or rng.random() < 0.5
    }


def _value(rng: random.Random, name: str, schema: Mapping[str, object], seen: str) -> object:
    options = schema.get("enum")
    if isinstance(options, list):
        return rng.choice(cast("list[object]", options))
    kind = schema.get("type")
    if kind == "integer":
        return rng.randint(int(cast("float", schema.get("minimum", 0))), int(cast("float", schema.get("maximum", 100))))
    if kind == "number":
        return round(rng.uniform(0, 100), 1)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        items = cast("Mapping[str, object]", schema.get("items", {}))
        least = int(cast("float", schema.get("minItems", 0)))
        drawn = [_value(rng, name, items, seen) for _ in range(max(least, rng.randint(0, 2)))]
        return list(dict.fromkeys(drawn)) if len(set(map(str, drawn))) >= least else drawn
    if kind == "object":
        return {}
    return _string(rng, name, int(cast("float", schema.get("maxLength", 100))), seen)


def _string(rng: random.Random, name: str, longest: int, seen: str) -> str:
    found = _ID.findall(seen)
    if name == "patient_id" and found:
        return rng.choice(found)
    words = _WORD.findall(seen) or ["none"]
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, 3)))[:longest]
