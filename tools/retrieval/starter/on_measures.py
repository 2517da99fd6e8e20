"""The passages on what is measured: laboratory analytes, vital signs, blood pressure, scores and calculators."""

from collections import Counter
from collections.abc import Iterator

from ...facts import BpCategory, Instrument, LabAnalyte, VitalNorm, bp_categories, instruments, labs, vital_norms
from ..passage import Passage
from .prose import passage, portions, slug, spell


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is not None and high is not None:
        return f"from {low:g} to {high:g} {unit}"
    if low is not None:
        return f"{low:g} {unit} or more"
    return f"{high:g} {unit} or less"


def lab_id(row: LabAnalyte) -> str:
    """The id of an analyte's passage: its short name, then what tells it from others of that short name."""
    shared = Counter(other.short for other in labs() if other.sex == row.sex)
    parts = ["lab", row.short]
    if shared[row.short] > 1:
        parts.append(slug(row.name.rpartition(", ")[2]))
    if row.sex:
        parts.append(row.sex)
    return "-".join(parts)


def _lab(row: LabAnalyte) -> Iterator[Passage]:
    name = f"{row.name}, {row.sex}" if row.sex else row.name
    si = ""
    if row.factor_to_si is not None and row.unit_si != row.unit:
        si = f", which is {_range(row.low_si, row.high_si, row.unit_si)} in SI units"
    reference = [
        f"The reference range of {name} ({row.short}) in {row.specimen} is "
        f"{_range(row.low, row.high, row.unit)}{si}; it applies to: {row.applies_to}",
        f"The LOINC code is {row.loinc}",
        f"Note: {spell(row.note)}" if row.note else "",
        "The range printed by the reporting laboratory takes precedence",
    ]
    critical = [
        f"below {row.critical_low:g} {row.unit}" if row.critical_low is not None else "",
        f"above {row.critical_high:g} {row.unit}" if row.critical_high is not None else "",
    ]
    critical = [part for part in critical if part]
    if row.factor_to_si is None:
        conversion = f"There is no fixed factor that converts {row.unit} to another unit"
    elif row.unit_si == row.unit:
        conversion = f"Conventional and SI units are the same, {row.unit}"
    else:
        conversion = f"To convert {row.unit} to {row.unit_si}, multiply by {row.factor_to_si:g}"
    sections = (
        ("", "reference range", f"{name}: reference range", reference),
        ("-critical", "critical values", f"{name}: critical values and unit conversion", [
            f"A result of {name} {' or '.join(critical)} is critical: it is confirmed, phoned to the ward and acted on"
            if critical
            else f"No critical value is listed for {name}, so the trend and the patient decide how urgent it is",
            conversion,
            f"Compare with the reference range, {_range(row.low, row.high, row.unit)}, and with earlier results",
        ]),
    )  # fmt: skip
    for suffix, section, title, sentences in sections:
        yield passage(
            lab_id(row) + suffix,
            title,
            sentences,
            document=name,
            section=section,
            source=row.source,
            kind="lab",
            certainty=row.certainty,
        )


def _vitals(row: VitalNorm) -> Iterator[Passage]:
    weight = f"Body weight in kg can be estimated as {row.weight_rule}" if row.weight_rule else ""
    sections = (
        ("heart-and-breathing", [
            f"In the group {row.group} the normal heart rate when awake is {row.hr_low:g} to {row.hr_high:g} per "
            f"minute and the normal respiratory rate is {row.rr_low:g} to {row.rr_high:g} per minute",
            f"Oxygen saturation should be at least {row.spo2_low:g}% and the temperature between "
            f"{row.temp_low_c:g} and {row.temp_high_c:g} degrees Celsius",
            spell(row.note),
            weight,
        ]),
        ("blood-pressure", [
            f"In the group {row.group} the normal systolic pressure is {row.sbp_low:g} to {row.sbp_high:g} mmHg and "
            f"the normal diastolic pressure {row.dbp_low:g} to {row.dbp_high:g} mmHg",
            f"Hypotension is a systolic pressure below {row.hypotension_rule} mmHg"
            + (", with age in years" if "age" in row.hypotension_rule else ""),
            spell(row.note),
            "Repeat an abnormal reading by hand with a cuff of the right size",
        ]),
    )  # fmt: skip
    for section, sentences in sections:
        yield passage(
            f"vitals-{slug(row.group)}-{section}",
            f"{row.group}: normal {section.replace('-', ' ')}",
            sentences,
            document="Normal vital signs by age",
            section=row.group,
            source=row.source,
            kind="vitals",
            certainty=row.certainty,
        )


def _bp(row: BpCategory) -> Passage:
    joint = {"and": "together with", "or": "or", "and/or": "with or without"}[row.combine]
    return passage(
        f"bp-{slug(row.framework)}-{slug(row.category)}",
        f"Blood pressure category: {row.category} ({row.framework})",
        [
            f"In the scheme {row.framework} the blood pressure category {row.category} means a systolic pressure of "
            f"{spell(row.sbp_rule)} mmHg {joint} a diastolic pressure of {spell(row.dbp_rule)} mmHg",
            f"What follows: {spell(row.action)}" if row.action else "",
            "One reading does not make the category; it is repeated on another occasion unless the pressure is extreme",
        ],
        document=f"Blood pressure categories, {row.framework}",
        section=row.category,
        source=row.source,
        kind="vitals",
        certainty=row.certainty,
    )


def _instrument(row: Instrument) -> Iterator[Passage]:
    span = f"The result is expressed as {row.range}" if row.range else "The result is a verdict rather than a number"
    yield _on(row, "-inputs", f"{row.name}: inputs", "inputs", [
        f"{row.name} is an instrument from {row.domain} that takes these inputs: {spell(row.inputs)}",
        span,
        f"Terms of use: {row.licence}",
        "An input that is missing or implausible is asked for again and never filled in by guess",
    ])  # fmt: skip
    rules = list(portions(row.rule))
    for number, rule in enumerate(rules, start=1):
        part = f", part {number} of {len(rules)}" if len(rules) > 1 else ""
        suffix = f"-rule-{number}" if len(rules) > 1 else "-rule"
        yield _on(row, suffix, f"{row.name}: scoring rule{part}", f"rule{part}", [
            f"{row.name} ({row.domain}) is worked out by this rule{part}: {rule}",
            f"{span}; score every item before reading it"
            if number == 1
            else "The remaining points stand in the other parts of the rule",
        ])  # fmt: skip
    if row.interpretation:
        yield _on(row, "-bands", f"{row.name}: interpretation", "interpretation", [
            f"The result of {row.name} is read as follows: {spell(row.interpretation)}",
            f"The inputs were {spell(row.inputs)}",
            "The bands hold for the population in which the instrument was tested",
        ])  # fmt: skip


def _on(row: Instrument, suffix: str, title: str, section: str, sentences: list[str]) -> Passage:
    return passage(
        f"instrument-{slug(row.id)}{suffix}",
        title,
        sentences,
        document=row.name,
        section=section,
        source=row.source,
        kind="instrument",
        certainty=row.certainty,
    )


def measure_passages() -> Iterator[Passage]:
    """The passages on laboratory analytes, vital signs, blood pressure and instruments, table by table."""
    for lab in labs():
        yield from _lab(lab)
    for norm in vital_norms():
        yield from _vitals(norm)
    yield from map(_bp, bp_categories())
    for instrument in instruments():
        yield from _instrument(instrument)
