"""What every test shares: hypothesis draws the same examples in every run, no example has a deadline; a literature."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from medgym.tools.retrieval import Passage, build_index, starter_passages

settings.register_profile("medgym", derandomize=True, deadline=None)
settings.load_profile("medgym")


def ward_rule(number: int) -> Passage:
    """A passage of a ward's own handbook."""
    return Passage(
        id=f"ward-rule{number}",
        title=f"Ward rule {number}: the quokka protocol",
        text=f"Under the quokka protocol of this ward, step {number} is done before step {number + 1}.",
        document="ward-handbook",
        section=f"step {number}",
        source="Handbook of the ward",
        kind="passage",
        year=2024,
        licence="CC0-1.0",
        date="2024",
        certainty="low",
    )


@pytest.fixture(scope="session")
def ward_literature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index of the starter's passages and five more."""
    folder = tmp_path_factory.mktemp("ward-literature")
    build_index([*starter_passages(), *map(ward_rule, range(5))], folder)
    return folder


@pytest.fixture(scope="session")
def lean_literature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index that lacks three of the starter's passages, and says something else in a fourth's name."""
    folder = tmp_path_factory.mktemp("lean-literature")
    changed, *kept = list(starter_passages())[3:]
    build_index([replace(changed, text="It says something else."), *kept], folder)
    return folder
