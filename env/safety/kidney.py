"""Kidney function from the chart."""

from __future__ import annotations

from ...tools.record import Record


def estimated_gfr(record: Record) -> float | None:
    """CKD-EPI 2021 estimated GFR in mL/min/1.73 m2 from the latest creatinine, or None without one.

    Source: Inker LA et al. N Engl J Med 2021;385:1737.
    """
    result = record.lab("CREA") or record.lab("Cr")
    if result is None or not isinstance(result.value, float):
        return None
    female = record.chart.sex == "female"
    kappa, alpha = (0.7, -0.241) if female else (0.9, -0.302)
    ratio = result.value / kappa
    gfr = 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938**record.chart.age
    return gfr * 1.012 if female else gfr
