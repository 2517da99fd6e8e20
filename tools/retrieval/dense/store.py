"""The vectors of a corpus on disk: `vectors.f16`, rows in the order of the passages, and `dense.json`, what they are.

Owns the two files. Promises that a folder appears whole or not at all and that a file that was cut short or changed is
noticed. Half precision halves the file; the error of a score is some 0.05 percent of the vectors' lengths.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..index import DamagedIndex
from ..passage import Passage
from .encoder import Encoder, Vectors

FORMAT = 1
META = "dense.json"
VECTORS = "vectors.f16"
HALF = np.dtype("<f2")
SAMPLE = 128

Progress = Callable[[int, int | None], None]
"""Called with (passages done, passages in all or None where that is not known)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DenseInfo:
    """What a folder of vectors says of itself.

    `sample` holds (number, id) of some passages, evenly spread: a corpus in another order has the same hash.
    """

    format: int
    encoder: str
    fingerprint: str
    dimension: int
    count: int
    corpus_hash: str
    sha256: str
    sample: tuple[tuple[int, str], ...]


def build_dense(
    passages: Iterable[Passage],
    encoder: Encoder,
    folder: Path,
    *,
    corpus_hash: str,
    batch: int = 1024,
    progress: Progress | None = None,
) -> DenseInfo:
    """Encode `passages` into `folder`, which appears whole or not at all; what was there is replaced.

    Args:
        passages: in the order of their numbers.
        encoder: what makes the vectors.
        folder: where they are to lie; its parent is made.
        corpus_hash: the hash that the lexical index gives to the same passages.
        batch: passages handed to the encoder at once; it groups those of similar length, so larger is faster.
        progress: called after every batch.

    Raises:
        ValueError: if there are no passages, or the encoder gives anything but numbers that half precision can hold.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}: hand over at least 1 passage at once")
    total = len(passages) if isinstance(passages, Sized) else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        draft = Path(made) / "dense"
        draft.mkdir()
        digest, sample, count = hashlib.sha256(), _Sample(), 0
        with (draft / VECTORS).open("wb") as file:
            for some in _batches(passages, batch):
                rows = _rows(encoder, some).tobytes()
                file.write(rows)
                digest.update(rows)
                for number, one in enumerate(some, start=count):
                    sample.see(number, one.id)
                count += len(some)
                if progress is not None:
                    progress(count, total)
        if not count:
            raise ValueError("there are no passages to encode")
        info = DenseInfo(
            FORMAT,
            encoder.name,
            encoder.fingerprint,
            encoder.dimension,
            count,
            corpus_hash,
            digest.hexdigest(),
            tuple(sample.kept),
        )
        (draft / META).write_text(json.dumps(asdict(info), indent=1), encoding="utf-8")
        if folder.exists():
            folder.replace(Path(made) / "old")
        draft.replace(folder)
    _log.info("encoded %d passages with %s in %s", count, info.encoder, folder)
    return info


def read_info(folder: Path) -> DenseInfo:
    """What the vectors in `folder` are.

    Raises:
        DamagedIndex: if the file is missing, cannot be read, or is of another format.
    """
    path = folder / META
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))
        cells["sample"] = tuple((int(number), str(name)) for number, name in cells["sample"])
        info = DenseInfo(**cells)
    except FileNotFoundError as error:
        raise DamagedIndex(f"{folder} holds no dense index ({META} is missing): build it again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedIndex(f"{path} cannot be read ({error}): build the dense index again") from error
    if info.format != FORMAT:
        raise DamagedIndex(f"{path} has format {info.format}: build the dense index again")
    return info


def open_vectors(folder: Path, info: DenseInfo) -> NDArray[np.float16]:
    """The vectors in `folder`, mapped into memory, shape (count, dimension), after a check of the whole file.

    Raises:
        DamagedIndex: if the file is missing, cut short or changed.
    """
    path = folder / VECTORS
    expected = info.count * info.dimension * HALF.itemsize
    if not path.is_file():
        raise DamagedIndex(f"{path} is missing: build the dense index again")
    if (size := path.stat().st_size) != expected:
        raise DamagedIndex(f"{path} has {size} bytes instead of {expected}: build the dense index again")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != info.sha256:
            raise DamagedIndex(f"{path} is not as it was written: build the dense index again")
    return np.memmap(path, dtype=HALF, mode="r", shape=(info.count, info.dimension))


class _Sample:
    """Every so many-th passage: the step doubles whenever more than `SAMPLE` are kept."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, str]] = []
        self._step = 1

    def see(self, number: int, passage_id: str) -> None:
        if number % self._step == 0:
            self.kept.append((number, passage_id))
            if len(self.kept) > SAMPLE:
                self._step *= 2
                self.kept = self.kept[::2]


def _batches(passages: Iterable[Passage], size: int) -> Iterator[list[Passage]]:
    rest = iter(passages)
    while some := list(islice(rest, size)):
        yield some


def _rows(encoder: Encoder, some: list[Passage]) -> NDArray[np.float16]:
    vectors: Vectors = encoder.encode_passages([(one.title, one.text) for one in some])
    if vectors.shape != (len(some), encoder.dimension):
        raise ValueError(
            f"{encoder.name} gave vectors of shape {vectors.shape} for {len(some)} passages of dimension "
            f"{encoder.dimension}"
        )
    # Not-a-number fails the comparison too.
    held = (np.abs(vectors) <= float(np.finfo(HALF).max)).all(axis=1)
    if not held.all():
        bad = some[int(np.argmin(held))]
        raise ValueError(f"{encoder.name} gave a vector that half precision cannot hold for passage {bad.id}")
    return vectors.astype(HALF)
