"""What every search engine over passages offers, and the errors that it raises.

Owns the interface: engines are interchangeable behind `Index`, which promises a deterministic order (score, then place
in the corpus).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .passage import Hit, Passage


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

    def __init__(self, passage_id: str, nearest: tuple[str, ...]) -> None:
        self.passage_id = passage_id
        self.nearest = nearest
        super().__init__(passage_id)

    def __str__(self) -> str:
        hint = f"; the nearest are {', '.join(self.nearest)}" if self.nearest else "; search for one first"
        return f"there is no passage {self.passage_id!r}{hint}"


class DamagedIndex(RuntimeError):
    """The files of an index are missing, cut short or changed; the message says which."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is.

    Attributes:
        engine: what it is searched with.
        n_passages: number of passages.
        n_documents: number of documents that they are parts of.
        k1: BM25's saturation of repeated terms.
        b: BM25's weight of the passage length.
        corpus_hash: of all fields of all passages, whatever their order.
        kinds: number of passages by kind.
        path: the folder.
        size: bytes of its files.
    """

    engine: str
    n_passages: int
    n_documents: int
    k1: float
    b: float
    corpus_hash: str
    kinds: Mapping[str, int]
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
        """The `k` best passages for `query`, best first; equal scores in the order of the corpus.

        Args:
            query: any text; no character has a special meaning.
            k: at least 1.
            kinds: only these kinds (of `info().kinds` or `passage.KINDS`); all if empty.
            sources: only passages of these publications, compared without regard to case; all if empty.
            year_from: only passages whose source names this year or a later one.
            year_to: only passages whose source names this year or an earlier one.

        Raises:
            EmptyQuery: if no word is left to search for.
            ValueError: if `k` is below 1, a kind does not exist, or the years are the wrong way round.
        """
        ...

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages with these numbers: places in the corpus, from 0."""
        ...

    def get(self, passage_id: str) -> Passage:
        """The passage with this id.

        Raises:
            UnknownPassage: if there is none.
        """
        ...

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in the order of the corpus; empty if there is none."""
        ...

    def info(self) -> IndexInfo:
        """What this index is."""
        ...

    def __len__(self) -> int:
        """The number of passages."""
        ...
