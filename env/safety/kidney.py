"""Kidney function from the chart."""

from __future__ import annotations

from ...tools.calculators import calculators
from ...tools.record import Record


def estimated_gfr(record: Record) -> float | None:
    """CKD-EPI 2021 estimated GFR in mL/min/1.73 m2 from the latest creatinine, or None without one.

    Source: Inker LA et al. N Engl J Med 2021;385:1737.
    """
    result = record.lab("Cr")
    if result is None or not isinstance(result.value, float):
        return None
    score = calculators()["ckd_epi_2021"](creatinine_mg_dl=result.value, age=record.chart.age, sex=record.chart.sex)
    return float(score.value)
