"""An episode's end as a row for programs and as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from rich.table import Table

from ..env.episode import Episode
from ..env.reward import WEIGHTS
from ..env.trajectory import Trajectory


def episode_row(trajectory: Trajectory, path: Path) -> dict[str, object]:
    """task, policy, seed, turns, reward, breakdown, verdicts, trajectory."""
    return {
        "task": trajectory.task,
        "policy": trajectory.policy,
        "seed": trajectory.seed,
        "turns": len(trajectory.turns),
        "ended": trajectory.ended,
        "reward": trajectory.reward["composite"],
        "breakdown": dict(trajectory.reward),
        "verdicts": [dict(verdict) for verdict in trajectory.verdicts],
        "trajectory": str(path),
    }


def reward_table(breakdown: Mapping[str, float | bool | None]) -> Table:
    """The dimensions with their weights, the evidence and the composite."""
    table = Table("dimension", "score", "weight", title="Reward")
    for name, weight in WEIGHTS.items():
        value = breakdown[name]
        if value is not None:
            table.add_row(name, f"{value:.2f}", f"{weight:.2f}")
    table.add_row("evidence E", f"{breakdown['evidence']:.2f}", "gate")
    capped = "capped by a severity-5 verdict" if breakdown["capped"] else ""
    table.add_row("composite", f"{breakdown['composite']:.3f}", capped, style="bold")
    return table


def evidence_table(episode: Episode) -> Table:
    """What the case needed, what was obtained; shown when the case is over."""
    table = Table("needed evidence", "obtained", title=f"Answer: {episode.task.key.answers[0]}")
    for need in episode.task.key.needs:
        table.add_row(need.what, "yes" if need.marks & episode.seen else "no")
    answer = cast("Mapping[str, object]", episode.submission or {})
    table.add_row("submitted", str(next(iter(answer.values()), "nothing")))
    return table
