"""What every tool in the catalogue owes: a description, described and bounded parameters, a name that it may bear."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.tools.registry import all_tools
from medgym.tools.spec import JsonObject, ToolSpec

# Healthcare AI GYM (arXiv 2605.02943): the tools of its eight training domains, 154 in all, 135 names
_NAMES = {
    "medical_qa": (
        "think submit_answer search_pubmed browse_article search_medical_wiki browse_wiki_entry retrieve_evidence "
        "analyze_answer_options summarize_evidence compare_treatments calculate_clinical_score get_drug_information "
        "check_diagnostic_criteria get_differential_diagnosis"
    ),
    "clinical_diagnosis": (
        "get_patient_info get_patient_history get_vital_signs get_vital_signs_trend get_lab_results get_medications "
        "get_clinical_notes get_allergy_list get_immunization_history check_drug_interaction "
        "get_differential_diagnosis search_clinical_guidelines search_medical_literature calculate_curb65 "
        "calculate_wells_score calculate_chads2_vasc calculate_meld_score calculate_apache2 calculate_bmi "
        "order_lab_test prescribe_medication add_clinical_note record_diagnosis transfer_to_specialist think"
    ),
    "visual_diagnosis": (
        "analyze_medical_image get_image_report get_patient_context search_similar_cases compare_with_prior "
        "search_imaging_knowledge measure_lesion classify_finding annotate_regions calculate_image_metrics "
        "get_differential_visual assess_image_quality track_lesion_changes record_visual_diagnosis submit_answer think"
    ),
    "drug_interaction": (
        "get_drug_info search_drugs_by_class check_interaction check_all_interactions get_patient_medications "
        "search_alternatives check_dosage check_cyp450_metabolism calculate_renal_dose_adjustment "
        "calculate_hepatic_dose_adjustment check_pregnancy_safety calculate_interaction_severity_score "
        "check_food_interactions get_pharmacokinetics check_therapeutic_drug_monitoring submit_answer think"
    ),
    "ehr_management": (
        "get_patient_summary get_admission_history get_admission_info get_lab_results get_lab_trend get_vital_signs "
        "detect_vital_alerts get_medication_orders get_clinical_scores get_quality_indicators get_procedures "
        "get_discharge_summary lookup_icd_code check_allergies get_nursing_assessments get_code_status "
        "calculate_readmission_risk write_clinical_note place_order request_consult submit_answer think"
    ),
    "triage_emergency": (
        "get_patient_presentation get_vital_signs assess_airway_breathing get_medical_history calculate_gcs "
        "calculate_esi_level calculate_sirs_criteria calculate_qsofa screen_sepsis calculate_trauma_score "
        "calculate_heart_score check_toxicology get_ed_status check_protocol order_stat_labs order_imaging "
        "activate_emergency_protocol get_bed_assignment think submit_answer"
    ),
    "psychiatry": (
        "get_patient_presentation get_psychiatric_history perform_mental_status_exam administer_phq9 administer_gad7 "
        "assess_suicide_risk screen_substance_use administer_mmse administer_pcl5 administer_cage "
        "screen_eating_disorder assess_violence_risk assess_capacity get_involuntary_hold_criteria "
        "get_current_medications check_drug_interactions get_social_history review_treatment_guidelines think "
        "submit_answer"
    ),
    "obstetrics": (
        "get_patient_presentation get_obstetric_history get_prenatal_labs get_gyn_assessment assess_fetal_status "
        "interpret_ctg assess_labor_progress calculate_bishop_score get_biophysical_profile calculate_modified_bpp "
        "calculate_gestational_age screen_gestational_diabetes check_rh_status assess_preterm_risk "
        "get_risk_assessment check_medication_safety check_ob_protocol order_labs think submit_answer"
    ),
}
UPSTREAM = {domain: names.split() for domain, names in _NAMES.items()}
CORE = {name for names in UPSTREAM.values() for name in names}
OWN = {"browse", "find_tools", "wait"}  # on every shelf besides; not among the 135


def strings(schema: object) -> Iterator[JsonObject]:
    """Every schema of free text within a schema; an enumeration bounds itself."""
    yield from (node for node in nodes(schema) if node.get("type") == "string" and "enum" not in node)


def nodes(schema: object) -> Iterator[JsonObject]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


def test_the_list_of_core_names_is_complete():
    counts = {domain: len(names) for domain, names in UPSTREAM.items()}
    assert counts == {
        "medical_qa": 14, "clinical_diagnosis": 25, "visual_diagnosis": 16, "drug_interaction": 17,
        "ehr_management": 22, "triage_emergency": 20, "psychiatry": 20, "obstetrics": 20,
    }  # fmt: skip
    assert all(len(set(names)) == len(names) for names in UPSTREAM.values())
    assert len(CORE) == 135


def test_core_is_said_of_exactly_the_core_names():
    assert {spec.name for spec in all_tools().values() if spec.core} == CORE & set(all_tools())
    assert {spec.name for spec in all_tools().values() if not spec.core} >= OWN


@pytest.mark.parametrize("domain", [name for name in domain_names() if name in UPSTREAM])
def test_a_domain_offers_the_core_tools_of_its_name(domain: str):
    offered = {spec.name for spec in load_domain(domain).shelf.offered()}
    assert offered == set(UPSTREAM[domain]) | {"submit_answer"} | OWN


@pytest.mark.parametrize("domain", ["clinical_diagnosis", "medical_qa"])
def test_the_domain_exists(domain: str):
    assert domain in domain_names()


def test_the_name_is_a_plain_identifier(spec: ToolSpec):
    assert re.fullmatch(r"[a-z][a-z0-9_]{1,63}", spec.name)


def test_the_description_is_a_sentence_or_more(spec: ToolSpec):
    assert len(spec.description.split()) >= 4
    assert spec.description.endswith(".")
    assert spec.description[0].isupper()
    assert "\n" not in spec.description
    # `get_json_schema` would end a description at one of these words
    assert not re.search(r"\b(Args|Returns|Raises):", spec.description)


@pytest.mark.parametrize("domain", domain_names())
def test_no_description_speaks_of_a_case(domain: str):
    said = " ".join(f"{spec.description} {spec.parameters}" for spec in all_tools().values()).lower()
    for case in load_domain(domain).tasks():
        answers = (answer for answer in case.key.answers if len(answer.split()) > 2)  # "criteria" answers a question
        of_the_case = (case.chart.name, case.chart.patient_id, case.chart.chief_complaint, *answers)
        told = [words for words in of_the_case if words.lower() in said]
        assert not told, f"{case.id}: {told}"


def test_every_parameter_is_described(spec: ToolSpec):
    for name, schema in spec.parameters["properties"].items():
        assert schema.get("description", "").strip(), name
        assert "\n" not in schema["description"]


def test_every_text_has_a_limit(spec: ToolSpec):
    for node in strings(spec.parameters):
        assert 0 < node.get("maxLength", 0) <= 4000, node


def test_every_list_and_object_has_a_limit(spec: ToolSpec):
    for node in nodes(spec.parameters):
        if node.get("type") == "array":
            assert 0 < node.get("maxItems", 0) <= 100, node
            assert all(text.get("minLength", 0) >= 1 for text in strings(node["items"]))
        if node.get("type") == "object" and node is not spec.parameters:
            assert 0 < node.get("maxProperties", 0) <= 100, node


def test_every_number_has_limits(spec: ToolSpec):
    for node in nodes(spec.parameters["properties"]):
        if node.get("type") == "integer":
            assert "minimum" in node, node
            assert "maximum" in node, node


def test_every_required_text_must_say_something(spec: ToolSpec):
    for name in spec.parameters["required"]:
        schema = spec.parameters["properties"][name]
        if schema.get("type") == "string" and "enum" not in schema:
            assert schema["minLength"] >= 1, name


def test_an_enumeration_of_required_values_has_no_empty_one(spec: ToolSpec):
    for name in spec.parameters["required"]:
        assert "" not in spec.parameters["properties"][name].get("enum", [])


def test_the_schema_stands_by_itself(spec: ToolSpec):
    text = repr(spec.parameters)
    assert "$ref" not in text
    assert "$defs" not in text
    assert all(not isinstance(node.get("title"), str) for node in nodes(spec.parameters))
    assert spec.parameters["additionalProperties"] is False


def test_the_example_gives_every_required_argument(spec: ToolSpec):
    assert set(spec.parameters["required"]) <= set(spec.example)
    spec.parse(dict(spec.example))


def test_the_signature_names_every_parameter(spec: ToolSpec):
    for name in spec.parameters["properties"]:
        mark = "" if name in spec.parameters["required"] else "?"
        assert f"{name}{mark}: " in spec.signature
    assert spec.signature.startswith(f"{spec.name}(")
    assert "\n" not in spec.signature
