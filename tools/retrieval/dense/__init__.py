"""The optional second stage: vectors of passages beside the words, and the fusion of both rankings.

Off unless it is asked for, and importing it loads no model library. `encoder` and its two implementations turn text
into vectors, `store` writes them, `ranker` searches them, `fusion` and `fused_index` join them to a lexical index.
"""

from .encoder import BadModel, Encoder, MissingDense
from .fused_index import FusedIndex, Ranked
from .fusion import RRF_K, reciprocal_rank_fusion
from .medcpt import MedCptEncoder
from .ranker import DenseMismatch, DenseRanker
from .sentence_encoder import SentenceTransformerEncoder
from .store import DenseInfo, build_dense

__all__ = [
    "RRF_K",
    "BadModel",
    "DenseInfo",
    "DenseMismatch",
    "DenseRanker",
    "Encoder",
    "FusedIndex",
    "MedCptEncoder",
    "MissingDense",
    "Ranked",
    "SentenceTransformerEncoder",
    "build_dense",
    "reciprocal_rank_fusion",
]
