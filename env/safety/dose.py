"""Reading doses and frequencies as people write them; None where the text cannot be read, never a guess.

Where a text gives several (a range, two strengths, "then"), the largest is meant, since a maximum is checked.
"""

from __future__ import annotations

import re

_UNITS = {"mcg": 1e-3, "ug": 1e-3, "µg": 1e-3, "microgram": 1e-3, "mg": 1.0, "milligram": 1.0, "g": 1e3, "gram": 1e3}
# A number with no digit, letter or separator before it ("1e4 mg", "5 000 mg" are not read); "1,000" is a thousand.
_AMOUNT = re.compile(
    r"(?<![\w.,])(?<!\d\s)(?P<number>[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d{1,9}(?:[.,]\d+)?)"
    r"(?:\s*-\s*(?P<upper>\d{1,9}(?:[.,]\d+)?))?\s*"
    r"(?P<unit>micrograms?|milligrams?|grams?|mcg|µg|ug|mg|kg|g|units?|iu|mmol|meq|ml|l)\b"
)
_RATE = re.compile(r"\s*(?:/|per\b)\s*\d*\s*(?:kg|m2|m²|ml|l|h|hr|hours?|min|minutes?|days?|d)\b")
_COUNT = re.compile(r"\b(\d{1,2})\s*(?:x|tab\w*|cap\w*|vials?|ampoules?|puffs?|sachets?)\b[^\d]*$")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")

_EVERY = re.compile(
    r"\b(?:every|each|q)\s*(?:(?P<n>\d{1,4})(?:\s*(?:-|to|or)\s*\d{1,4})?\s*)?"
    r"(?P<unit>min|minutes?|h|hrs?|hours?|d|days?|weeks?)\b"
)
_HOURLY = re.compile(r"\b(?:(\d{1,4})(?:\s*(?:-|to)\s*\d{1,4})?[\s-]*)?hourly\b")
_COUNTED = re.compile(
    r"\b(\d{1,4}|one|two|three|four|five|six|eight)\s*(?:x|times?|doses?|daily|(?:a|per)\s*(?:day|week))"
)
_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
_NUMBERS = {
    "one": 1, "once": 1, "two": 2, "twice": 2, "three": 3, "thrice": 3, "four": 4, "five": 5, "six": 6, "eight": 8,
}  # fmt: skip
_CODES = {
    "od": 1, "qd": 1, "hs": 1, "qhs": 1, "nocte": 1, "nightly": 1, "bedtime": 1, "stat": 1, "single": 1, "morning": 1,
    "evening": 1, "night": 1, "bid": 2, "bd": 2, "tid": 3, "tds": 3, "qid": 4, "qds": 4,
}  # fmt: skip


def _fold(text: str) -> str:
    """Lower case, one dash, one times sign, one micro sign; "b.i.d." as "bid"."""
    folded = re.sub(r"[‐-―−]", "-", text.lower()).replace("μ", "µ")
    return re.sub(r"(?<=\b[a-z])\.(?=[a-z]\b)", "", re.sub(r"(?<=\d)\s*[x×*]\s*(?=\d)", " x ", folded))


def _number(text: str) -> float:
    return float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text.replace(",", "."))


def parse_dose(text: str) -> tuple[float, str] | None:
    """(amount, unit) of the largest dose: `1.5 g` and `3 x 500 mg` give (1500.0, 'mg'); other units as they are.

    None where there is no dose, and where it is one by weight, volume or time (`15 mg/kg`, `250 mg/5 ml`).
    """
    folded = _fold(text)
    found: list[tuple[float, str]] = []
    for match in _AMOUNT.finditer(folded):
        if _RATE.match(folded, match.end()):
            return None
        counted = _COUNT.search(folded[: match.start()])
        amount = max(_number(match["number"]), _number(match["upper"] or "0")) * (int(counted[1]) if counted else 1)
        unit = match["unit"].rstrip("s")
        factor = _UNITS.get(unit)
        found.append((amount * factor, "mg") if factor is not None else (amount, unit))
    masses = [dose for dose in found if dose[1] == "mg"]
    same = masses or [dose for dose in found if dose[1] == found[0][1]]
    return max(same, default=None)


def to_unit(dose: tuple[float, str], unit: str) -> float | None:
    """The dose in a table's unit, or None where the two cannot be compared."""
    amount, own = dose
    wanted = unit.lower().rstrip("s")
    if wanted in _UNITS and own == "mg":
        return amount / _UNITS[wanted]
    return amount if own == wanted else None


def doses_per_day(text: str) -> float | None:
    """Doses a day of a frequency such as `every 6 h`, `6-hourly`, `twice daily`, `3 times a week`, `qid`."""
    rates = [_rate(part) for part in re.split(r"[,;]|\bthen\b", _fold(text))]
    return max((rate for rate in rates if rate is not None), default=None)


def _rate(part: str) -> float | None:
    words = set(re.findall(r"[a-z]+", part))
    counted = _COUNTED.search(part)
    count: float | None = next((float(_NUMBERS[word]) for word in ("once", "twice", "thrice") if word in words), None)
    if counted is not None:
        count = float(_NUMBERS[counted[1]] if counted[1] in _NUMBERS else int(counted[1]))
    codes = [_CODES[word] for word in words if word in _CODES]
    hours = _interval(part)
    if hours is None and codes and count is None:
        return float(max(codes))
    if hours is None and (count is not None or {"daily", "day"} & words):
        hours = 24.0
    return (count if count is not None else 1.0) * 24 / hours if hours else None


def _interval(part: str) -> float | None:
    """Hours between doses where the text gives an interval; 0 for an impossible one."""
    if re.search(r"\b(?:every other|alternate|every second) days?\b", part):
        return 48.0
    every, hourly = _EVERY.search(part), _HOURLY.search(part)
    if every is not None:
        return int(every["n"] or 1) * _HOURS[every["unit"][0]]
    if hourly is not None:
        return float(hourly[1] or 1)
    return 168.0 if re.search(r"week", part) else None
