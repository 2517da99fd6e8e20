"""Both domains: every task well made, none leaking, the same in every process; the key out of reach."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import types
from collections import Counter
from dataclasses import asdict, replace
from typing import cast

import pytest

from medgym.env.baselines import POLICIES, briefing, play_script
from medgym.env.domain import UnknownDomain, find_task, load_domain, tasks_by_id
from medgym.env.domain_ids import domain_names, env_id
from medgym.env.domains.clinical_diagnosis.profiles import profiles
from medgym.env.episode import Episode
from medgym.env.leaks import find_leaks
from medgym.env.reward.statement import names_only
from medgym.env.suites import task_hash
from medgym.env.task import Hazard, Interview, Key, Need, Question, Task
from medgym.env.validate import LIMITS, unresolved, validate_domain
from medgym.tools.desk import Desk
from medgym.tools.facts import antidotes, canonical, diseases, dosing_rules, interactions, pregnancy_facts
from medgym.tools.record.testcatalog import plain

SHARES = {"train": (0.5, 0.75), "val": (0.05, 0.2), "test": (0.08, 0.25), "heldout": (0.08, 0.25)}


@pytest.fixture
def tasks(domain_name: str) -> tuple[Task, ...]:
    return load_domain(domain_name).tasks()


# ---- every task


def test_there_are_enough_tasks_with_ids_of_their_own(tasks: tuple[Task, ...], domain_name: str) -> None:
    assert len(tasks) >= 400
    ids = [task.id for task in tasks]
    assert len({name.lower() for name in ids}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,119}", name) for name in ids)
    assert all(name.startswith(f"{domain_name}-") for name in ids)
    assert {task.domain for task in tasks} == {domain_name}


def test_every_task_needs_five_things_that_differ(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        needs = task.key.needs
        assert len({need.name for need in needs}) >= 5, task.id
        assert len({need.marks for need in needs}) >= 5, task.id
        assert all(need.marks and need.what for need in needs), task.id


def test_every_mark_of_a_need_can_be_left_by_a_tool(tasks: tuple[Task, ...]) -> None:
    assert [need for task in tasks for need in unresolved(task)] == []


def test_options_are_distinct_and_hold_the_answer_once(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        if not task.options:
            continue
        assert list(task.options) == ["A", "B", "C", "D", "E"]
        texts = [plain(text) for text in task.options.values()]
        assert len(set(texts)) == 5, task.id
        assert all(texts), task.id
        assert list(task.options.values()).count(task.key.answers[0]) == 1, task.id
        assert all(f"{letter}) {text}" in task.ticket for letter, text in task.options.items())


def test_the_letter_of_the_answer_is_spread_evenly() -> None:
    tasks = load_domain("medical_qa").tasks()
    letters = Counter(next(letter for letter, text in t.options.items() if text == t.key.answers[0]) for t in tasks)
    assert all(0.14 < letters[letter] / len(tasks) < 0.26 for letter in "ABCDE")


def test_the_ticket_names_the_patient_and_the_budget_suffices(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        assert task.chart.patient_id in task.ticket
        assert 5 <= task.max_turns <= 40
        assert task.provenance["source"]


def test_nothing_leaks_the_answer(tasks: tuple[Task, ...], domain_name: str) -> None:
    domain = load_domain(domain_name)
    assert [leak for task in tasks for leak in find_leaks(domain, task)] == []


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("ticket", {"ticket": "P1234 has acute appendicitis."}),
        ("opening", {"interview": Interview("They said appendicitis.")}),
        ("interview x", {"interview": Interview("", (Question("x", ("y",), "It is K35.80."),))}),
        ("get_clinical_notes", {"chart": {"chief_complaint": "appendicitis"}}),
    ],
)
def test_a_planted_leak_is_found(clinical_task: Task, where: str, change: dict[str, object]) -> None:
    chart = change.pop("chart", None)
    if chart is not None:
        note = replace(clinical_task.chart.notes[0], content="Looks like appendicitis.")
        change = {"chart": replace(clinical_task.chart, notes=(note,))}
    leaks = list(find_leaks(load_domain(clinical_task.domain), replace(clinical_task, **change)))  # pyright: ignore[reportArgumentType]
    assert where in {leak.where for leak in leaks}


def test_a_gold_in_the_stem_is_a_leak() -> None:
    task = next(task for task in load_domain("medical_qa").tasks() if task.provenance["family"] == "interaction")
    told = task.ticket.replace("\nA)", f" It is {task.key.answers[0]}.\nA)")
    assert [leak.where for leak in find_leaks(load_domain("medical_qa"), replace(task, ticket=told))] == ["ticket"]


# ---- splits


def test_splits_have_their_shares(tasks: tuple[Task, ...]) -> None:
    counts = Counter(task.split for task in tasks)
    for split, (low, high) in SHARES.items():
        assert low <= counts[split] / len(tasks) <= high, (split, counts)  # pyright: ignore[reportArgumentType]


def test_a_held_out_condition_is_seen_in_no_other_split(tasks: tuple[Task, ...]) -> None:
    held_out = {task.condition for task in tasks if task.split == "heldout"}
    assert held_out
    assert not held_out & {task.condition for task in tasks if task.split != "heldout"}


def test_no_patient_is_in_two_splits(tasks: tuple[Task, ...]) -> None:
    splits: dict[tuple[str, str, str], set[str]] = {}
    for task in tasks:
        splits.setdefault((task.chart.patient_id, task.chart.name, task.chart.birth_date), set()).add(task.split)
    assert [who for who, seen in splits.items() if len(seen) > 1] == []


def test_no_two_charts_are_the_same(tasks: tuple[Task, ...]) -> None:
    assert len({str(asdict(task.chart)) for task in tasks}) == len(tasks)


def test_no_fact_row_is_asked_about_in_two_splits() -> None:
    splits: dict[str, set[str]] = {}
    for task in load_domain("medical_qa").tasks():
        splits.setdefault(task.provenance["row"], set()).add(task.split)
    assert {len(seen) for seen in splits.values()} == {1}


# ---- gold from facts of certainty high


def test_only_rows_of_certainty_high_decide_an_answer() -> None:
    sure: dict[str, set[str]] = {
        "disease": {row.id for row in diseases() if row.certainty == "high"},
        "interaction": {row.id for row in interactions() if row.certainty == "high"},
        "antidote": {row.toxin for row in antidotes() if row.certainty == "high"},
        "pregnancy": {row.drug for row in pregnancy_facts() if row.certainty == "high"},
        "dosing": {
            f"{row.drug}-{row.metric}-{row.low:g}"
            for row in dosing_rules()
            if row.certainty == "high" and row.low is not None
        },
    }
    for task in load_domain("clinical_diagnosis").tasks():
        assert task.provenance["row"] in sure["disease"], task.id
    for task in load_domain("medical_qa").tasks():
        family = task.provenance["family"]
        assert task.provenance["row"] in sure.get(family, sure["disease"]), task.id


def test_the_row_agrees_with_the_answer() -> None:
    rows = {row.id: row for row in interactions()}
    for task in load_domain("medical_qa").tasks():
        if task.provenance["family"] != "interaction":
            continue
        row = rows[task.provenance["row"]]
        pair = {canonical(row.drug_a), canonical(row.drug_b)}
        assert task.key.answers[0] in pair
        assert any(medication.drug in pair for medication in task.chart.medications)


def test_harmful_options_are_options_and_never_the_answer() -> None:
    for task in load_domain("medical_qa").tasks():
        for hazard in task.key.hazards:
            assert task.options[hazard.option] != task.key.answers[0]
            assert hazard.severity == 5
            assert hazard.source


def test_every_accepted_name_of_a_condition_answers_it_and_no_other() -> None:
    by_condition = {task.condition: task.key for task in load_domain("clinical_diagnosis").tasks()}
    for condition, key in by_condition.items():
        assert all(names_only(name, key.answers, key.others) for name in key.answers), condition
        for name in key.answers[::9]:
            right = [other for other, own in by_condition.items() if names_only(name, own.answers, own.others)]
            assert right == [condition], name


def test_patients_are_of_the_age_and_sex_of_their_condition() -> None:
    for task in load_domain("clinical_diagnosis").tasks():
        profile = profiles()[task.condition]
        assert profile.age[0] <= task.chart.age <= profile.age[1]
        assert profile.sex in ("any", task.chart.sex)
        assert int(task.chart.arrival[:4]) - int(task.chart.birth_date[:4]) == task.chart.age


# ---- the key is out of reach

_SEALED = (Key, Task, Need, Hazard, Interview, Question)
# a walk over live objects stops at what every program can reach: modules, classes, and the code of functions
_STOP = (types.ModuleType, type, types.CodeType, types.FrameType, types.BuiltinFunctionType)


def reachable(start: object) -> list[object]:
    """Every object that can be got at from `start` through attributes, items and closures."""
    seen: dict[int, object] = {}
    queue: list[object] = [start]
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, _STOP):
            continue
        seen[id(value)] = value
        if isinstance(value, types.FunctionType):
            queue += [cell.cell_contents for cell in value.__closure__ or () if cell.cell_contents is not value]
            queue += [value.__defaults__, value.__kwdefaults__, value.__dict__]
        else:
            queue += gc.get_referents(value)
    return list(seen.values())


def test_the_walk_would_find_a_key(clinical_task: Task) -> None:
    def held(value: object = clinical_task) -> object:
        return value

    assert any(isinstance(found, Key) for found in reachable(held))
    assert any(isinstance(found, Key) for found in reachable(Episode(clinical_task)))
    assert any(isinstance(found, Question) for found in reachable((lambda: clinical_task,)))


def test_no_key_can_be_reached_from_the_desk(domain_name: str) -> None:
    for task in load_domain(domain_name).tasks()[:: len(load_domain(domain_name).tasks()) // 5]:
        episode = play_script(Episode(task), POLICIES["expert"])
        desk = episode.desk
        assert isinstance(desk, Desk)
        found = reachable(desk)
        assert len(found) > 100
        assert [type(value) for value in found if isinstance(value, (*_SEALED, Episode))] == []


def test_no_key_is_in_what_an_agent_is_told(domain_name: str) -> None:
    task = load_domain(domain_name).tasks()[0]
    given = briefing(Episode(task))
    told = replace(given, domain=cast("object", None))  # pyright: ignore[reportArgumentType]
    assert not any(isinstance(value, _SEALED) for value in reachable(told))


def test_a_printed_task_hides_its_key(tasks: tuple[Task, ...]) -> None:
    task = tasks[0]
    assert task.key.needs[0].what not in repr(task)
    assert "Key(" not in repr(task)


# ---- the same in every process

_HASH = """
import hashlib, json
from dataclasses import asdict
from medgym.env.domain import load_domain
digest = hashlib.sha256()
def plain(value):
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return dict(value)
for name in ("clinical_diagnosis", "medical_qa"):
    for task in load_domain(name).tasks():
        digest.update(json.dumps(asdict(task), default=plain).encode())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_tasks_are_the_same_in_two_processes() -> None:
    import os

    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _HASH], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": salt}
        )
        for salt in ("1", "2")
    ]
    one, other = (run.communicate()[0].strip() for run in runs)
    assert len(one) == 64
    assert one == other


def test_another_seed_makes_other_patients(domain_name: str) -> None:
    domain = load_domain(domain_name)
    other = domain.build_tasks(1)
    assert len(other) >= 400
    same = {task.id: task for task in domain.tasks()}
    assert sum(str(asdict(task.chart)) == str(asdict(same[task.id].chart)) for task in other if task.id in same) == 0


def test_a_suite_of_more_rounds_begins_with_the_first(domain_name: str) -> None:
    """v1 lies within v1x5 unchanged, further rounds are other cases, and no fact row or condition changes its split."""
    domain = load_domain(domain_name)
    first, all_rounds = domain.tasks(), domain.tasks("v1x5")
    wide = {task.id: task for task in all_rounds}
    assert len(wide) == len(all_rounds) == 5 * len(first)
    assert all(task_hash(wide[task.id]) == task_hash(task) for task in first)
    tickets = {(task.chart.name, task.ticket) for task in all_rounds}
    assert len(tickets) == len(all_rounds)
    heldout = {task.condition for task in all_rounds if task.split == "heldout"}
    assert heldout == {task.condition for task in first if task.split == "heldout"}
    assert heldout.isdisjoint(task.condition for task in all_rounds if task.split != "heldout")
    share = {split: sum(task.split == split for task in first) for split in ("train", "val", "test", "heldout")}
    assert share == {split: sum(task.split == split for task in all_rounds) // 5 for split in share}


# ---- finding them


def test_tasks_are_found_by_id(tasks: tuple[Task, ...]) -> None:
    assert find_task(tasks[3].id) is tasks[3]
    assert tasks_by_id()[tasks[3].id] is tasks[3]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no task 'nothing'"):
        find_task("nothing")
    with pytest.raises(KeyError, match="nearest: medical_qa-"):
        find_task("medical_qa-first_line-STEMI_AN")
    with pytest.raises(KeyError, match="no suite 'v0'"):
        load_domain("medical_qa").tasks("v0")
    with pytest.raises(UnknownDomain, match="one of clinical_diagnosis"):
        load_domain("surgery")


def test_domains_are_discovered_by_folder() -> None:
    assert {"clinical_diagnosis", "medical_qa"} <= set(domain_names())
    assert env_id("medical_qa") == "medgym/MedicalQA-v1"
    assert env_id("clinical_diagnosis") == "medgym/ClinicalDiagnosis-v1"


# ---- the proof of a domain


def test_a_sample_is_valid(domain_name: str, tasks: tuple[Task, ...]) -> None:
    sample = [tasks[index * len(tasks) // 25] for index in range(25)]
    found = validate_domain(load_domain(domain_name), sample)
    assert found.failures == []
    assert found.oracle_min >= 0.95
    assert set(LIMITS) <= set(found.to_json())


def test_a_validation_names_what_is_broken(clinical_task: Task) -> None:
    domain = load_domain(clinical_task.domain)
    broken = replace(clinical_task, ticket=f"{clinical_task.ticket} It is appendicitis.")
    found = validate_domain(domain, [broken])
    assert found.gold_leaks >= 1
    assert any(failure.startswith("gold_leaks") for failure in found.failures)
    with pytest.raises(ValueError, match="no tasks"):
        validate_domain(domain, [])
