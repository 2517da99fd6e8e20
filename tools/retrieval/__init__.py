"""The literature: passages with provenance, the engines that search them, and the starter corpus."""

from .distinct import DuplicatePassage
from .folder import load_index, verify
from .index import DamagedIndex, EmptyQuery, Index, IndexInfo, UnknownPassage
from .library import build_index, open_literature, open_starter
from .passage import KINDS, BadPassage, Hit, Kind, Passage
from .passage_index import PassageIndex
from .starter import starter_passages

__all__ = [
    "KINDS",
    "BadPassage",
    "DamagedIndex",
    "DuplicatePassage",
    "EmptyQuery",
    "Hit",
    "Index",
    "IndexInfo",
    "Kind",
    "Passage",
    "PassageIndex",
    "UnknownPassage",
    "build_index",
    "load_index",
    "open_literature",
    "open_starter",
    "starter_passages",
    "verify",
]
