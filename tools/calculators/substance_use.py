"""Alcohol and opioids: screening and withdrawal."""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, total
from .inputs import answers, choice, rated
from .vocabulary import SEX

_AUDIT_TOPICS = (
    "frequency of drinking",
    "drinks on a typical day",
    "frequency of heavy drinking",
    "cannot stop",
    "failed expectations",
    "morning drink",
    "guilt",
    "memory gap",
)


@calculator(
    "AUDIT",
    specialty="psychiatry",
    citation="Saunders JB et al. Addiction 1993;88:791",
    inputs=(
        *rated(_AUDIT_TOPICS, high=4),
        choice("item_9", "item 9, injury from drinking", 0, 2, 4),
        choice("item_10", "item 10, concern of others", 0, 2, 4),
    ),
    bounds=(0, 40),
    bands=(
        lowest("zone I", "low risk: alcohol education"),
        at_least(8, "zone II", "hazardous: simple advice"),
        at_least(16, "zone III", "harmful: advice, brief counselling and monitoring"),
        at_least(20, "zone IV", "possible dependence: refer for diagnosis and treatment"),
    ),
    licence="WHO, free for non-commercial use",
    aliases=("alcohol use disorders identification test",),
)
def audit(**items: int) -> Outcome:
    return total(**items)


@calculator(
    "AUDIT-C",
    specialty="psychiatry",
    citation="Bush K et al. Arch Intern Med 1998;158:1789",
    inputs=(*rated(_AUDIT_TOPICS[:3], high=4), SEX),
    bounds=(0, 12),
    licence="WHO, free for non-commercial use",
    notes="Positive from 4 in men and 3 in women.",
)
def audit_c(*, sex: str, **items: int) -> Outcome:
    outcome = total(**items)
    positive = sum(outcome.points.values()) >= (3 if sex == "female" else 4)
    return replace(outcome, band="positive" if positive else "negative")


@calculator(
    "CAGE",
    specialty="psychiatry",
    citation="Ewing JA. JAMA 1984;252:1905",
    inputs=answers(
        cut_down="felt the need to cut down",
        annoyed="annoyed by criticism of the drinking",
        guilty="felt guilty about drinking",
        eye_opener="drank first thing in the morning",
    ),
    bounds=(0, 4),
    bands=(lowest("negative"), at_least(2, "positive", "clinically significant: assess for alcohol use disorder")),
)
def cage(**items: bool) -> Outcome:
    return total(**items)


_COWS_LEVELS = {
    "pulse": (0, 1, 2, 4),
    "sweating": (0, 1, 2, 3, 4),
    "restlessness": (0, 1, 3, 5),
    "pupils": (0, 1, 2, 5),
    "bone_aches": (0, 1, 2, 4),
    "runny_nose": (0, 1, 2, 4),
    "gut_upset": (0, 1, 2, 3, 5),
    "tremor": (0, 1, 2, 4),
    "yawning": (0, 1, 2, 4),
    "anxiety": (0, 1, 2, 4),
    "gooseflesh": (0, 3, 5),
}


@calculator(
    "COWS",
    specialty="psychiatry",
    citation="Wesson DR, Ling W. J Psychoactive Drugs 2003;35:253",
    inputs=tuple(choice(name, name.replace("_", " "), *levels) for name, levels in _COWS_LEVELS.items()),
    bounds=(0, 48),
    bands=(
        lowest("none"),
        at_least(5, "mild"),
        at_least(13, "moderate"),
        at_least(25, "moderately severe"),
        above(36, "severe"),
    ),
    aliases=("clinical opiate withdrawal scale",),
    notes="Buprenorphine is usually started from 8-12.",
)
def cows(**items: int) -> Outcome:
    return total(**items)
