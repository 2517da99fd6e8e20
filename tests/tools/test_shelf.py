"""The shelf offers a domain's tools; `find_tools` ranks all others and puts the best on the shelf."""

from __future__ import annotations

import json

import pytest

from medgym.tools.catalog.control import submit_answer
from medgym.tools.demo import demo_desk
from medgym.tools.desk import Desk
from medgym.tools.errors import ToolError
from medgym.tools.faces import desk_executor
from medgym.tools.registry import all_tools, get_tool
from medgym.tools.shelf import ALWAYS, Shelf, rank_tools

OWN = ("think", "get_patient_info", "search_pubmed")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(OWN, submit_answer)


@pytest.fixture
def desk(shelf: Shelf) -> Desk:
    made = demo_desk()
    made.shelf = shelf
    return made


def names(shelf: Shelf) -> list[str]:
    return [spec.name for spec in shelf.offered()]


def test_a_shelf_offers_the_domains_tools_and_the_four_of_every_shelf(shelf: Shelf):
    assert names(shelf) == [*OWN, *ALWAYS]


def test_the_submit_of_the_domain_is_the_one_offered():
    own = get_tool("think")
    shelf = Shelf((), own)
    assert shelf.get("submit_answer") is own


def test_a_shelf_of_a_tool_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError, match="unknown tools: get_moon_phase"):
        Shelf(("think", "get_moon_phase"), submit_answer)


def test_a_tool_that_is_not_offered_is_found_and_then_callable(desk: Desk):
    execute = desk_executor(desk)
    refused = json.loads(execute("calculate_bmi", {"patient_id": "P0000"}))["error"]
    assert refused["code"] == "not_on_shelf"
    assert "find_tools" in refused["hint"]
    found = json.loads(execute("find_tools", {"query": "body mass index from weight and height", "k": 1}))
    assert [tool["name"] for tool in found["tools"]] == ["calculate_bmi"]
    assert found["tools"][0]["usage"].startswith("calculate_bmi(patient_id: string): Body mass index")
    assert json.loads(execute("calculate_bmi", {"patient_id": "P0000"}))["band"]
    assert desk.shelf.found == ["calculate_bmi"]
    assert names(desk.shelf) == [*OWN, *ALWAYS, "calculate_bmi"]


def test_a_tool_that_is_offered_is_found_and_not_put_there_twice(shelf: Shelf):
    found = shelf.find("patient demographics, allergies and medications", 3)
    assert "get_patient_info" in [spec.name for spec in found]
    assert len(names(shelf)) == len(set(names(shelf)))
    again = shelf.find("patient demographics, allergies and medications", 3)
    assert again == found
    assert "get_patient_info" not in shelf.found


def test_an_unknown_tool_names_the_nearest(shelf: Shelf):
    with pytest.raises(ToolError) as caught:
        shelf.get("get_patient_infos")
    assert caught.value.code == "unknown_tool"
    assert caught.value.hint == "nearest: get_patient_info"
    with pytest.raises(ToolError) as caught:
        get_tool("calculate_bmy")
    assert caught.value.hint.startswith("nearest: calculate_bmi")


def test_a_copy_is_for_one_episode(shelf: Shelf):
    copy = shelf.copy()
    copy.find("body mass index", 5)
    assert copy.found
    assert names(shelf) == [*OWN, *ALWAYS]
    assert shelf.copy().found == []


def test_the_number_of_finds_is_kept(shelf: Shelf):
    assert [len(shelf.copy().find("search the literature for a patient", k)) for k in (1, 3, 10)] == [1, 3, 10]


QUERIES = {
    "renal dose adjustment": "get_drug_information",
    "dose of a drug in renal failure": "get_drug_information",
    "do two drugs interact": "check_drug_interaction",
    "interaction between two drugs": "check_drug_interaction",
    "vital signs": "get_vital_signs",
    "trend of vital signs": "get_vital_signs_trend",
    "laboratory results": "get_lab_results",
    "order a blood test": "order_lab_test",
    "prescribe a drug": "prescribe_medication",
    "vaccinations": "get_immunization_history",
    "allergies": "get_allergy_list",
    "pneumonia severity score": "calculate_curb65",
    "curb65": "calculate_curb65",
    "wells score": "calculate_wells_score",
    "stroke risk": "calculate_chads2_vasc",
    "MELD": "calculate_meld_score",
    "compare two treatments side by side": "compare_treatments",
    "differential diagnosis": "get_differential_diagnosis",
    "refer to a specialist": "transfer_to_specialist",
    "write a note into the chart": "add_clinical_note",
    "let time pass": "wait",
    "guideline for a condition": "search_clinical_guidelines",
}


@pytest.mark.parametrize(("query", "tool"), QUERIES.items(), ids=list(QUERIES))
def test_a_need_finds_its_tool_among_the_first_three(query: str, tool: str):
    assert tool in rank_tools(query)[:3]


@pytest.mark.parametrize("name", all_tools())
def test_a_tool_is_found_first_by_its_own_name(name: str):
    assert rank_tools(name)[0] == name
    assert rank_tools(name.replace("_", " "))[0] == name


def test_ranking_is_the_same_each_time_and_does_not_depend_on_the_order_of_words():
    first = rank_tools("dose of warfarin in renal failure")
    rank_tools.cache_clear()
    assert rank_tools("dose of warfarin in renal failure") == first
    assert set(rank_tools("renal failure: warfarin dose")) == set(first)


@pytest.mark.parametrize("query", ["", "the of and", "???", "xyzzy plugh"])
def test_a_query_without_a_known_word_finds_nothing(query: str, shelf: Shelf):
    assert rank_tools(query) == ()
    assert shelf.find(query, 5) == []
    assert names(shelf) == [*OWN, *ALWAYS]


def test_a_word_that_fewer_tools_share_weighs_more():
    assert rank_tools("patient immunization")[0] == "get_immunization_history"


def test_the_catalogue_is_sorted_and_complete():
    assert list(all_tools()) == sorted(all_tools())
    assert set(ALWAYS) <= set(all_tools())
