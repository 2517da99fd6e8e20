"""Psychiatry: depression, anxiety, suicide risk, trauma, cognition and delirium. Items are described in our own words.

A positive self-harm answer or recent suicidal behaviour sets a flag whatever the total.
"""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, total
from .inputs import MissingInput, choice, integer, number, optional, rated, yes_no

_SELF_HARM = "self-harm item positive: assess suicide risk now, whatever the total"


@calculator(
    "PHQ-9",
    specialty="psychiatry",
    citation="Kroenke K et al. J Gen Intern Med 2001;16:606",
    inputs=rated(
        (
            "little interest",
            "low mood",
            "sleep",
            "energy",
            "appetite",
            "self-worth",
            "concentration",
            "slowing or restlessness",
            "thoughts of death or self-harm",
        ),
        high=3,
    ),
    bounds=(0, 27),
    bands=(
        lowest("minimal"),
        at_least(5, "mild"),
        at_least(10, "moderate"),
        at_least(15, "moderately severe"),
        at_least(20, "severe"),
    ),
    licence="public (Pfizer), no permission needed",
    aliases=("patient health questionnaire", "patient health questionnaire 9", "PHQ"),
)
def phq9(**items: int) -> Outcome:
    outcome = total(**items)
    # Diagnostic algorithm: 5 items at 2 or more (item 9 at 1 or more), one of them item 1 or 2.
    present = {name: answer >= (1 if name == "item_9" else 2) for name, answer in items.items()}
    core = present["item_1"] or present["item_2"]
    syndrome = "met" if sum(present.values()) >= 5 and core else "not met"
    text = f"PHQ-2 {items['item_1'] + items['item_2']}; algorithm for major depression {syndrome}"
    return replace(outcome, detail=text, flags=(_SELF_HARM,) if items["item_9"] else ())


@calculator(
    "GAD-7",
    specialty="psychiatry",
    citation="Spitzer RL et al. Arch Intern Med 2006;166:1092",
    inputs=rated(
        ("nervousness", "uncontrolled worry", "too much worry", "relaxing", "restlessness", "irritability", "fear"),
        high=3,
    ),
    bounds=(0, 21),
    bands=(lowest("minimal"), at_least(5, "mild"), at_least(10, "moderate"), at_least(15, "severe")),
    licence="public (Pfizer)",
    aliases=("generalised anxiety disorder 7", "generalized anxiety disorder 7"),
)
def gad7(**items: int) -> Outcome:
    return replace(total(**items), detail=f"GAD-2 {items['item_1'] + items['item_2']}")


@calculator(
    "C-SSRS screener",
    specialty="psychiatry",
    citation="Posner K et al. Am J Psychiatry 2011;168:1266",
    inputs=(
        yes_no("wish_to_be_dead", "question 1"),
        yes_no("suicidal_thoughts", "question 2"),
        optional(yes_no("method", "question 3, asked if question 2 is yes")),
        optional(yes_no("intent", "question 4, asked if question 2 is yes")),
        optional(yes_no("plan_with_intent", "question 5, asked if question 2 is yes")),
        yes_no("behaviour_lifetime", "question 6, ever"),
        yes_no("behaviour_3_months", "question 6, in the past 3 months"),
    ),
    bounds=(None, None),
    unit="risk level",
    licence="free; the Columbia Lighthouse Project asks to use the official wording",
    aliases=("C-SSRS", "CSSRS", "Columbia suicide severity rating scale"),
    notes="Never the only basis of a disposition.",
)
def cssrs_screener(
    *,
    wish_to_be_dead: bool,
    suicidal_thoughts: bool,
    method: bool | None,
    intent: bool | None,
    plan_with_intent: bool | None,
    behaviour_lifetime: bool,
    behaviour_3_months: bool,
) -> Outcome:
    follow_up = {"method": method, "intent": intent, "plan_with_intent": plan_with_intent}
    if suicidal_thoughts and (missing := [name for name, answer in follow_up.items() if answer is None]):
        raise MissingInput(*missing, because="asked whenever question 2 is yes")
    if intent or plan_with_intent or behaviour_3_months:
        level = "high"
    elif method or behaviour_lifetime:
        level = "moderate"
    else:
        level = "low" if wish_to_be_dead or suicidal_thoughts else "none"
    flags = ("intent, plan or recent behaviour: immediate safety precautions",) if level == "high" else ()
    return Outcome(level, band=level, flags=flags)


@calculator(
    "PCL-5",
    specialty="psychiatry",
    citation="Weathers FW et al. The PTSD Checklist for DSM-5. National Center for PTSD 2013",
    inputs=rated(tuple(f"DSM-5 symptom {i}" for i in range(1, 21)), high=4),
    bounds=(0, 80),
    bands=(
        lowest("below cut-off"),
        at_least(31, "at cut-off", "31-33: probable PTSD by the lower of the proposed cut-offs"),
        at_least(33, "probable", "33 or more: probable PTSD by every proposed cut-off"),
    ),
    licence="public domain (VA)",
    aliases=("PTSD checklist", "PTSD checklist for DSM-5"),
)
def pcl5(**items: int) -> Outcome:
    return total(**items)


_MOCA_DOMAINS = {
    "visuospatial": 5,
    "naming": 3,
    "attention": 6,
    "language": 3,
    "abstraction": 2,
    "recall": 5,
    "orientation": 6,
}


@calculator(
    "MoCA",
    specialty="psychiatry",
    citation="Nasreddine ZS et al. J Am Geriatr Soc 2005;53:695",
    inputs=(
        *(integer(name, f"{name} domain", 0, high) for name, high in _MOCA_DOMAINS.items()),
        number("education_years", "years of education", "years", 0, 40),
    ),
    bounds=(0, 30),
    bands=(
        lowest("severe", "severe impairment"),
        at_least(10, "moderate", "moderate impairment"),
        at_least(18, "mild", "mild impairment"),
        at_least(26, "normal"),
    ),
    licence="proprietary: permission and training certificate; only the scoring is given here",
    aliases=("Montreal cognitive assessment",),
    notes="Below 26 the bands are site conventions; local norms apply.",
)
def moca(*, education_years: float, **domains: int) -> Outcome:
    raw = total(**domains, education=education_years <= 12)
    return replace(raw, value=min(sum(raw.points.values()), 30))


@calculator(
    "4AT",
    specialty="psychiatry",
    citation="Bellelli G et al. Age Ageing 2014;43:496",
    inputs=(
        choice("alertness", "0 normal, 4 clearly abnormal", 0, 4),
        integer("amt4", "0 no, 1 one, 2 two or more mistakes, or untestable", 0, 2),
        integer("attention", "months backwards: 0 seven or more, 1 fewer or refuses, 2 untestable", 0, 2),
        choice("acute_change", "0 no, 4 acute change or fluctuating course", 0, 4),
    ),
    bounds=(0, 12),
    bands=(
        lowest("unlikely", "delirium and severe impairment unlikely"),
        at_least(1, "possible cognitive impairment"),
        at_least(4, "possible delirium", "possible delirium, with or without cognitive impairment"),
    ),
    licence="CC-BY",
    aliases=("4 AT", "four AT"),
)
def fourat(*, alertness: int, amt4: int, attention: int, acute_change: int) -> Outcome:
    return total(alertness=alertness, amt4=amt4, attention=attention, acute_change=acute_change)


@calculator(
    "EPDS",
    specialty="obstetrics",
    citation="Cox JL et al. Br J Psychiatry 1987;150:782",
    inputs=rated(
        (
            "laughing",
            "looking forward",
            "self-blame",
            "anxiety",
            "panic",
            "coping",
            "sleep",
            "sadness",
            "crying",
            "self-harm",
        ),
        high=3,
    ),
    bounds=(0, 30),
    bands=(
        lowest("low"),
        at_least(10, "possible", "possible depression"),
        at_least(13, "probable", "probable depression"),
    ),
    licence="free if reproduced in full with citation",
    aliases=("Edinburgh postnatal depression scale",),
    notes="Items as already scored 0-3 (3 and 5-10 are keyed in reverse on the form).",
)
def epds(**items: int) -> Outcome:
    return replace(total(**items), flags=(_SELF_HARM,) if items["item_10"] else ())


@calculator(
    "CIWA-Ar",
    specialty="psychiatry",
    citation="Sullivan JT et al. Br J Addict 1989;84:1353",
    inputs=(
        *(
            integer(name, f"{name.replace('_', ' ')}, 0 none to 7 most severe", 0, 7)
            for name in (
                "nausea",
                "tremor",
                "sweats",
                "anxiety",
                "agitation",
                "tactile",
                "auditory",
                "visual",
                "headache",
            )
        ),
        integer("orientation", "orientation and clouding, 0 oriented to 4 disoriented for place or person", 0, 4),
    ),
    bounds=(0, 67),
    bands=(
        lowest("mild"),
        at_least(8, "moderate"),
        above(15, "severe", "severe withdrawal; from 20 high risk of delirium tremens"),
    ),
    licence="not copyrighted",
    aliases=("CIWA", "clinical institute withdrawal assessment"),
)
def ciwa_ar(**items: int) -> Outcome:
    return total(**items)
