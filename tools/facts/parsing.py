"""From the cells of a table row to a typed fact.

Owns what each column means, one function for each table; a cell that does not fit raises `FactError` naming file and
row. Opening files is left to `reader`, caching to `tables`.
"""

import re

from .reader import Row
from .rows import (
    SEVERITIES,
    AllergyFact,
    Antidote,
    BpCategory,
    Disease,
    DosingRule,
    DrugClass,
    Instrument,
    Interaction,
    LabAnalyte,
    MaxDose,
    PkRole,
    PregnancyFact,
    VitalNorm,
)

LEVELS = (
    "pair", "drug-class", "class-drug", "class-class",
    "drug-substance", "class-substance", "class-food", "drug-condition",
)  # fmt: skip
ROLES = ("inhibitor", "inducer", "substrate", "prodrug")
CHILD_PUGH = "ABC"

_PLAIN = re.compile(r"([\d.]+)(?: \(.*\))?")
_PER_KG = re.compile(r"([\d.]+) mg/kg(?:/day)?(?: \(max ([\d.]+).*\).*)?")
_SEX = re.compile(r"(.+), (male|female)")


def _pattern(row: Row) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for part in row.items("pattern"):
        analyte, colon, rule = part.partition(":")
        if not colon or not analyte.strip() or not rule.strip():
            raise row.error(f"pattern part {part!r} is not of the form analyte:rule")
        pairs.append((analyte.strip(), rule.strip()))
    return tuple(pairs)


def disease_row(row: Row) -> Disease:
    """A row of diseases.csv."""
    esi = row.integer("esi_typical")
    if not 1 <= esi <= 5:
        raise row.error(f"esi_typical is {esi}, not between 1 and 5")
    return Disease(
        id=row.needed("id"),
        domain=row.needed("domain"),
        name=row.needed("name"),
        icd10cm=row.needed("icd10cm"),
        icd10cm_description=row.needed("icd10cm_description"),
        demographic=row.needed("demographic"),
        key_findings=row.items("key_findings"),
        pattern=_pattern(row),
        first_tests=row.items("first_tests"),
        confirmatory=row.items("confirmatory"),
        first_line=row.items("first_line"),
        red_flags=row.items("red_flags"),
        instruments=row.items("instruments"),
        differentials=row.items("differentials"),
        esi_typical=esi,
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def interaction_row(row: Row) -> Interaction:
    """A row of drug_facts.csv."""
    return Interaction(
        id=row.needed("id"),
        drug_a=row.needed("drug_a"),
        drug_b=row.needed("drug_b"),
        level=row.choice("level", LEVELS),
        severity=row.choice("severity", SEVERITIES),
        effect=row.needed("effect"),
        mechanism=row.needed("mechanism"),
        mechanism_type=row.needed("mechanism_type"),
        management=row.needed("management"),
        source=row.needed("source"),
        certainty=row.certainty(),
        ansm_2020_level=row.text("ansm_2020_level") or None,
    )


def drug_class_row(row: Row) -> DrugClass:
    """A row of drug_classes.csv or extra_classes.csv; a group without ATC code is composite."""
    atc = row.items("atc")
    return DrugClass(
        name=row.needed("class"),
        members=row.items("members"),
        atc=atc,
        note=row.text("note"),
        source=f"WHO ATC {', '.join(atc)}" if atc else "composite group, widely listed",
        certainty="high" if atc else "medium",
    )


def pk_role_row(row: Row) -> PkRole:
    """A row of pk_roles.csv."""
    return PkRole(
        drug=row.needed("drug"),
        role=row.choice("role", ROLES),
        target=row.needed("target"),
        strength=row.needed("strength"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def dosing_rule_row(row: Row) -> DosingRule:
    """A row of dosing.csv; Child-Pugh letters are inclusive at both ends."""
    metric, low, high = row.needed("metric"), row.text("rule_low"), row.text("rule_high")
    grades: tuple[str, ...] = ()
    numeric = metric in ("CrCl", "eGFR", "creatinine")
    if metric == "Child-Pugh":
        if low not in CHILD_PUGH or high not in CHILD_PUGH or low > high:
            raise row.error(f"Child-Pugh runs from {low!r} to {high!r}, not between A and C")
        grades = tuple(CHILD_PUGH[CHILD_PUGH.index(low) : CHILD_PUGH.index(high) + 1])
    elif numeric and not (low and high):
        raise row.error(f"metric {metric} needs both rule_low and rule_high")
    return DosingRule(
        drug=row.needed("drug"),
        usual_adult_dose=row.needed("usual_adult_dose"),
        organ=row.needed("organ"),
        metric=metric,
        low=row.number("rule_low") if numeric else None,
        high=row.number("rule_high") if numeric else None,
        grades=grades,
        qualifier="" if numeric or grades else metric,
        adjustment=row.needed("adjustment"),
        rationale=row.needed("rationale"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def _amount(text: str) -> tuple[float | None, float | None, float | None]:
    """A dose limit as (plain number, number per kg, cap); all None where the text is neither."""
    if plain := _PLAIN.fullmatch(text):
        return float(plain[1]), None, None
    if per_kg := _PER_KG.fullmatch(text):
        return None, float(per_kg[1]), float(per_kg[2]) if per_kg[2] else None
    return None, None, None


def max_dose_row(row: Row) -> MaxDose:
    """A row of max_doses.csv."""
    single, single_per_kg, single_cap = _amount(row.needed("max_single"))
    daily, daily_per_kg, daily_cap = _amount(row.needed("max_daily"))
    return MaxDose(
        drug=row.needed("drug"),
        route=row.needed("route"),
        population=row.needed("population"),
        max_single=row.needed("max_single"),
        max_daily=row.needed("max_daily"),
        unit=row.needed("unit"),
        single=single,
        daily=daily,
        single_per_kg=single_per_kg,
        daily_per_kg=daily_per_kg,
        single_cap=single_cap,
        daily_cap=daily_cap,
        note=row.text("note"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def _dash(value: str) -> str:
    return "" if value == "-" else value


def pregnancy_fact_row(row: Row) -> PregnancyFact:
    """A row of pregnancy.csv."""
    return PregnancyFact(
        drug=row.needed("drug"),
        drug_class=row.needed("class"),
        legacy_fda_category=_dash(row.text("legacy_fda_category")),
        pregnancy_risk=row.needed("pregnancy_risk"),
        pregnancy_note=row.text("pregnancy_note"),
        critical_period=_dash(row.text("critical_period")),
        lactation=row.needed("lactation"),
        lactation_note=row.text("lactation_note"),
        safer_alternative=row.text("safer_alternative"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def allergy_fact_row(row: Row) -> AllergyFact:
    """A row of allergy.csv."""
    return AllergyFact(
        culprit=row.needed("culprit"),
        related_agent=row.needed("related_agent"),
        cross_reactivity=row.needed("cross_reactivity"),
        estimate=row.needed("estimate"),
        basis=_dash(row.text("basis")),
        action=row.needed("action"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def antidote_row(row: Row) -> Antidote:
    """A row of antidotes.csv."""
    return Antidote(
        toxin=row.needed("toxin"),
        antidote=row.needed("antidote"),
        adult_dose=row.needed("adult_dose"),
        indication=row.needed("indication"),
        clue=row.needed("toxidrome_or_clue"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def lab_row(row: Row) -> LabAnalyte:
    """A row of labs.csv; "Haemoglobin, male" becomes the name and the sex."""
    sexed = _SEX.fullmatch(row.needed("analyte"))
    return LabAnalyte(
        name=sexed[1] if sexed else row.needed("analyte"),
        short=row.needed("short"),
        sex=sexed[2] if sexed else None,
        loinc=row.needed("loinc"),
        loinc_check=row.choice("loinc_check", ("name_confirmed", "check_digit_only")),
        specimen=row.needed("specimen"),
        unit=row.needed("unit_conventional"),
        low=row.number("ref_low"),
        high=row.number("ref_high"),
        factor_to_si=row.number("factor_conv_to_si"),
        unit_si=row.text("unit_si"),
        low_si=row.number("ref_low_si"),
        high_si=row.number("ref_high_si"),
        critical_low=row.number("critical_low"),
        critical_high=row.number("critical_high"),
        applies_to=row.needed("applies_to"),
        note=row.text("note"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def _must(row: Row, column: str) -> float:
    value = row.number(column)
    if value is None:
        raise row.error(f"column {column!r} is empty and must be a number")
    return value


def vital_norm_row(row: Row) -> VitalNorm:
    """A row of vitals.csv."""
    rule = row.needed("hypotension_sbp")
    if rule != "70+2*age":
        _must(row, "hypotension_sbp")
    return VitalNorm(
        group=row.needed("age_group"),
        age_min_y=_must(row, "age_min_y"),
        age_max_y=_must(row, "age_max_y"),
        hr_low=_must(row, "hr_awake_low"),
        hr_high=_must(row, "hr_awake_high"),
        rr_low=_must(row, "rr_low"),
        rr_high=_must(row, "rr_high"),
        sbp_low=_must(row, "sbp_low"),
        sbp_high=_must(row, "sbp_high"),
        dbp_low=_must(row, "dbp_low"),
        dbp_high=_must(row, "dbp_high"),
        hypotension_rule=rule,
        temp_low_c=_must(row, "temp_low_c"),
        temp_high_c=_must(row, "temp_high_c"),
        spo2_low=_must(row, "spo2_low"),
        weight_rule=row.text("weight_est"),
        note=row.text("note"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )


def bp_category_row(row: Row) -> BpCategory:
    """A row of bp_categories.csv; the guideline is its own source."""
    framework = row.needed("framework")
    return BpCategory(
        framework=framework,
        category=row.needed("category"),
        sbp_rule=row.needed("sbp_rule"),
        dbp_rule=row.needed("dbp_rule"),
        combine=row.choice("combine", ("and", "or", "and/or")),
        action=row.text("action"),
        source=framework,
        certainty="high",
    )


def instrument_row(row: Row) -> Instrument:
    """A row of instruments.csv."""
    return Instrument(
        id=row.needed("id"),
        name=row.needed("name"),
        domain=row.needed("domain"),
        inputs=row.needed("inputs"),
        rule=row.needed("rule"),
        range=_dash(row.text("range")),
        interpretation=_dash(row.text("interpretation")),
        licence=row.needed("licence"),
        n_vectors=row.integer("n_vectors"),
        n_crosschecked=row.integer("n_crosschecked"),
        vector_ids=row.items("vector_ids"),
        source=row.needed("source"),
        certainty=row.certainty(),
    )
