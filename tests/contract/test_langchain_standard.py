"""LangChain's own standard tests for tools, for every tool on the demonstration desk."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from medgym.tools.desk import Desk
from medgym.tools.faces import as_langchain_tool, desk_executor
from medgym.tools.spec import ToolSpec

# the standard tests are written for pytest-asyncio's auto mode; this project runs it in strict mode
for function in vars(ToolsIntegrationTests).values():
    if inspect.iscoroutinefunction(function):
        pytest.mark.asyncio(function)


class OnTheDemoDesk:
    """What the standard tests ask of a tool under test; not a test by itself."""

    subject: BaseTool
    spec: ToolSpec

    @pytest.fixture(autouse=True)
    def _subject(self, spec: ToolSpec, desk_for: Callable[[ToolSpec], Desk]) -> None:
        self.spec = spec
        self.subject = as_langchain_tool(spec, desk_executor(desk_for(spec)))
        self.subject.handle_tool_error = False  # an example that fails must fail the test

    @property
    def tool_constructor(self) -> BaseTool:
        return self.subject

    @property
    def tool_invoke_params_example(self) -> dict[str, object]:
        return dict(self.spec.example)


class TestUnit(OnTheDemoDesk, ToolsUnitTests):
    """Unit standard tests."""


class TestIntegration(OnTheDemoDesk, ToolsIntegrationTests):
    """Integration standard tests."""
