"""Obstetrics: cervix, newborn, dates, fetal weight and well-being."""

from __future__ import annotations

import datetime

from .calculator import Outcome, at_least, calculator, lowest, reaching, total
from .inputs import BadInput, choice, date, integer, number, optional, yes_no


@calculator(
    "Bishop score",
    specialty="obstetrics",
    citation="Bishop EH. Obstet Gynecol 1964;24:266. ACOG Practice Bulletin 107",
    inputs=(
        number("dilation_cm", "cervical dilation", "cm", 0, 10),
        number("effacement_pct", "effacement", "%", 0, 100),
        integer("station", "station of the presenting part", -3, 3),
        choice("consistency", "consistency of the cervix", "firm", "medium", "soft"),
        choice("position", "position of the cervix", "posterior", "mid", "anterior"),
    ),
    bounds=(0, 13),
    bands=(
        lowest("unfavourable", "ripening usual before induction"),
        at_least(7, "intermediate"),
        at_least(8, "favourable", "vaginal birth about as likely after induction as after spontaneous labour"),
    ),
    aliases=("Bishop",),
    notes="Modified forms use the cervical length.",
)
def bishop(*, dilation_cm: float, effacement_pct: float, station: int, consistency: str, position: str) -> Outcome:
    return total(
        dilation=reaching(dilation_cm, (5, 3), (3, 2), (1, 1), otherwise=0),
        effacement=reaching(effacement_pct, (80, 3), (60, 2), (40, 1), otherwise=0),
        station=reaching(station, (1, 3), (-1, 2), (-2, 1), otherwise=0),
        consistency=("firm", "medium", "soft").index(consistency),
        position=("posterior", "mid", "anterior").index(position),
    )


@calculator(
    "APGAR",
    specialty="obstetrics",
    citation="Apgar V. Curr Res Anesth Analg 1953;32:260. ACOG Committee Opinion 644",
    inputs=(
        integer("appearance", "0 blue or pale, 1 blue limbs, 2 pink", 0, 2),
        integer("pulse", "0 absent, 1 below 100, 2 100 or more", 0, 2),
        integer("grimace", "0 none, 1 grimace, 2 cry or cough", 0, 2),
        integer("activity", "0 limp, 1 some flexion, 2 active", 0, 2),
        integer("respiration", "0 absent, 1 weak, 2 good cry", 0, 2),
    ),
    bounds=(0, 10),
    bands=(lowest("low"), at_least(4, "moderately abnormal"), at_least(7, "reassuring")),
    aliases=("Apgar score",),
    notes="At 1 and 5 minutes, then every 5 to 20 minutes if below 7; never to decide on resuscitation.",
)
def apgar(*, appearance: int, pulse: int, grimace: int, activity: int, respiration: int) -> Outcome:
    return total(appearance=appearance, pulse=pulse, grimace=grimace, activity=activity, respiration=respiration)


def _term(days: int) -> str:
    """ACOG names of the weeks: early term 37+0, full 39+0, late 41+0, post 42+0."""
    return ("preterm", "early term", "full term", "late term", "post-term")[
        int(reaching(days / 7, (42, 4), (41, 3), (39, 2), (37, 1), otherwise=0))
    ]


@calculator(
    "Naegele's rule",
    specialty="obstetrics",
    citation="Last menstrual period plus 280 days; ACOG Committee Opinion 700, 2017",
    inputs=(
        date("last_menstrual_period", "first day of the last menstrual period"),
        optional(date("on_date", "day for which the gestational age is wanted")),
    ),
    bounds=(None, None),
    unit="date",
    aliases=("Naegele", "estimated due date", "EDD", "due date"),
    notes="For a regular cycle of 28 days; ultrasound redates beyond the limits of ACOG 700.",
)
def naegele(*, last_menstrual_period: str, on_date: str | None) -> Outcome:
    start = datetime.date.fromisoformat(last_menstrual_period)
    try:
        due = start + datetime.timedelta(days=280)
    except OverflowError as error:
        raise BadInput("last_menstrual_period", "no calendar day lies 280 days later; check the year") from error
    if on_date is None:
        return Outcome(due.isoformat())
    days = (datetime.date.fromisoformat(on_date) - start).days
    if not 0 <= days <= 320:
        raise BadInput(
            "on_date", f"{days} days after the last menstrual period is outside a pregnancy; check both dates"
        )
    weeks, rest = divmod(days, 7)
    text = f"{weeks}+{rest} weeks on {on_date}"
    return Outcome(due.isoformat(), {"weeks": weeks, "days": rest}, band=_term(days), detail=text)


@calculator(
    "Hadlock estimated fetal weight",
    specialty="obstetrics",
    citation="Hadlock FP et al. Am J Obstet Gynecol 1985;151:333",
    inputs=(
        number("biparietal_cm", "biparietal diameter", "cm", 2, 12),
        number("head_cm", "head circumference", "cm", 6, 42),
        number("abdomen_cm", "abdominal circumference", "cm", 5, 45),
        number("femur_cm", "femur length", "cm", 0.5, 9),
    ),
    bounds=(0, None),
    unit="g",
    aliases=("Hadlock", "EFW", "estimated fetal weight"),
    notes="Four-parameter formula; growth restriction is a weight or abdomen below the 10th centile.",
)
def hadlock4_efw(*, biparietal_cm: float, head_cm: float, abdomen_cm: float, femur_cm: float) -> float:
    exponent = (
        1.3596
        + 0.0064 * head_cm
        + 0.0424 * abdomen_cm
        + 0.174 * femur_cm
        + 0.00061 * biparietal_cm * abdomen_cm
        - 0.00386 * abdomen_cm * femur_cm
    )
    return 10**exponent


@calculator(
    "Modified biophysical profile",
    specialty="obstetrics",
    citation="Nageotte MP et al. Am J Obstet Gynecol 1994;170:1672. ACOG Practice Bulletin 229",
    inputs=(
        yes_no("reactive_nonstress_test", "the non-stress test is reactive"),
        number("amniotic_fluid_index_cm", "amniotic fluid index", "cm", 0, 60),
    ),
    bounds=(None, None),
    unit="",
    aliases=("modified BPP", "mBPP"),
)
def modified_bpp(*, reactive_nonstress_test: bool, amniotic_fluid_index_cm: float) -> Outcome:
    parts = {"nonstress_test": int(reactive_nonstress_test), "fluid": int(amniotic_fluid_index_cm > 5)}
    label = "normal" if all(parts.values()) else "abnormal"
    text = (
        "normal: reactive test and fluid index above 5 cm" if label == "normal" else "full profile or delivery review"
    )
    return Outcome(label, parts, band=label, detail=text)
