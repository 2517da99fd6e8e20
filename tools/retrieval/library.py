"""Where indexes lie on disk: built once, checked when opened, rebuilt when damaged.

Owns the folder of an index (`manifest.json` and the files of the engine in `whoosh/`) and the cache of the starter
corpus. Promises that a reader never sees a half-written index, that two processes may build at the same time, and
that a file that was cut short or changed is noticed. What a passage is and how it is ranked is left to others.
"""

import hashlib
import json
import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from .distinct import check_distinct
from .index import DEFAULT_B, DEFAULT_K1, DamagedIndex, Index
from .passage import Passage
from .starter import starter_passages
from .whoosh_index import ENGINE, Progress, WhooshIndex, write_whoosh

FORMAT = 2
MANIFEST = "manifest.json"
FILES = "whoosh"

_log = logging.getLogger(__name__)
_open_lock = threading.Lock()
_open: dict[Path, Index] = {}


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What an index folder says of itself; `files` holds (size in bytes, SHA-256) by name."""

    format: int
    engine: str
    engine_version: str
    k1: float
    b: float
    n_passages: int
    corpus_hash: str
    files: dict[str, tuple[int, str]]


def corpus_hash(passages: Sequence[Passage]) -> str:
    """The SHA-256 of all fields of all passages, whatever their order."""
    digest = hashlib.sha256()
    for one in sorted(passages, key=lambda one: one.id):
        digest.update(json.dumps(asdict(one), ensure_ascii=False, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _engine_version() -> str:
    return metadata.version("whoosh3")


def _file_hash(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    """Sizes and hashes of the engine's files; its lock file, which is empty and may come and go, is left out."""
    paths = sorted(path for path in (folder / FILES).iterdir() if path.is_file() and not path.name.endswith("LOCK"))
    return {path.name: _file_hash(path) for path in paths}


def _read_manifest(folder: Path) -> _Manifest:
    try:
        cells = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        cells["files"] = {name: (int(size), str(digest)) for name, (size, digest) in cells["files"].items()}
        return _Manifest(**cells)
    except FileNotFoundError as error:
        raise DamagedIndex(f"{folder} holds no index ({MANIFEST} is missing): build it again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedIndex(f"{folder / MANIFEST} cannot be read ({error}): build the index again") from error


def build_index(
    passages: Sequence[Passage],
    folder: Path,
    *,
    k1: float = DEFAULT_K1,
    b: float = DEFAULT_B,
    progress: Progress | None = None,
) -> None:
    """Build an index of `passages` as `folder`, which appears whole or not at all; what was there is replaced.

    Args:
        passages: with distinct ids and distinct texts.
        folder: where the index is to lie; its parent is made.
        k1: saturation of repeated terms, above 0.
        b: weight of the passage length, from 0 to 1.
        progress: called with (passages done, passages in all).

    Raises:
        DuplicatePassage: if two passages have the same id or say the same.
    """
    check_distinct(passages)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        draft = Path(made) / "index"
        (draft / FILES).mkdir(parents=True)
        write_whoosh(passages, draft / FILES, progress)
        manifest = _Manifest(
            FORMAT, ENGINE, _engine_version(), k1, b, len(passages), corpus_hash(passages), _files(draft)
        )
        (draft / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
        if folder.exists():
            folder.replace(Path(made) / "old")
        draft.replace(folder)
    _log.info("built an index of %d passages in %s", len(passages), folder)


def load_index(path: Path) -> WhooshIndex:
    """Open the index in the folder `path`, after checking that its files are whole.

    Raises:
        DamagedIndex: if it is missing, cut short, changed, or of another format.
    """
    manifest = _read_manifest(path)
    if manifest.format != FORMAT or manifest.engine != ENGINE:
        raise DamagedIndex(f"{path} has format {manifest.format} of {manifest.engine}: build the index again")
    found = _files(path) if (path / FILES).is_dir() else {}
    for name in manifest.files.keys() | found.keys():
        if manifest.files.get(name) != found.get(name):
            raise DamagedIndex(f"{path / FILES / name} is not as it was written: build the index again")
    size = sum(length for length, _ in found.values())
    return WhooshIndex(path / FILES, k1=manifest.k1, b=manifest.b, corpus_hash=manifest.corpus_hash, size=size)


@cache
def _starter_key() -> str:
    """What decides the content of the starter index: the tables, the code that writes and reads it, the engine.

    The code stands for the passages, so that opening an index that is there already need not write them all again.
    """
    digest = hashlib.sha256(f"{FORMAT} {ENGINE} {_engine_version()} {DEFAULT_K1} {DEFAULT_B}\n".encode())
    here = __name__.rpartition(".")[0]
    facts = f"{here.rpartition('.')[0]}.facts"
    for folder in (resources.files(here), resources.files(facts), resources.files(facts) / "data"):
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.is_file():
                digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _open_or_build(folder: Path, passages: Callable[[], Sequence[Passage]], progress: Progress | None) -> WhooshIndex:
    try:
        return load_index(folder)
    except DamagedIndex as error:
        _log.info("%s", error)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        try:
            return load_index(folder)  # another process may have built it meanwhile
        except DamagedIndex:
            build_index(passages(), folder, progress=progress)
        return load_index(folder)


def open_starter(cache_dir: Path | None = None, progress: Progress | None = None) -> Index:
    """The starter corpus, ready to search; built on first use, opened once for each folder in a process.

    Args:
        cache_dir: where to keep it; the user's cache folder by default.
        progress: called with (passages done, passages in all) where the index has to be built.
    """
    root = user_cache_path("medgym") if cache_dir is None else cache_dir
    folder = root.resolve() / "kb" / f"starter-{_starter_key()}"
    with _open_lock:
        if folder not in _open:
            _open[folder] = _open_or_build(folder, starter_passages, progress)
        return _open[folder]
