"""Our own JSON form of a chart: it comes back equal, and what is wrong with it is said where it stands."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.tools.demo import demo_chart
from medgym.tools.record import Record
from medgym.tools.record.chart_json import (
    ChartError,
    chart_from_json,
    chart_to_json,
    parse_json,
    read_json,
    write_chart,
)


@pytest.mark.parametrize("domain", domain_names())
def test_every_tenth_chart_of_the_suite_comes_back_equal(domain: str):
    charts = [task.chart for task in load_domain(domain).tasks()[::10]]
    assert charts
    for chart in charts:
        again = chart_from_json(json.loads(json.dumps(chart_to_json(chart))))
        assert again == chart
        assert Record(again).state_hash() == Record(chart).state_hash()


def test_latent_results_are_part_of_it(tmp_path: Path):
    chart = demo_chart()
    assert chart.latent
    write_chart(chart, tmp_path / "chart.json")
    assert chart_from_json(read_json(tmp_path / "chart.json")) == chart


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("chart.labs.2.flagg", "low", "chart.labs[2].flagg is not a key (nearest: flag)"),
        ("chart.alergies", [], "chart.alergies is not a key (nearest: allergies)"),
        ("chart.zzzzzz", 1, "chart.zzzzzz is not a key (one of patient_id, name"),
        ("extra", 1, "extra is not a key (one of format_version, chart)"),
        ("chart.labs.2.flag", "odd", "chart.labs[2].flag: input should be 'normal'"),
        ("chart.labs.2.value", True, "chart.labs[2].value: input should be a valid number, or"),
        ("chart.age", "72", "chart.age: input should be a valid integer"),
        ("chart.age", 400, "chart.age must be 0 to 130"),
        ("chart.labs", {}, "chart.labs: input should be a valid array"),
        ("chart.labs", [3], "chart.labs[0]: input should be an object"),
        ("chart.weight_kg", float("nan"), "not JSON"),
        ("chart.weight_kg", -3, "chart.weight_kg must be above 0"),
        ("chart.arrival", "yesterday", "chart.arrival must be an ISO date-time"),
        ("chart.patient_id", "P" * 33, "chart.patient_id must have 1 to 32 printable characters"),
        ("chart.patient_id", "P\n1", "chart.patient_id must have"),
        ("chart.vitals.0.at", 7, "chart.vitals must stand oldest first"),
        ("chart.notes.1.note_id", "N001", "chart.notes must have different note_ids"),
        ("chart", [], "chart must be an object, not a list"),
        ("format_version", 2, "format_version 2 is not readable"),
        ("format_version", True, "format_version True is not readable"),
        ("events", [], "read it with `Record.from_json`"),
    ],
)
def test_a_fault_is_named_with_its_place(place: str, value: object, said: str):
    stored: Any = chart_to_json(copy.deepcopy(demo_chart()))
    *way, last = place.split(".")
    at = stored
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    at[last] = value
    with pytest.raises(ChartError, match=re.escape(said)):
        chart_from_json(stored)


def test_a_missing_key_is_named():
    stored: Any = chart_to_json(demo_chart())
    del stored["chart"]["age"]
    del stored["chart"]["labs"][4]["unit"]
    with pytest.raises(ChartError, match=re.escape("chart.age is missing; chart.labs[4].unit is missing")):
        chart_from_json(stored)
    with pytest.raises(ChartError, match="chart is missing"):
        chart_from_json({"format_version": 1})


def test_a_fault_never_quotes_the_patient():
    stored: Any = chart_to_json(demo_chart())
    stored["chart"]["notes"][0]["at"] = "canary-7f3"
    stored["chart"]["sex"] = "canary-7f3"
    with pytest.raises(ChartError) as caught:
        chart_from_json(stored)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "here is not JSON"),
        ("[]", "here must hold a JSON object"),
        ('{"a": Infinity}', "Infinity is no JSON number"),
        ("[" * 100_000, "here is not JSON"),
    ],
)
def test_a_text_that_holds_no_object(text: str, said: str):
    with pytest.raises(ChartError, match=re.escape(said)):
        parse_json(text, "here")


def test_a_file_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    for name in ("latin.json", "missing.json"):
        with pytest.raises(ChartError, match="cannot be read"):
            read_json(tmp_path / name)
