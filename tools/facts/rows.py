"""The rows of the fact tables as frozen dataclasses.

Owns the shape of a fact. Every row carries `source`, the publication that it rests on, and `certainty` (high, medium
or low): a row that is not high never decides a gold answer. Numbers that a table leaves open are None.
"""

from dataclasses import dataclass

SEVERITIES = ("contraindicated", "major", "moderate")  # most severe first


@dataclass(frozen=True, slots=True)
class Disease:
    """How one disease looks, is tested for and is treated first.

    `pattern` holds (analyte or sign, rule) pairs such as ("D-dimer", "high") or ("SBP", ">=160"); `esi_typical` is a
    usual triage level from 1 to 5, not a rule.
    """

    id: str
    domain: str
    name: str
    icd10cm: str
    icd10cm_description: str
    demographic: str
    key_findings: tuple[str, ...]
    pattern: tuple[tuple[str, str], ...]
    first_tests: tuple[str, ...]
    confirmatory: tuple[str, ...]
    first_line: tuple[str, ...]
    red_flags: tuple[str, ...]
    instruments: tuple[str, ...]
    differentials: tuple[str, ...]
    esi_typical: int
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class Interaction:
    """An interaction between two drugs, classes or other things; `level` says which side is a class."""

    id: str
    drug_a: str
    drug_b: str
    level: str
    severity: str
    effect: str
    mechanism: str
    mechanism_type: str
    management: str
    source: str
    certainty: str
    ansm_2020_level: str | None

    @property
    def kinds(self) -> tuple[str, str]:
        """What `drug_a` and `drug_b` are: drug, class, substance, food or condition."""
        first, _, second = self.level.partition("-")
        return ("drug", "drug") if self.level == "pair" else (first, second)


@dataclass(frozen=True, slots=True)
class DrugClass:
    """A class of drugs; a member may itself be a class. Composite groups have no ATC code and certainty medium."""

    name: str
    members: tuple[str, ...]
    atc: tuple[str, ...]
    note: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class PkRole:
    """What a drug does to an enzyme or transporter (inhibitor, inducer), or that it needs one (substrate, prodrug)."""

    drug: str
    role: str
    target: str
    strength: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class DosingRule:
    """A dose rule for renal or hepatic impairment.

    `low` (inclusive) and `high` (exclusive) bound `metric`, in mL/min for CrCl, mL/min/1.73 m2 for eGFR, mg/dL for
    creatinine; `grades` are the Child-Pugh letters covered. Where all are empty, `adjustment` says when it applies.
    """

    drug: str
    usual_adult_dose: str
    organ: str
    metric: str
    low: float | None
    high: float | None
    grades: tuple[str, ...]
    qualifier: str
    adjustment: str
    rationale: str
    source: str
    certainty: str

    def applies_to(self, value: float) -> bool:
        """Whether a measured `metric` falls in the band; False for a rule without numeric bounds."""
        if self.low is None or self.high is None:
            return False
        return self.low <= value < self.high


@dataclass(frozen=True, slots=True)
class MaxDose:
    """The largest single and daily dose in `unit`, as written and, where the text is a plain number, as a number.

    `single_per_kg` and `daily_per_kg` are in `unit` per kg of body weight, capped at `single_cap` and `daily_cap`.
    """

    drug: str
    route: str
    population: str
    max_single: str
    max_daily: str
    unit: str
    single: float | None
    daily: float | None
    single_per_kg: float | None
    daily_per_kg: float | None
    single_cap: float | None
    daily_cap: float | None
    note: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class PregnancyFact:
    """Use of a drug or class in pregnancy and lactation."""

    drug: str
    drug_class: str
    legacy_fda_category: str
    pregnancy_risk: str
    pregnancy_note: str
    critical_period: str
    lactation: str
    lactation_note: str
    safer_alternative: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class AllergyFact:
    """How far an allergy to `culprit` carries over to `related_agent`."""

    culprit: str
    related_agent: str
    cross_reactivity: str
    estimate: str
    basis: str
    action: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class Antidote:
    """The antidote to a toxin, its adult dose, when it is given and what gives the poisoning away."""

    toxin: str
    antidote: str
    adult_dose: str
    indication: str
    clue: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class LabAnalyte:
    """A laboratory analyte with its reference range; SI value = conventional value x `factor_to_si`.

    `name` is without the sex, which stands in `sex` ("male", "female" or None for both); an open bound is None.
    """

    name: str
    short: str
    sex: str | None
    loinc: str
    loinc_check: str
    specimen: str
    unit: str
    low: float | None
    high: float | None
    factor_to_si: float | None
    unit_si: str
    low_si: float | None
    high_si: float | None
    critical_low: float | None
    critical_high: float | None
    applies_to: str
    note: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class VitalNorm:
    """Normal vital signs of an age group: per minute, mmHg, degrees Celsius, percent; ages in years.

    `hypotension_rule` is a number or "70+2*age"; `weight_rule` estimates kg from age (or months) where there is one.
    """

    group: str
    age_min_y: float
    age_max_y: float
    hr_low: float
    hr_high: float
    rr_low: float
    rr_high: float
    sbp_low: float
    sbp_high: float
    dbp_low: float
    dbp_high: float
    hypotension_rule: str
    temp_low_c: float
    temp_high_c: float
    spo2_low: float
    weight_rule: str
    note: str
    source: str
    certainty: str

    def hypotension_below(self, age_y: float) -> float:
        """The systolic pressure in mmHg below which a patient of this group and age is hypotensive."""
        return 70 + 2 * age_y if self.hypotension_rule == "70+2*age" else float(self.hypotension_rule)


@dataclass(frozen=True, slots=True)
class BpCategory:
    """A blood-pressure category of one guideline; `combine` says how the two rules (mmHg) join."""

    framework: str
    category: str
    sbp_rule: str
    dbp_rule: str
    combine: str
    action: str
    source: str
    certainty: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """A published score or calculator: its inputs, rule, range, bands, source and terms of use."""

    id: str
    name: str
    domain: str
    inputs: str
    rule: str
    range: str
    interpretation: str
    licence: str
    n_vectors: int
    n_crosschecked: int
    vector_ids: tuple[str, ...]
    source: str
    certainty: str
