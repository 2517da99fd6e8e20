"""Episodes through the graph, headless."""

from __future__ import annotations

import pytest

from medgym.agent.graph import build_case_graph
from medgym.agent.policies import make_policy, policy_names
from medgym.agent.runner import run_episode, run_many, start_state
from medgym.env.baselines import POLICIES
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.replay import differences
from medgym.env.trajectory import Trajectory, encode

TASKS = load_domain("clinical_diagnosis").tasks


def test_run_many_gives_each_trajectory_as_it_finishes() -> None:
    seen: list[Trajectory] = []
    pairs = [(TASKS()[0], 4), (TASKS()[7], 5)]
    running = run_many(make_policy("expert"), pairs, max_turns=12, form=PromptForm(brief=True), done=seen.append)
    first = next(running)
    assert seen == [first]
    rest = list(running)
    assert seen == [first, *rest]
    assert [(one.task, one.seed) for one in seen] == [(task.id, seed) for task, seed in pairs]
    for one in seen:
        assert (one.policy, one.suite, one.tokens) == ("expert", "v1", None)
        assert dict(one.sampling) == {"max_turns": 12, "brief": True, "human_patient": False}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_scripted_policy_replays_without_a_difference(name: str) -> None:
    policy = make_policy(name)
    for domain in ("clinical_diagnosis", "medical_qa"):
        stored = run_episode(build_case_graph(policy.model_for), policy, load_domain(domain).tasks()[2], 9, max_turns=6)
        assert len(stored.turns) <= 6
        assert differences(stored) == []


def test_an_episode_leaves_no_session_behind() -> None:
    policy = make_policy("do-nothing")
    agent = build_case_graph(policy.model_for)
    first = run_episode(agent, policy, TASKS()[0], 0)
    assert agent.sessions.live == {}
    assert encode(run_episode(agent, policy, TASKS()[0], 0)) == encode(first)


def test_start_state_begins_with_nothing() -> None:
    state = start_state(TASKS()[0], 3, max_turns=4, form=PromptForm(brief=True))
    assert (state["messages"], state["closed"], state["seed"], state.get("max_turns")) == ([], [], 3, 4)


def test_policies_are_found_by_name() -> None:
    assert set(POLICIES) | {"human", "openai:MODEL", "local:PATH"} == set(policy_names())
    for name in ("nope", "openai", "openai:", "local:", ""):
        with pytest.raises(ValueError, match="no policy"):
            make_policy(name)
    with pytest.raises(ValueError, match="medgym play --policy human"):
        make_policy("human")
