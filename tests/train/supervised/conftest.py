"""A run folder, short synthetic rows that a tiny student can learn, and live episodes to compare with."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat
from medgym.agent.graph import build_case_graph
from medgym.agent.policies import Policy
from medgym.agent.policies.local import LoadedModel, LocalChatModel
from medgym.agent.policies.local.request import SampleOutput, SampleRequest
from medgym.agent.runner import run_episode
from medgym.env.baselines import POLICIES, play_script
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory
from medgym.train.recipe import Recipe
from medgym.train.run_context import Run
from medgym.train.supervised.demonstrations import PreferencePair, SupervisedRow
from medgym.train.watch.log import FILE_NAME, MetricsLog

THINKING = CHATML_TEMPLATE.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n\n</think>\n\n' }}{% endif %}")
"""The answer begins after words that the template writes."""

SHORT = PromptForm(brief=True, specs="names", observation_limit=120)


@pytest.fixture(scope="session")
def tasks() -> tuple[Task, ...]:
    """Two training cases of either domain."""
    found: list[Task] = []
    for name in ("medical_qa", "clinical_diagnosis"):
        found += [task for task in load_domain(name).tasks() if task.split == "train"][:2]
    return tuple(found)


@pytest.fixture(scope="session", params=["chatml", "thinking"])
def chat_format(request: pytest.FixtureRequest, tasks: Sequence[Task]) -> ChatFormat:
    from medgym.train.tiny import train_tokenizer

    texts = [turn.observation + turn.text for turn in play_script(Episode(tasks[0]), POLICIES["expert"]).turns]
    tokenizer: Any = train_tokenizer(texts, 600, 4096)
    return ChatFormat(tokenizer, CHATML_TEMPLATE if request.param == "chatml" else THINKING)


class Reciting:
    """An engine that samples given answers, as a policy would that had learned them."""

    def __init__(self, chat_format: ChatFormat, answers: Sequence[str]) -> None:
        self._ids = [tuple(chat_format.answer_ids(answer)) for answer in answers]
        self.prompts: list[list[int]] = []

    def submit(self, request: SampleRequest) -> SampleOutput:
        ids = self._ids[len(self.prompts)]
        self.prompts.append(list(request.prompt_ids))
        return SampleOutput(ids, (-0.5,) * len(ids), "stop")


@pytest.fixture
def live() -> Callable[..., Trajectory]:
    """The expert's answers, said by a local policy through the agent, recorded to the token."""

    def play(task: Task, chat_format: ChatFormat, form: PromptForm | None = SHORT) -> Trajectory:
        answers = [turn.text for turn in play_script(Episode(task), POLICIES["expert"]).turns]
        loaded = LoadedModel(None, chat_format.tokenizer, chat_format, "reciting")  # type: ignore[arg-type]
        engine = Reciting(chat_format, answers)
        policy = Policy("local:reciting", lambda episode: LocalChatModel(loaded, engine=engine), records_tokens=True)
        return run_episode(build_case_graph(policy.model_for), policy, task, 0, form=form)

    return play


@pytest.fixture
def recipe_of(tiny_recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """A recipe of a small student; `lora` picks what learns."""

    def make(lora: bool = True, **sections: Any) -> Recipe:
        model = {"lora_rank": 8 if lora else 0}
        given = {"tiny": {"layers": 2, "width": 32, "heads": 2, "vocabulary": 400, "context": 2048}}
        return tiny_recipe(model=model, **{"tasks": {"train_limit": 2}, **given, **sections})

    return make


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., Run]:
    """A run in a folder of its own."""

    def make(recipe: Recipe, name: str = "run") -> Run:
        folder = tmp_path / name
        return Run(recipe, folder, MetricsLog(folder / FILE_NAME), say=lambda _: None)

    return make


def _ids(generator: random.Random, count: int) -> tuple[int, ...]:
    return tuple(generator.randrange(10, 60) for _ in range(count))


@pytest.fixture(scope="session")
def toy_rows() -> tuple[SupervisedRow, ...]:
    """Two-turn rows whose answers can be learned and whose environment cannot: it is drawn anew every time."""
    generator = random.Random(4)
    rows: list[SupervisedRow] = []
    for number in range(6):
        parts = [(_ids(generator, 7), 0), ((70, 71, 72, 73, 2), 1), (_ids(generator, 5 + number), 0), ((80, 81, 2), 1)]
        ids = tuple(token for part, _ in parts for token in part)
        mask = tuple(kept for part, kept in parts for _ in part)
        rows.append(SupervisedRow(ids, mask, f"t{number}", 1.0, "toy"))
    return tuple(rows)


@pytest.fixture(scope="session")
def toy_pairs() -> tuple[PreferencePair, ...]:
    """One prompt a pair; the chosen side answers in low ids, the rejected one in high ids; the tools say anything."""
    generator = random.Random(5)
    pairs: list[PreferencePair] = []
    for number in range(6):
        prompt, tool, other = _ids(generator, 6), _ids(generator, 4), _ids(generator, 3 + number)
        chosen, rejected = (70, 71, 2, *tool, 72, 73, 2), (90, 91, 2, *other, 92, 2)
        pairs.append(
            PreferencePair(
                f"t{number}",
                prompt,
                chosen,
                (1, 1, 1, *[0] * len(tool), 1, 1, 1),
                rejected,
                (1, 1, 1, *[0] * len(other), 1, 1),
                0.5,
            )
        )
    return tuple(pairs)
