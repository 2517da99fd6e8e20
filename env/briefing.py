"""What an agent is told before a case: the ward's policy, the call protocol and the shelf. Made from the specs."""

from __future__ import annotations

from collections.abc import Sequence

from ..tools.spec import ToolSpec
from .domain import Domain

PROTOCOL = (
    'Call a tool with <tool_call>{"name": "TOOL", "arguments": {...}}</tool_call>; several calls may stand in one '
    "message and run in order. Text outside the tags is spoken to the patient. End the case with submit_answer."
)


def system_prompt(domain: Domain, specs: Sequence[ToolSpec], *, brief: bool = False) -> str:
    """The system message; `brief` leaves out the policy's prose and keeps its first line, for small contexts."""
    policy = domain.policy.strip()
    if brief:
        policy = policy.splitlines()[0].lstrip("# ")
    lines = "\n".join(f"- {spec.signature}" for spec in specs)
    return f"{policy}\n\n{PROTOCOL}\n\nTools (? marks optional arguments):\n{lines}"
