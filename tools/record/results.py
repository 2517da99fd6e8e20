"""What a test shows: the chart's latent finding, or a normal value drawn for this patient.

A normal value is a point of the reference range, fixed by patient and analyte (a hash, no state), so that the
same order gives the same answer in every episode.
"""

from __future__ import annotations

import hashlib

from ..facts import LabAnalyte, labs
from .chart import Chart, Flag, LabResult
from .testcatalog import DiagnosticTest


def analyte(short: str, sex: str, name: str = "") -> LabAnalyte | None:
    """The row of an analyte's short code for a sex; rows without a sex serve both.

    Glucose has two rows of one code: `name` picks one, and without it the random one is meant.
    """
    rows = [row for row in labs() if row.short == short and row.sex in (None, sex)]
    named = [row for row in rows if row.name == name] or [row for row in rows if "random" in row.name]
    return (named or rows or [None])[0]


def flag_of(row: LabAnalyte, value: float) -> Flag:
    """normal, low, high, or critical beyond the critical limits."""
    if (row.critical_low is not None and value <= row.critical_low) or (
        row.critical_high is not None and value >= row.critical_high
    ):
        return "critical"
    if row.low is not None and value < row.low:
        return "low"
    return "high" if row.high is not None and value > row.high else "normal"


def reference_text(row: LabAnalyte) -> str:
    """`3.5-5`, `<= 14` or `>= 90`, in the conventional unit."""
    if row.low is not None and row.high is not None:
        return f"{row.low:g}-{row.high:g}"
    return f"<= {row.high:g}" if row.high is not None else f">= {row.low or 0:g}"


def rounded(value: float) -> float:
    """A value to three significant digits, as a laboratory prints it."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def normal_value(row: LabAnalyte, patient_id: str) -> float:
    """A point of the middle of the reference range, fixed by patient and analyte."""
    low = row.low if row.low is not None else 0.0
    high = row.high if row.high is not None else low * 1.25 if low > 0 else 1.0
    digest = hashlib.sha256(f"{patient_id}/{row.short}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return rounded(low + (high - low) * (0.15 + 0.7 * share))


def lab_result(chart_sex: str, short: str, value: float, category: str, at: int) -> LabResult:
    """A finished analyte result with its flag; raises `KeyError` for an unknown analyte."""
    row = analyte(short, chart_sex)
    if row is None:
        raise KeyError(f"no analyte with the short code {short!r} in labs.csv")
    return LabResult(row.name, short, category, value, row.unit, reference_text(row), flag_of(row, value), at, at)


def reportable(chart: Chart, test: DiagnosticTest) -> bool:
    """Whether a result can be given: an analyte tabulated for the other sex alone has no normal value here."""
    hidden = any(finding.test == test.name for finding in chart.latent)
    return hidden or bool(test.normal) or analyte(test.short, chart.sex, test.name) is not None


def result_of(chart: Chart, test: DiagnosticTest, ordered: int, resulted: int) -> LabResult:
    """The result of a test on this patient; raises `ValueError` where there is none (`reportable`)."""
    if not reportable(chart, test):
        raise ValueError(f"{test.name} has no reference range for a {chart.sex} patient")
    row = analyte(test.short, chart.sex, test.name) if test.short and not test.normal else None
    latent = next((finding for finding in chart.latent if finding.test == test.name), None)
    if row is not None:
        value = float(latent.value) if latent is not None else _last_or_normal(chart, row)
        return LabResult(
            test.name, test.short, test.category, value, row.unit, reference_text(row), flag_of(row, value),
            ordered, resulted,
        )  # fmt: skip
    text = str(latent.value) if latent is not None else test.normal
    flag: Flag = latent.flag if latent is not None else "normal"
    return LabResult(test.name, test.short, test.category, text, "", "", flag, ordered, resulted)


def _last_or_normal(chart: Chart, row: LabAnalyte) -> float:
    """A repeat of an analyte that is on the chart shows the same value; anything else is normal."""
    for result in reversed(chart.labs):
        if result.short == row.short and isinstance(result.value, float):
            return result.value
    return normal_value(row, chart.patient_id)
