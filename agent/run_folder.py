"""The folder of a run: its settings, its trajectories, and which (task, seed) pairs are finished.

One process writes into it at a time. A pair is kept once, whatever was killed when: the trajectories themselves say
what is finished, and the index beside them only saves reading them all (it says up to which byte it knows). Settings
that would give other trajectories are refused, with what differs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias, cast

from ..env.briefing import PromptForm
from ..env.trajectory import FILE_NAME, Trajectory, append, recover
from ..tools.console import ENVIRONMENT, CommandError
from .play import prepare_folder

SETTINGS_FILE = "run.json"
INDEX_FILE = "finished.index"  # not .jsonl: those are trajectories
TIMINGS_FILE = "timings.csv"
LOCK_FILE = "run.lock"
PROMPTED = ("max_turns", *(field.name for field in fields(PromptForm)))
FREE = ("n", "literature")  # may change from call to call; another literature is known by its corpus hash

Settings: TypeAlias = Mapping[str, object]
Key: TypeAlias = tuple[str, int]


class RunFolder:
    """An open run.

    Attributes:
        path: of the trajectories.
        rewards: the composite of each finished (task, seed).
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.path = folder / FILE_NAME
        self.rewards: dict[Key, float] = {}
        self._settings = settings
        self._index = folder / INDEX_FILE
        self._timings = folder / TIMINGS_FILE
        self._told = time.perf_counter()
        self._take_stock()

    def add(self, trajectory: Trajectory) -> bool:
        """Store a finished episode; False, and nothing is stored, where its pair is finished already."""
        key = (trajectory.task, trajectory.seed)
        if key in self.rewards:
            return False
        append(self.path, trajectory)
        self._note(trajectory, self.path.stat().st_size)
        now = time.perf_counter()
        with self._timings.open("a", encoding="utf-8") as timings:
            timings.write(f"{trajectory.task},{trajectory.seed},{now - self._told:.4f}\n")
        self._told = now
        return True

    def _take_stock(self) -> None:
        """Learn what is finished: from the index, and from the trajectories that are younger than it."""
        known = self._read_index()
        if known > self.path.stat().st_size:
            self.rewards.clear()
            self._index.unlink()
            known = 0
        for trajectory, end in recover(self.path, known):
            self._note(trajectory, end)

    def _read_index(self) -> int:
        """The byte up to which the index knows the trajectories; what a killed run left of a line is dropped."""
        if not self._index.is_file():
            return 0
        whole, _, cut = self._index.read_bytes().rpartition(b"\n")
        if cut:
            _write(self._index, whole + b"\n" if whole else b"")
        known = 0
        for line in whole.splitlines():
            row = cast("dict[str, object]", json.loads(line))
            known = cast("int", row["end"])
            if "task" in row:
                self.rewards[cast("str", row["task"]), cast("int", row["seed"])] = cast("float", row["reward"])
        return known

    def _note(self, trajectory: Trajectory, end: int) -> None:
        row: dict[str, object] = {"end": end}
        if self._ours(trajectory):
            reward = float(trajectory.reward["composite"] or 0.0)
            row |= {"task": trajectory.task, "seed": trajectory.seed, "reward": reward}
            self.rewards[trajectory.task, trajectory.seed] = reward
        with self._index.open("a", encoding="utf-8") as index:
            index.write(json.dumps(row) + "\n")

    def _ours(self, trajectory: Trajectory) -> bool:
        """Whether it is of this run: `medgym play` may have written into the same folder."""
        wanted = self._settings
        sampling = cast("Settings", wanted["sampling"])
        stored = {name: value for name, value in trajectory.sampling.items() if name in sampling}
        return (
            (trajectory.policy, trajectory.suite, trajectory.corpus_hash)
            == (wanted["policy"], wanted["suite"], wanted["corpus_hash"])
            and all(trajectory.sampling.get(name) == wanted.get(name) for name in PROMPTED)
            and not trajectory.sampling.get("human_patient")
            and stored == sampling
        )


@contextmanager
def open_run(folder: Path, settings: Settings) -> Generator[RunFolder]:
    """The run in a folder, begun or gone on with; `settings` is plain JSON with at least what `RunFolder` compares.

    Raises:
        CommandError: it cannot be written, another process writes there, or it holds a run with other settings.
        TrajectoryError: its trajectories are damaged.
    """
    from filelock import FileLock, Timeout

    prepare_folder(folder)
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CommandError(f"another `medgym run` writes into {folder}: wait for it, or give --out", ENVIRONMENT) from (
            error
        )
    try:
        _agree(folder / SETTINGS_FILE, settings)
        yield RunFolder(folder, settings)
    finally:
        lock.release()


def _agree(file: Path, settings: Settings) -> None:
    """Write the settings down, unless the folder holds others."""
    wanted = cast("dict[str, object]", json.loads(json.dumps(settings)))
    if file.is_file():
        try:
            stored = cast("dict[str, object]", json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise CommandError(f"{file} is damaged ({error}): give --out another folder", ENVIRONMENT) from error
        differing = _differing(stored, wanted)
        if differing:
            raise CommandError(
                f"{file.parent} holds a run with other settings ({'; '.join(differing)}): "
                "give --out another folder, or the old settings to go on with it"
            )
        wanted["n"] = max(cast("int", stored["n"]), cast("int", wanted["n"]))
    _write(file, (json.dumps(wanted, indent=1) + "\n").encode())


def _differing(stored: Settings, wanted: Settings, within: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted({*stored, *wanted} - set(FREE)):
        if name not in stored and not within:
            continue  # written by an earlier version, which did not keep it
        old, new = stored.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(cast("Settings", old), cast("Settings", new), f"{name}.")
        elif old != new:
            found.append(f"{within}{name} was {json.dumps(old)}, now {json.dumps(new)}")
    return found


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all; the folder's lock is held."""
    made = file.with_name(f".{file.name}.new")
    made.write_bytes(content)
    made.replace(file)
