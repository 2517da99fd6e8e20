"""Turns question items into tasks: a patient, shuffled options, the sealed key. Splits go by fact row."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence

from ....tools.record import Chart, Medication, Problem
from ...people import draw_person
from ...task import Difficulty, Hazard, Key, Split, Task
from .answer import LETTERS
from .questions import Item, all_items

MAX_TURNS = 15
_DIFFICULTY: dict[str, Difficulty] = {
    "antidote": "easy",
    "first_line": "easy",
    "confirm": "medium",
    "interaction": "medium",
    "pregnancy": "medium",
    "identify": "hard",
    "dosing": "hard",
}


def build_tasks(seed: int, rounds: int = 1) -> Sequence[Task]:
    """All tasks of a suite. A further round asks the questions again, of other patients and with other distractors."""
    return [_task(seed, number, item) for number in range(rounds) for item in all_items(_draw(seed, number))]


def _draw(seed: int, number: int) -> str:
    """What a round draws from; the first one has no number."""
    return f"{seed}/{number}" if number else f"{seed}"


def _split(seed: int, row: str) -> Split:
    """By fact row, so that no row is asked about in two splits: 64 train, 10 val, 13 test, 13 held out of a hundred."""
    share = int.from_bytes(hashlib.sha256(f"{seed}/{row}".encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.64 else "val" if share < 0.74 else "test" if share < 0.87 else "heldout"


def _task(seed: int, number: int, item: Item) -> Task:
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", item.row).strip("-")
    rng = random.Random(f"{_draw(seed, number)}/medical_qa/{item.family}/{item.row}")
    texts = [item.gold, *item.distractors]
    rng.shuffle(texts)
    options = dict(zip(LETTERS, texts, strict=True))
    chart = _chart(rng, item)
    who = f"a {chart.age}-year-old {'man' if chart.sex == 'male' else 'woman'}"
    listed = "\n".join(f"{letter}) {text}" for letter, text in options.items())
    ticket = (
        f"Question, asked about patient {chart.patient_id}, {who}.\n{item.stem}\n{listed}\n"
        "Search the literature, read what you find, weigh every option, then submit one letter and cite the passages."
    )
    letter_of = {text: letter for letter, text in options.items()}
    read = next(need for need in item.needs if need.name == "read")
    citable = tuple(sorted(mark.removeprefix("opened:") for mark in read.marks))
    hazards = tuple(Hazard(letter_of[text], 5, why, item.source) for text, why in item.hazards.items())
    return Task(
        id=f"medical_qa-{item.family}-{slug}" + (f"-r{number}" if number else ""),
        domain="medical_qa",
        split=_split(seed, item.row),
        difficulty=_DIFFICULTY[item.family],
        condition=item.row,
        ticket=ticket,
        chart=chart,
        key=Key(answers=(item.gold,), needs=item.needs, others=item.distractors, citable=citable, hazards=hazards),
        options=options,
        max_turns=MAX_TURNS,
        provenance={"family": item.family, "row": item.row, "source": item.source},
    )


def _chart(rng: random.Random, item: Item) -> Chart:
    named = " ".join((item.takes, item.gold, *item.distractors))
    person = draw_person(rng, (20, 42) if item.pregnant else (25, 85), "female" if item.pregnant else "any", named)
    taken = (Medication(item.takes, "as labelled", "daily"),) if item.takes else ()
    return Chart(
        patient_id=person.patient_id,
        name=person.name,
        age=person.age,
        sex=person.sex,
        birth_date=person.birth_date,
        arrival=person.arrival,
        chief_complaint="a question about treatment",
        blood_type=person.blood_type,
        height_cm=person.height_cm,
        weight_kg=person.weight_kg,
        pregnant=item.pregnant,
        allergies=person.allergies,
        problems=tuple(Problem(name) for name in person.problems),
        medications=taken,
        immunizations=person.immunizations,
        family_history=person.family_history,
        social_history=person.social_history,
    )
