"""Reading doses and frequencies as people write them; None where the text cannot be read, never a guess."""

from __future__ import annotations

import re

_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)?)\s*(micrograms?|milligrams?|grams?|mcg|µg|μg|ug|mg|kg|g|units?|iu|mmol|meq|ml|l)\b", re.I)
_UNITS = {"mcg": 1e-3, "ug": 1e-3, "µg": 1e-3, "μg": 1e-3, "microgram": 1e-3, "mg": 1.0, "milligram": 1.0, "g": 1e3, "gram": 1e3}
_EVERY = re.compile(r"\b(?:every|q)\s*(\d+)\s*(h|hr|hrs|hours?|d|days?|weeks?)\b", re.I)
_PER_DAY = re.compile(r"\b(\d+)\s*(?:x|times?)\s*(?:a|per|/|daily)?\s*(?:day|daily|d)?\b", re.I)
_WORDS = {
    "once": 1.0, "daily": 1.0, "od": 1.0, "qd": 1.0, "nightly": 1.0, "bedtime": 1.0, "stat": 1.0, "single": 1.0,
    "twice": 2.0, "bid": 2.0, "bd": 2.0, "three": 3.0, "tid": 3.0, "tds": 3.0, "four": 4.0, "qid": 4.0, "qds": 4.0,
    "weekly": 1 / 7, "hourly": 24.0,
}  # fmt: skip


def parse_dose(text: str) -> tuple[float, str] | None:
    """(amount, unit) of the first dose in a text: `1.5 g` gives (1500.0, 'mg'); other units as written."""
    match = _AMOUNT.search(text)
    if match is None:
        return None
    amount, unit = float(match[1].replace(",", ".")), match[2].lower().rstrip("s")
    factor = _UNITS.get(unit)
    return (amount * factor, "mg") if factor is not None else (amount, unit)


def to_unit(dose: tuple[float, str], unit: str) -> float | None:
    """The dose in a table's unit, or None where the two cannot be compared."""
    amount, own = dose
    wanted = unit.lower().rstrip("s")
    if wanted in _UNITS and own == "mg":
        return amount / _UNITS[wanted]
    return amount if own == wanted else None


def doses_per_day(text: str) -> float | None:
    """Doses a day of a frequency such as `every 6 h`, `twice daily`, `3 times a day`, `qid`."""
    folded = text.lower()
    every = _EVERY.search(folded)
    if every is not None:
        hours = int(every[1]) * {"h": 1, "d": 24, "w": 168}[every[2][0]]
        return 24 / hours if hours else None
    counted = _PER_DAY.search(folded)
    if counted is not None:
        return float(counted[1])
    found = [_WORDS[word] for word in re.findall(r"[a-z]+", folded) if word in _WORDS]
    return max(found) if found else None
