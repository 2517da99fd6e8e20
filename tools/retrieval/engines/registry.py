"""Which engines there are, which are installed, and which one an index of a given size is searched with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..store import Row
from .ranker import Ranker

ENGINES = ("whoosh", "tantivy")
FAST_FROM = 50_000  # passages from which tantivy is chosen where it is installed
_PACKAGES = {"whoosh": "whoosh3", "tantivy": "tantivy"}


class EngineMissing(RuntimeError):
    """The engine's package is not installed; the message says how to get it."""


def installed(engine: str) -> bool:
    """Whether the engine can be used here."""
    return find_spec(engine) is not None


def check_installed(engine: str) -> None:
    """Raises `EngineMissing` where the engine's package is not there."""
    if not installed(engine):
        raise EngineMissing('tantivy is not installed: pip install "medgym[fast]", or take --engine whoosh')


def engine_version(engine: str) -> str:
    """Version of the engine's package."""
    return metadata.version(_PACKAGES[engine])


def choose(n_passages: int, built: Sequence[str] = ENGINES) -> str:
    """The engine for an index of that size: tantivy above `FAST_FROM` where it is installed, else Whoosh.

    Args:
        n_passages: size of the index.
        built: the engines that there are to choose from; if there is one only, it is that one.
    """
    if len(built) == 1:
        return built[0]
    return "tantivy" if n_passages > FAST_FROM and installed("tantivy") else "whoosh"


def write_engine(engine: str, rows: Iterable[Row], folder: Path, *, memory_mb: int = 256) -> Iterator[int]:
    """Write the index of `engine` into `folder`; yields the number of passages done so far, now and then."""
    check_installed(engine)
    if engine == "tantivy":
        from .tantivy_engine import write_tantivy

        return write_tantivy(rows, folder, memory_mb=memory_mb)
    from .whoosh_engine import write_whoosh

    return write_whoosh(rows, folder, memory_mb=memory_mb)


def open_ranker(engine: str, folder: Path) -> Ranker:
    """Open the index of `engine` in `folder`."""
    check_installed(engine)
    if engine == "tantivy":
        from .tantivy_engine import TantivyRanker

        return TantivyRanker(folder)
    from .whoosh_engine import WhooshRanker

    return WhooshRanker(folder)
