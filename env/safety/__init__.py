"""Safety: a verdict on every action before it takes effect, from rules that cite their source."""

from .judge import judge
from .verdict import ALLOW, Proposal, Verdict

__all__ = ["ALLOW", "Proposal", "Verdict", "judge"]
