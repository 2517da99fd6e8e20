"""Vectors from a sentence-transformers model in a local folder.

Owns how such a model is loaded and fed. The model's own settings decide the pooling, the longest input, the prompts
put before queries and passages, and whether vectors are brought to length 1 (models made for the cosine) or left as
they are (models made for the inner product).
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ...bars import no_progress_bars
from .encoder import BadModel, MissingDense, Vectors, model_folder, model_hash, model_name


class _Encode(Protocol):
    """`SentenceTransformer.encode_query` and `encode_document`, as they are used here."""

    def __call__(
        self, inputs: list[str], *, batch_size: int, show_progress_bar: bool, normalize_embeddings: bool
    ) -> NDArray[np.floating]: ...


class _Model(Protocol):
    """What is used of a SentenceTransformer, whose overloads are wider."""

    @property
    def similarity_fn_name(self) -> str: ...
    @property
    def encode_query(self) -> _Encode: ...
    @property
    def encode_document(self) -> _Encode: ...
    def get_embedding_dimension(self) -> int | None: ...


class SentenceTransformerEncoder:
    """A sentence-transformers model as an `Encoder`; see there for the methods."""

    def __init__(self, path: Path, *, device: str | None = None, batch: int = 32) -> None:
        """Load the model in the folder `path`.

        Args:
            path: a folder with a `modules.json`, as SentenceTransformer.save writes it and the hub offers it.
            device: a torch device; an accelerator if there is one by default.
            batch: texts that go through the model at once.

        Raises:
            BadModel: if the folder holds no such model, or one made for another measure than cosine or inner product.
            MissingDense: if sentence-transformers is not installed.
        """
        folder = model_folder(path, "modules.json")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDense("sentence-transformers") from error
        with no_progress_bars():
            loaded = SentenceTransformer(str(folder), device=device, local_files_only=True)
        self._model = cast("_Model", loaded)
        measure, dimension = self._model.similarity_fn_name, self._model.get_embedding_dimension()
        if measure not in ("cosine", "dot"):
            raise BadModel(f"{path} compares vectors by {measure}: only cosine and dot can be searched here")
        if dimension is None:
            raise BadModel(f"{path} does not say how long its vectors are")
        self._normalise = measure == "cosine"
        self._batch = batch
        self._lock = threading.Lock()  # the tokenizer keeps its padding as state
        self.dimension = dimension
        self.fingerprint = model_hash(folder, f"sentence-transformers {measure}")
        self.name = model_name(folder, self.fingerprint)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """One vector for each query."""
        return self._encode(self._model.encode_query, list(texts))

    def encode_passages(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """One vector for each passage: its title, a blank, its text, as in BEIR (Thakur et al., NeurIPS 2021)."""
        return self._encode(self._model.encode_document, [f"{title} {text}" for title, text in pairs])

    def _encode(self, encode: _Encode, texts: list[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        with self._lock:
            vectors = encode(
                texts, batch_size=self._batch, show_progress_bar=False, normalize_embeddings=self._normalise
            )
        return vectors.astype(np.float32, copy=False)
