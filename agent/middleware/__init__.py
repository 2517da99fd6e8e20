"""Middleware for anybody's `create_agent`: safety interlock, tool shelf, trajectory recorder and budget.

Each works alone on an agent of your own with tools of your own; `medgym.agent.build_agent` puts them together. They
need LangChain (`pip install "medgym[langchain]"`), which is imported when one of them is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import named

if TYPE_CHECKING:
    from .budget import Budget
    from .interlock import Finding, SafetyInterlock, human_agreed
    from .layer import Fold, Layer, folded
    from .recorder import TrajectoryRecorder
    from .run_record import RunRecord, read_runs
    from .shelf import ToolShelf

__all__ = [
    "Budget",
    "Finding",
    "Fold",
    "Layer",
    "RunRecord",
    "SafetyInterlock",
    "ToolShelf",
    "TrajectoryRecorder",
    "folded",
    "human_agreed",
    "read_runs",
]

_HOMES = {
    "Budget": "budget",
    "Finding": "interlock",
    "Fold": "layer",
    "Layer": "layer",
    "RunRecord": "run_record",
    "SafetyInterlock": "interlock",
    "ToolShelf": "shelf",
    "TrajectoryRecorder": "recorder",
    "folded": "layer",
    "human_agreed": "interlock",
    "read_runs": "run_record",
}


def __getattr__(name: str) -> object:
    return named(__name__, _HOMES, name)
