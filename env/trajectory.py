"""`Trajectory`: the neutral record of one episode, and the files that hold them.

A file is JSON lines, each line its own zstd frame, so that appending never rewrites and a killed run loses at most
its last line. Nothing in a trajectory depends on the wall clock: two runs of a seed give the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import zstandard

from .. import __version__
from .episode import CallRecord, Episode, Turn

FORMAT_VERSION = 1
FILE_NAME = "trajectories.jsonl.zst"
_LEVEL = 9
_CHUNK = 1 << 16  # bytes
_whole: set[Path] = set()  # files that this process found, or made, without a cut tail


class _Frame(Protocol):
    """What is used of zstandard's decompression object."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes:
        """The next bytes of the content."""
        ...


class TrajectoryError(ValueError):
    """A stored trajectory that cannot be read; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished (or abandoned) episode.

    Attributes:
        task, domain, suite, seed, policy: what was played, and by whom.
        opening: the first observation.
        turns: per message its text, calls, results, verdicts, marks, reply and observation.
        reward: the breakdown; `reward['composite']` is the reward.
        verdicts: every safety finding in order.
        ended: submitted, budget, dead_end, or '' when it was left.
        answer: the submitted answer or None.
        record_hash: `Record.state_hash()` at the end.
        tokens: what `agent.recorder` kept, or None where no token ids were seen.
        sampling: the policy's settings.
        versions: format and program version.
        corpus_hash: of the literature; None, and not written, where it was the starter's.
    """

    task: str
    domain: str
    suite: str
    seed: int
    policy: str
    opening: str
    turns: tuple[Mapping[str, object], ...]
    reward: Mapping[str, float | bool | None]
    verdicts: tuple[Mapping[str, object], ...]
    ended: str
    answer: Mapping[str, object] | None
    record_hash: str
    tokens: Mapping[str, object] | None = None
    sampling: Mapping[str, object] = field(default_factory=dict[str, object])
    versions: Mapping[str, object] = field(default_factory=dict[str, object])
    corpus_hash: str | None = None

    @classmethod
    def of(
        cls,
        episode: Episode,
        policy: str,
        *,
        suite: str = "v1",
        tokens: Mapping[str, object] | None = None,
        sampling: Mapping[str, object] | None = None,
    ) -> Trajectory:
        """The trajectory of an episode as it stands."""
        return cls(
            task=episode.task.id,
            domain=episode.task.domain,
            suite=suite,
            seed=episode.seed,
            policy=policy,
            opening=episode.opening,
            turns=tuple(_turn_json(turn) for turn in episode.turns),
            reward=episode.reward.to_json(),
            verdicts=tuple(verdict.to_json() for verdict in episode.verdicts),
            ended=episode.ended or "",
            answer=dict(episode.submission) if episode.submission is not None else None,
            record_hash=episode.record.state_hash(),
            tokens=tokens,
            sampling=dict(sampling or {}),
            versions={"format_version": FORMAT_VERSION, "medgym": __version__},
            corpus_hash=episode.corpus_hash,
        )

    @property
    def actions(self) -> list[str]:
        """The agent's messages, enough to replay the episode (with `confirmations`)."""
        return [str(turn["text"]) for turn in self.turns]

    def to_json(self) -> dict[str, object]:
        """Plain JSON with `format_version` first."""
        body = {name: getattr(self, name) for name in _FIELDS}
        if self.corpus_hash is not None:
            body["corpus_hash"] = self.corpus_hash
        return {**self.versions, **body, "turns": list(self.turns), "verdicts": list(self.verdicts)}

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Trajectory:
        """Read what `to_json` wrote; raises `TrajectoryError` for another version or a missing field."""
        version = stored.get("format_version")
        if version != FORMAT_VERSION:
            raise TrajectoryError(
                f"format_version {version!r} is not readable here: this medgym reads {FORMAT_VERSION}"
            )
        missing = [name for name in _FIELDS if name not in stored]
        if missing:
            raise TrajectoryError(f"fields missing: {', '.join(missing)}")
        lists = [name for name in ("turns", "verdicts") if not isinstance(stored[name], list)]
        if lists:
            raise TrajectoryError(f"not a list: {', '.join(lists)}")
        values = {name: stored[name] for name in _FIELDS}
        values["corpus_hash"] = stored.get("corpus_hash")
        values["turns"] = tuple(cast("Sequence[Mapping[str, object]]", stored["turns"]))
        values["verdicts"] = tuple(cast("Sequence[Mapping[str, object]]", stored["verdicts"]))
        values["versions"] = {"format_version": version, "medgym": stored.get("medgym", "")}
        return cls(**values)  # pyright: ignore[reportArgumentType]


_FIELDS = tuple(name for name in Trajectory.__slots__ if name not in ("versions", "corpus_hash"))


def _turn_json(turn: Turn) -> dict[str, object]:
    return {
        "text": turn.text,
        "speech": turn.action.speech,
        "reply": turn.reply,
        "topics": list(turn.topics),
        "calls": [_call_json(call) for call in turn.calls],
        "observation": turn.observation,
    }


def _call_json(call: CallRecord) -> dict[str, object]:
    return {
        "name": call.name,
        "arguments": call.arguments,
        "result": call.result,
        "error": call.error,
        "verdicts": [verdict.to_json() for verdict in call.verdicts],
        "marks": list(call.marks),
        "repeated": call.repeated,
        "confirmed": call.confirmed,
        "at": call.at,
    }


def encode(trajectory: Trajectory) -> bytes:
    """One line of JSON, newline included."""
    return (json.dumps(trajectory.to_json(), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def append(path: Path, trajectory: Trajectory) -> None:
    """Append a trajectory to a file as a zstd frame of its own; the folder is made if need be.

    What a killed run left behind the last whole frame would hide everything after it: it is moved to `NAME.cut`.
    """
    append_line(path, encode(trajectory))


def append_line(path: Path, line: bytes) -> None:
    """`append` for a line that is encoded already, newline included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.resolve() not in _whole:
        _set_cut_tail_aside(path)
        _whole.add(path.resolve())
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(line)
    with path.open("ab") as out:
        out.write(frame)
        out.flush()


def _set_cut_tail_aside(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb") as raw:
        sizes = _Sizes()
        try:
            for _ in _frames(raw, sizes):
                pass
            return
        except EOFError:
            raw.seek(sizes.whole)
            tail = raw.read()
        except zstandard.ZstdError as error:
            raise TrajectoryError(f"{path} is damaged: {error}; move it away, or choose another folder") from error
    path.with_name(f"{path.name}.cut").write_bytes(tail)
    with path.open("rb+") as out:
        out.truncate(sizes.whole)


def recover(path: Path, start: int = 0) -> Iterator[tuple[Trajectory, int]]:
    """Trajectories of a `.jsonl.zst` file from byte `start` on, each with the byte where it ends.

    When all are read a cut tail is set aside, as `append` does, which then need not look for one. `start` is 0 or
    where a trajectory ended. Raises TrajectoryError where the file is damaged.
    """
    sizes = _Sizes(start)
    with path.open("rb") as raw:
        raw.seek(start)
        try:
            for frame in _frames(raw, sizes):
                for line in frame.splitlines():
                    yield Trajectory.from_json(json.loads(line.decode("utf-8", "surrogatepass"))), sizes.whole
        except EOFError:
            raw.seek(sizes.whole)
            path.with_name(f"{path.name}.cut").write_bytes(raw.read())
        except (zstandard.ZstdError, ValueError) as error:
            raise TrajectoryError(f"{path} is damaged after byte {sizes.whole}: {error}") from error
    if path.stat().st_size > sizes.whole:
        with path.open("rb+") as out:
            out.truncate(sizes.whole)
    _whole.add(path.resolve())


def read_file(path: Path) -> Iterator[Trajectory]:
    """Trajectories of a `.jsonl.zst` or `.jsonl` file in order.

    Raises:
        TrajectoryError: naming the file and line; a cut last line is named as such.
    """
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            stored: object = json.loads(line.decode("utf-8", "surrogatepass"))
            if not isinstance(stored, dict):
                raise TrajectoryError("not a JSON object")
            yield Trajectory.from_json(cast("dict[str, object]", stored))
        except TrajectoryError as error:
            raise TrajectoryError(f"{path}, line {number}: {error}") from error
        except ValueError as error:
            raise TrajectoryError(f"{path}, line {number} is damaged or cut: {error}") from error


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that `append_line` wrote, or of a plain one; raises `TrajectoryError` at a damaged one."""
    number = 1
    with path.open("rb") as raw:
        if path.suffix != ".zst":
            yield from raw
            return
        try:
            for frame in _frames(raw):
                for line in frame.removesuffix(b"\n").split(b"\n"):
                    yield line
                    number += 1
        except zstandard.ZstdError as error:
            raise TrajectoryError(f"{path}, line {number} is damaged: {error}") from error
        except EOFError as error:
            raise TrajectoryError(f"{path}, line {number} is cut: the run was killed while writing it") from error


@dataclass(slots=True)
class _Sizes:
    """How many bytes of a file the whole frames read so far take."""

    whole: int = 0


def _frames(raw: io.BufferedReader, sizes: _Sizes | None = None) -> Iterator[bytes]:
    """The content of each zstd frame; raises `EOFError` where the last one is not whole."""
    read = raw.tell()
    rest, made = b"", list[bytes]()
    frame: _Frame | None = None
    while rest or (rest := raw.read(_CHUNK)):
        read += len(rest)
        frame = frame or cast("_Frame", zstandard.ZstdDecompressor().decompressobj())
        made.append(frame.decompress(rest))
        rest = frame.unused_data
        read -= len(rest)
        if frame.eof:
            if sizes is not None:
                sizes.whole = read
            yield b"".join(made)
            frame, made = None, list[bytes]()
    if frame is not None:
        raise EOFError("the last frame is not whole")


def trajectory_files(folder: Path) -> list[Path]:
    """The trajectory files of a run: the path itself, or every one below a folder, sorted."""
    if folder.is_file():
        return [folder]
    found = [path for pattern in ("*.jsonl.zst", "*.jsonl") for path in folder.rglob(pattern)]
    if not found:
        raise TrajectoryError(f"no trajectories (*.jsonl.zst or *.jsonl) under {folder}")
    return sorted(found)
