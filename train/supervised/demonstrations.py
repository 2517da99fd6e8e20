"""Token rows to imitate or to compare: the oracle's plays, recorded trajectories, and preference pairs of both.

Every id is one that the agent itself would have been fed or have sampled: a stream with recorded ids is taken as it
is, and a conversation without ids is played into `agent.recorder`, so that no second renderer exists. Labels stand on
the assistant's answers only, their end token included. Learning from rows is `sft`'s and `dpo`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...agent.chat_format import ChatFormat
from ...agent.conversation import opening_messages, turn_messages
from ...agent.recorder import Recorder, TokenTurn
from ...env.action import parse_action
from ...env.baselines import POLICIES, play_script
from ...env.briefing import PromptForm
from ...env.episode import CallRecord, Episode, Turn
from ...env.task import Task
from ...env.trajectory import Trajectory, trajectory_files
from ...tools.retrieval.index import Index
from ..cases import literature_of
from ..curriculum import reached_forms
from ..recipe import Recipe
from ..rollout.store import whole_trajectories

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

logger = logging.getLogger(__name__)

EXPERT = "expert"
IGNORED = -100  # the label that every loss of transformers leaves out


class DemonstrationError(ValueError):
    """Demonstrations that cannot be learned from; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class SupervisedRow:
    """One episode as ids to imitate.

    Attributes:
        input_ids: prompt, answers and what came between them.
        labels_mask: per id 1 exactly where the policy wrote it.
        task: its id.
        reward: composite of the whole episode, also where the row was cut.
        source: who played.
        cut: whether turns were left out at the end.
    """

    input_ids: tuple[int, ...]
    labels_mask: tuple[int, ...]
    task: str = ""
    reward: float = 0.0
    source: str = ""
    cut: bool = False

    def __post_init__(self) -> None:
        if len(self.input_ids) != len(self.labels_mask):
            raise DemonstrationError(f"{self.task}: {len(self.input_ids)} ids but {len(self.labels_mask)} mask entries")
        if not set(self.labels_mask) <= {0, 1} or 1 not in self.labels_mask or self.labels_mask[0]:
            raise DemonstrationError(f"{self.task}: the mask must begin with a prompt (0) and hold an answer (1)")

    @property
    def labels(self) -> list[int]:
        """`input_ids` on answers, -100 elsewhere."""
        return [token if kept else IGNORED for token, kept in zip(self.input_ids, self.labels_mask, strict=True)]

    @property
    def turn_spans(self) -> list[tuple[int, int]]:
        """`[start, end)` of each answer."""
        spans: list[tuple[int, int]] = []
        at = 0
        for kept, run in groupby(self.labels_mask):
            end = at + len(list(run))
            if kept:
                spans.append((at, end))
            at = end
        return spans

    @property
    def prompt_length(self) -> int:
        """Number of ids before the first answer."""
        return self.labels_mask.index(1)

    def cut_to(self, max_length: int | None) -> SupervisedRow:
        """The row in at most `max_length` ids, cut after its last whole turn that fits; None leaves it.

        Raises:
            DemonstrationError: not even the prompt and the first answer fit.
        """
        if max_length is None or len(self.input_ids) <= max_length:
            return self
        end = max((end for _, end in self.turn_spans if end <= max_length), default=None)
        if end is None:
            what = "prompt alone" if self.prompt_length >= max_length else "prompt with its first answer"
            length = self.prompt_length if self.prompt_length >= max_length else self.turn_spans[0][1]
            raise DemonstrationError(
                f"{self.task}: the {what} has {length} tokens and demonstrations.max_length is {max_length}: raise "
                "it, or shorten the prompt with rollout.brief, rollout.specs or rollout.observation_limit"
            )
        return SupervisedRow(
            self.input_ids[:end], self.labels_mask[:end], self.task, self.reward, self.source, cut=True
        )


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two episodes of one case under one prompt, the first being better by `margin` in reward.

    `chosen_mask` and `rejected_mask` are 1 exactly on the policy's own ids.
    """

    task: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    chosen_mask: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    rejected_mask: tuple[int, ...]
    margin: float


def demonstration_rows(
    recipe: Recipe,
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    *,
    say: Callable[[str], None] = logger.info,
) -> list[SupervisedRow]:
    """The rows that `recipe.demonstrations` means, best first within each task.

    The expert's are rendered in every form that the run's prompts will take, so that a curriculum meets a student that
    has seen each of its stages.

    Args:
        recipe: its demonstrations, rollout (form of the prompt, messages of an episode) and suite.
        tasks: the training cases; recorded trajectories of any other case are left out.
        chat_format: of the student.
        say: told how many rows there are and what was left out.

    Raises:
        DemonstrationError: nothing is left, a prompt does not fit, or a recording is not the student's.
        RecipeError: the literature cannot be used.
        TrajectoryError: a file cannot be read.
    """
    settings, forms = recipe.demonstrations, reached_forms(recipe)
    if settings.source == EXPERT:
        played = literature_of(recipe)
        sources = [
            expert_rows(tasks, chat_format, form, max_turns=recipe.rollout.max_turns, literature=played)
            for form in forms
        ]
    else:
        folder = Path(settings.source)
        if not folder.exists():
            raise DemonstrationError(
                f"demonstrations.source = {settings.source!r} is neither {EXPERT!r} nor a folder or file of "
                "trajectories"
            )
        sources = [recorded_rows(folder, tasks, chat_format, forms[0])]
    made = [list(source) for source in sources]
    read = [row for rows in made for row in rows]
    kept = [row for rows in made for row in select_rows(rows, settings.min_reward, settings.per_task)]
    if not kept:
        best = max((row.reward for row in read), default=None)
        raise DemonstrationError(
            f"no demonstration from {settings.source!r} earns demonstrations.min_reward = {settings.min_reward} on the "
            f"{len(tasks)} training cases ({'none was found' if best is None else f'the best has {best:.3f}'}): lower "
            "it, give another source, or check tasks.* and rollout.max_turns"
        )
    rows = [row.cut_to(settings.max_length) for row in kept]
    cut = sum(row.cut for row in rows)
    lost = f" (their last turns, the answer among them, are not learned: raise max_length {settings.max_length})"
    say(
        f"{len(rows)} demonstrations of {len({row.task for row in rows})} cases from {settings.source}: "
        f"{len(read) - len(rows)} left out, {cut} cut{lost if cut else ''}"
    )
    return rows


def expert_rows(
    tasks: Iterable[Task],
    chat_format: ChatFormat,
    form: PromptForm | None = None,
    *,
    max_turns: int | None = None,
    literature: Callable[[], Index] | None = None,
) -> Iterator[SupervisedRow]:
    """The oracle at work, one row per task. It reads whole observations; the row holds them as `form` shows them."""
    for task in tasks:
        episode = Episode(task, max_turns=max_turns, literature=literature)
        opening = opening_messages(episode, form)
        play_script(episode, POLICIES[EXPERT])
        reward = float(episode.reward.to_json()["composite"] or 0.0)
        stream = conversation_stream(opening, episode.turns, chat_format, form)
        yield SupervisedRow(tuple(stream.ids), tuple(stream.mask), task.id, reward, EXPERT)


def recorded_rows(
    path: Path, tasks: Iterable[Task], chat_format: ChatFormat, form: PromptForm | None = None
) -> Iterator[SupervisedRow]:
    """Trajectories of a folder or file, in order; those of other tasks, those without a turn, and one that a
    killed run was still writing are left out.

    Recorded ids are taken as they are, with the prompt they were recorded under. A trajectory without ids (a script,
    a human, a server that gives none) is rendered as `form` says.

    Raises:
        DemonstrationError: ids of another tokenizer, or a case that has changed since.
        TrajectoryError: there is no trajectory, or a file is damaged.
    """
    known = {task.id: task for task in tasks}
    others = 0
    for file in trajectory_files(path):
        for trajectory in whole_trajectories(file):
            task = known.get(trajectory.task)
            if task is None or not trajectory.turns:
                others += 1
                continue
            yield recorded_row(trajectory, task, chat_format, form)
    if others:
        logger.info("%d trajectories under %s are of other cases, or empty: left out", others, path)


def recorded_row(
    trajectory: Trajectory, task: Task, chat_format: ChatFormat, form: PromptForm | None = None
) -> SupervisedRow:
    """One trajectory as a row, uncut; see `recorded_rows`."""
    held = Recorder.from_dict(dict(trajectory.tokens)) if trajectory.tokens is not None else None
    if held is not None and held.trainable:
        _check_tokenizer(held, trajectory, chat_format)
        stream = held
    else:
        episode = Episode(task)
        if episode.opening != trajectory.opening:
            raise DemonstrationError(
                f"{trajectory.task}: the case has changed since it was recorded (medgym "
                f"{trajectory.versions.get('medgym', '?')}): record it again"
            )
        turns = [_turn(stored) for stored in trajectory.turns]
        stream = conversation_stream(opening_messages(episode, form), turns, chat_format, form)
    reward = float(trajectory.reward.get("composite") or 0.0)
    return SupervisedRow(tuple(stream.ids), tuple(stream.mask), trajectory.task, reward, trajectory.policy)


def conversation_stream(
    opening: Sequence[BaseMessage], turns: Sequence[Turn], chat_format: ChatFormat, form: PromptForm | None = None
) -> Recorder:
    """The stream that a policy would leave which wrote exactly these answers; its log-probabilities mean nothing."""
    from langchain_core.messages import AIMessage

    limit = form.observation_limit if form is not None else None
    recorder = Recorder()
    messages = list(opening)
    for number, turn in enumerate(turns):
        context = recorder.render_next(messages, chat_format)
        answer = chat_format.answer_ids(turn.text)
        recorder.append(TokenTurn(tuple(context), tuple(answer), (0.0,) * len(answer), "stop"), turn.text)
        messages += [AIMessage(turn.text), *turn_messages(turn, number, limit)]
    return recorder


def select_rows(rows: Iterable[SupervisedRow], min_reward: float, per_task: int) -> list[SupervisedRow]:
    """Per task the `per_task` best distinct rows with at least `min_reward`; tasks stay in order of appearance.

    Equal rewards: fewer policy ids first, then the earlier row.
    """
    by_task: dict[str, dict[tuple[int, ...], SupervisedRow]] = {}
    for row in rows:
        if row.reward >= min_reward:
            by_task.setdefault(row.task, {}).setdefault(row.input_ids, row)
    kept: list[SupervisedRow] = []
    for held in by_task.values():
        kept += sorted(held.values(), key=lambda row: (-row.reward, sum(row.labels_mask)))[:per_task]
    return kept


def preference_pairs(
    rows: Iterable[SupervisedRow],
    *,
    margin: float,
    min_reward: float,
    per_task: int,
    max_length: int | None = None,
) -> list[PreferencePair]:
    """Pairs of uncut rows of the same task and the same prompt: the best with the worst, the second with the second.

    Args:
        rows: of any origin, mixed.
        margin: least difference in reward.
        min_reward: that the chosen one needs.
        per_task: most pairs of one task; a row stands in one pair at most.
        max_length: ids of a row, see `SupervisedRow.cut_to`.

    Raises:
        DemonstrationError: a prompt does not fit, or no pair was found.
    """
    groups: dict[tuple[str, tuple[int, ...]], dict[tuple[int, ...], SupervisedRow]] = {}
    for row in rows:
        prompt = row.input_ids[: row.prompt_length]
        groups.setdefault((row.task, prompt), {}).setdefault(row.input_ids, row)
    pairs: list[PreferencePair] = []
    count: dict[str, int] = {}
    for (task, prompt), held in groups.items():
        ranked = sorted(held.values(), key=lambda row: -row.reward)
        for at in range(len(ranked) // 2):
            better, worse = ranked[at], ranked[-1 - at]
            if better.reward - worse.reward < margin or better.reward < min_reward or count.get(task, 0) >= per_task:
                break
            pair = _pair(better.cut_to(max_length), worse.cut_to(max_length), len(prompt))
            if pair.chosen_ids != pair.rejected_ids:  # cut to the same turns there is nothing to prefer
                pairs.append(pair)
                count[task] = count.get(task, 0) + 1
    if not pairs:
        raise DemonstrationError(
            f"no two of the {sum(map(len, groups.values()))} different episodes share a case and a prompt, differ by "
            f"demonstrations.pair_margin = {margin} in reward, and have one that earns {min_reward}: sample more per "
            "case, or lower demonstrations.pair_margin or min_reward"
        )
    return pairs


def _pair(better: SupervisedRow, worse: SupervisedRow, prompt: int) -> PreferencePair:
    return PreferencePair(
        better.task,
        better.input_ids[:prompt],
        better.input_ids[prompt:],
        better.labels_mask[prompt:],
        worse.input_ids[prompt:],
        worse.labels_mask[prompt:],
        better.reward - worse.reward,
    )


def _check_tokenizer(held: Recorder, trajectory: Trajectory, chat_format: ChatFormat) -> None:
    """Ids of another tokenizer spell other answers."""
    spelled = [chat_format.text_of(turn.output_ids) for turn in held.turns]
    same = len(spelled) == len(trajectory.actions) and all(
        text.startswith(action) for text, action in zip(spelled, trajectory.actions, strict=True)
    )
    if not same or max(held.ids) >= len(chat_format.tokenizer):
        raise DemonstrationError(
            f"{trajectory.task}: the recorded ids do not spell the recorded answers under this student's tokenizer; "
            f"they were sampled by {trajectory.policy!r}: give trajectories of the same model family"
        )


def _turn(stored: Mapping[str, object]) -> Turn:
    """The turn as far as a conversation shows it."""
    text = str(stored["text"])
    topics = tuple(cast("Sequence[str]", stored["topics"]))
    turn = Turn(text, parse_action(text), str(stored["reply"]), topics, observation=str(stored["observation"]))
    for call in cast("Sequence[Mapping[str, object]]", stored["calls"]):
        turn.calls.append(
            CallRecord(
                name=str(call["name"]),
                arguments=call["arguments"],
                result=str(call["result"]),
                error=cast("str | None", call["error"]),
                verdicts=(),
                marks=tuple(cast("Sequence[str]", call["marks"])),
                repeated=bool(call["repeated"]),
                confirmed=cast("bool | None", call["confirmed"]),
                at=int(cast("int", call["at"])),
            )
        )
    return turn
