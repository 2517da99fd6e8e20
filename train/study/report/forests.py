"""Forest plots: estimates with their intervals, a row each; of the arms, and of the comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...watch.plots import COLOURS
from .canvas import GREY, new_figure
from .effects import ComparisonRow, by_panel
from .outcomes import ArmRow
from .scores import titled

OVER_TASKS, OVER_SEEDS = COLOURS[0], COLOURS[1]
_NARROWEST = 0.02  # of reward, on either side of 0: below that a picture would be of rounding
_ROW, _HEAD, _PANEL = 0.27, 0.75, 3.0  # inches


def draw_arms(rows: Sequence[ArmRow]) -> Any | None:
    """A panel per split, a row per arm: mean reward, interval over tasks, the seeds as small rings.

    Arms and splits without any evaluation are left out; None where nothing is left.
    """
    splits = list(dict.fromkeys(row.split for row in rows if row.composite is not None))
    arms = [arm for arm in dict.fromkeys(row.arm for row in rows) if _any_of(rows, arm)]
    if not splits:
        return None
    figure = new_figure(1.6 + _PANEL * len(splits), _HEAD + _ROW * len(arms))
    grid = figure.subplots(1, len(splits), sharey=True, sharex=True, squeeze=False)[0]
    for axes, split in zip(grid, splits, strict=True):
        own = [row for row in rows if row.split == split and row.arm in arms]
        axes.set_title(titled(split, own[0].held_out))
        axes.set_xlabel("composite reward")
        for at, row in enumerate(own):
            if row.composite is None:
                _write_missing(axes, at, "not evaluated")
                continue
            seeds = list(row.composite_of_seed.values()) if row.seeds > 1 else []
            axes.plot(seeds, [at] * len(seeds), "o", color=OVER_SEEDS, markersize=4, fillstyle="none")
            _draw_bar(axes, at, (row.composite, row.tasks_low, row.tasks_high), OVER_TASKS, filled=True)
    _label_rows(grid[0], arms)
    return figure


def _any_of(rows: Sequence[ArmRow], arm: str) -> bool:
    return any(row.composite is not None for row in rows if row.arm == arm)


def draw_comparisons(rows: Sequence[ComparisonRow]) -> Any | None:
    """A panel per family (down) and split (across), a row per pair; filled where Holm's p is at most 0.05.

    Pairs, families and splits without any comparison are left out; None where nothing is left.
    """
    drawn = {(row.family, row.before, row.after) for row in rows if row.difference is not None}
    splits = list(dict.fromkeys(row.split for row in rows if row.difference is not None))
    kept = [row for row in rows if (row.family, row.before, row.after) in drawn and row.split in splits]
    if not kept:
        return None
    panels = by_panel(kept)
    families = list(dict.fromkeys(row.family for row in kept))
    heights = [_HEAD + _ROW * len(panels[family, splits[0]]) for family in families]
    figure = new_figure(2.2 + _PANEL * len(splits), sum(heights))
    shape = {"squeeze": False, "height_ratios": heights}
    grid = figure.subplots(len(families), len(splits), sharex=True, sharey="row", **shape)
    for across, family in zip(grid, families, strict=True):
        for axes, split in zip(across, splits, strict=True):
            own = panels[family, split]
            axes.set_title(f"{family}, {titled(split, own[0].held_out)}")
            axes.axvline(0, color=GREY, linewidth=0.9)
            for at, row in enumerate(own):
                _draw_pair(axes, at, row)
        _label_rows(across[0], [f"{row.after} less {row.before}" for row in panels[family, splits[0]]])
    low, high = grid[0][0].get_xlim()  # of all panels, now that all are drawn
    grid[0][0].set_xlim(min(low, -_NARROWEST), max(high, _NARROWEST))
    for axes in grid[-1]:
        axes.set_xlabel("difference in composite reward")
    return figure


def _draw_pair(axes: Any, at: int, row: ComparisonRow) -> None:
    if row.difference is None:
        _write_missing(axes, at, row.not_run)
        return
    beside = 0.14 if row.seeds_difference is not None else 0.0
    _draw_bar(axes, at - beside, (row.difference, row.tasks_low, row.tasks_high), OVER_TASKS, filled=row.found)
    if row.seeds_difference is not None:
        over = (row.seeds_difference, row.seeds_low, row.seeds_high)
        _draw_bar(axes, at + beside, over, OVER_SEEDS, filled=False, size=3)


def _draw_bar(
    axes: Any, at: float, bar: tuple[float, float | None, float | None], colour: str, *, filled: bool, size: float = 5
) -> None:
    """A point and its bounds, where it has any."""
    value, low, high = bar
    if low is not None and high is not None:
        axes.plot([low, high], [at, at], color=colour, linewidth=1.5)
    inside = colour if filled else "white"
    axes.plot([value], [at], "o", color=colour, markerfacecolor=inside, markersize=size, zorder=3)


def _write_missing(axes: Any, at: int, why: str) -> None:
    axes.text(
        0.02, at, why, transform=axes.get_yaxis_transform(), va="center", color=GREY, fontsize=6.5, style="italic"
    )


def _label_rows(axes: Any, labels: Sequence[str]) -> None:
    """The first row on top; panels share their axes, so one is told for all."""
    axes.locator_params(axis="x", nbins=6)
    axes.set_yticks(range(len(labels)), list(labels))
    axes.set_ylim(len(labels) - 0.5, -0.5)
