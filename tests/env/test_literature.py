"""Cases worked with a literature of one's own: as solvable, recorded by its corpus hash, replayed only with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest

import medgym.env
from medgym.env.action import write_call
from medgym.env.baselines import POLICIES, play_script
from medgym.env.episode import Episode
from medgym.env.gym_env import ClinicalEnv
from medgym.env.literature import LiteratureError, case_literature, own_corpus_hash
from medgym.env.replay import differences
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory, encode
from medgym.tools.retrieval import build_index, load_index, open_literature, starter_passages
from medgym.tools.retrieval.ingest.build import Options, build

QUOKKA = write_call("search_pubmed", {"query": "quokka protocol of this ward"})


@pytest.fixture
def spread_questions(spread: Callable[[str, int], list[Task]]) -> list[Task]:
    return spread("medical_qa", 12)


def worked(task: Task, folder: Path | None, policy: str = "expert") -> Trajectory:
    return Trajectory.of(play_script(Episode(task, 5, literature=case_literature(folder)), POLICIES[policy]), policy)


def test_the_oracle_earns_full_reward(ward_literature: Path, spread_questions: list[Task]) -> None:
    for task in spread_questions:
        assert worked(task, ward_literature).reward["composite"] == pytest.approx(1.0), task.id


def test_a_search_finds_what_the_starter_lacks(ward_literature: Path, question_task: Task) -> None:
    assert (
        "ward-handbook" in Episode(question_task, literature=case_literature(ward_literature)).step(QUOKKA).observation
    )
    assert "ward-handbook" not in Episode(question_task).step(QUOKKA).observation


def test_it_is_opened_and_checked_once(ward_literature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = case_literature(ward_literature)
    monkeypatch.setattr("medgym.env.literature.open_literature", None)
    again = case_literature(str(ward_literature))
    assert first is not None
    assert again is not None
    assert first() is again() is open_literature(ward_literature)


def test_the_trajectory_names_the_corpus_and_not_the_folder(ward_literature: Path, question_task: Task) -> None:
    own, starter = worked(question_task, ward_literature), worked(question_task, None)
    assert own.corpus_hash == load_index(ward_literature).info().corpus_hash
    assert str(ward_literature).encode() not in encode(own)
    assert Trajectory.from_json(json.loads(encode(own))) == own
    assert starter.corpus_hash is None
    assert b"corpus_hash" not in encode(starter)


def test_a_replay_needs_the_same_literature(ward_literature: Path, question_task: Task) -> None:
    own, starter = worked(question_task, ward_literature), worked(question_task, None)
    searched = case_literature(ward_literature)
    assert differences(own, literature=searched) == differences(starter) == []
    with pytest.raises(LiteratureError, match=f"whose corpus hash is {own.corpus_hash} .*--literature DIR"):
        differences(own)
    with pytest.raises(LiteratureError, match=f"corpus hash is abc, not {own.corpus_hash} "):
        differences(replace(own, corpus_hash="abc"), literature=searched)
    with pytest.raises(LiteratureError, match="was worked with the starter literature"):
        differences(starter, literature=searched)


def test_the_starter_in_another_folder_is_the_starter(tmp_path: Path, question_task: Task) -> None:
    build_index(starter_passages(), tmp_path / "copy")
    assert own_corpus_hash(load_index(tmp_path / "copy")) is None
    copied = worked(question_task, tmp_path / "copy")
    assert encode(copied) == encode(worked(question_task, None))
    assert differences(copied, literature=case_literature(tmp_path / "copy")) == []


def test_what_kb_build_makes_with_the_starter_is_taken(tmp_path: Path, question_task: Task) -> None:
    source = tmp_path / "ward.md"
    source.write_text(
        "# The quokka protocol\n\nOn this ward step one of the quokka protocol is done before step two.\n"
    )
    build([source], tmp_path / "with", Options(with_starter=True, processes=1))
    build([source], tmp_path / "without", Options(processes=1))
    own = worked(question_task, tmp_path / "with")
    assert own.corpus_hash is not None
    assert own.reward["composite"] == pytest.approx(1.0)
    lacks = r"lacks 4,025 of the starter's 4,025 passages.*medgym kb build --with-starter"
    with pytest.raises(LiteratureError, match=lacks):
        case_literature(tmp_path / "without")


def test_passages_that_are_missing_or_changed_are_counted(lean_literature: Path) -> None:
    with pytest.raises(LiteratureError, match=r"lacks 4 of the starter's"):
        case_literature(lean_literature)


def test_no_index_or_a_damaged_one(tmp_path: Path, ward_literature: Path) -> None:
    with pytest.raises(LiteratureError, match=r"cannot be opened: .*none holds no index"):
        case_literature(tmp_path / "none")
    shutil.copytree(ward_literature, tmp_path / "damaged")
    (store,) = tmp_path.glob("damaged/data-*/passages.sqlite")
    store.write_bytes(store.read_bytes()[:-100])
    with pytest.raises(LiteratureError, match=r"cannot be opened: .*passages\.sqlite has .* bytes instead of"):
        case_literature(tmp_path / "damaged")


def test_the_gymnasium_env_takes_it(ward_literature: Path, lean_literature: Path) -> None:
    assert medgym.env.__name__ == "medgym.env"
    for folder in (ward_literature, str(ward_literature)):
        env = gymnasium.make("medgym/MedicalQA-v1", literature=folder)
        env.reset(seed=3)
        assert "ward-handbook" in env.step(QUOKKA)[0]
    with pytest.raises(LiteratureError, match="lacks 4 of"):
        ClinicalEnv(literature=lean_literature)
