"""Literature, conditions and drugs: what is found has its source and leaves its mark."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from medgym.tools.desk import Desk
from medgym.tools.faces import desk_executor
from medgym.tools.facts import diseases, known_drugs


def call(desk: Desk, name: str, **arguments: object) -> dict:
    return json.loads(desk_executor(desk)(name, arguments))


def code(desk: Desk, name: str, **arguments: object) -> str:
    """The code of a call that must be refused without a mark."""
    refused = call(desk, name, **arguments)["error"]
    assert desk.take_marks() == ()
    return refused["code"]


SEARCHES = {
    "search": "hits",
    "search_evidence": "evidence",
    "search_pubmed": "articles",
    "search_medical_wiki": "entries",
    "search_medical_literature": "hits",
    "retrieve_evidence": "passages",
    "summarize_evidence": "sources",
}


@pytest.mark.parametrize(("name", "key"), SEARCHES.items())
def test_a_search_finds_passages_with_their_source_and_marks_them(name: str, key: str, read_desk: Desk):
    found = call(read_desk, name, query="hyperkalaemia treatment with calcium gluconate")[key]
    marks = set(read_desk.take_marks())
    assert 1 <= len(found) <= 8
    for hit in found:
        assert hit["source"]
        assert f"passage:{hit['id']}" in marks
        assert call(read_desk, "browse", id=hit["id"])["text"]
    scores = [hit["score"] for hit in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("query", ["the of and", "???"])
def test_a_query_without_a_searchable_word_is_an_error(name: str, query: str, read_desk: Desk):
    assert code(read_desk, name, query=query) == "invalid_arguments"


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_the_same_each_time(name: str, read_desk: Desk):
    query = "sepsis, lactate"
    assert call(read_desk, name, query=query) == call(read_desk, name, query=query)


@pytest.mark.parametrize("name", ["search_pubmed", "search_medical_wiki", "search_medical_literature"])
def test_no_more_results_than_asked_for(name: str, read_desk: Desk):
    assert len(call(read_desk, name, query="kidney", max_results=2)[SEARCHES[name]]) == 2


@pytest.mark.parametrize("name", SEARCHES)
def test_a_comma_separates_no_queries(name: str, read_desk: Desk):
    key = SEARCHES[name]
    assert (
        call(read_desk, name, query="warfarin, metronidazole")[key]
        == call(read_desk, name, query="warfarin metronidazole")[key]
    )


def test_a_passage_has_one_score_whichever_tool_finds_it(read_desk: Desk):
    scores: dict[str, list[float]] = {}
    for name, key in SEARCHES.items():
        for hit in call(read_desk, name, query="hyperkalaemia treatment")[key]:
            scores.setdefault(hit["id"], []).append(hit["score"])
    assert max(len(found) for found in scores.values()) == len(SEARCHES)
    assert all(len(set(found)) == 1 for found in scores.values())


@pytest.mark.parametrize("name", [*SEARCHES, "analyze_answer_options"])
def test_only_what_is_shown_counts_as_retrieved(name: str, read_desk: Desk):
    given = {"query": "kidney"} if name in SEARCHES else {"question": "Which drug?", "options": ["warfarin", "heparin"]}
    result = call(read_desk, name, **given)
    marked = {mark.removeprefix("passage:") for mark in read_desk.take_marks() if mark.startswith("passage:")}
    shown = {row.get("id", row.get("passage")) for row in result[SEARCHES.get(name, "options")]}
    assert marked == shown


def test_passages_can_be_narrowed_by_kind_source_and_year(read_desk: Desk):
    def found(**narrowed: object) -> list[dict]:
        return call(read_desk, "search", query="dose in renal impairment", max_results=20, **narrowed)["hits"]

    everything = found()
    source, years = everything[0]["source"], {hit["year"] for hit in everything}
    assert {hit["kind"] for hit in found(kind="Dosing")} == {"dosing"}
    assert {hit["source"] for hit in found(source=source.upper())} == {source}
    assert len(years - {None}) > 1
    assert {hit["year"] for hit in found(year_from=2020)} <= set(range(2020, 2030))
    assert {hit["year"] for hit in found(year_to=2019)} <= set(range(1900, 2020))


@pytest.mark.parametrize("name", ["search", "search_evidence", "search_medical_literature", "retrieve_evidence"])
def test_a_filter_that_cannot_be_is_refused(name: str, read_desk: Desk):
    years = {"year_from": 2020, "year_to": 2010}
    assert code(read_desk, name, query="sepsis", **years) == "invalid_arguments"
    if name != "retrieve_evidence":
        refused = call(read_desk, name, query="sepsis", kind="gossip")["error"]
        assert refused["code"] == "invalid_arguments"
        assert "interaction" in refused["message"]  # the kinds that there are


def test_evidence_carries_the_hash_that_opening_it_shows(read_desk: Desk):
    for hit in call(read_desk, "search_evidence", query="warfarin")["evidence"]:
        assert hit["sha256"] == call(read_desk, "browse", id=hit["id"])["sha256"]


def test_evidence_can_be_narrowed_to_a_kind(read_desk: Desk):
    found = call(read_desk, "retrieve_evidence", query="warfarin", category="interaction", max_results=10)["passages"]
    assert found
    assert all(passage["id"].startswith("ddi-") for passage in found)


def test_the_wiki_holds_entries_only(read_desk: Desk):
    found = call(read_desk, "search_medical_wiki", query="warfarin", max_results=20)["entries"]
    assert not any(entry["id"].startswith("ddi-") for entry in found)


def test_opening_a_passage_gives_its_text_and_provenance(read_desk: Desk):
    shown = call(read_desk, "browse", id="dx-PE-findings")
    assert {"id", "title", "document", "section", "text", "source", "year", "licence", "sha256"} == set(shown)
    assert set(read_desk.take_marks()) == {"passage:dx-PE-findings", "opened:dx-PE-findings", "dx:PE"}


def test_a_document_opens_whole_or_by_section(read_desk: Desk):
    whole = call(read_desk, "browse_article", pmid="dx-PE-findings")
    assert len(whole["passages"]) == len(whole["sections"]) > 1
    one = call(read_desk, "browse_article", pmid=whole["document"], section=whole["sections"][1].upper())
    assert [passage["section"] for passage in one["passages"]] == [whole["sections"][1]]
    assert call(read_desk, "browse", id=whole["document"])["document"] == whole["document"]
    assert call(read_desk, "browse_wiki_entry", entry_id=whole["document"])["sections"] == whole["sections"]
    read_desk.take_marks()
    assert code(read_desk, "browse_article", pmid=whole["document"], section="gossip") == "not_found"


@pytest.mark.parametrize(
    ("name", "key"), [("browse", "id"), ("browse_article", "pmid"), ("browse_wiki_entry", "entry_id")]
)
def test_an_unknown_id_is_not_found(name: str, key: str, read_desk: Desk):
    assert code(read_desk, name, **{key: "dx-NONE-findings"}) == "not_found"


def test_options_are_compared_by_how_much_a_passage_covers(read_desk: Desk):
    shown = call(
        read_desk, "analyze_answer_options", question="Which drug raises the INR with warfarin?",
        options=["metronidazole", "zzqx"],
    )["options"]  # fmt: skip
    assert [row["option"] for row in shown] == ["metronidazole", "zzqx"]
    assert shown[0]["option_words"] == 1.0
    assert shown[1]["option_words"] == 0.0


def test_options_that_fold_to_the_same_words_are_refused(read_desk: Desk):
    given = {"question": "Which drug?", "options": ["Warfarin", "warfarin."]}
    assert code(read_desk, "analyze_answer_options", **given) == "invalid_arguments"
    signs = call(read_desk, "analyze_answer_options", question="Which potassium?", options=["<", ">"])
    assert [row["option"] for row in signs["options"]] == ["<", ">"]


@pytest.mark.parametrize("row", diseases()[::9], ids=lambda row: row.id)
def test_a_condition_is_found_by_name_and_code(row, closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    shown = call(desk, "check_diagnostic_criteria", condition=row.name)
    assert shown["condition"] == row.name
    assert shown["source"]
    assert shown["certainty"] == row.certainty
    assert desk.take_marks() == (f"dx:{row.id}", f"criteria:{row.id}")
    assert call(desk, "search_clinical_guidelines", condition=row.name.upper())["condition"] == row.name
    assert desk.take_marks() == (f"dx:{row.id}", f"guideline:{row.id}")


@pytest.mark.parametrize("name", ["check_diagnostic_criteria", "search_clinical_guidelines"])
@pytest.mark.parametrize("condition", ["zzqx", "???", "the of", "zzqx wvvk embolism of nothing"])
def test_an_unknown_condition_is_not_found(name: str, condition: str, read_desk: Desk):
    assert code(read_desk, name, condition=condition) == "not_found"


def test_a_guideline_that_the_tables_lack_is_looked_up_in_the_literature(read_desk: Desk):
    shown = call(read_desk, "search_clinical_guidelines", condition="penicillin allergy")
    assert shown["passages"]
    assert set(read_desk.take_marks()) >= {f"passage:{hit['id']}" for hit in shown["passages"]}


@pytest.mark.parametrize("row", diseases()[::9], ids=lambda row: row.id)
def test_its_own_findings_put_a_condition_among_the_candidates(row, closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    found = call(desk, "get_differential_diagnosis", symptoms="; ".join(row.key_findings))["candidates"]
    assert row.name in [candidate["condition"] for candidate in found]
    assert len(found) <= 8
    matches = [candidate["match"] for candidate in found]
    assert matches == sorted(matches, reverse=True)
    assert f"ddx:{row.id}" in desk.take_marks()


@pytest.mark.parametrize("drug", known_drugs()[::7])
def test_every_drug_has_a_monograph(drug: str, closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    assert call(desk, "get_drug_information", drug_name=drug.upper())["drug"] == drug
    assert desk.take_marks() == (f"drug:{drug}",)


@pytest.mark.parametrize(("a", "b"), [("warfarin", "metronidazole"), ("Coumadin", "Flagyl")])
def test_an_interaction_is_the_same_from_either_side(a: str, b: str, closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    one, other = (
        call(desk, "check_drug_interaction", drug_a=a, drug_b=b),
        call(desk, "check_drug_interaction", drug_a=b, drug_b=a),
    )
    assert one["worst"] == other["worst"] != "none on file"
    assert one["interactions"] == other["interactions"]
    assert desk.take_marks() == ("pair:metronidazole+warfarin",)


def test_a_pair_without_an_entry_says_that_none_is_on_file(closed_desk: Callable[[], Desk]):
    shown = call(closed_desk(), "check_drug_interaction", drug_a="paracetamol", drug_b="omeprazole")
    assert (shown["worst"], shown["interactions"]) == ("none on file", [])


def test_a_drug_does_not_interact_with_itself(closed_desk: Callable[[], Desk]):
    given = {"drug_a": "warfarin", "drug_b": "Coumadin"}
    assert code(closed_desk(), "check_drug_interaction", **given) == "invalid_arguments"


@pytest.mark.parametrize("drug", ["moondust", "???", "warfarin and aspirin"])
def test_an_unknown_drug_is_not_found(drug: str, closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    assert code(desk, "get_drug_information", drug_name=drug) == "not_found"
    assert code(desk, "check_drug_interaction", drug_a="warfarin", drug_b=drug) == "not_found"
    assert code(desk, "compare_treatments", treatment_a=drug, treatment_b="warfarin") == "not_found"


def test_two_treatments_side_by_side(closed_desk: Callable[[], Desk]):
    shown = call(
        closed_desk(), "compare_treatments", treatment_a="apixaban", treatment_b="amoxicillin",
        condition="pulmonary embolism",
    )  # fmt: skip
    assert (shown["a"]["drug"], shown["b"]["drug"]) == ("apixaban", "amoxicillin")
    assert (shown["first_line"]["names_a"], shown["first_line"]["names_b"]) == (True, False)
    assert shown["first_line"]["source"]


def test_thinking_looks_nothing_up_and_stores_nothing(closed_desk: Callable[[], Desk]):
    desk = closed_desk()
    before = desk.record.state_hash()
    assert call(desk, "think", thought="one two three") == {"noted_words": 3}
    assert desk.record.state_hash() == before
    assert desk.take_marks() == ()
