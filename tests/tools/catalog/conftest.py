"""A demonstration desk with the starter literature, built once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medgym.tools.demo import demo_desk
from medgym.tools.desk import Desk
from medgym.tools.retrieval.index import Index
from medgym.tools.retrieval.library import open_starter


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder: Path = tmp_path_factory.mktemp("literature")
    return open_starter(folder)


@pytest.fixture
def read_desk(starter: Index) -> Desk:
    """A fresh desk whose literature is the starter's."""
    return demo_desk(literature=lambda: starter)


@pytest.fixture
def closed_desk() -> Callable[[], Desk]:
    """Desks whose literature must not be opened."""

    def refuse() -> Index:
        raise AssertionError("the literature was opened")

    return lambda: demo_desk(literature=refuse)
