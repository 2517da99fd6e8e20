"""Curves over the steps of training: a panel per metric and a line per arm, seeds thin under their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Any, Literal

from ...watch.series import Series, is_number, series_of, smoothed
from ..records import RunRecord, StudyRecord
from .canvas import Look, arm_legend, legend_height, logarithmic, looks, new_figure
from .progress import RL, main_stage

SMOOTH_FROM = 20
"""Points of a curve, from which on its moving mean is drawn."""
MANY = 8
"""Arms, beyond which a picture of one or two metrics has a panel per arm."""
_STACKED = 2  # metrics, up to which such a picture is no longer than a page
_STEPS = {"rl": "optimiser step", "supervised": "optimiser step of the supervised stage"}
_WIDTH, _HEIGHT, _LEGEND = 3.4, 2.5, 1.9  # inches: of a panel, and of the legend beside them
_COLUMNS = 3
_ARM_WIDTH, _ARM_HEIGHT, _ARM_COLUMNS = 2.3, 1.75, 5


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric's axes; `low` and `high` are the metrics of its bounds where it has an interval."""

    metric: str
    title: str
    unit: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True)
class Curves:
    """A picture of curves.

    Attributes:
        name: of the file, without `.svg`.
        title: of the picture.
        panels: next to each other.
        caption: what has to be known to read it, besides what is said of all curves.
        stage: whose steps are the horizontal axis: of `rl`, or the main stage of every run that is not one of RL.
        scale: of the vertical axes.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    caption: str = ""
    stage: Literal["rl", "supervised"] = "rl"
    scale: Literal["linear", "log"] = "linear"


def logged(record: StudyRecord, picture: Curves, metric: str) -> dict[str, list[Series]]:
    """Arm to a series per seed, in the picture's stage; arms without any value are left out."""
    found: dict[str, list[Series]] = {}
    for run in record.runs:
        stage = _stage(run, picture)
        series = series_of(run.lines, metric).of_stage(stage) if stage is not None else None
        if series:
            found.setdefault(run.arm, []).append(series)
    return found


def _stage(run: RunRecord, picture: Curves) -> str | None:
    if picture.stage == RL:
        return RL
    main = main_stage(run)
    return None if main == RL else main


def draw_curves(record: StudyRecord, picture: Curves) -> Any | None:
    """The figure of a picture; None where none of its metrics was logged. Panels without a value are left out."""
    held = {panel: found for panel in picture.panels if (found := logged(record, picture, panel.metric))}
    arms = [arm.name for arm in record.arms if any(arm.name in found for found in held.values())]
    if not held:
        return None
    look = looks([arm.name for arm in record.arms])
    if picture.panels[0].low or (len(arms) > MANY and len(picture.panels) <= _STACKED):
        return _draw_by_arm(record, picture, held, look)
    columns = min(_COLUMNS, len(held))
    rows = ceil(len(held) / columns)
    stretch = 1.6 if columns == 1 else 1.0
    height = max(_HEIGHT * rows * (1.2 if columns == 1 else 1.0), legend_height(len(arms)))
    figure = new_figure(_WIDTH * stretch * columns + _LEGEND, height)
    for at, (panel, found) in enumerate(held.items()):
        axes = figure.add_subplot(rows, columns, at + 1)
        axes.set(title=panel.title, ylabel=panel.unit, xlabel=_STEPS[picture.stage])
        for arm in arms:
            _draw_seeds(axes, found.get(arm, ()) if len(arms) <= MANY else (), look[arm])
            _draw_mean(axes, found.get(arm, ()), look[arm])
        _tick(axes, picture, found)
    arm_legend(figure, arms, look)
    return figure


def _draw_by_arm(
    record: StudyRecord, picture: Curves, held: Mapping[Panel, Mapping[str, Sequence[Series]]], look: Mapping[str, Look]
) -> Any:
    """Per metric a panel per arm: curves of twenty arms over each other hide one another, as bands of intervals do."""
    columns = min(_ARM_COLUMNS, max(len(found) for found in held.values()))
    heights = [0.35 + _ARM_HEIGHT * ceil(len(found) / columns) for found in held.values()]
    figure = new_figure(max(5.5, _ARM_WIDTH * columns), sum(heights))
    parts = figure.subfigures(len(held), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (panel, found) in zip(parts, held.items(), strict=True):
        part.suptitle(panel.title, x=0.01, ha="left", fontsize=9.5)
        _draw_grid(part, record, picture, panel, found, look, columns)
        part.supxlabel(_STEPS[picture.stage], fontsize=8.5)
        part.supylabel(panel.unit, fontsize=8.5)
    return figure


def _draw_grid(
    part: Any,
    record: StudyRecord,
    picture: Curves,
    panel: Panel,
    found: Mapping[str, Sequence[Series]],
    look: Mapping[str, Look],
    columns: int,
) -> None:
    """A panel per arm on the same axes, over a grey band: from the lowest to the highest mean of all arms."""
    first: Any = None
    band = range_of_means(found)
    for at, arm in enumerate(arm.name for arm in record.arms if arm.name in found):
        axes = part.add_subplot(ceil(len(found) / columns), columns, at + 1, sharex=first, sharey=first)
        first = first if first is not None else axes
        axes.set_title(arm, fontsize=8.5)
        if panel.low:
            axes.axhline(0, color="#888888", linewidth=0.8)
            for run in record.of_arm(arm):
                _draw_interval(axes, run, panel, look[arm])
        else:
            axes.fill_between(*band, color="#dddddd", linewidth=0)
        smooth = not panel.low  # bounds that are averaged over steps would be bounds of nothing
        _draw_seeds(axes, found[arm], look[arm], smooth=smooth)
        _draw_mean(axes, found[arm], Look(look[arm].colour, "-"), smooth=smooth)
        _tick(axes, picture, found)


def _tick(axes: Any, picture: Curves, found: Mapping[str, Sequence[Series]]) -> None:
    """Whole steps, and a logarithmic axis where the picture has one and a value can lie on it."""
    axes.locator_params(axis="x", integer=True, nbins=6)
    if picture.scale == "log" and any(value > 0 for some in found.values() for one in some for value in one.values):
        logarithmic(axes)


def _draw_seeds(axes: Any, seeds: Sequence[Series], look: Look, *, smooth: bool = True) -> None:
    """Thin lines; a single seed is its own mean."""
    for series in seeds if len(seeds) > 1 else ():
        values = _smooth(series.values) if smooth else series.values
        axes.plot(series.steps, values, color=look.colour, linewidth=0.6, alpha=0.4, **_marker(values))


def _draw_mean(axes: Any, seeds: Sequence[Series], look: Look, *, smooth: bool = True) -> None:
    steps, values = mean_over_seeds(seeds)
    shown = _smooth(values) if smooth else values
    axes.plot(steps, shown, color=look.colour, linestyle=look.dash, linewidth=1.6, **_marker(shown))


def mean_over_seeds(seeds: Sequence[Series]) -> tuple[list[int], list[float]]:
    """Steps that all seeds logged, and the means there: a seed that ends early must not make the others' mean jump."""
    values: list[Mapping[int, float]] = [dict(zip(one.steps, one.values, strict=True)) for one in seeds]
    steps = sorted(step for step in values[0] if all(step in held for held in values)) if values else []
    return steps, [fmean(held[step] for held in values) for step in steps]


def range_of_means(found: Mapping[str, Sequence[Series]]) -> tuple[list[int], list[float], list[float]]:
    """Steps at which any arm has a mean, and the lowest and the highest one drawn there."""
    values: dict[int, list[float]] = {}
    for seeds in found.values():
        steps, means = mean_over_seeds(seeds)
        for step, value in zip(steps, _smooth(means), strict=True):
            values.setdefault(step, []).append(value)
    steps = sorted(values)
    return steps, [min(values[step]) for step in steps], [max(values[step]) for step in steps]


def _smooth(values: Sequence[float]) -> Sequence[float]:
    return values if len(values) < SMOOTH_FROM else smoothed(values)


def _marker(values: Sequence[float]) -> dict[str, object]:
    """A single point would be no line."""
    return {"marker": "o", "markersize": 4} if len(values) == 1 else {}


def _draw_interval(axes: Any, run: RunRecord, panel: Panel, look: Look) -> None:
    """Between the bounds of a seed, where both were logged."""
    lines = [line for line in run.lines if line["stage"] == RL]
    lines = [line for line in lines if is_number(line.get(panel.low)) and is_number(line.get(panel.high))]
    steps = series_of(lines, panel.low).steps
    low, high = (series_of(lines, bound).values for bound in (panel.low, panel.high))
    if len(steps) > 1:
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(steps, low, high, color=look.colour, alpha=0.4)
