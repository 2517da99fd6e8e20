"""Which elements of a resource a chart takes, so that the others can be named.

Administrative elements (who recorded it, when it was issued, its version) carry nothing about the patient's health
and are not named; every other element that is not read is.
"""

from __future__ import annotations

from collections.abc import Mapping

from .elements import Json
from .intake import Remark, name_of

_ADMINISTRATIVE = frozenset(
    {
        "resourceType", "id", "meta", "language", "text", "contained", "identifier", "status", "subject", "patient",
        "encounter", "context", "performer", "recorder", "asserter", "informationSource", "requester", "author",
        "authenticator", "custodian", "issued", "recordedDate", "dateAsserted", "date", "category", "basedOn",
        "partOf", "instantiatesCanonical", "instantiatesUri", "method", "device", "specimen", "resultsInterpreter",
        "result", "hasMember", "derivedFrom", "manufacturer", "lotNumber", "expirationDate", "primarySource",
        "managingOrganization", "serviceProvider", "participant", "location", "insurance", "eventHistory",
        "groupIdentifier", "priorPrescription", "dispenseRequest", "reportedBoolean", "priority", "recorded",
        "docStatus", "masterIdentifier", "securityLabel", "class", "type", "serviceType", "statusHistory",
        "classHistory", "site", "doseQuantity", "fundingSource", "protocolApplied", "active", "communication",
        "generalPractitioner", "link", "isSubpotent", "intent", "request", "supportingInformation",
    }
)  # fmt: skip
_READ: Mapping[str, frozenset[str]] = {
    "Patient": frozenset({"name", "gender", "birthDate", "deceasedDateTime", "deceasedBoolean"}),
    "Condition": frozenset(
        {"code", "clinicalStatus", "verificationStatus", "onsetDateTime", "onsetPeriod", "abatementDateTime",
         "abatementPeriod", "abatementAge", "abatementString", "abatementRange"}
    ),
    "AllergyIntolerance": frozenset({"code", "clinicalStatus", "verificationStatus", "criticality", "reaction"}),
    "Observation": frozenset(
        {"code", "effectiveDateTime", "effectiveInstant", "effectivePeriod", "valueQuantity", "valueCodeableConcept",
         "valueString", "valueInteger", "valueBoolean", "valueRatio", "valueRange", "valueDateTime", "component",
         "interpretation", "referenceRange", "dataAbsentReason"}
    ),
    "Immunization": frozenset({"vaccineCode", "occurrenceDateTime"}),
    "MedicationRequest": frozenset(
        {"medicationCodeableConcept", "medicationReference", "authoredOn", "dosageInstruction", "doNotPerform"}
    ),
    "MedicationStatement": frozenset(
        {"medicationCodeableConcept", "medicationReference", "effectiveDateTime", "effectivePeriod", "dosage"}
    ),
    "MedicationAdministration": frozenset(
        {"medicationCodeableConcept", "medicationReference", "effectiveDateTime", "effectivePeriod", "dosage"}
    ),
    "DocumentReference": frozenset({"content", "description"}),
    "DiagnosticReport": frozenset(
        {"code", "effectiveDateTime", "effectivePeriod", "presentedForm", "conclusion"}
    ),
    "Encounter": frozenset({"reasonCode", "period"}),
    "FamilyMemberHistory": frozenset({"relationship", "name", "condition"}),
}  # fmt: skip


def elements_left(resource: Json) -> list[Remark]:
    """One remark naming the elements of a resource that its chart does not hold; none where it holds them all."""
    kind, name = name_of(resource)
    read = _ADMINISTRATIVE | _READ.get(kind, frozenset())
    left = sorted(key for key in resource if key not in read and key.removeprefix("_") not in read)
    return [Remark(kind, name, f"elements not taken in: {', '.join(left)}")] if left else []
