"""What every search engine over passages offers, and the errors that it raises.

Owns the interface: engines are interchangeable behind `Index`, which promises a deterministic order (score, then id).
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .passage import Hit, Passage

DEFAULT_K1 = 1.2
DEFAULT_B = 0.75


class EmptyQuery(ValueError):
    """A query without a single word to search for."""

    def __init__(self, query: str) -> None:
        shown = query if len(query) <= 80 else query[:77] + "..."
        super().__init__(
            f"the query {shown!r} has no word to search for (stop words and punctuation do not count): "
            "name a drug, a disease, a test or a finding"
        )


class UnknownPassage(KeyError):
    """No passage has this id; `nearest` are the closest ids."""

    def __init__(self, passage_id: str, ids: Iterable[str]) -> None:
        self.passage_id = passage_id
        by_lower = {known.lower(): known for known in ids}
        close = difflib.get_close_matches(passage_id.strip().lower(), by_lower, n=3, cutoff=0.5)
        self.nearest = tuple(by_lower[known] for known in close)
        super().__init__(passage_id)

    def __str__(self) -> str:
        hint = f"; the nearest are {', '.join(self.nearest)}" if self.nearest else "; search for one first"
        return f"there is no passage {self.passage_id!r}{hint}"


class DamagedIndex(RuntimeError):
    """The files of an index are missing, cut short or changed; the message says which."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is: engine, number of passages, BM25 parameters, hash of the corpus, place and size in bytes."""

    engine: str
    n_passages: int
    k1: float
    b: float
    corpus_hash: str
    path: Path
    size: int


class Index(Protocol):
    """A searchable set of passages. Safe to use from several threads."""

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> list[Hit]:
        """The `k` best passages for `query`, best first; equal scores in order of id.

        Args:
            query: any text; no character has a special meaning.
            k: at least 1.
            kinds: only these kinds (`passage.KINDS`); all if empty.
            sources: only passages of these publications, compared without regard to case; all if empty.
            year_from: only passages whose source names this year or a later one.
            year_to: only passages whose source names this year or an earlier one.

        Raises:
            EmptyQuery: if no word is left to search for.
            ValueError: if `k` is below 1, a kind does not exist, or the years are the wrong way round.
        """
        ...

    def get(self, passage_id: str) -> Passage:
        """The passage with this id.

        Raises:
            UnknownPassage: if there is none.
        """
        ...

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in order of id; empty if there is none."""
        ...

    def info(self) -> IndexInfo:
        """What this index is."""
        ...

    def __len__(self) -> int:
        """The number of passages."""
        ...
