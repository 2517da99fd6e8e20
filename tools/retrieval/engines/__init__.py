"""The engines that rank passages by number: Whoosh, the reference, and tantivy, the fast one. One BM25, one tokens."""

from .ranker import Filters, Ranker
from .registry import ENGINES, FAST_FROM, EngineMissing, choose, engine_version, open_ranker, write_engine

__all__ = [
    "ENGINES",
    "FAST_FROM",
    "EngineMissing",
    "Filters",
    "Ranker",
    "choose",
    "engine_version",
    "open_ranker",
    "write_engine",
]
