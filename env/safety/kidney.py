"""Kidney function from the chart."""

from __future__ import annotations

from ...tools.calculators import CalculatorError, calculators
from ...tools.record import Record


def estimated_gfr(record: Record) -> float | None:
    """CKD-EPI 2021 estimated GFR in mL/min/1.73 m2 from the latest creatinine, or None without one.

    None as well where the formula does not hold: under 18 years, or a creatinine beyond what it takes.

    Source: Inker LA et al. N Engl J Med 2021;385:1737.
    """
    result = record.lab("Cr")
    if result is None or not isinstance(result.value, float):
        return None
    adult = calculators()["ckd_epi_2021"]
    try:
        score = adult(creatinine_mg_dl=result.value, age=record.chart.age, sex=record.chart.sex)
    except CalculatorError:
        return None
    return float(score.value)
