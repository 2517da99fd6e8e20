"""`judge`: every rule for a tool, the findings worst first. A rule that raises counts as unsafe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from . import prescribing, submission
from .verdict import ORDER, Proposal, Verdict

logger = logging.getLogger(__name__)

Rule = Callable[[Proposal], Iterable[Verdict]]

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "prescribe_medication": prescribing.RULES,
        "submit_answer": submission.RULES,
    }
)


def judge(proposal: Proposal, report: Callable[[str, Exception], None] | None = None) -> list[Verdict]:
    """All findings on an action, the most severe first; an empty list allows it.

    `report` is told of a rule that raised; without it, the traceback goes to the log, where it may quote the record.
    """
    found: list[Verdict] = []
    for rule in RULES.get(proposal.tool, ()):
        try:
            found.extend(rule(proposal))
        except Exception as error:  # boundary: a broken safety rule must block, never wave through
            if report is not None:
                report(f"safety rule {rule.__name__} failed on {proposal.tool}", error)
            else:
                logger.exception("safety rule %s failed on %s", rule.__name__, proposal.tool)
            message = f"safety rule {rule.__name__} failed ({type(error).__name__}: {error}); treated as unsafe"
            found.append(Verdict("block", "rule_failed", 5, "rule_failed", message, "medgym"))
    return sorted(found, key=lambda verdict: (-ORDER.index(verdict.decision), -verdict.severity, verdict.rule))
