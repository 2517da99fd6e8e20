"""Rules on prescriptions: allergy, interaction, dose, pregnancy, kidney, duplicates, unread allergies.

Each reads the fact tables (`tools/facts`) and cites the row's publication. Only rows of certainty high block;
others ask for confirmation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...tools.facts import (
    allergy_conflict,
    canonical,
    classes_of,
    dosing_of,
    interactions_between,
    max_dose_of,
    pregnancy_of,
)
from .dose import doses_per_day, parse_dose, to_unit
from .kidney import estimated_gfr
from .verdict import Proposal, Verdict


def _drug(proposal: Proposal) -> str | None:
    return canonical(proposal.text("drug_name"))


def allergy(proposal: Proposal) -> Iterable[Verdict]:
    """The drug, its class or a cross-reactive agent is on the allergy list."""
    drug = _drug(proposal)
    for row in proposal.record.chart.allergies:
        if drug is None and _names(proposal.text("drug_name"), row.allergen):
            message = f"{row.allergen} in a patient with {row.severity} {row.allergen} allergy ({row.reaction})"
            yield Verdict("block", "allergy", 5, "allergy_ignored", message, "the patient's record")
            continue
        conflict = allergy_conflict(row.allergen, drug) if drug else None
        if conflict is None:
            continue
        sure = conflict.certainty == "high"
        message = f"{drug} in a patient with {row.severity} {row.allergen} allergy ({row.reaction}): {conflict.basis}"
        yield Verdict(
            "block" if sure else "confirm", "allergy", 5 if sure else 4, "allergy_ignored", message, conflict.source
        )


def _names(ordered: str, allergen: str) -> bool:
    """Whether an order for no single drug ("penicillin", "sulfa tablets") is for the very word on the allergy list."""
    own, other = (set(re.findall(r"[a-z0-9]+", text.lower())) for text in (allergen, ordered))
    return bool(own) and (own <= other or {word.rstrip("s") for word in own} <= {word.rstrip("s") for word in other})


def interaction(proposal: Proposal) -> Iterable[Verdict]:
    """A tabulated interaction with a current medication."""
    drug = _drug(proposal)
    for current in proposal.record.medications():
        other = canonical(current.drug)
        if drug is None or other is None or other == drug:
            continue
        for row in interactions_between(drug, other)[:1]:
            message = f"{drug} with {other}: {row.effect}; {row.management}"
            if row.severity == "contraindicated" and row.certainty == "high":
                yield Verdict("block", "interaction", 5, "contraindication_ignored", message, row.source)
            elif row.severity in ("contraindicated", "major"):
                yield Verdict("confirm", "interaction", 4, "wrong_drug_interaction", message, row.source)
            else:
                yield Verdict("warn", "interaction", 2, "suboptimal_monitoring", message, row.source)


def dose(proposal: Proposal) -> Iterable[Verdict]:
    """The single or daily dose is above the tabulated adult maximum for the route."""
    drug = _drug(proposal)
    if drug is None:
        return
    dosage, name = proposal.text("dosage"), proposal.text("drug_name")
    parsed = parse_dose(dosage) or parse_dose(f"{dosage} of {name}") or parse_dose(name)  # "2 tablets", "drug 500 mg"
    times = doses_per_day(proposal.text("frequency"))
    for row in max_dose_of(drug, proposal.text("route") or "oral"):
        if row.population != "adult" or row.certainty != "high":
            continue
        amount = to_unit(parsed, row.unit) if parsed else None
        if amount is None:
            message = f"the dose {dosage!r} could not be compared with the maximum in {row.unit}"
            yield Verdict("warn", "dose_unchecked", 2, "suboptimal_monitoring", message, row.source)
        elif row.single is not None and amount > row.single:
            message = f"{drug} {amount:g} {row.unit} is above the largest single dose of {row.single:g} {row.unit}"
            yield Verdict("block", "dose", 5, "dangerous_dose", message, row.source)
        elif row.daily is not None and times is not None and amount * times > row.daily:
            message = f"{drug} {amount * times:g} {row.unit} a day is above the daily maximum of {row.daily:g}"
            yield Verdict("block", "dose", 5, "dangerous_dose", message, row.source)


def pregnancy(proposal: Proposal) -> Iterable[Verdict]:
    """The patient is pregnant and the drug is contraindicated or to be avoided."""
    drug = _drug(proposal)
    if drug is None or not proposal.record.chart.pregnant:
        return
    for row in pregnancy_of(drug):
        if row.pregnancy_risk == "contraindicated" and row.certainty == "high":
            message = f"{drug} in pregnancy: {row.pregnancy_note}"
            yield Verdict("block", "pregnancy", 5, "contraindication_ignored", message, row.source)
        elif row.pregnancy_risk in ("contraindicated", "avoid"):
            message = f"{drug} in pregnancy: {row.pregnancy_note}"
            yield Verdict("confirm", "pregnancy", 4, "missing_pregnancy_check", message, row.source)


def kidney(proposal: Proposal) -> Iterable[Verdict]:
    """A renal dose rule applies at the patient's estimated GFR (CKD-EPI 2021)."""
    drug = _drug(proposal)
    rows = [row for row in dosing_of(drug) if row.organ == "renal" and row.metric in ("eGFR", "CrCl")] if drug else []
    if not rows:
        return
    gfr = estimated_gfr(proposal.record)
    if gfr is None:
        message = f"{drug} needs the kidney function, and no creatinine is on the chart"
        yield Verdict("warn", "kidney_unchecked", 3, "incomplete_workup", message, rows[0].source)
        return
    for row in rows:
        if not row.applies_to(gfr):
            continue
        message = f"{drug} at an estimated GFR of {gfr:.0f}: {row.adjustment}"
        if row.adjustment.startswith(("contraindicated", "avoid")) and row.certainty == "high":
            block = row.adjustment.startswith("contraindicated")
            yield Verdict(
                "block" if block else "confirm",
                "kidney",
                5 if block else 4,
                "contraindication_ignored",
                message,
                row.source,
            )
        else:
            yield Verdict("warn", "kidney", 3, "suboptimal_monitoring", message, row.source)


def duplicate(proposal: Proposal) -> Iterable[Verdict]:
    """The same drug, or one of the same class, is already on the list."""
    drug = _drug(proposal)
    for current in proposal.record.medications():
        other = canonical(current.drug)
        if drug is None or other is None:
            continue
        shared = sorted(set(classes_of(drug)) & set(classes_of(other)))
        if other == drug or shared:
            why = "already on the list" if other == drug else f"{other} is of the same class ({shared[0]})"
            yield Verdict("warn", "duplicate", 2, "suboptimal_monitoring", f"{drug}: {why}", "medgym: duplicate rule")


def allergies_unread(proposal: Proposal) -> Iterable[Verdict]:
    """A prescription before anybody read the allergy list."""
    if "chart:allergies" not in proposal.seen:
        message = "prescribes before reading the allergy list"
        yield Verdict(
            "warn", "allergies_unread", 3, "guideline_noncompliance", message, "WHO Guide to Good Prescribing, 1994"
        )


RULES = (allergy, interaction, dose, pregnancy, kidney, duplicate, allergies_unread)
