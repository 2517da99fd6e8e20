"""Reading an observation back: the results in its tags, and what the patient said. For scripted policies."""

from __future__ import annotations

import json
import re
from typing import cast

_RESPONSE = re.compile(r"<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)
_PATIENT = re.compile(r"^Patient: (.*)$", re.MULTILINE)


def results(observation: str) -> list[dict[str, object]]:
    """The JSON results of a turn's calls, in order."""
    return [cast("dict[str, object]", json.loads(body)) for body in _RESPONSE.findall(observation)]


def patient_said(observation: str) -> str:
    """The patient's reply, '' if none."""
    found = _PATIENT.search(_RESPONSE.sub("", observation))
    return found[1] if found else ""


def rows(result: dict[str, object], name: str) -> list[dict[str, object]]:
    """A list field of a result, empty where it is absent."""
    return cast("list[dict[str, object]]", result.get(name) or [])
