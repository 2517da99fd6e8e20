"""The starter corpus: the literature that comes with medgym, written from its own fact tables.

Owns the list of passages, no two of which are the same. It is a pure function of the tables and of the
code here: the same in every process.
"""

from functools import cache

from ..distinct import check_distinct
from ..passage import Passage
from .on_diseases import disease_passages
from .on_drugs import drug_passages
from .on_interactions import interaction_passages
from .on_measures import measure_passages
from .on_triage import triage_passages


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
