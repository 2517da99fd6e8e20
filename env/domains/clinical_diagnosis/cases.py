"""Draws patients from the profiles: chart, ticket, interview and sealed key. Byte for byte the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ....tools.facts import Disease, diseases
from ....tools.record import Chart, LabResult, Latent, Medication, Note, Problem, Vitals
from ....tools.record.results import analyte, flag_of, lab_result, normal_value, rounded
from ....tools.record.testcatalog import diagnostic_tests, find_test
from ...people import Person, draw_person
from ...task import Difficulty, Interview, Key, Need, Question, Split, Task
from .profiles import Profile, profiles
from .topics import TOPIC_WORDS, general_questions

PER_CONDITION = 9
HELD_OUT_EVERY = 6  # of the conditions, in the order of a seeded shuffle
ROUTINE = ("Na", "K", "Cr", "BUN", "WBC", "Hb", "PLT", "GLU")
MAX_TURNS = 20


def build_tasks(seed: int, rounds: int = 1) -> Sequence[Task]:
    """All tasks of a suite: `PER_CONDITION` patients for each condition and round."""
    names = list(profiles())
    order = names[:]
    random.Random(f"{seed}/held out").shuffle(order)
    held_out = set(order[::HELD_OUT_EVERY])
    facts = {row.id: row for row in diseases() if row.certainty == "high"}
    others = {name: wording for name, profile in profiles().items() for wording in (profile.names,)}
    tasks: list[Task] = []
    for condition, profile in profiles().items():
        foreign = tuple(_foreign_names(condition, profile, others, facts))
        for number in range(PER_CONDITION * rounds):
            rng = random.Random(f"{seed}/clinical_diagnosis/{condition}/{number}")
            split: Split = "heldout" if condition in held_out else _split(number)
            tasks.append(_task(rng, facts[condition], profile, number, split, foreign))
    return tasks


def _split(number: int) -> Split:
    place = number % PER_CONDITION
    return "train" if place < PER_CONDITION - 3 else "val" if place == PER_CONDITION - 3 else "test"


def _foreign_names(condition: str, own: Profile, names: dict[str, list[str]], facts: dict[str, Disease]) -> list[str]:
    """Names of every other condition and of this one's differentials: asserting one of them too is no answer."""
    mine = {name.lower() for name in own.names} | {facts[condition].name.lower()}
    foreign = [name for other, wording in names.items() if other != condition for name in wording]
    foreign += [row.name for row in facts.values() if row.id != condition]
    foreign += list(facts[condition].differentials)
    return [name for name in dict.fromkeys(foreign) if name.lower() not in mine]


def _task(
    rng: random.Random, fact: Disease, profile: Profile, number: int, split: Split, foreign: tuple[str, ...]
) -> Task:
    difficulty: Difficulty = ("easy", "medium", "hard")[number % 3]
    avoid = " ".join((*fact.first_line, *(phrase for group in profile.plan.first_line for phrase in group)))
    person = draw_person(rng, profile.age, profile.sex, avoid)
    complaint = rng.choice(profile.complaint)
    chart = _chart(rng, profile, person, complaint, difficulty)
    decisive = find_test(profile.decisive.test)
    if decisive is None:
        raise ValueError(f"{fact.id}: no test {profile.decisive.test!r} in the catalogue")
    ticket = (
        f"Patient {chart.patient_id}, a {chart.age}-year-old {'man' if chart.sex == 'male' else 'woman'}, comes to the "
        f"emergency department with {complaint}. Work up the case: read the chart, question the patient, order what "
        "you need, then submit the diagnosis with the first step of management."
    )
    return Task(
        id=f"clinical_diagnosis-{fact.id}-{number:02d}",
        domain="clinical_diagnosis",
        split=split,
        difficulty=difficulty,
        condition=fact.id,
        ticket=ticket,
        chart=chart,
        key=Key(
            answers=tuple(dict.fromkeys((*profile.names, fact.name))),
            needs=_needs(fact, profile, decisive.name),
            others=foreign,
            codes=(fact.icd10cm,),
            rubric=tuple(tuple(group) for group in profile.plan.first_line),
            forbidden=tuple(profile.plan.avoid),
        ),
        interview=Interview(rng.choice(profile.opening), _questions(profile, chart)),
        max_turns=MAX_TURNS,
        provenance={"table": "diseases.csv", "row": fact.id, "source": fact.source},
    )


def _needs(fact: Disease, profile: Profile, decisive: str) -> tuple[Need, ...]:
    symptoms = frozenset(f"asked:{word}" for word in profile.symptoms) | {"asked:associated"}
    return (
        Need("chart", frozenset({"chart:info", "chart:history"}), "who the patient is, problems and drugs"),
        Need("vitals", frozenset({"chart:vitals"}), "vital signs"),
        Need("examination", frozenset({"chart:notes"}), "examination findings in the admission note"),
        Need("laboratory", frozenset({"chart:labs"}), "results on the chart at arrival"),
        Need("onset", frozenset({"asked:onset", "asked:recent_events"}), "how it began, asked of the patient"),
        Need("symptoms", symptoms, "other symptoms, asked of the patient"),
        Need("knowledge", frozenset({f"dx:{fact.id}"}), "what the tables or the literature say of the condition"),
        Need("decisive", frozenset({f"result:{decisive}"}), f"the result of {decisive}, ordered and read"),
    )


def _chart(rng: random.Random, profile: Profile, person: Person, complaint: str, difficulty: Difficulty) -> Chart:
    problems = [*person.problems, *_sample(rng, profile.background, 1 + (difficulty == "hard"))]
    medications = [*person.medications, *(_medication(line) for line in _sample(rng, profile.home_medications, 2))]
    labs, latent = _laboratory(rng, profile, person, difficulty)
    exam = " ".join(profile.exam)
    note = Note("N001", "admission", "emergency physician", -10, f"Presents with {complaint}. Examination: {exam}")
    return Chart(
        patient_id=person.patient_id,
        name=person.name,
        age=person.age,
        sex=person.sex,
        birth_date=person.birth_date,
        arrival=person.arrival,
        chief_complaint=complaint,
        blood_type=person.blood_type,
        height_cm=person.height_cm,
        weight_kg=person.weight_kg,
        allergies=person.allergies,
        problems=tuple(Problem(name) for name in dict.fromkeys(problems)),
        medications=tuple({row.drug: row for row in medications}.values()),
        vitals=_vitals(rng, profile),
        labs=tuple(labs),
        notes=(note,),
        immunizations=person.immunizations,
        family_history=rng.choice(profile.family) if profile.family else person.family_history,
        social_history=rng.choice(profile.social) if profile.social else person.social_history,
        latent=tuple(latent),
    )


def _sample(rng: random.Random, lines: Sequence[str], most: int) -> list[str]:
    return rng.sample(list(lines), min(most, len(lines)))


def _medication(line: str) -> Medication:
    """`amlodipine 5 mg daily` as a row: the drug is everything before the first number."""
    words = line.split()
    cut = next((index for index, word in enumerate(words) if word[0].isdigit()), len(words))
    dosage = " ".join(words[cut : cut + 2]) or "as directed"
    return Medication(" ".join(words[:cut]) or line, dosage, " ".join(words[cut + 2 :]) or "daily")


def _vitals(rng: random.Random, profile: Profile) -> tuple[Vitals, ...]:
    """Two sets, at triage and twenty minutes before it (by ambulance or in the waiting room), close together."""

    def draw(name: str) -> float:
        low, high = profile.vitals[name]
        return rng.uniform(low, high)

    pressure = draw("systolic_bp")
    diastolic = min(draw("diastolic_bp"), pressure - 15)
    now = {name: draw(name) for name in ("heart_rate", "respiratory_rate", "temperature_c", "spo2")}
    sets: list[Vitals] = []
    for at, drift in ((-20, rng.uniform(0.97, 1.03)), (0, 1.0)):
        sets.append(
            Vitals(
                at=at,
                heart_rate=round(now["heart_rate"] * drift),
                systolic_bp=round(pressure * drift),
                diastolic_bp=round(diastolic * drift),
                respiratory_rate=round(now["respiratory_rate"]),
                temperature_c=round(now["temperature_c"], 1),
                spo2=min(100, round(now["spo2"])),
            )
        )
    return tuple(sets)


def _laboratory(
    rng: random.Random, profile: Profile, person: Person, difficulty: Difficulty
) -> tuple[list[LabResult], list[Latent]]:
    """Results on the chart at arrival, and what further tests would show.

    Easy cases have the condition's analytes on the chart; in medium and hard ones every second of them has to be
    ordered; hard ones carry one unrelated mild abnormality.
    """
    values: dict[str, float] = {}
    ordered = {test.short for name in (profile.decisive.test, *profile.supporting) if (test := find_test(name))}
    for short in ROUTINE:
        row = analyte(short, person.sex)
        if row is not None and short not in ordered:
            values[short] = normal_value(row, person.patient_id)
    latent: list[Latent] = []
    for index, (short, (low, high)) in enumerate(profile.labs.items()):
        value = rounded(rng.uniform(low, high))
        if difficulty == "easy" or short in ROUTINE or index % 2 == 0:
            values[short] = value
        else:
            latent.append(_latent(short, value, person.sex))
    if difficulty == "hard" and "ALT" not in profile.labs:
        values["ALT"] = rounded(rng.uniform(44, 60))
    by_short = {test.short: test for test in diagnostic_tests() if test.short}
    labs = [lab_result(person.sex, short, value, by_short[short].category, -5) for short, value in values.items()]
    latent += _test_findings(rng, profile, person.sex)
    return labs, latent


def _test_findings(rng: random.Random, profile: Profile, sex: str) -> list[Latent]:
    found: list[Latent] = []
    decisive = profile.decisive
    if decisive.value is not None:
        test = find_test(decisive.test)
        found.append(_latent(test.short if test else "", rounded(rng.uniform(*decisive.value)), sex))
    else:
        found.append(Latent(decisive.test, rng.choice(decisive.result), "abnormal"))
    for name, finding in profile.supporting.items():
        test = find_test(name)
        if test is None:
            raise ValueError(f"supporting test {name!r} is not in the catalogue")
        if isinstance(finding, str):
            found.append(Latent(test.name, finding, "abnormal" if finding != test.normal else "normal"))
        else:
            found.append(_latent(test.short, rounded(rng.uniform(*finding)), sex))
    return found


def _latent(short: str, value: float, sex: str) -> Latent:
    row = analyte(short, sex)
    test = next(
        (test for test in diagnostic_tests() if test.short == short and (row is None or test.name == row.name)), None
    )
    if row is None or test is None:
        raise ValueError(f"no orderable analyte {short!r}")
    return Latent(test.name, value, flag_of(row, value))


def _questions(profile: Profile, chart: Chart) -> tuple[Question, ...]:
    symptoms = [
        Question(word, (word, *(part for part in word.split() if len(part) > 3)), answer)
        for word, answer in profile.symptoms.items()
    ]
    history = [Question(topic, TOPIC_WORDS[topic], answer) for topic, answer in profile.history.items()]
    return (*history, *symptoms, *general_questions(chart))
