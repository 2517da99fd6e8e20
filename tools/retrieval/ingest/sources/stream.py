"""A source's bytes as a stream, whatever it is packed in: plain, gzip or Zstandard.

Promises that a file which was cut short or damaged is a `SourceError` naming it, wherever in the stream that shows, and
that memory stays bounded by the packing's window. What the bytes mean is left to the readers.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from ..raw import SourceError

PACKED = (".gz", ".zst")

_BUFFER = 1 << 20
_ZSTD_WINDOW = 2**27
# What is fed to the decompressor at once. Zstandard's own stream reader takes a file that was cut short for a whole
# one, so frames are followed here; the smaller the bite, the less a hostile file can swell to between two reads.
_ZSTD_BITE = 8 << 10


class _Zstandard(io.RawIOBase):
    """The content of one or more Zstandard frames; EOFError where the last one does not end."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._codec = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        while not self._ready:
            bite = self._packed.read(_ZSTD_BITE)
            if not bite:
                if self._frame is not None:
                    raise EOFError("the last frame does not end")
                return 0
            self._ready = memoryview(self._unpack(bite))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _unpack(self, bite: bytes) -> bytes:
        parts: list[bytes] = []
        while bite:
            if self._frame is None:
                self._frame = self._codec.decompressobj()
            parts.append(self._frame.decompress(bite))
            if not self._frame.eof:
                break
            bite = self._frame.unused_data
            self._frame = None
        return b"".join(parts)


class _Named(io.RawIOBase):
    """A stream whose failures name the file."""

    def __init__(self, inner: io.RawIOBase | BinaryIO, path: Path) -> None:
        self._inner = cast("io.RawIOBase", inner)
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:  # type: ignore[override]
        try:
            return self._inner.readinto(buffer)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise SourceError(
                f"{self._path}: cannot be read, it is damaged or was cut short ({error}); fetch or pack it again"
            ) from error


@contextmanager
def open_text(path: Path) -> Generator[io.BufferedReader]:
    """The bytes of a file, unpacked by its suffix (.gz, .zst; else as they are), as a buffered stream.

    Raises:
        SourceError: the file cannot be opened, or turns out to be damaged while it is read.
    """
    try:
        packed = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened ({error.strerror})") from error
    with packed:
        inner: io.RawIOBase | BinaryIO = packed
        suffix = path.suffix.lower()
        if suffix in PACKED and not os.fstat(packed.fileno()).st_size:
            raise SourceError(f"{path}: an empty file, not packed data; fetch or pack it again")
        if suffix == ".gz":
            inner = cast("BinaryIO", gzip.GzipFile(fileobj=packed))
        elif suffix == ".zst":
            inner = _Zstandard(packed)
        yield io.BufferedReader(_Named(inner, path), _BUFFER)


def decode(data: bytes, path: Path) -> str:
    """UTF-8 (with or without a byte order mark) as text.

    Raises:
        SourceError: `data` is not UTF-8; the message names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path} line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
