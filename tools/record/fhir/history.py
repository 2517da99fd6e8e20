"""Conditions, allergies, vaccinations, family history and encounters: what is known about a patient besides numbers."""

from __future__ import annotations

import re

from ..chart import Allergy, Immunization, Problem, Severity
from .elements import ICD10, SNOMED, Fault, Json, child, codes, first_moment, label, moment, rows, text
from .intake import Gathering

_ICD10_CM = re.compile(r"[A-TV-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?")
_WITHOUT_POINT = re.compile(r"([A-TV-Z]\d[0-9A-Z])([0-9A-Z]{1,4})")
_PREGNANCY_SNOMED = frozenset({"77386006", "72892002", "47200007"})
_PREGNANCY_ICD10 = re.compile(r"Z33\.1|Z34|Z3A|O09")
_NO_ALLERGY = frozenset({"716186003", "409137002", "428607008", "429625007", "1003774007"})
_NO_ALLERGY_WORDS = re.compile(r"\b(no|nil|none|nkda|nka|not)\b.*\b(allerg|known)|^(nkda|nka|none)$", re.IGNORECASE)
_SEVERITIES: dict[str, Severity] = {"mild": "mild", "moderate": "moderate", "severe": "severe"}
_WORST_FIRST: tuple[Severity, ...] = ("severe", "moderate", "mild")
_CRITICALITIES: dict[str, Severity] = {"low": "mild", "high": "severe"}
_CONDITION_OVER = frozenset({"inactive", "remission", "resolved"})
# the words of the adult schedule (`tools.catalog.chart`), first match wins
_VACCINES = (
    (re.compile(r"h(a?)emophilus|\bhib\b", re.IGNORECASE), ""),
    (re.compile(r"influenza|\bflu\b", re.IGNORECASE), "influenza"),
    (re.compile(r"covid|sars-?cov-?2", re.IGNORECASE), "COVID-19"),
    (
        re.compile(r"\btdap\b|^td\b|\btd\b.*(adult|booster)|tetanus.*diphtheria", re.IGNORECASE),
        "tetanus-diphtheria booster",
    ),
    (re.compile(r"pneumococcal conjugate|\bpcv ?\d", re.IGNORECASE), "pneumococcal conjugate"),
    (re.compile(r"zoster.*recombinant|recombinant zoster|shingrix", re.IGNORECASE), "recombinant zoster"),
    (re.compile(r"respiratory syncytial|\brsv\b", re.IGNORECASE), "RSV"),
)  # fmt: skip


def take_condition(resource: Json, into: Gathering) -> None:
    """Take in one Condition; raises `Fault` for one that cannot be."""
    _refuse_unverified(resource)
    concept = child(resource, "code")
    name = label(concept)
    if not name:
        raise Fault("has no code and no name")
    stated = codes(child(resource, "clinicalStatus"))
    over = bool(_CONDITION_OVER.intersection(stated)) or any(key.startswith("abatement") for key in resource)
    if not stated and not over:
        into.change(resource, "has no clinical status; taken as active")
    code = _icd10(codes(concept, *ICD10))
    if not code and (others := codes(concept)):
        into.change(resource, f"has no ICD-10 code; its own code ({', '.join(others)}) is not kept")
    began = first_moment(resource, "onsetDateTime", "onsetPeriod.start")
    if began is not None and into.minutes(began) > 0:
        raise Fault("is dated after the arrival")
    if not over and _is_pregnancy(concept, code):
        if into.sex == "male":
            raise Fault("states pregnancy in a patient whose sex is male")
        into.pregnant = True
    into.problems.append(Problem(name, code, "resolved" if over else "active", began.year if began else None))


def take_allergy(resource: Json, into: Gathering) -> None:
    """Take in one AllergyIntolerance; raises `Fault` for one that cannot be."""
    _refuse_unverified(resource)
    if over := {"inactive", "resolved"}.intersection(codes(child(resource, "clinicalStatus"))):
        raise Fault(f"is {over.pop()}")
    concept = child(resource, "code")
    reactions = rows(resource, "reaction")
    allergen = label(concept) or next(filter(None, (label(child(row, "substance")) for row in reactions)), "")
    if not allergen:
        raise Fault("names no allergen")
    if _NO_ALLERGY.intersection(codes(concept, SNOMED)) or _NO_ALLERGY_WORDS.search(allergen):
        raise Fault("states that no allergy is known; a chart has an empty list for that")
    seen = [label(concept) for row in reactions for concept in rows(row, "manifestation")]
    grades = [_SEVERITIES[text(row, "severity")] for row in reactions if text(row, "severity") in _SEVERITIES]
    severity: Severity | None = next((grade for grade in _WORST_FIRST if grade in grades), None)
    if severity is None:
        stated = text(resource, "criticality")
        severity = _CRITICALITIES.get(stated, "moderate")
        said = f"criticality {stated} and no severity" if stated else "neither severity nor criticality"
        into.change(resource, f"has {said}; its severity is taken as {severity}")
    into.allergies.append(Allergy(allergen, ", ".join(filter(None, seen)) or "reaction not stated", severity))


def take_immunization(resource: Json, into: Gathering) -> None:
    """Take in one Immunization; raises `Fault` for one that cannot be."""
    if (status := text(resource, "status")) != "completed":
        raise Fault(f"has status {status or 'unknown'}")
    name = label(child(resource, "vaccineCode"))
    if not name:
        raise Fault("names no vaccine")
    given = moment(resource, "occurrenceDateTime")
    if given is None:
        raise Fault("has no date")
    if into.minutes(given) > 0:
        raise Fault("is dated after the arrival")
    known = next((word for pattern, word in _VACCINES if pattern.search(name)), "")
    if known and known != name:
        into.change(resource, f"{name!r} taken to be the schedule's {known}")
    into.immunizations.append(Immunization(known or name, given.year))


def take_family_history(resource: Json, into: Gathering) -> None:
    """Take in one FamilyMemberHistory; raises `Fault` for one that cannot be."""
    if (status := text(resource, "status")) in ("entered-in-error", "health-unknown"):
        raise Fault(f"has status {status}")
    who = label(child(resource, "relationship")) or text(resource, "name") or "relative"
    had = [label(child(row, "code")) for row in rows(resource, "condition")]
    if not any(had):
        raise Fault("names no condition")
    into.family.append(f"{who}: {', '.join(filter(None, had))}")


def take_encounter(resource: Json, into: Gathering) -> None:
    """Take the reason of an Encounter as the chief complaint, the latest one's; raises `Fault` where there is none."""
    if (status := text(resource, "status")) in ("entered-in-error", "cancelled", "planned"):
        raise Fault(f"has status {status}")
    reasons = [label(concept) for concept in rows(resource, "reasonCode")]
    said = ", ".join(filter(None, reasons))
    if not said:
        raise Fault("gives no reason in words; a chart holds an encounter's reason and its time only")
    began = moment(child(resource, "period"), "start")
    at = into.minutes(began) if began is not None else -(10**9)
    if at > 0:
        raise Fault("is dated after the arrival")
    if into.complaint is not None:
        into.leave_out(resource, "is one of several encounters; the latest one's reason is the chief complaint")
    if into.complaint is None or at >= into.complaint[0]:
        into.complaint = (at, said)


def _refuse_unverified(resource: Json) -> None:
    wrong = {"refuted", "entered-in-error"}.intersection(codes(child(resource, "verificationStatus")))
    if wrong:
        raise Fault(f"is {wrong.pop()}")


def _icd10(given: list[str]) -> str:
    """The first code in the form of ICD-10-CM, with its point; '' where there is none."""
    for code in given:
        folded = code.strip().upper()
        bare = _WITHOUT_POINT.fullmatch(folded)
        if bare is not None:
            folded = f"{bare[1]}.{bare[2]}"
        if _ICD10_CM.fullmatch(folded):
            return folded
    return ""


def _is_pregnancy(concept: Json, icd10: str) -> bool:
    return bool(_PREGNANCY_SNOMED.intersection(codes(concept, SNOMED)) or _PREGNANCY_ICD10.match(icd10))
