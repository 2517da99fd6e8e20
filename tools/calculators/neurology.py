"""Neurology: transient ischaemic attack, stroke severity, haemorrhage and early infarct signs."""

from __future__ import annotations

from .calculator import Outcome, at_least, calculator, lowest, reaching, total
from .inputs import Input, answers, choice, integer, number, optional, yes_no
from .vocabulary import ADULT_AGE, DIASTOLIC, GCS_TOTAL, SYSTOLIC


@calculator(
    "ABCD2",
    specialty="neurology",
    citation="Johnston SC et al. Lancet 2007;369:283",
    inputs=(
        ADULT_AGE,
        SYSTOLIC,
        DIASTOLIC,
        choice(
            "clinical",
            "unilateral weakness, speech disturbance without weakness, or other",
            "weakness",
            "speech",
            "other",
        ),
        number("duration_min", "duration of the symptoms", "min", 0, 1440),
        yes_no("diabetes", "diabetes mellitus"),
    ),
    bounds=(0, 7),
    bands=(
        lowest("low", "stroke within 2 days 1.0%"),
        at_least(4, "moderate", "stroke within 2 days 4.1%"),
        at_least(6, "high", "stroke within 2 days 8.1%"),
    ),
    notes="NICE NG128 advises not to decide urgency by it.",
)
def abcd2(
    *, age: float, systolic_bp: float, diastolic_bp: float, clinical: str, duration_min: float, diabetes: bool
) -> Outcome:
    return total(
        age=age >= 60,
        blood_pressure=systolic_bp >= 140 or diastolic_bp >= 90,
        clinical={"weakness": 2, "speech": 1, "other": 0}[clinical],
        duration=reaching(duration_min, (60, 2), (10, 1), otherwise=0),
        diabetes=diabetes,
    )


@calculator(
    "ICH score",
    specialty="neurology",
    citation="Hemphill JC et al. Stroke 2001;32:891",
    inputs=(
        GCS_TOTAL,
        number("volume_ml", "haematoma volume by ABC/2", "mL", 0, 300),
        yes_no("intraventricular", "blood in the ventricles"),
        yes_no("infratentorial", "infratentorial origin"),
        ADULT_AGE,
    ),
    bounds=(0, 6),
    bands=(
        lowest("0", "30-day mortality 0% in the original cohort"),
        at_least(1, "1", "30-day mortality 13% in the original cohort"),
        at_least(2, "2", "30-day mortality 26% in the original cohort"),
        at_least(3, "3", "30-day mortality 72% in the original cohort"),
        at_least(4, "4", "30-day mortality 97% in the original cohort"),
        at_least(5, "5-6", "30-day mortality 100% in the original cohort"),
    ),
    aliases=("intracerebral haemorrhage score", "intracerebral hemorrhage score", "ICH"),
)
def ich_score(*, gcs: int, volume_ml: float, intraventricular: bool, infratentorial: bool, age: float) -> Outcome:
    return total(
        gcs=reaching(gcs, (13, 0), (5, 1), otherwise=2),
        volume=volume_ml >= 30,
        intraventricular=intraventricular,
        infratentorial=infratentorial,
        age=age >= 80,
    )


def _testable(name: str, description: str, high: int) -> Input:
    """An item that may be recorded as untestable (UN), which adds no points."""
    item = integer(name, f"{description}; leave out if untestable (UN)", 0, high)
    return optional(item, "taken as untestable (UN), which adds no points", 0)


@calculator(
    "NIHSS",
    specialty="neurology",
    citation="Brott T et al. Stroke 1989;20:864, with the NINDS form of 15 entries",
    inputs=(
        integer("consciousness", "1a level of consciousness", 0, 3),
        integer("questions", "1b month and age", 0, 2),
        integer("commands", "1c two commands", 0, 2),
        integer("gaze", "2 horizontal gaze", 0, 2),
        integer("visual", "3 visual fields", 0, 3),
        integer("facial", "4 facial palsy", 0, 3),
        _testable("arm_left", "5a left arm drift", 4),
        _testable("arm_right", "5b right arm drift", 4),
        _testable("leg_left", "6a left leg drift", 4),
        _testable("leg_right", "6b right leg drift", 4),
        _testable("ataxia", "7 limb ataxia", 2),
        integer("sensory", "8 sensation", 0, 2),
        integer("language", "9 language", 0, 3),
        _testable("dysarthria", "10 dysarthria", 2),
        integer("neglect", "11 extinction and inattention", 0, 2),
    ),
    bounds=(0, 42),
    bands=(
        lowest("no deficit"),
        at_least(1, "minor"),
        at_least(5, "moderate"),
        at_least(16, "moderate-severe"),
        at_least(21, "severe"),
    ),
    licence="public domain (NINDS)",
    aliases=("NIH stroke scale", "National Institutes of Health Stroke Scale"),
)
def nihss(**items: int) -> Outcome:
    return total(**items)


_ASPECTS_REGIONS = ("caudate", "lentiform", "internal_capsule", "insula", "m1", "m2", "m3", "m4", "m5", "m6")


@calculator(
    "ASPECTS",
    specialty="neurology",
    citation="Barber PA et al. Lancet 2000;355:1670",
    inputs=answers(**{region: f"early ischaemic change in {region.replace('_', ' ')}" for region in _ASPECTS_REGIONS}),
    bounds=(0, 10),
    bands=(
        lowest("low", "extensive early change; recent trials treat 3-5 too"),
        at_least(6, "favourable", "favours thrombectomy"),
    ),
    aliases=("Alberta stroke program early CT score",),
)
def aspects(**regions: bool) -> Outcome:
    lost = {name: -1 if abnormal else 0 for name, abnormal in regions.items()}
    return Outcome(10 + sum(lost.values()), lost)
