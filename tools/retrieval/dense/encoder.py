"""What turns queries and passages into vectors, and which model on disk that is.

Owns the interface of encoders, the check of a model's folder and the hash of what decides its vectors. Promises that
a model is only ever taken from a local folder, never from a network.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# What of a model's folder has a say in its vectors: weights, configuration and vocabulary; not the model card.
_DECISIVE = frozenset({".bin", ".json", ".model", ".pt", ".safetensors", ".txt", ".vocab"})


class MissingDense(ImportError):
    """A library that the encoder needs is not installed; the message says how to install it."""

    def __init__(self, package: str) -> None:
        super().__init__(f'dense retrieval needs {package}: pip install "medgym[dense]"', name=package)


class BadModel(ValueError):
    """A path holds no model that can be used; the message names the path and what is wrong."""


class Encoder(Protocol):
    """Text to vectors whose inner product says how well a passage answers a query. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """For people: the end of the model's path and the beginning of its hash."""
        ...

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of all that decides the vectors; two encoders with the same one are interchangeable."""
        ...

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """One vector for each query, shape (number of texts, dimension)."""
        ...

    def encode_passages(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """One vector for each passage, given as (title, text), shape (number of pairs, dimension)."""
        ...


def model_folder(path: Path, *needs: str) -> Path:
    """`path` as an absolute path, once it is a folder that holds the files `needs`.

    Raises:
        BadModel: if it is not.
    """
    if not path.is_dir():
        raise BadModel(f"{path} is not a folder: give the path of a downloaded model, not its name on a hub")
    if missing := [name for name in needs if not (path / name).is_file()]:
        raise BadModel(f"{path} has no {', '.join(missing)}: it is not a model of this sort")
    return path.resolve()


def model_hash(folder: Path, how: str) -> str:
    """The SHA-256 of `how`, the manner of encoding, and of the files in `folder` that decide a vector."""
    digest = hashlib.sha256(f"{how}\n".encode())
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inner.parts)  # what download tools and git keep for themselves
        if not hidden and path.suffix in _DECISIVE and path.is_file():
            with path.open("rb") as file:
                digest.update(f"{inner.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def model_name(folder: Path, fingerprint: str) -> str:
    """The last two parts of the path and twelve digits of the hash."""
    return f"{'/'.join(folder.parts[-2:])}@{fingerprint[:12]}"
