"""The LangGraph loop (state, graph, prompts, recorder, policies, play), and what other people's agents can use of it.

The names below are imported when they are first asked for: `import medgym.agent` loads neither LangChain nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ != "medgym.agent":  # a bare checkout on sys.path would make a second, separate copy of every module
    raise ImportError("this folder is the package medgym.agent: run `pip install -e .`, then `import medgym.agent`")

from .lazy_names import named

if TYPE_CHECKING:
    from .agents import build_agent
    from .chat import load_policy
    from .clinical_toolkit import ClinicalToolkit, clinical_tools
    from .middleware import Budget, SafetyInterlock, ToolShelf, TrajectoryRecorder, human_agreed

__all__ = [
    "Budget",
    "ClinicalToolkit",
    "SafetyInterlock",
    "ToolShelf",
    "TrajectoryRecorder",
    "build_agent",
    "clinical_tools",
    "human_agreed",
    "load_policy",
]

_HOMES = {
    "Budget": "middleware.budget",
    "ClinicalToolkit": "clinical_toolkit",
    "SafetyInterlock": "middleware.interlock",
    "ToolShelf": "middleware.shelf",
    "TrajectoryRecorder": "middleware.recorder",
    "build_agent": "agents",
    "clinical_tools": "clinical_toolkit",
    "human_agreed": "middleware.interlock",
    "load_policy": "chat",
}


def __getattr__(name: str) -> object:
    return named(__name__, _HOMES, name)
