"""The literature: passages with provenance, the engines that search them, and the starter corpus."""

from .distinct import DuplicatePassage
from .index import DamagedIndex, EmptyQuery, Index, IndexInfo, UnknownPassage
from .library import build_index, load_index, open_starter
from .passage import KINDS, BadPassage, Hit, Kind, Passage
from .starter import starter_passages
from .whoosh_index import WhooshIndex

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
    "UnknownPassage",
    "WhooshIndex",
    "build_index",
    "load_index",
    "open_starter",
    "starter_passages",
]
