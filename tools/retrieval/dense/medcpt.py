"""Vectors from MedCPT: one BERT for queries, another for articles, trained on clicks in PubMed.

After Jin Q, Kim W, Chen Q, et al. MedCPT: Contrastive Pre-trained Transformers with large-scale PubMed search logs for
zero-shot biomedical information retrieval. Bioinformatics 2023;39(11):btad651, and the model cards of
ncbi/MedCPT-Query-Encoder and ncbi/MedCPT-Article-Encoder: the last hidden state of [CLS] is the vector, queries have
at most 64 tokens, articles are pairs (title, text) of at most 512, and relevance is the plain inner product.
"""

# pyright: reportUnknownMemberType=false

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from ...bars import no_progress_bars
from .encoder import BadModel, MissingDense, Vectors, model_folder, model_hash, model_name

if TYPE_CHECKING:
    import torch

QUERY_TOKENS = 64
ARTICLE_TOKENS = 512


class _Batch(Protocol):
    """What is used of tokenised text."""

    def to(self, device: str) -> "dict[str, torch.Tensor]": ...


class _Tokenizer(Protocol):
    """What is used of a tokenizer."""

    def __call__(
        self,
        text: list[str],
        text_pair: list[str] | None,
        *,
        truncation: bool,
        padding: bool,
        max_length: int,
        return_tensors: str,
    ) -> _Batch: ...


class _Output(Protocol):
    """What is used of a model's output."""

    last_hidden_state: "torch.Tensor"


class _Config(Protocol):
    """What is used of a model's configuration."""

    hidden_size: int


class _Model(Protocol):
    """What is used of a model, which has no annotations."""

    config: _Config

    def to(self, device: str) -> "_Model": ...
    def eval(self) -> "_Model": ...
    def __call__(self, **inputs: "torch.Tensor") -> _Output: ...


class _Tower:
    """One of the two models with its tokenizer."""

    def __init__(self, folder: Path, device: str, tokens: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = cast("_Tokenizer", AutoTokenizer.from_pretrained(folder, local_files_only=True))
        model = cast("_Model", AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32))
        self.dimension = model.config.hidden_size
        self._model = model.to(device).eval()
        self._device = device
        self._tokens = tokens

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, batch: int) -> Vectors:
        """One vector for each text, or pair of texts; those of similar length go through together."""
        import torch

        lengths = [len(text) for text in texts] if pairs is None else list(map(_length, texts, pairs))
        order = sorted(range(len(texts)), key=lambda place: -lengths[place])
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            encoded = self._tokenizer(
                [texts[place] for place in places],
                None if pairs is None else [pairs[place] for place in places],
                truncation=True,
                padding=True,
                max_length=self._tokens,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                vectors[places] = self._model(**encoded).last_hidden_state[:, 0, :].cpu().numpy()
        return vectors


def _length(text: str, pair: str) -> int:
    return len(text) + len(pair)


class MedCptEncoder:
    """A pair of MedCPT models as an `Encoder`; see there for the methods."""

    def __init__(self, query_path: Path, article_path: Path, *, device: str | None = None, batch: int = 32) -> None:
        """Load both models.

        Args:
            query_path: the folder of the query encoder.
            article_path: the folder of the article encoder.
            device: a torch device; "cuda" if there is one, else "cpu", by default.
            batch: texts that go through a model at once.

        Raises:
            BadModel: if a folder holds no model, or the two make vectors of different length.
            MissingDense: if torch or transformers is not installed.
        """
        folders = [model_folder(path, "config.json") for path in (query_path, article_path)]
        try:
            import torch
        except ImportError as error:
            raise MissingDense("torch") from error
        if find_spec("transformers") is None:
            raise MissingDense("transformers")
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with no_progress_bars():
            self._queries = _Tower(folders[0], where, QUERY_TOKENS)
            self._articles = _Tower(folders[1], where, ARTICLE_TOKENS)
        if self._queries.dimension != self._articles.dimension:
            raise BadModel(
                f"{query_path} makes vectors of length {self._queries.dimension} and {article_path} of length "
                f"{self._articles.dimension}: they do not belong together"
            )
        self._batch = batch
        self._lock = threading.Lock()  # a tokenizer keeps its padding as state
        self.dimension = self._queries.dimension
        hashes = [
            model_hash(folder, f"medcpt {tokens}")
            for folder, tokens in zip(folders, (QUERY_TOKENS, ARTICLE_TOKENS), strict=True)
        ]
        self.fingerprint = "+".join(hashes)
        self.name = " + ".join(map(model_name, folders, hashes))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """One vector for each query."""
        with self._lock:
            return self._queries.encode(texts, None, self._batch)

    def encode_passages(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """One vector for each passage."""
        with self._lock:
            return self._articles.encode([title for title, _ in pairs], [text for _, text in pairs], self._batch)
