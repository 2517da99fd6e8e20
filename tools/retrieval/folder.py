"""The folder of an index: what lies in it, how it comes into being whole, and how damage is noticed.

    DIR/manifest.json     what was built: the same for the same passages, sources and parameters
    DIR/data-KEY/         the data; KEY is a hash of the manifest
        passages.sqlite   the passages (`store`)
        whoosh/, tantivy/ the engines' files
        files.json        size and SHA-256 of every file; engines name and fill theirs differently in each build

A new index is made ready in a folder of its own and appears by replacing `manifest.json`, in one step; what was there
before serves until then. Opening checks sizes, and hashes too where the index is small; `verify` checks all there is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from .engines import ENGINES, choose, engine_version, open_ranker
from .engines.bm25 import K1, B
from .index import DamagedIndex, IndexInfo
from .passage_index import PassageIndex
from .store import FILE as STORE
from .store import PassageStore, checked, corpus_hash, record_digest

FORMAT = 3
MANIFEST = "manifest.json"
SEAL = "files.json"
SMALL = 64_000_000  # bytes up to which hashes are checked at every opening
_DATA = re.compile(r"data-[0-9a-f]{16}")
MAX_POSTINGS = {"whoosh": 500_000, "tantivy": None}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index is made of.

    Attributes:
        n_passages, n_documents: numbers.
        corpus_hash: of all fields of all passages (`store.corpus_hash`).
        kinds, licences: passages by kind and by licence.
        engines: version by engine that there is an index of.
        parameters: of the build.
        inputs: what was read: name, bytes, SHA-256, licence stated for the file, texts, passages kept.
        dropped: what was left out, by reason: texts that are "empty" or of a "licence" that is not allowed, passages
            that are a "duplicate" or "near duplicate".
        renamed: passages whose id was taken, under another id.
        format: of the folder.
        k1, b: of BM25.
    """

    n_passages: int
    n_documents: int
    corpus_hash: str
    kinds: Mapping[str, int]
    licences: Mapping[str, int]
    engines: Mapping[str, str]
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    inputs: Sequence[Mapping[str, object]] = ()
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    renamed: int = 0
    format: int = FORMAT
    k1: float = K1
    b: float = B

    @property
    def key(self) -> str:
        """A hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def engines_of(names: Iterable[str]) -> dict[str, str]:
    """The versions of these engines, for a manifest."""
    return {name: engine_version(name) for name in names}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index.

    Raises:
        DamagedIndex: if there is none, or it cannot be one.
    """
    path = folder / MANIFEST
    try:
        cells = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        if cells.get("format") != FORMAT:
            raise DamagedIndex(f"{path} is of format {cells.get('format')}, not {FORMAT}: build the index again")
        stated = cells.pop("key")
        found = Manifest(**cells)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedIndex(f"{folder} holds no index ({MANIFEST} is missing): build it again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedIndex(f"{path} cannot be read ({error}): build the index again") from error
    if found.key != stated:
        raise DamagedIndex(f"{path} is not as it was written: build the index again")
    return found


def data_folder(folder: Path, manifest: Manifest) -> Path:
    """Where the data of that manifest lies."""
    return folder / f"data-{manifest.key}"


def _hash(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _files(data: Path) -> list[Path]:
    """The files of an index; lock files, which are empty and may come and go, are left out."""
    found = (path for path in sorted(data.rglob("*")) if path.is_file() and path.name != SEAL)
    return [path for path in found if not path.name.endswith(("LOCK", ".lock"))]


def hashes(data: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file below `data`, by relative path."""
    paths = _files(data)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((str(path.relative_to(data)) for path in paths), pool.map(_hash, paths), strict=True))


def holds_another_manifest(folder: Path) -> bool:
    """Whether there is a `manifest.json` that is not one of an index: a build must not take its place."""
    path = folder / MANIFEST
    if not path.exists():
        return False
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return not _own_data(folder)  # an index's own, which was damaged, stands beside its data
    return not (isinstance(cells, dict) and "corpus_hash" in cells)


def _own_data(folder: Path) -> list[Path]:
    """The data folders that indices left here."""
    found = (path for path in folder.glob("data-*") if _DATA.fullmatch(path.name) and not path.is_symlink())
    return [path for path in found if (path / SEAL).is_file()]


def publish(draft: Path, folder: Path, manifest: Manifest) -> None:
    """Make the data in `draft` the index `folder`, in one step.

    The data of the index that was there before stays until the next time, for those who have it open; older data goes.

    Args:
        draft: the store and the engines' folders, on the file system of `folder`; it is moved.
        folder: exists.
        manifest: of the data.
    """
    data = data_folder(folder, manifest)
    (draft / SEAL).write_text(json.dumps(hashes(draft), indent=1), encoding="utf-8")
    if data.exists():  # of an equal index, which is damaged: equal ones that are whole are not built again
        shutil.rmtree(data)
    try:
        before = data_folder(folder, read_manifest(folder))
    except DamagedIndex:
        before = data
    draft.replace(data)
    new = folder / f".{MANIFEST}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest) | {"key": manifest.key}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / MANIFEST)
    for other in _own_data(folder):
        if other not in (data, before):
            shutil.rmtree(other, ignore_errors=True)


def check_files(data: Path, *, hashed: bool) -> int:
    """Check that every file is as it was written, by size and on demand by hash; the bytes of all together.

    Raises:
        DamagedIndex: naming the first file that is not.
    """
    try:
        sealed = cast("dict[str, list[Any]]", json.loads((data / SEAL).read_text(encoding="utf-8")))
        sizes = {name: int(size) for name, (size, _) in sealed.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DamagedIndex(f"{data / SEAL} cannot be read ({error}): build the index again") from error
    found = {str(path.relative_to(data)): path.stat().st_size for path in _files(data)}
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            what = "is missing" if name not in found else "does not belong there" if name not in sizes else ""
            what = what or f"has {found[name]:,} bytes instead of {sizes[name]:,}"
            raise DamagedIndex(f"{data / name} {what}: build the index again")
    if hashed:
        for name, (_, digest) in hashes(data).items():
            if digest != sealed[name][1]:
                raise DamagedIndex(f"{data / name} is not as it was written: build the index again")
    return sum(sizes.values())


def load_index(path: Path, engine: str | None = None) -> PassageIndex:
    """Open the index in the folder `path`.

    Args:
        path: the folder with the manifest.
        engine: which engine is to search it; None takes the one that `engines.choose` names.

    Raises:
        DamagedIndex: if it is missing, cut short, changed, or of another format.
        EngineMissing: if its engine is not installed.
        ValueError: if it was not built for that engine.
    """
    manifest = read_manifest(path)
    try:
        return _opened(path, manifest, engine)
    except DamagedIndex:
        if read_manifest(path).key == manifest.key:
            raise
    return _opened(path, read_manifest(path), engine)  # another took its place while it was being opened


def _opened(path: Path, manifest: Manifest, engine: str | None) -> PassageIndex:
    data = data_folder(path, manifest)
    built = [name for name in ENGINES if name in manifest.engines]
    if engine is not None and engine not in built:
        raise ValueError(f"{path} has no index of {engine}, only of {', '.join(built)}: build it with --engine both")
    size = check_files(data, hashed=False)
    if size <= SMALL:
        check_files(data, hashed=True)
    chosen = engine or choose(manifest.n_passages, built)
    store, ranker = PassageStore(data / STORE), open_ranker(chosen, data / chosen)
    for what, count in (("passages", len(store)), (chosen, len(ranker))):
        if count != manifest.n_passages:
            raise DamagedIndex(f"{data}: {what} holds {count:,} of {manifest.n_passages:,}: build the index again")
    info = IndexInfo(
        chosen,
        manifest.n_passages,
        manifest.n_documents,
        manifest.k1,
        manifest.b,
        manifest.corpus_hash,
        manifest.kinds,
        path,
        size,
    )
    return PassageIndex(store, ranker, info, max_postings=MAX_POSTINGS[chosen])


def verify(path: Path, progress: Callable[[int, int], None] | None = None) -> Manifest:
    """Check everything about an index: files, hashes, counts, the content hash of every passage; its manifest.

    Args:
        path: the folder with the manifest.
        progress: called with (passages checked, passages in all).

    Raises:
        DamagedIndex: naming what is not as it was written.
    """
    manifest = read_manifest(path)
    data = data_folder(path, manifest)
    check_files(data, hashed=True)
    store = PassageStore(data / STORE)
    digests: list[bytes] = []
    kinds: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    for done, record in enumerate(_shown(store.records(), manifest.n_passages, progress), start=1):
        try:
            passage, whole = checked(record)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedIndex(f"number {done - 1} of {data / STORE} is no passage: {error}") from error
        if not whole:
            raise DamagedIndex(f"passage {passage.id} (number {done - 1}) of {data / STORE} was changed")
        digests.append(record_digest(record))
        kinds[passage.kind] += 1
        licences[passage.licence] += 1
    n_documents = store.count_documents()
    store.close()
    if corpus_hash(digests) != manifest.corpus_hash:
        raise DamagedIndex(f"{data / STORE} does not hold the passages of the manifest: build the index again")
    counted = (len(digests), n_documents, dict(kinds), dict(licences))
    if counted != (manifest.n_passages, manifest.n_documents, dict(manifest.kinds), dict(manifest.licences)):
        raise DamagedIndex(f"{path / MANIFEST} does not count what {data / STORE} holds: build the index again")
    for engine in manifest.engines:
        ranker = open_ranker(engine, data / engine)
        if len(ranker) != manifest.n_passages:
            raise DamagedIndex(f"{data / engine} holds {len(ranker):,} passages instead of {manifest.n_passages:,}")
        ranker.close()
    return manifest


def _shown(records: Iterator[str], total: int, progress: Callable[[int, int], None] | None) -> Iterator[str]:
    for done, record in enumerate(records, start=1):
        yield record
        if progress is not None and (done % 1000 == 0 or done == total):
            progress(done, total)
