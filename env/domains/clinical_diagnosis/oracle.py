"""The oracle: a doctor who knows every profile and learns everything about the patient through tools and questions.

It never sees the key. It matches what it reads and hears against the profiles, orders the tests that would settle
the leading ones, and decides when a result fits.
"""

from __future__ import annotations

import re
from typing import cast

from ....tools.facts import diseases
from ....tools.record.testcatalog import find_test
from ....tools.retrieval.analysis import terms
from ...action import write_call
from ...domain import Script
from ...observation import patient_said, results, rows
from .profiles import Profile, profiles

QUESTIONS = (
    "When did it start?",
    "Do you have any other symptoms?",
    "Did anything happen recently, an illness or an operation?",
)
LEADERS = 4  # conditions whose decisive test is ordered at once


def solve(ticket: str) -> Script:
    """Yields messages, receives observations."""
    found = re.search(r"\bP\d{4}\b", ticket)
    if found is None:
        raise ValueError("the ticket names no patient")
    patient = {"patient_id": found.group()}
    heard = [ticket]
    first = write_call("get_patient_info", patient) + write_call("get_patient_history", patient)
    observation = yield f"{' '.join(QUESTIONS)} {first}"
    heard += [patient_said(observation), str(results(observation)[:2])]
    reads = ("get_vital_signs", "get_clinical_notes", "get_lab_results")
    observation = yield "".join(write_call(name, patient) for name in reads)
    vitals, notes, labs = results(observation)
    heard += [str(note["content"]) for note in rows(notes, "notes")]
    values = _values(rows(labs, "results"))
    tried: list[str] = []
    best = ""
    while not best:
        leaders = [name for name in _rank(heard, values, vitals) if name not in tried][:LEADERS]
        if not leaders:
            break
        tried += leaders
        observation = yield _order_tests(patient, leaders)
        observation = yield write_call("wait", {"minutes": 1440})
        while rows(results(observation)[0], "pending"):
            observation = yield write_call("wait", {"minutes": 1440})
        observation = yield write_call("get_lab_results", patient)
        read = rows(results(observation)[0], "results")
        values |= _values(read)
        best = _settled(leaders, read, heard, values, vitals)
    best = best or tried[0]
    name = _disease_name(best)
    observation = yield write_call(
        "get_differential_diagnosis", {"symptoms": "; ".join(profiles()[best].key_findings)}
    ) + (write_call("search_clinical_guidelines", {"condition": name}))
    guideline = results(observation)[-1]
    plan = _plan(profiles()[best], "; ".join(cast("list[str]", guideline["first_line"])))
    diagnosis = profiles()[best].names[0]
    yield write_call("record_diagnosis", {**patient, "diagnosis": diagnosis, "confidence": "high"})
    code = next(row.icd10cm for row in diseases() if row.id == best)
    yield write_call("submit_answer", {"diagnosis": diagnosis, "plan": plan, "icd10_code": code})


def _disease_name(condition: str) -> str:
    return next(row.name for row in diseases() if row.id == condition)


def _plan(profile: Profile, guideline: str) -> str:
    """The steps of the profile in the guideline's words, without its ifs and buts."""
    text = guideline.lower()
    steps = [
        next((phrase for phrase in group if phrase.lower() in text), group[0]) for group in profile.plan.first_line
    ]
    return "; ".join(steps)


def _order_tests(patient: dict[str, str], leaders: list[str]) -> str:
    tests = {find_test(profiles()[name].decisive.test): None for name in leaders}
    return "".join(
        write_call("order_lab_test", {**patient, "test_name": test.name, "priority": "stat"}) for test in tests if test
    )


def _values(results_read: list[dict[str, object]]) -> dict[str, object]:
    return {str(row["test"]): row["value"] for row in results_read}


def _rank(heard: list[str], values: dict[str, object], vitals: dict[str, object]) -> list[str]:
    said = set(terms(" ".join(heard)))
    scores = {name: _fit(profile, said, values, vitals) for name, profile in profiles().items()}
    return sorted(scores, key=lambda name: (-scores[name], name))


def _fit(profile: Profile, said: set[str], values: dict[str, object], vitals: dict[str, object]) -> float:
    """Share of the profile's own words that were heard, plus shares of its vitals and laboratory ranges that fit."""
    text = set(terms(" ".join((*profile.exam, *profile.complaint, *profile.opening, *profile.history.values()))))
    words = len(text & said) / max(1, len(text))
    inside = [
        low * 0.97 <= float(cast("float", vitals[name])) <= high * 1.03 for name, (low, high) in profile.vitals.items()
    ]
    lab_fits: list[bool] = []
    for short, (low, high) in profile.labs.items():
        test = find_test(short)
        value = values.get(test.name) if test else None
        if isinstance(value, (int, float)):
            lab_fits.append(low * 0.99 <= value <= high * 1.01)
    laboratory = sum(lab_fits) / len(lab_fits) if lab_fits else 0.5
    return 2 * words + sum(inside) / len(inside) + 1.5 * laboratory


def _settled(
    leaders: list[str],
    read: list[dict[str, object]],
    heard: list[str],
    values: dict[str, object],
    vitals: dict[str, object],
) -> str:
    """The best-fitting leader whose decisive test came back as its profile says, or ''."""
    reports = {str(row["test"]): row["value"] for row in read}
    said = set(terms(" ".join(heard)))
    fitting: list[tuple[float, str]] = []
    for name in leaders:
        profile = profiles()[name]
        test = find_test(profile.decisive.test)
        value = reports.get(test.name) if test else None
        wanted = profile.decisive.value
        settled = (
            isinstance(value, (int, float)) and wanted[0] * 0.99 <= value <= wanted[1] * 1.01
            if wanted is not None
            else value in profile.decisive.result
        )
        if settled:
            fitting.append((_fit(profile, said, values, vitals), name))
    return max(fitting)[1] if fitting else ""
