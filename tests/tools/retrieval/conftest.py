"""The starter index, built once for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medgym.tools.retrieval import PassageIndex, build_index, load_index, starter_passages
from medgym.tools.retrieval.passage import Passage


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PassageIndex]:
    folder: Path = tmp_path_factory.mktemp("kb") / "starter"
    build_index(starter_passages(), folder)
    index = load_index(folder)
    yield index
    index.close()


def make(
    passage_id: str,
    text: str,
    *,
    title: str = "of",
    kind: str = "drug",
    source: str = "a label 2020",
    year: int | None = 2020,
) -> Passage:
    """A passage whose title, a stop word, adds no term unless one is given."""
    return Passage(
        id=passage_id,
        title=title,
        text=text,
        document="doc",
        section="section",
        source=source,
        kind=kind,
        year=year,
        licence="Apache-2.0 (medgym)",
        date="" if year is None else str(year),
        certainty="high",
    )


@pytest.fixture
def passage():
    return make
