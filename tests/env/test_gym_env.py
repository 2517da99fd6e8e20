"""The Gymnasium face: checked, made, vectorised, seeded, rendered."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import medgym.env
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.gym_env import ACTION_LENGTH, ClinicalEnv
from medgym.env.spaces import ClinicalText

IDS = ("medgym/ClinicalDiagnosis-v1", "medgym/MedicalQA-v1")
THINK = write_call("think", {"thought": "hm"})


def answer(env: ClinicalEnv) -> str:
    given = {"option": "A"} if env.episode is not None and env.episode.task.options else {"diagnosis": "gout"}
    return write_call("submit_answer", given)


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


def test_both_domains_are_registered() -> None:
    assert medgym.env.__name__ == "medgym.env"
    assert set(IDS) <= set(gymnasium.registry)


def test_the_checker_finds_nothing_in_the_env(domain_name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ClinicalEnv(domain_name), skip_render_check=True)


def test_the_checker_finds_nothing_in_a_made_env(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id)
        check_env(env.unwrapped, skip_render_check=True)
        check_env(env, skip_render_check=True)


def test_a_case_from_reset_to_the_end(env_id: str) -> None:
    env = gymnasium.make(env_id).unwrapped
    assert isinstance(env, ClinicalEnv)
    observation, info = env.reset(seed=1)
    assert observation in env.observation_space
    assert info["task_id"].startswith(info["domain"])
    assert "submit_answer" in info["system"]
    assert {tool["function"]["name"] for tool in info["tools"]} >= {"submit_answer", "find_tools"}
    observation, reward, terminated, truncated, info = env.step(f"When did it start? {THINK}")
    assert observation in env.observation_space
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info["turn"] == 1
    observation, reward, terminated, truncated, info = env.step(answer(env))
    assert (terminated, truncated) == (True, False)
    assert info["ended"] == "submitted"
    assert info["breakdown"]["composite"] == pytest.approx(reward, abs=1e-6)
    assert "breakdown" in info


def test_running_out_of_messages_truncates(env_id: str) -> None:
    env = gymnasium.make(env_id).unwrapped
    assert isinstance(env, ClinicalEnv)
    env.reset(seed=1)
    steps = [env.step(THINK) for _ in range(env.episode.task.max_turns)]  # pyright: ignore[reportOptionalMemberAccess]
    assert [step[2] for step in steps] == [False] * len(steps)
    assert [step[3] for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1][1] == 0
    assert steps[-1][4]["ended"] == "budget"


def test_verdicts_and_errors_are_in_the_info() -> None:
    env = ClinicalEnv()
    env.reset(seed=1)
    *_, info = env.step("<tool_call>x</tool_call>" + write_call("nothing", {}))
    assert info["errors"] == ["malformed_call", "unknown_tool"]
    assert info["verdicts"] == []


@pytest.mark.parametrize("when", ["before reset", "after the end"])
def test_a_step_without_a_case_is_an_error(env_id: str, when: str) -> None:
    env = gymnasium.make(env_id)
    if when == "after the end":
        env.reset(seed=1)
        env.step(answer(env.unwrapped))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ResetNeeded):
        env.step("Hello?")


# ---- seeds and choice of case


def test_a_seed_gives_the_same_cases(domain_name: str) -> None:
    one, other = ClinicalEnv(domain_name), ClinicalEnv(domain_name)
    drawn = [[env.reset(seed=seed)[1]["task_id"] for seed in (5, None, None, 7, None)] for env in (one, other)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 2
    assert one.reset(seed=5)[1]["task_id"] == drawn[0][0]


def test_the_options_name_a_task() -> None:
    task = load_domain("medical_qa").tasks()[17]
    env = ClinicalEnv("medical_qa")
    assert env.reset(options={"task_id": task.id})[1]["task_id"] == task.id
    assert ClinicalEnv("medical_qa", task_id=task.id).reset(seed=9)[1]["task_id"] == task.id
    with pytest.raises(KeyError, match="no task 'medical_qa-none'"):
        env.reset(options={"task_id": "medical_qa-none"})


def test_a_split_is_kept_to(domain_name: str) -> None:
    env = ClinicalEnv(domain_name, split="heldout")
    tasks = {task.id: task for task in load_domain(domain_name).tasks()}
    drawn = [env.reset(seed=seed)[1]["task_id"] for seed in range(20)]
    assert {tasks[name].split for name in drawn} == {"heldout"}
    with pytest.raises(ValueError, match="no tasks in split"):
        ClinicalEnv(domain_name, split="nothing")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kwargs", [{"domain": "surgery"}, {"suite": "v0"}, {"task_id": "x"}])
def test_what_there_is_not(kwargs: dict[str, str]) -> None:
    with pytest.raises(KeyError, match="no "):
        ClinicalEnv(**kwargs)  # pyright: ignore[reportArgumentType]


# ---- rendering


def test_rendering_as_text() -> None:
    env = gymnasium.make(IDS[0], render_mode="ansi")
    observation, _ = env.reset(seed=1)
    assert env.render() == observation
    observation, *_ = env.step("When did it start?")
    shown = env.render()
    assert isinstance(shown, str)
    assert "When did it start?" in shown
    assert observation in shown


def test_rendering_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    env = ClinicalEnv(render_mode="human")
    observation, _ = env.reset(seed=1)
    assert observation.split("\n")[0][:40] in capsys.readouterr().out
    env.step("When did it [bold]start[/bold]?")
    assert "[bold]start[/bold]" in capsys.readouterr().out
    assert env.render() is None


def test_a_wrong_render_mode_and_rendering_too_early() -> None:
    with pytest.raises(ValueError, match="render_mode"):
        ClinicalEnv(render_mode="rgb_array")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ResetNeeded):
        ClinicalEnv(render_mode="ansi").render()


# ---- the space


def test_the_space_takes_any_letters() -> None:
    space = ClinicalText(ACTION_LENGTH)
    assert "µ≥ é \u2028 日本" in space
    assert "" in space
    assert "x" * (ACTION_LENGTH + 1) not in space
    assert 5 not in space
    assert b"x" not in space
    assert all(space.sample() in space for _ in range(50))
    assert space == ClinicalText(ACTION_LENGTH)
    assert space != ClinicalText(5)
    assert len({ClinicalText(5), ClinicalText(5)}) == 1
    assert repr(ClinicalText(5)) == "ClinicalText(5)"


def test_the_space_is_seeded() -> None:
    one, other = ClinicalText(100, seed=3), ClinicalText(100, seed=3)
    assert [one.sample() for _ in range(5)] == [other.sample() for _ in range(5)]


def test_observations_fit_the_space(domain_name: str) -> None:
    env = ClinicalEnv(domain_name)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert observation in env.observation_space


# ---- two at a time


def check_two(envs: gymnasium.vector.VectorEnv) -> None:
    observations, infos = envs.reset(seed=3)
    assert len(observations) == 2
    assert len(set(infos["task_id"])) == 2
    _, rewards, terminated, truncated, _ = envs.step((THINK, "µ ≥ 5?"))
    assert np.array_equal(rewards, [0.0, 0.0])
    assert not terminated.any()
    assert not truncated.any()
    _, rewards, terminated, _, infos = envs.step((THINK, write_call("submit_answer", {"option": "A"})))
    assert terminated.tolist() == [False, True]
    envs.close()


def test_two_envs_in_one_process() -> None:
    check_two(gymnasium.make_vec(IDS[1], num_envs=2, vectorization_mode="sync"))


def test_two_envs_in_processes_of_their_own() -> None:
    check_two(
        gymnasium.make_vec(
            IDS[1], num_envs=2, vectorization_mode="async", vector_kwargs={"shared_memory": False, "context": "spawn"}
        )
    )


# ---- what is loaded


def test_the_import_is_light() -> None:
    code = (
        "import sys, medgym.env\n"
        "heavy = {'torch', 'langchain', 'langchain_core', 'langgraph', 'transformers', 'whoosh', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_case_needs_neither_torch_nor_langchain() -> None:
    code = (
        "import sys, gymnasium, medgym.env\n"
        f"env = gymnasium.make({IDS[0]!r})\n"
        "env.reset(seed=1)\n"
        "env.step('When did it start?')\n"
        "print(sorted({'torch', 'langchain', 'langchain_core', 'langgraph'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
