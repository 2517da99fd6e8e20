"""What can go wrong when a tool is called: one exception with a code, shown to the agent as an observation.

A tool's mistake never ends an episode: the episode turns `ToolError` into an observation `{"error": {...}}`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToolError(Exception):
    """A tool call that was refused or could not be carried out; nothing was changed.

    Attributes:
        code: one of `CODES`, stable, for graders and error taxonomies.
        message: what is wrong, in one sentence.
        hint: what to do instead; may be empty.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"unknown tool error code {code!r}: one of {', '.join(CODES)}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, object]:
        """The observation that the agent reads."""
        body = {"code": self.code, "message": self.message}
        if self.hint:
            body["hint"] = self.hint
        return {"error": body}


CODES = (
    "malformed_call",  # the text between the tags is not a JSON object with name and arguments
    "unknown_tool",  # no tool of that name exists anywhere
    "not_on_shelf",  # the tool exists but is not offered here: find_tools puts it on the shelf
    "invalid_arguments",  # the arguments do not fit the schema
    "unknown_patient",  # a patient id other than the one of this case
    "not_found",  # no such passage, test, drug, condition
    "not_computable",  # a value that the formula needs is missing
    "refused",  # the chart says that this cannot be done
    "blocked_by_safety",  # a safety rule forbids it
    "not_confirmed",  # a safety rule wants a human's word, and none was given
    "episode_over",  # the case is closed
    "over_budget",  # the run may make no further call
    "tool_failed",  # a bug in the tool; the traceback is in the log
)


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """A hint naming the closest known names, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else ""
