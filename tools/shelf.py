"""`Shelf`: the tools offered in one episode, and the search over all the rest.

135 schemas in one prompt cost some 13 thousand tokens, so a domain shows its own; `find_tools` ranks every tool
by BM25 over name and description and puts what it finds on the shelf. Deterministic, no state outside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from .errors import ToolError, nearest
from .registry import all_tools
from .retrieval.analysis import terms
from .spec import ToolSpec

ALWAYS = ("submit_answer", "find_tools", "browse", "wait")
K1, B = 1.2, 0.75  # the literature's own BM25 parameters


class Shelf:
    """The tools that an agent may call in one episode.

    Args:
        names: the domain's own tools; the four of `ALWAYS` are added.
        submit: the domain's own `submit_answer`, whose arguments are the fields of its answer.
    """

    __slots__ = ("_specs", "found")

    def __init__(self, names: Sequence[str], submit: ToolSpec) -> None:
        known = all_tools()
        missing = [name for name in names if name not in known]
        if missing:
            raise KeyError(f"shelf names unknown tools: {', '.join(missing)}")
        self._specs: dict[str, ToolSpec] = {name: known[name] for name in (*names, *ALWAYS)}
        self._specs["submit_answer"] = submit
        self.found: list[str] = []

    def offered(self) -> list[ToolSpec]:
        """The tools that can be called now: the domain's own, then what `find_tools` found."""
        return list(self._specs.values())

    def offer(self, spec: ToolSpec) -> None:
        """Put a tool on the shelf, if it is not there."""
        if spec.name not in self._specs:
            self._specs[spec.name] = spec
            self.found.append(spec.name)

    def copy(self) -> Shelf:
        """A shelf of its own for one episode."""
        other = Shelf.__new__(Shelf)
        other._specs = dict(self._specs)
        other.found = []
        return other

    def get(self, name: str) -> ToolSpec:
        """The offered tool of that name.

        Raises:
            ToolError: `not_on_shelf` if it exists elsewhere, `unknown_tool` if it does not exist.
        """
        spec = self._specs.get(name)
        if spec is not None:
            return spec
        if name in all_tools():
            raise ToolError("not_on_shelf", f"{name} is not on this shelf", "call find_tools with what you need first")
        raise ToolError("unknown_tool", f"there is no tool named {name!r}", nearest(name, self._specs))

    def find(self, query: str, k: int) -> list[ToolSpec]:
        """The k best tools for a need, over all tools; those not offered yet are put on the shelf."""
        best = rank_tools(query)[:k]
        for name in best:
            self.offer(all_tools()[name])
        return [self._specs[name] for name in best]


def tool_terms(name: str, description: str) -> Counter[str]:
    """The terms by which a tool is found, for `rank`."""
    return Counter(terms(f"{name.replace('_', ' ')} {description}"))


def rank(query: str, documents: Mapping[str, Counter[str]]) -> tuple[str, ...]:
    """Names of the tools that share a term with the query, by BM25 (k1 1.2, b 0.75), ties by name.

    A tool that the query names in full comes first.

    Args:
        query: what is needed, in words.
        documents: `tool_terms` of each tool, by its name.
    """
    if not documents:
        return ()
    mean = sum(sum(counts.values()) for counts in documents.values()) / len(documents)
    scores: dict[str, float] = {}
    for term in set(terms(query.replace("_", " "))):
        holders = [name for name, counts in documents.items() if term in counts]
        idf = math.log(1 + (len(documents) - len(holders) + 0.5) / (len(holders) + 0.5))
        for name in holders:
            counts = documents[name]
            tf = counts[term]
            weight = tf * (K1 + 1) / (tf + K1 * (1 - B + B * sum(counts.values()) / mean))
            scores[name] = scores.get(name, 0.0) + idf * weight
    named = "_".join(query.lower().split())
    return tuple(sorted(scores, key=lambda name: (name != named, -scores[name], name)))


@cache
def _documents() -> Mapping[str, Counter[str]]:
    return {spec.name: tool_terms(spec.name, spec.description) for spec in all_tools().values()}


@cache
def rank_tools(query: str) -> tuple[str, ...]:
    """`rank` over all of our tools."""
    return rank(query, _documents())
