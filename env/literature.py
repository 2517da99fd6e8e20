"""Which literature cases are worked with: the starter's, or one that a user built around it.

The cases' keys name passages of the starter, so another literature must hold all of them, as they are. What was used is
known by its corpus hash, not by where it lay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..tools.retrieval import DamagedIndex, Index, open_literature, starter_passages
from ..tools.retrieval.engines import EngineMissing
from ..tools.retrieval.store import corpus_hash, record_digest, record_of


class LiteratureError(ValueError):
    """A literature that cases cannot be worked with; the message says why and what to do."""


def case_literature(folder: Path | str | None) -> Callable[[], Index] | None:
    """What `Episode` takes for the index in a folder, opened and checked once in a process; None is the starter.

    Raises:
        LiteratureError: the folder holds no whole index, its engine is not installed, or it lacks what keys name.
    """
    if folder is None:
        return None
    index = _opened(Path(folder).resolve())
    return lambda: index


def own_corpus_hash(index: Index) -> str | None:
    """The corpus hash of a literature that is not the starter's; None where it is, wherever it lies."""
    found = index.info().corpus_hash
    return None if found == _starter_hash() else found


@cache
def _opened(folder: Path) -> Index:
    try:
        index = open_literature(folder)
    except (DamagedIndex, EngineMissing) as error:
        raise LiteratureError(f"this literature cannot be opened: {error}") from error
    starter = set(starter_passages())
    documents = {passage.document for passage in starter}
    lacking = len(starter.difference(*map(index.document, documents)))  # those that say something else included
    if lacking:
        raise LiteratureError(
            f"the literature in {folder} lacks {lacking:,} of the starter's {len(starter):,} passages, which the "
            "cases' keys name: build it with `medgym kb build --with-starter`"
        )
    return index


@cache
def _starter_hash() -> str:
    return corpus_hash(record_digest(record_of(passage)) for passage in starter_passages())
