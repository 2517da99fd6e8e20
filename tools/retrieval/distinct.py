"""The check that no two passages of a set are the same."""

from collections.abc import Iterable

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
