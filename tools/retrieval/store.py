"""The passages of an index in one SQLite file: by number, by id, by document.

Owns the file and its table. A passage's *number* is its place in the corpus, from 0; engines know passages by number
only. Each row holds the passage as JSON (`record`), with its content hash. Readers are safe to use from several threads
and after a fork: the file never changes, and each process opens it anew.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .index import DamagedIndex, UnknownPassage
from .passage import FIELDS, Passage, is_passage_id

FILE = "passages.sqlite"
_BATCH = 2000
_NEAR = 400  # ids to compare a mistyped one with
_TABLE = "CREATE TABLE passages (number INTEGER PRIMARY KEY, id TEXT NOT NULL, document TEXT NOT NULL, record TEXT)"
_INDEXES = (
    "CREATE UNIQUE INDEX by_id ON passages (id)",
    "CREATE INDEX by_document ON passages (document)",
)


class Row(NamedTuple):
    """A passage on its way into an index.

    Attributes:
        id, document, kind, source, year: as in `Passage`.
        record: all of it as JSON, from `record_of`.
        terms: the index terms of title and text, joined by blanks.
    """

    id: str
    document: str
    record: str
    terms: str
    kind: str
    source: str
    year: int | None


def record_of(passage: Passage) -> str:
    """The passage as one line of JSON, with the content hash as `sha256`."""
    cells: dict[str, object] = {name: getattr(passage, name) for name in FIELDS}
    return json.dumps(cells | {"sha256": passage.content_hash}, ensure_ascii=False)


def passage_of(record: str) -> Passage:
    """The passage of a record."""
    cells = json.loads(record)
    cells.pop("sha256", None)
    return Passage(**cells)


def record_digest(record: str) -> bytes:
    """The SHA-256 of a record."""
    return hashlib.sha256(record.encode()).digest()


def corpus_hash(digests: Iterable[bytes]) -> str:
    """The SHA-256 of the record digests of a corpus, whatever their order."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def write_store(rows: Iterable[tuple[str, str, str]], path: Path) -> Iterator[int]:
    """Write a new store; yields the number of rows written so far, now and then.

    Args:
        rows: (id, document, record) of the passages in the order of their numbers.
        path: is not there yet.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "page_size = 8192", "cache_size = -65536"):
            database.execute(f"PRAGMA {setting}")
        database.execute("BEGIN")
        database.execute(_TABLE)
        held: list[tuple[int, str, str, str]] = []
        done = 0
        for done, row in enumerate(rows, start=1):
            held.append((done - 1, *row))
            if len(held) == _BATCH:
                database.executemany("INSERT INTO passages VALUES (?, ?, ?, ?)", held)
                held.clear()
                yield done
        database.executemany("INSERT INTO passages VALUES (?, ?, ?, ?)", held)
        for statement in _INDEXES:
            database.execute(statement)
        database.execute("COMMIT")
        yield done


class PassageStore:
    """A store that is open for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file that `write_store` wrote.

        Raises:
            DamagedIndex: if it is missing or no such file.
        """
        self._path = path
        self._lock = threading.Lock()
        self._held: tuple[int, sqlite3.Connection] | None = None
        self._closed = False
        (self._count,) = self._one("SELECT count(*) FROM passages", ())

    def _connection(self) -> sqlite3.Connection:
        if self._closed:
            raise ValueError("this index is closed: open it again")
        if self._held is None or self._held[0] != os.getpid():
            # A connection must not cross a fork; the one that the parent opened is left to the parent.
            name = f"file:{quote(str(self._path.resolve()))}?mode=ro&immutable=1"
            self._held = (os.getpid(), sqlite3.connect(name, uri=True, check_same_thread=False))
        return self._held[1]

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[str, ...]]:
        try:
            with self._lock:
                return self._connection().execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise DamagedIndex(f"{self._path} cannot be read ({error}): build the index again") from error

    def _one(self, query: str, values: Sequence[object]) -> tuple[int]:
        ((found,),) = self._rows(query, values)
        return (int(found),)

    def __len__(self) -> int:
        return self._count

    def at(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages with these numbers, in the order of the numbers."""
        records: dict[int, str] = {}
        for first in range(0, len(numbers), _BATCH):
            part = numbers[first : first + _BATCH]
            query = f"SELECT number, record FROM passages WHERE number IN ({','.join('?' * len(part))})"
            records |= {int(number): record for number, record in self._rows(query, part)}
        return [passage_of(records[number]) for number in numbers]

    def get(self, passage_id: str) -> Passage:
        """The passage with this id.

        Raises:
            UnknownPassage: if there is none; it names near ones.
        """
        if is_passage_id(passage_id):
            rows = self._rows("SELECT record FROM passages WHERE id = ?", (passage_id,))
            if rows:
                return passage_of(rows[0][0])
        raise UnknownPassage(passage_id, self._near(passage_id))

    def _near(self, passage_id: str) -> tuple[str, ...]:
        """At most three ids like this one; in a large store its neighbours in order, and itself in another case."""
        wanted = passage_id.strip().encode("utf-8", "replace").decode()[:200]
        if self._count <= _NEAR * 10:
            rows = self._rows("SELECT id FROM passages", ())
        else:
            rows = [
                *self._rows("SELECT id FROM passages WHERE id = ? COLLATE NOCASE", (wanted,)),
                *self._rows("SELECT id FROM passages WHERE id < ? ORDER BY id DESC LIMIT ?", (wanted, _NEAR)),
                *self._rows("SELECT id FROM passages WHERE id >= ? ORDER BY id LIMIT ?", (wanted, _NEAR)),
            ]
        by_lower = {str(known).lower(): str(known) for (known,) in rows}
        return tuple(by_lower[one] for one in difflib.get_close_matches(wanted.lower(), by_lower, n=3, cutoff=0.5))

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in the order of the corpus; empty if there is none."""
        if name.encode("utf-8", "replace").decode() != name:
            return []
        rows = self._rows("SELECT record FROM passages WHERE document = ? ORDER BY number", (name,))
        return [passage_of(record) for (record,) in rows]

    def records(self) -> Iterator[str]:
        """The records of all passages, in the order of the corpus."""
        for first in range(0, self._count, _BATCH):
            values = (first, first + _BATCH)
            query = "SELECT record FROM passages WHERE number >= ? AND number < ? ORDER BY number"
            yield from (record for (record,) in self._rows(query, values))

    def count_documents(self) -> int:
        """How many documents the passages are parts of."""
        return self._one("SELECT count(DISTINCT document) FROM passages", ())[0]

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        with self._lock:
            self._closed = True
            if self._held is not None and self._held[0] == os.getpid():
                self._held[1].close()
            self._held = None


def checked(record: str) -> tuple[Passage, bool]:
    """The passage of a record, and whether its text still has the content hash that it was stored with."""
    cells = json.loads(record)
    stated = cells.pop("sha256")
    passage = Passage(**cells)
    return passage, passage.content_hash == stated
