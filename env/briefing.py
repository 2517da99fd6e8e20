"""What an agent is told before a case: the ward's policy, the call protocol and the shelf. Made from the specs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from ..tools.spec import ToolSpec
from .domain import Domain

CALLS = (
    'Call a tool with <tool_call>{"name": "TOOL", "arguments": {...}}</tool_call>; several calls may stand in one '
    "message and run in order."
)
PROTOCOL = f"{CALLS} Text outside the tags is spoken to the patient. End the case with submit_answer."

SpecLevel: TypeAlias = Literal["full", "arguments", "names", "none"]


@dataclass(frozen=True, slots=True)
class PromptForm:
    """How much an agent is told; the case itself is the same.

    Attributes:
        brief: the policy's first line only, for small contexts.
        specs: tools with arguments and first sentence (`full`), without the sentence, by name only, or not at all.
        observation_limit: characters of one tool result; a longer one is cut in the middle. None leaves it whole.
    """

    brief: bool = False
    specs: SpecLevel = "full"
    observation_limit: int | None = None

    def to_json(self) -> dict[str, object]:
        """`brief`, and what else differs from the default."""
        plain = asdict(PromptForm())
        return {key: value for key, value in asdict(self).items() if key == "brief" or value != plain[key]}


def system_prompt(domain: Domain, specs: Sequence[ToolSpec], form: PromptForm | None = None) -> str:
    """The system message."""
    form = form or PromptForm()
    policy = domain.policy.strip()
    if form.brief:
        policy = policy.splitlines()[0].lstrip("# ")
    return f"{policy}\n\n{PROTOCOL}{tool_list([spec.signature for spec in specs], form.specs)}"


def cut_middle(text: str, limit: int | None) -> str:
    """`text` in at most `limit` characters, the cut said where it was made."""
    if limit is None or len(text) <= limit:
        return text
    note = f" [... {len(text) - limit} characters cut ...] "
    keep = max(0, limit - len(note))
    tail = keep // 2
    return text[: keep - tail] + note + text[len(text) - tail :]


def tool_list(signatures: Sequence[str], level: SpecLevel) -> str:
    """The list of tools as a system message ends with it; `signatures` are `ToolSpec.signature`s."""
    if level == "none" or not signatures:
        return ""
    if level == "names":
        return f"\n\nTools: {', '.join(line.split('(')[0] for line in signatures)}"
    lines = [f"- {line if level == 'full' else line.split('): ')[0] + ')'}" for line in signatures]
    return "\n\nTools (? marks optional arguments):\n" + "\n".join(lines)
