"""The fact tables, loaded once and typed.

Each function reads one table on its first call and returns the same tuple ever after, in file order. A bad row raises
`FactError` naming file and row. Parsing is left to `parsing`, what a drug name means to `names` and `drugs`.
"""

from functools import cache

from .parsing import (
    allergy_fact_row,
    antidote_row,
    bp_category_row,
    disease_row,
    dosing_rule_row,
    drug_class_row,
    instrument_row,
    interaction_row,
    lab_row,
    max_dose_row,
    pk_role_row,
    pregnancy_fact_row,
    vital_norm_row,
)
from .reader import FactError, read_rows, read_text
from .rows import (
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


def _unique(file: str, keys: list[str]) -> None:
    seen: set[str] = set()
    for line, key in enumerate(keys, start=2):
        if key in seen:
            raise FactError(f"{file}, row {line}: {key!r} stands in the table twice")
        seen.add(key)


@cache
def diseases() -> tuple[Disease, ...]:
    """Diseases with their findings, tests and first treatment; ids are unique."""
    rows = tuple(map(disease_row, read_rows("diseases.csv")))
    _unique("diseases.csv", [row.id for row in rows])
    return rows


@cache
def interactions() -> tuple[Interaction, ...]:
    """Drug interactions as written, classes not expanded; ids are unique."""
    rows = tuple(map(interaction_row, read_rows("drug_facts.csv")))
    _unique("drug_facts.csv", [row.id for row in rows])
    return rows


@cache
def drug_classes() -> tuple[DrugClass, ...]:
    """Drug classes: those that the interactions use, then further ones that allergies and pregnancy need."""
    rows = tuple(map(drug_class_row, (*read_rows("drug_classes.csv"), *read_rows("extra_classes.csv"))))
    _unique("drug_classes.csv with extra_classes.csv", [row.name for row in rows])
    return rows


@cache
def pk_roles() -> tuple[PkRole, ...]:
    """Enzyme and transporter roles."""
    return tuple(map(pk_role_row, read_rows("pk_roles.csv")))


@cache
def dosing_rules() -> tuple[DosingRule, ...]:
    """Renal, hepatic and neonatal dose rules."""
    return tuple(map(dosing_rule_row, read_rows("dosing.csv")))


@cache
def max_doses() -> tuple[MaxDose, ...]:
    """Largest single and daily doses by route and population."""
    return tuple(map(max_dose_row, read_rows("max_doses.csv")))


@cache
def pregnancy_facts() -> tuple[PregnancyFact, ...]:
    """Pregnancy and lactation, by drug or class."""
    return tuple(map(pregnancy_fact_row, read_rows("pregnancy.csv")))


@cache
def allergy_facts() -> tuple[AllergyFact, ...]:
    """Cross-reactivity between culprits and related agents."""
    return tuple(map(allergy_fact_row, read_rows("allergy.csv")))


@cache
def antidotes() -> tuple[Antidote, ...]:
    """Antidotes by toxin."""
    return tuple(map(antidote_row, read_rows("antidotes.csv")))


@cache
def labs() -> tuple[LabAnalyte, ...]:
    """Laboratory analytes; one with sex-specific ranges has a row for each sex."""
    return tuple(map(lab_row, read_rows("labs.csv")))


@cache
def vital_norms() -> tuple[VitalNorm, ...]:
    """Normal vital signs by age group."""
    return tuple(map(vital_norm_row, read_rows("vitals.csv")))


@cache
def bp_categories() -> tuple[BpCategory, ...]:
    """Blood-pressure categories by guideline."""
    return tuple(map(bp_category_row, read_rows("bp_categories.csv")))


@cache
def instruments() -> tuple[Instrument, ...]:
    """Published scores and calculators; ids are unique."""
    rows = tuple(map(instrument_row, read_rows("instruments.csv")))
    _unique("instruments.csv", [row.id for row in rows])
    return rows


@cache
def triage_notes() -> str:
    """The decision points of triage systems as Markdown, in our own wording."""
    return read_text("triage.md")
