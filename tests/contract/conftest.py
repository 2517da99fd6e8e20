"""Every tool once, the domains' own `submit_answer` included, and a demonstration desk for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.tools.demo import demo_desk
from medgym.tools.desk import Desk
from medgym.tools.registry import all_tools
from medgym.tools.retrieval.index import Index
from medgym.tools.retrieval.library import open_starter
from medgym.tools.spec import ToolSpec

CASES = dict(all_tools()) | {
    f"submit_answer-{name}": load_domain(name).shelf.get("submit_answer") for name in domain_names()
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `spec` runs for every tool."""
    if "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", list(CASES.values()), ids=list(CASES))


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder: Path = tmp_path_factory.mktemp("literature")
    return open_starter(folder)


@pytest.fixture
def desk_for(starter: Index) -> Callable[[ToolSpec], Desk]:
    """A fresh demonstration desk on whose shelf this tool lies."""

    def make(spec: ToolSpec) -> Desk:
        if spec.name == "submit_answer":
            return demo_desk(spec, lambda: starter)
        return demo_desk(literature=lambda: starter)

    return make
