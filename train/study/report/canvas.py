"""Figures as SVG files that are the same bytes every time: no date, no version, fixed ids, text as text.

Owns the style of the study's pictures and their file. The reader's own matplotlib settings play no part. matplotlib is
imported by `drawing`.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ...watch.plots import COLOURS

Dash: TypeAlias = str | tuple[int, tuple[float, ...]]
DASHES: tuple[Dash, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)), (0, (9, 2)))
GREY = "#555555"
_SETTINGS = {
    "svg.hashsalt": "medgym study",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in an arm's name is a dollar
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@dataclass(frozen=True, slots=True)
class Look:
    """How an arm is drawn, in every picture."""

    colour: str
    dash: Dash


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Arm to its look: colours first, then dashes, so that 35 arms differ."""
    return {
        arm: Look(COLOURS[at % len(COLOURS)], DASHES[at // len(COLOURS) % len(DASHES)]) for at, arm in enumerate(arms)
    }


@contextmanager
def drawing() -> Generator[None]:
    """Draw inside it: matplotlib's defaults with the study's settings, and what was there before afterwards.

    Raises:
        ImportError: matplotlib is not installed; the message says what to install.
    """
    try:
        import matplotlib as imported
    except ImportError as error:
        raise ImportError('the pictures of a study need matplotlib: pip install "medgym[train]"') from error
    matplotlib: Any = imported  # typed in part
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches, without a display."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def arm_legend(figure: Any, arms: Sequence[str], look: Mapping[str, Look]) -> None:
    """A legend beside the axes, arms in order."""
    from matplotlib.lines import Line2D

    made: Any = Line2D
    handles = [made([], [], color=look[arm].colour, linestyle=look[arm].dash, linewidth=1.8) for arm in arms]
    figure.legend(handles, list(arms), loc="outside right upper", handlelength=3.2, labelspacing=0.35)


def legend_height(arms: int) -> float:
    """Inches that a legend of so many arms needs, so that none of it is cut off."""
    return 0.45 + 0.168 * arms


def logarithmic(axes: Any) -> None:
    """A logarithmic vertical axis; its figures are plain text, since a dollar means nothing here (`_SETTINGS`)."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def save(figure: Any, path: Path, title: str) -> None:
    """Write the figure; `title` is its text for those who do not see it."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Title": title, "Creator": None, "Date": None})
    path.write_bytes(out.getvalue())
