"""The starter corpus: the literature that comes with medgym, written from its own fact tables.

Owns the list of passages and the check that no two are the same. The list is a pure function of the tables and of the
code here: the same in every process.
"""

from collections.abc import Iterable
from functools import cache

from .on_diseases import disease_passages
from .on_drugs import drug_passages
from .on_interactions import interaction_passages
from .on_measures import measure_passages
from .on_triage import triage_passages
from .passage import Passage


class DuplicatePassage(ValueError):
    """Two passages have the same id or say the same."""


def check_distinct(passages: Iterable[Passage]) -> None:
    """Check that no two passages share an id (whatever its case) or the letters and digits of their text.

    Raises:
        DuplicatePassage: naming both.
    """
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    for one in passages:
        if one.id.lower() in ids:
            raise DuplicatePassage(f"two passages have the id {one.id!r}: give one of them another")
        ids[one.id.lower()] = one.id
        other = texts.setdefault(one.content_hash, one.id)
        if other != one.id:
            raise DuplicatePassage(f"passages {other!r} and {one.id!r} say the same: keep one of them")


@cache
def starter_passages() -> tuple[Passage, ...]:
    """All passages of the starter corpus, sorted by id.

    Raises:
        DuplicatePassage: if two are the same.
    """
    found = (
        *disease_passages(),
        *interaction_passages(),
        *drug_passages(),
        *measure_passages(),
        *triage_passages(),
    )
    check_distinct(found)
    return tuple(sorted(found, key=lambda one: one.id))
