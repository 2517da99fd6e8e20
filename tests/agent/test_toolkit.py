"""A case's tools in somebody else's agent."""

import json

import pytest

from medgym.agent.toolkit import episode_tools
from medgym.env.domain import load_domain
from medgym.env.episode import Episode, EpisodeOver


def test_calls_go_through_the_episode():
    episode = Episode(load_domain("clinical_diagnosis").tasks()[0])
    tools = {tool.name: tool for tool in episode_tools(episode)}
    patient = episode.record.chart.patient_id
    vitals = json.loads(tools["get_vital_signs"].invoke({"patient_id": patient}))
    assert vitals["heart_rate"] == episode.record.chart.vitals[-1].heart_rate
    assert "chart:vitals" in episode.seen
    assert "unknown_patient" in str(tools["get_vital_signs"].invoke({"patient_id": "P0000"}))
    tools["submit_answer"].invoke({"diagnosis": episode.task.key.answers[0]})
    assert episode.ended == "submitted"
    assert 0 < episode.reward.composite < 1
    with pytest.raises(EpisodeOver):
        tools["get_vital_signs"].invoke({"patient_id": patient})


def test_a_blocked_order_counts():
    episode = Episode(load_domain("clinical_diagnosis").tasks()[0])
    tools = {tool.name: tool for tool in episode_tools(episode)}
    chart = episode.record.chart
    order = {
        "patient_id": chart.patient_id,
        "drug_name": chart.allergies[0].allergen,
        "dosage": "1 mg",
        "frequency": "daily",
    }
    assert "blocked_by_safety" in str(tools["prescribe_medication"].invoke(order))
    assert episode.record.events == []
    assert episode.verdicts[0].severity == 5
