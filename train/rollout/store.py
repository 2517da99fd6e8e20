"""Trajectories of a run, stored as they finish, each once, also where a killed run plays a step again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from ...env.trajectory import Trajectory, append, read_file


class TrajectoryStore:
    """An append-only file of one process; safe to use from several threads.

    Args:
        path: `.jsonl.zst`; what an earlier session of the run left there is read and kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._held = {_digest(one) for one in whole_trajectories(path)}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, trajectory: Trajectory) -> bool:
        """Append it; False where the very same one is there already (a step that was played again)."""
        digest = _digest(trajectory)
        with self._lock:
            if digest in self._held:
                return False
            append(self.path, trajectory)
            self._held.add(digest)
            return True


def whole_trajectories(path: Path) -> Iterator[Trajectory]:
    """Every whole trajectory of a file, up to where a killed run cut the last one."""
    if not path.is_file() or not path.stat().st_size:
        return
    reading = read_file(path)
    while True:
        try:
            one = next(reading)
        except StopIteration:
            return
        except ValueError as error:
            if "cut" not in str(error):
                raise
            return
        yield one


def _digest(trajectory: Trajectory) -> str:
    """What tells two runs of the same row apart: where it belongs, and every id that was sampled."""
    body = json.dumps(
        [trajectory.task, trajectory.seed, dict(trajectory.sampling), trajectory.actions, trajectory.tokens],
        sort_keys=True,
        ensure_ascii=False,
    )
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
