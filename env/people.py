"""Draws people: names, ages, bodies, allergies, vaccinations. No real person, no clinical condition under test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..tools.facts import allergy_conflict, canonical
from ..tools.record import Allergy, Immunization, Medication

_FIRST = {
    "male": (
        "Adam",
        "Bruno",
        "Carlos",
        "Daniel",
        "Emil",
        "Farid",
        "George",
        "Hugo",
        "Ivan",
        "Jonas",
        "Kofi",
        "Liam",
        "Mateo",
        "Noah",
        "Omar",
        "Pavel",
        "Quentin",
        "Ravi",
        "Samuel",
        "Tomas",
    ),
    "female": (
        "Alma",
        "Bianca",
        "Clara",
        "Dana",
        "Elif",
        "Fatima",
        "Greta",
        "Hanna",
        "Ines",
        "Julia",
        "Kamila",
        "Leila",
        "Maria",
        "Nadia",
        "Olga",
        "Petra",
        "Rosa",
        "Sofia",
        "Tala",
        "Yara",
    ),
}
_LAST = (
    "Abbott",
    "Berger",
    "Castro",
    "Dvorak",
    "Eriksen",
    "Ferrari",
    "Garcia",
    "Hansen",
    "Ito",
    "Jensen",
    "Khan",
    "Larsen",
    "Moreau",
    "Novak",
    "Okafor",
    "Petrov",
    "Quinn",
    "Rossi",
    "Silva",
    "Tanaka",
    "Usman",
    "Varga",
    "Weber",
    "Yilmaz",
    "Zeman",
)
_ALLERGIES: tuple[tuple[str, str], ...] = (
    ("penicillin", "anaphylaxis"),
    ("amoxicillin", "facial swelling and wheeze"),
    ("trimethoprim-sulfamethoxazole", "blistering rash"),
    ("ciprofloxacin", "anaphylaxis"),
    ("clindamycin", "generalised rash"),
    ("codeine", "urticaria"),
    ("vancomycin", "anaphylaxis"),
    ("carbamazepine", "blistering rash"),
)
_BLOOD = ("A+", "A-", "B+", "B-", "AB+", "O+", "O-")
_PROBLEMS = (
    "seasonal rhinitis",
    "hyperlipidaemia",
    "osteoarthritis of the knee",
    "myopia",
    "varicose veins",
    "lactose intolerance",
)
_VACCINES = ("influenza", "COVID-19", "tetanus-diphtheria booster", "pneumococcal conjugate")
_FAMILY = ("Parents lived into old age.", "Mother with high blood pressure.", "Father with high cholesterol.")
_SOCIAL = ("Never smoked, drinks little.", "Former smoker, retired.", "Works in an office, no tobacco.")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to have a case."""

    patient_id: str
    name: str
    age: int
    sex: Literal["male", "female"]
    birth_date: str
    arrival: str
    blood_type: str
    height_cm: float
    weight_kg: float
    allergies: tuple[Allergy, ...]
    problems: tuple[str, ...]
    medications: tuple[Medication, ...]
    immunizations: tuple[Immunization, ...]
    family_history: str
    social_history: str


def draw_person(
    rng: random.Random, ages: Sequence[int], sex: Literal["any", "male", "female"] = "any", avoid: str = ""
) -> Person:
    """A person of an age range; no allergy that touches a drug named in `avoid` (what the case turns on)."""
    own: Literal["male", "female"] = rng.choice(("male", "female")) if sex == "any" else sex
    age = rng.randint(ages[0], ages[-1])
    year = rng.randint(2027, 2032)
    height = round(rng.gauss(176 if own == "male" else 163, 6), 0)
    return Person(
        patient_id=f"P{rng.randint(1000, 9999)}",
        name=f"{rng.choice(_FIRST[own])} {rng.choice(_LAST)}",
        age=age,
        sex=own,
        birth_date=f"{year - age}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        arrival=f"{year}-12-{rng.randint(29, 31)}T{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
        blood_type=rng.choice(_BLOOD),
        height_cm=height,
        weight_kg=round(rng.uniform(20, 33) * (height / 100) ** 2, 1),
        allergies=_allergies(rng, avoid),
        problems=tuple(rng.sample(_PROBLEMS, rng.randint(0, 2))),
        medications=(),
        immunizations=tuple(
            Immunization(name, year - rng.randint(1, 8)) for name in rng.sample(_VACCINES, rng.randint(1, 3))
        ),
        family_history=rng.choice(_FAMILY),
        social_history=rng.choice(_SOCIAL),
    )


def _allergies(rng: random.Random, avoid: str) -> tuple[Allergy, ...]:
    words = {word.strip(".,;()").lower() for word in avoid.split()}
    named = [drug for drug in (canonical(word) for word in words if len(word) > 4) if drug]
    free = [
        (allergen, reaction)
        for allergen, reaction in _ALLERGIES
        if not any(allergy_conflict(allergen, drug) for drug in named)
    ]
    allergen, reaction = rng.choice(free)
    return (Allergy(allergen, reaction, "severe"),)
