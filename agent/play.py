"""`medgym play`: one case, live, that survives being interrupted.

A SQLite checkpointer keeps the graph's state (task, seed, log); beside it lies a small file with how the play was
started. Resuming rebuilds the episode by replay. Both are removed when the case is over.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from ..env.domain import find_task, load_domain
from ..env.episode import Episode
from ..env.patient import HumanPatient
from ..env.trajectory import FILE_NAME, append
from ..tools.cache import state_root
from ..tools.console import ENVIRONMENT, FINDING, USAGE, CommandError, Output
from .graph import CaseGraph, build_case_graph
from .policies import Policy, PolicyError, PolicyOptions, PolicyUnavailable, make_policy
from .protocol import form_for
from .recorder import Recorder, recording
from .report import episode_row, evidence_table, reward_table
from .runner import start_state, thread_config, trajectory_of
from .screen import FULL, SHORT, show
from .session import LogMismatch, Sessions
from .state import AgentState


@dataclass(frozen=True, slots=True)
class PlaySettings:
    """How a play was started: enough to resume it."""

    task: str
    suite: str
    seed: int
    policy: str
    patient: str
    max_turns: int | None
    brief: bool
    out: str
    options: PolicyOptions
    literature: str | None = None


def _sessions_dir(root: Path) -> Path:
    return root / "plays"


def unfinished(root: Path) -> list[dict[str, object]]:
    """Interrupted plays, the latest last."""
    files = sorted(_sessions_dir(root).glob("*.json"), key=lambda file: file.stat().st_mtime)
    rows: list[dict[str, object]] = []
    for file in files:
        stored = _settings(file)
        with _checkpointer(root) as saver:
            held = saver.get_tuple(cast("Any", thread_config(file.stem)))
        values = held.checkpoint["channel_values"] if held is not None else {}
        turns = len(cast("list[object]", values.get("closed", [])))
        rows.append({"id": file.stem, "task": stored["task"], "policy": stored["policy"], "turns": turns})
    return rows


def new_play(root: Path, settings: PlaySettings, output: Output) -> dict[str, object]:
    """Start a play; the final row."""
    policy = _policy(settings, output)
    prepare_folder(Path(settings.out))
    folder = _sessions_dir(root)
    folder.mkdir(parents=True, exist_ok=True)
    policy_name = settings.policy.split(":", maxsplit=1)[0]
    stem = f"{settings.task}-s{settings.seed}-{policy_name}"
    number = 1
    while True:
        file = folder / f"{stem}-{number}.json"
        try:
            with file.open("x", encoding="utf-8") as out:
                out.write(json.dumps({**asdict(settings), "options": _stored_options(settings.options)}))
            break
        except FileExistsError:
            number += 1
    return _play(root, file.stem, settings, policy, output)


def resume_play(root: Path, wanted: str, output: Output, cache_dir: Path | None) -> dict[str, object]:
    """Continue an interrupted play; `last` is the latest."""
    ids = [str(row["id"]) for row in unfinished(root)]
    if not ids:
        raise CommandError("there is no interrupted play to resume")
    chosen = ids[-1] if wanted == "last" else wanted
    if chosen not in ids:
        raise CommandError(f"no interrupted play {wanted!r}: one of {', '.join(ids)}")
    stored = _settings(_sessions_dir(root) / f"{chosen}.json")
    options = PolicyOptions(**stored.pop("options"), cache_dir=cache_dir)
    settings = PlaySettings(**stored, options=options)
    if output.as_json and "human" in (settings.policy, settings.patient):
        raise CommandError("a person needs a terminal: leave out --json")
    output.say(f"resuming {chosen}", style="bold")
    return _play(root, chosen, settings, _policy(settings, output), output)


def _settings(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CommandError(f"{file} is damaged ({error}): remove it", ENVIRONMENT) from error


def prepare_folder(folder: Path) -> None:
    """Make the folder for trajectories; a command error before any work is done, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / FILE_NAME).open("ab"):
            pass
    except OSError as error:
        raise CommandError(f"--out {folder} cannot be written: {error.strerror}") from error


def _policy(settings: PlaySettings, output: Output) -> Policy:
    try:
        return make_policy(
            settings.policy, settings.options, ask=_asker(output, "doctor", settings.task), progress=output.note
        )
    except PolicyError as error:
        raise policy_error(error) from error


def policy_error(error: PolicyError) -> CommandError:
    """What a command says of a policy that cannot be had: the user's mistake, or something missing here."""
    return CommandError(str(error), ENVIRONMENT if isinstance(error, PolicyUnavailable) else USAGE)


def _stored_options(options: PolicyOptions) -> dict[str, object]:
    """Options as kept on disk: no key, no cache folder."""
    return {name: value for name, value in asdict(options).items() if name not in ("api_key", "cache_dir")}


@contextmanager
def _checkpointer(root: Path) -> Generator[SqliteSaver]:
    root.mkdir(parents=True, exist_ok=True)
    file = root / "plays.sqlite"
    try:
        with closing(sqlite3.connect(file, check_same_thread=False, timeout=30)) as connection:
            yield SqliteSaver(connection)
    except sqlite3.DatabaseError as error:
        raise CommandError(f"{file}, where interrupted plays are kept, cannot be used: {error}", ENVIRONMENT) from error


def _play(root: Path, thread: str, settings: PlaySettings, policy: Policy, output: Output) -> dict[str, object]:
    ask_patient = _asker(output, "patient", settings.task)
    human = settings.patient == "human"
    sessions = Sessions(seat=(lambda interview: HumanPatient(interview, ask_patient)) if human else None)
    recorder = Recorder()
    with _checkpointer(root) as saver, recording(recorder):
        agent = build_case_graph(
            policy.model_for,
            checkpointer=saver,
            guided=policy.guided,
            max_new_tokens=policy.max_new_tokens,
            ask_human=sys.stdin.isatty(),
            sessions=sessions,
        )
        if agent.graph.get_state(thread_config(thread)).values:
            recorder.mark_untrainable("the play was interrupted and resumed: earlier ids are not in this stream")
        place = "" if root == state_root() else f" --state-dir {root}"
        resume = f"resume it with: medgym play --resume {thread}{place}"
        try:
            _drive(agent, thread, settings, output)
            final = cast("AgentState", agent.graph.get_state(thread_config(thread)).values)
            row = _finish(sessions.at(thread, final).episode, settings, policy, recorder, output)
        except (KeyboardInterrupt, EOFError):
            raise CommandError(f"left; {resume}", FINDING) from None
        except PolicyUnavailable as error:
            raise CommandError(f"{error}; {resume}", ENVIRONMENT) from error
        except OSError as error:
            raise CommandError(f"{error}; {resume}", ENVIRONMENT) from error
        except LogMismatch as error:
            raise CommandError(f"{thread} cannot be resumed: {error}") from error
        saver.delete_thread(thread)
    (_sessions_dir(root) / f"{thread}.json").unlink(missing_ok=True)
    return row


def _finish(
    episode: Episode, settings: PlaySettings, policy: Policy, recorder: Recorder, output: Output
) -> dict[str, object]:
    trajectory = trajectory_of(
        episode,
        policy,
        recorder,
        suite=settings.suite,
        max_turns=settings.max_turns,
        form=form_for(settings.policy, settings.brief),
        human_patient=settings.patient == "human",
    )
    path = Path(settings.out) / FILE_NAME
    append(path, trajectory)
    output.say(evidence_table(episode))
    output.say(reward_table(trajectory.reward))
    for verdict in trajectory.verdicts:
        output.say(f"safety: severity {verdict['severity']} {verdict['rule']}: {verdict['message']}", style="red")
    output.say(f"trajectory: {path}")
    return episode_row(trajectory, path)


def _drive(agent: CaseGraph, thread: str, settings: PlaySettings, output: Output) -> None:
    """Stream the graph from where it stands to its end, asking a person where a verdict wants one."""
    config = thread_config(thread)
    lines = FULL if settings.policy == "human" else SHORT
    held = agent.graph.get_state(config)
    given: Any = None
    if settings.policy == "human":
        output.say("Text is said to the patient; /help lists the tools, /quit leaves.", style="dim")
    if held.values:
        show(cast("list[BaseMessage]", held.values["messages"])[1:2], output, opening=True)
        show(cast("list[BaseMessage]", held.values["messages"])[2:], output, opening=False, lines=lines)
    if not held.values:
        task = find_task(settings.task, settings.suite)
        limit, form = settings.max_turns, form_for(settings.policy, settings.brief)
        given = start_state(
            task, settings.seed, suite=settings.suite, max_turns=limit, form=form, literature=settings.literature
        )
    elif held.interrupts:
        given = Command(resume=_confirm(cast("Mapping[str, object]", held.interrupts[0].value), output))
    elif held.values.get("ended"):
        return  # the case was over, and the process was killed before it said so
    while True:
        question: object = None
        stream = cast("Callable[..., Iterator[dict[str, Any]]]", agent.graph.stream)  # pyright: ignore[reportUnknownMemberType]
        for update in stream(given, config, stream_mode="updates", durability="sync"):
            for node, change in update.items():
                if node == "__interrupt__":
                    question = change[0].value
                else:
                    made: dict[str, Any] = change or {}
                    messages = cast("list[BaseMessage]", made.get("messages", []))
                    show(messages, output, opening=node == "begin", lines=lines)
        if question is None:
            return
        given = Command(resume=_confirm(cast("Mapping[str, object]", question), output))


def _confirm(question: Mapping[str, object], output: Output) -> bool:
    """Ask a person at the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    output.console.print(f"confirm? {json.dumps(question, ensure_ascii=False, indent=1)}")
    return output.ask("carry it out? [y/N] ").strip().lower() in ("y", "yes")


def _asker(output: Output, seat: str, task: str) -> Callable[[str], str]:
    """Asks the person in a seat for a line; an empty line is asked again.

    The doctor has seen everything on the screen already; the patient is told what the doctor says.
    """

    def ask(shown: str) -> str:
        if seat == "patient":
            output.say(f"the doctor says: {shown}", style="bold")
        while True:
            typed = output.ask(f"{seat}> ").strip()
            if typed in ("/quit", "/exit"):
                raise KeyboardInterrupt
            if typed == "/help":
                output.say("Text is said to the patient. /TOOL key=value calls a tool; /quit leaves.")
                for spec in load_domain(find_task(task).domain).shelf.offered():
                    output.say(f"  /{spec.signature}", style="dim")
            elif typed:
                return typed

    return ask
