"""Text for a Markdown page: tables, escaped cells, and figures rounded for reading. GitHub's dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NOTHING = "–"
"""In place of a figure that does not exist."""
_SPECIAL = re.compile(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w))")  # an underscore within a word is one
_NOISE = 1e-12  # of sums of floats: nobody's difference


def text(value: object) -> str:
    """Any value as text that means nothing to Markdown or HTML, on one line."""
    flat = " ".join(str(value).split())
    plain = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def number(value: float | None, places: int = 3) -> str:
    """Rounded to so many places; large ones to whole numbers."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{places}f}"


def figure(value: float | None) -> str:
    """Of any size: three significant digits."""
    return NOTHING if value is None else f"{value:.3g}"


def signed(value: float | None, places: int = 3) -> str:
    """With its sign, a difference."""
    if value is None:
        return NOTHING
    return f"{value:+.{places}f}" if abs(value) > _NOISE else f"{0:.{places}f}"


def percent(value: float | None) -> str:
    """A share."""
    return NOTHING if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    """A difference of shares, in percentage points."""
    return NOTHING if value is None else signed(100 * value, 1)


def interval(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """Both bounds, or nothing."""
    if low is None or high is None:
        return NOTHING
    form = signed if sign else number
    return f"{form(low)} to {form(high)}"


def probability(value: float | None) -> str:
    """A p-value."""
    return NOTHING if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Wall time in the two largest units that it fills."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def listed(names: Iterable[str]) -> str:
    """Names with commas, escaped."""
    return ", ".join(text(name) for name in names)


def span(values: Iterable[object]) -> str:
    """From the first to the last of values in order; one where all are the same."""
    shown = [str(value) for value in values]
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are already escaped; a header that ends in `:` is of a column of figures."""
    names = [name.removesuffix(":") for name in header]
    rule = ["---:" if name.endswith(":") else "---" for name in header]
    return "".join(f"| {' | '.join(row)} |\n" for row in (names, rule, *rows))
