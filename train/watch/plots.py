"""PNG plots of a run's metrics, drawn by matplotlib without a display. matplotlib is imported when first drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from .log import Line
from .series import Series, alarm_steps, metrics_below, series_of, smoothed, stage_lengths

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")  # Okabe & Ito 2008
TOP_TOOLS = 6
_LEGEND_INSIDE = 4  # curves, beyond which the legend stands beside the picture
_SMOOTH_FROM = 20  # points, from which on a moving mean is drawn over the raw line
_WIDTH, _HEIGHT, _DPI = 6.2, 3.0, 130


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric, what it is called in the legend, and its bounds' metrics where it has an interval."""

    metric: str
    label: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture.

    Attributes:
        name: of the file, without `.png`.
        title: above the picture, and its text for those who do not see it.
        unit: of the vertical axis.
        curves: metrics that share the unit; those that were never logged are left out.
        scale: of the vertical axis.
    """

    name: str
    title: str
    unit: str
    curves: tuple[Curve, ...]
    scale: Literal["linear", "log"] = "linear"


PLOTS = (
    Plot(
        "accuracy",
        "Accuracy and validation reward",
        "share, reward",
        (
            Curve("clinical/accuracy", "accuracy"),
            Curve("clinical/success", "submitted and right"),
            Curve("val_reward", "validation reward, 95% interval", "val_reward_low", "val_reward_high"),
        ),
    ),
    Plot(
        "reward",
        "Reward",
        "reward",
        (
            Curve("clinical/composite", "composite, unshaped"),
            Curve("reward", "as trained on"),
            Curve("reward_std", "sd"),
        ),
    ),
    Plot(
        "reward_parts",
        "Parts of the reward",
        "score, 0 to 1",
        tuple(
            Curve(f"clinical/{name}", name)
            for name in ("process", "safety", "format", "coherence", "assertion", "evidence")
        ),
    ),
    Plot("length", "Length of a message", "policy tokens", (Curve("turns/policy_tokens_per_turn", "per message"),)),
    Plot("episode_length", "Length of an episode", "policy tokens", (Curve("turns/policy_tokens", "per episode"),)),
    Plot("turns", "Messages of an episode", "messages", (Curve("turns/mean", "mean"),)),
    Plot(
        "tool_rate",
        "Tool calls",
        "calls",
        (Curve("tools/calls_per_turn", "per message"), Curve("tools/calls", "per episode")),
    ),
    Plot(
        "tool_faults",
        "Faulty tool calls",
        "share of calls",
        (
            Curve("tools/malformed_frac", "malformed"),
            Curve("tools/phantom_frac", "phantom (no such tool here)"),
            Curve("tools/invalid_frac", "invalid arguments"),
            Curve("tools/repeated_frac", "repeated reads"),
        ),
    ),
    Plot("tool_shares", "Most used tools", "share of calls", ()),
    Plot(
        "safety",
        "Harmful episodes",
        "share of episodes",
        (Curve("safety/capped_frac", "capped by a severity-5 verdict"),),
    ),
    Plot(
        "kl",
        "Divergence from the teacher",
        "nats per token",
        (Curve("opd/kl_drift", "without hint"), Curve("opd/kl_hint", "with hint")),
    ),
    Plot("coefficient", "Distillation coefficient", "coefficient", (Curve("opd/coefficient", "coefficient"),)),
    Plot(
        "hint_margin",
        "What the hint knows",
        "nats per token",
        (Curve("opd/hint_margin", "right over wrong, 95% interval", "opd/hint_margin_low", "opd/hint_margin_high"),),
    ),
    Plot(
        "teacher", "Distance between teacher and student", "relative norm", (Curve("opd/teacher_distance", "distance"),)
    ),
    Plot("signal_ratio", "Distillation over RL signal", "ratio", (Curve("opd/signal_ratio", "ratio"),)),
    Plot("loss", "Loss", "loss", (Curve("loss", "loss"),)),
    Plot("gradient", "Gradient norm", "norm before clipping", (Curve("grad_norm", "norm"),), "log"),
    Plot("entropy", "Entropy", "nats per token", (Curve("entropy", "policy"),)),
    Plot(
        "collapse",
        "Dead groups and repetition",
        "share",
        (
            Curve("collapse/dead_groups", "dead groups"),
            Curve("collapse/repeated_ngrams", "repeated 4-grams"),
            Curve("collapse/repeated_turns", "repeated messages"),
        ),
    ),
)
"""What is drawn, in order; a plot none of whose metrics was logged is left out. Detectors are drawn besides."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that was written: its file and its title."""

    path: Path
    title: str


def write_plots(lines: Sequence[Line], folder: Path) -> list[Drawn]:
    """Draw every plot that has something to show.

    Args:
        lines: of `metrics.jsonl`, as `read_metrics` gives them.
        folder: takes `<name>.png`; made if need be.

    Raises:
        ImportError: matplotlib is not installed; the message says what to install.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Drawn] = []
    for plot in PLOTS:
        curves = plot.curves or _tool_curves(lines)
        held = [(curve, series) for curve in curves if len(series := series_of(lines, curve.metric))]
        if held:
            figure, axes = _canvas(plot.title, plot.unit)
            begins = _stage_begins(lines, [stage for _, series in held for stage in series.stages])
            for colour, (curve, series) in zip(COLOURS, held, strict=False):
                if curve.low:
                    _draw_interval(axes, curve, lines, begins, colour)
                else:
                    _draw(axes, curve.label, series, begins, colour)
            _finish(axes, plot, [series for _, series in held], begins)
            drawn.append(_save(figure, folder / f"{plot.name}.png", plot.title))
    detectors = metrics_below(lines, "alarm/")
    if detectors:
        drawn.append(_draw_detectors(lines, [name.removeprefix("alarm/") for name in detectors], folder))
    return drawn


def _tool_curves(lines: Sequence[Line]) -> tuple[Curve, ...]:
    """The tools with the largest mean share; a step that does not name a tool did not use it."""
    prefix = "tools/share/"
    total = {name: sum(series_of(lines, name).values) for name in metrics_below(lines, prefix)}
    top = sorted(total, key=lambda name: (-total[name], name))[:TOP_TOOLS]
    return tuple(Curve(name, name.removeprefix(prefix)) for name in top)


def _canvas(title: str, unit: str, height: float = _HEIGHT) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "medgym[train]", or set report.html = false') from error
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = cast("Any", figure.add_subplot())
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel(unit)
    axes.set_xlabel("optimiser step")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _stage_begins(lines: Sequence[Line], stages: Sequence[str]) -> dict[str, int]:
    """Where each of these stages begins when their steps are counted through, in order of running."""
    begins: dict[str, int] = {}
    at = 0
    for stage, length in stage_lengths(lines).items():
        if stage in stages:
            begins[stage] = at
            at += length
    return begins


def _places(series: Series, begins: Mapping[str, int]) -> list[int]:
    return [begins[stage] + step for stage, step in zip(series.stages, series.steps, strict=True)]


def _draw(axes: Any, label: str, series: Series, begins: Mapping[str, int], colour: str) -> None:
    """A line per stage, thin under a moving mean where there are many points."""
    for stage in begins:
        own = series.of_stage(stage)
        x = _places(own, begins)
        if len(own) < _SMOOTH_FROM:
            axes.plot(x, own.values, color=colour, linewidth=1.6, marker="" if len(own) > 1 else "o", label=label)
        else:
            axes.plot(x, own.values, color=colour, alpha=0.3, linewidth=1.0)
            axes.plot(x, smoothed(own.values), color=colour, linewidth=1.8, label=label)
        label = "" if len(own) else label  # one entry in the legend


def _draw_interval(axes: Any, curve: Curve, lines: Sequence[Line], begins: Mapping[str, int], colour: str) -> None:
    """Points with their bounds; a bound that is missing is drawn as none."""
    held = [line for line in lines if line.get(curve.metric) is not None]
    series = series_of(held, curve.metric)
    arms: list[list[float]] = []
    for name, sign in ((curve.low, -1), (curve.high, 1)):
        pairs = zip([line.get(name) for line in held], series.values, strict=True)
        arms.append([max(0.0, sign * (float(bound) - value)) if bound is not None else 0.0 for bound, value in pairs])
    style = {"marker": "o", "markersize": 4, "linewidth": 1.2, "capsize": 3}
    axes.errorbar(_places(series, begins), series.values, yerr=arms, color=colour, label=curve.label, **style)


def _finish(axes: Any, plot: Plot, held: Sequence[Series], begins: Mapping[str, int]) -> None:
    if plot.scale == "log" and any(value > 0 for series in held for value in series.values):
        axes.set_yscale("log", nonpositive="mask")
    _mark_stages(axes, begins)
    if len(held) > 1 or any(curve.low for curve in plot.curves):
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(held) > _LEGEND_INSIDE else {"loc": "best"}
        axes.legend(framealpha=0.7, edgecolor="none", fontsize=8, **beside)


def _mark_stages(axes: Any, begins: Mapping[str, int]) -> None:
    """A dotted line and a name where a stage begins, where there are several."""
    for stage, at in begins.items() if len(begins) > 1 else ():
        if at:
            axes.axvline(at, color="#888888", linestyle=":", linewidth=1)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (3, -9), "textcoords": "offset points"}
        axes.annotate(stage, (at, 1), fontsize=7, **place)


def _draw_detectors(lines: Sequence[Line], detectors: Sequence[str], folder: Path) -> Drawn:
    """A row per detector, a mark per alarm."""
    title = "Alarms"
    figure, axes = _canvas(title, "", 0.9 + 0.27 * len(detectors))
    rows = {name: len(detectors) - 1 - at for at, name in enumerate(detectors)}
    watched = [line for line in lines if any(name.startswith("alarm/") for name in line)]
    begins = _stage_begins(lines, [str(line["stage"]) for line in watched])
    alarms = alarm_steps(lines)
    x = [begins[stage] + step for _, stage, step in alarms]
    axes.scatter(x, [rows[name] for name, _, _ in alarms], marker="|", s=140, color=COLOURS[1], linewidths=2)
    axes.set_yticks(list(rows.values()), list(rows), fontsize=8)
    axes.set_ylim(-0.6, len(detectors) - 0.4)
    axes.set_xlim(0, max(1, sum(stage_lengths(watched).values())))
    if not alarms:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=COLOURS[2])
    _mark_stages(axes, begins)
    return _save(figure, folder / "detectors.png", title)


def _save(figure: Any, path: Path, title: str) -> Drawn:
    figure.savefig(path, metadata={"Title": title, "Software": None})
    return Drawn(path, title)
