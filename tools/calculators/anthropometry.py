"""Body size: mass index, surface area, ideal and adjusted weight."""

from __future__ import annotations

import math

from .calculator import at_least, calculator, lowest
from .inputs import number
from .vocabulary import HEIGHT, SEX, WEIGHT


@calculator(
    "BMI",
    specialty="anthropometry",
    citation="WHO Technical Report Series 894, 2000",
    inputs=(WEIGHT, HEIGHT),
    bounds=(0, None),
    unit="kg/m2",
    bands=(
        lowest("underweight"),
        at_least(18.5, "normal"),
        at_least(25, "overweight"),
        at_least(30, "obesity class I"),
        at_least(35, "obesity class II"),
        at_least(40, "obesity class III"),
    ),
    aliases=("body mass index", "Quetelet index"),
    notes="Adults. In Asian populations action points are 23 and 27.5.",
)
def bmi(*, weight_kg: float, height_cm: float) -> float:
    return weight_kg / (height_cm / 100) ** 2


@calculator(
    "Body surface area, Mosteller",
    specialty="anthropometry",
    citation="Mosteller RD. N Engl J Med 1987;317:1098",
    inputs=(WEIGHT, HEIGHT),
    bounds=(0, None),
    unit="m2",
    aliases=("BSA", "Mosteller", "body surface area"),
)
def bsa_mosteller(*, weight_kg: float, height_cm: float) -> float:
    return math.sqrt(height_cm * weight_kg / 3600)


@calculator(
    "Body surface area, Du Bois",
    specialty="anthropometry",
    citation="Du Bois D, Du Bois EF. Arch Intern Med 1916;17:863",
    inputs=(WEIGHT, HEIGHT),
    bounds=(0, None),
    unit="m2",
    aliases=("Du Bois",),
)
def bsa_dubois(*, weight_kg: float, height_cm: float) -> float:
    return 0.007184 * weight_kg**0.425 * height_cm**0.725


@calculator(
    "Ideal body weight, Devine",
    specialty="anthropometry",
    citation="Devine BJ. Drug Intell Clin Pharm 1974;8:650",
    inputs=(number("height_cm", "height; the formula starts at 152.4 cm (60 in)", "cm", 152.4, 260), SEX),
    bounds=(45.5, None),
    unit="kg",
    aliases=("IBW", "ideal body weight", "Devine"),
)
def ibw_devine(*, height_cm: float, sex: str) -> float:
    return (45.5 if sex == "female" else 50.0) + 2.3 * (height_cm / 2.54 - 60)


@calculator(
    "Adjusted body weight",
    specialty="anthropometry",
    citation="Ideal weight plus 0.4 of the excess: Winter MA et al. Pharmacotherapy 2012;32:604",
    inputs=(number("ideal_weight_kg", "ideal body weight", "kg", 20, 150), WEIGHT),
    bounds=(0, None),
    unit="kg",
    aliases=("ABW", "AdjBW"),
)
def abw(*, ideal_weight_kg: float, weight_kg: float) -> float:
    return ideal_weight_kg + 0.4 * (weight_kg - ideal_weight_kg)
