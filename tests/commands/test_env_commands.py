"""`medgym tools`, `tasks`, `validate` and `replay`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from medgym.env import suites
from medgym.env.baselines import POLICIES, play_script
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Episode
from medgym.env.trajectory import FILE_NAME, Trajectory, append, encode
from medgym.tools.registry import all_tools


def stored(seed: int = 0) -> Trajectory:
    task = load_domain("clinical_diagnosis").tasks()[seed]
    return Trajectory.of(play_script(Episode(task, seed), POLICIES["expert"]), "expert")


def test_tools_list(medgym: Any) -> None:
    result = medgym("tools", "list", "--json")
    assert (result.code, result.err) == (0, "")
    assert [row["name"] for row in result.rows] == list(all_tools())
    for row in result.rows:
        assert {"name", "domain", "kind", "effect", "core"} <= set(row)
        assert set(row["domain"]) <= set(domain_names())
        assert row["effect"] in ("read", "write", "terminal")
        assert isinstance(row["core"], bool)
    shown = medgym("tools", "list").out
    assert all(name in shown for name in all_tools())


@pytest.mark.parametrize("domain", domain_names())
def test_tools_of_a_domain(medgym: Any, domain: str) -> None:
    rows = medgym("tools", "list", "--domain", domain, "--json").rows
    offered = {spec.name for spec in load_domain(domain).shelf.offered()}
    assert {row["name"] for row in rows} == offered & set(all_tools())


def test_tools_try(medgym: Any) -> None:
    result = medgym("tools", "try", "get_vital_signs", "--json")
    assert (result.code, result.err) == (0, "")
    (row,) = result.rows
    assert set(row) == {"name", "arguments", "task", "error", "result"}
    assert row["error"] is None
    assert row["result"]["heart_rate"] > 0
    assert '"heart_rate"' in medgym("tools", "try", "get_vital_signs").out
    assert medgym("tools", "try", "wait", '{"minutes": 5}').code == 0
    assert medgym("tools", "try", "search_pubmed", '{"query": "aspirin"}').code == 0


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("nope", "{}", "unknown_tool"),
        ("wait", '{"minutes": "soon"}', "invalid_arguments"),
        ("wait", "3", "invalid_arguments"),
        ("get_vital_signs", '{"patient_id": "P0"}', "unknown_patient"),
        ("order_lab_test", '{"test_name": "nope"}', "not_found"),
    ],
)
def test_a_bad_call_is_a_finding(medgym: Any, name: str, arguments: str, code: str) -> None:
    result = medgym("tools", "try", name, arguments, "--json")
    assert (result.code, result.err) == (1, "")
    assert result.rows[0]["error"] == code
    assert result.rows[0]["result"]["error"]["code"] == code
    assert medgym("tools", "try", name, arguments).code == 1


@pytest.mark.parametrize("arguments", ["{", "minutes=5", "", "[" * 100_000])
def test_arguments_that_are_no_json(medgym: Any, arguments: str) -> None:
    medgym("tools", "try", "wait", arguments).failed(2, "the arguments are not JSON")


def test_tasks_list(medgym: Any) -> None:
    rows = medgym("tasks", "list", "--json").rows
    every = [task for name in domain_names() for task in load_domain(name).tasks()]
    assert [row["id"] for row in rows] == [task.id for task in every]
    assert all(set(row) == {"id", "domain", "split", "difficulty", "condition"} for row in rows)
    shown = medgym("tasks", "list").out
    assert all(task.id in shown for task in every)


def test_tasks_of_a_split(medgym: Any) -> None:
    rows = medgym("tasks", "list", "--domain", "medical_qa", "--split", "test", "--json").rows
    assert rows
    assert {(row["domain"], row["split"]) for row in rows} == {("medical_qa", "test")}


@pytest.mark.parametrize(
    "command", [("tasks", "list"), ("tools", "list"), ("validate",), ("run",), ("play",)], ids=" ".join
)
def test_an_unknown_domain(medgym: Any, command: tuple[str, ...]) -> None:
    medgym(*command, "--domain", "nope").failed(2, "no domain 'nope': one of clinical_diagnosis")


@pytest.mark.parametrize(
    "command", [("tasks", "list"), ("tasks", "build"), ("validate",), ("run",), ("play",)], ids=" ".join
)
def test_an_unknown_suite(medgym: Any, command: tuple[str, ...]) -> None:
    medgym(*command, "--suite", "v9").failed(2, "no suite 'v9': one of v1")


def test_an_unknown_split_and_task(medgym: Any) -> None:
    medgym("tasks", "list", "--split", "nope").failed(2, "--split nope", "train, val, test, heldout")
    medgym("tools", "try", "wait", "--task", "clinical_diagnosis-nope").failed(2, "no task 'clinical_diagnosis-nope'")


@pytest.mark.slow
def test_the_wide_suite_is_the_committed_one(medgym: Any) -> None:
    (row,) = medgym("tasks", "build", "--suite", "v1x5", "--json").rows
    assert (row["n_tasks"], row["differences"]) == (5 * len(suites.read_manifest("v1")), 0)


def test_tasks_build(medgym: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = suites.MANIFESTS / "v1.json"
    before = committed.read_bytes()
    monkeypatch.setattr(suites, "MANIFESTS", tmp_path / "manifests")
    (row,) = medgym("tasks", "build", "--write", "--json").rows
    assert row["differences"] == 0
    assert row["n_tasks"] == len(suites.build_manifest("v1"))
    written = tmp_path / "manifests" / "v1.json"
    manifest = json.loads(written.read_text())
    name = next(iter(manifest))
    written.write_text(json.dumps({**manifest, name: "other"}))
    result = medgym("tasks", "build", "--json")
    assert result.code == 1
    assert (result.rows[0]["differences"], result.rows[0]["tasks"]) == (1, [name])
    assert name in medgym("tasks", "build").out
    assert committed.read_bytes() == before


def test_validate(medgym: Any) -> None:
    result = medgym("validate", "--n", 6, "--json")
    assert result.err == ""
    assert result.code == int(any(not row["ok"] for row in result.rows))  # six cases are few: a guess may be paid
    assert [row["domain"] for row in result.rows] == list(domain_names())
    wanted = {"n_tasks", "oracle_mean", "oracle_min", "do_nothing_mean", "random_mean", "exploit_mean"}
    wanted |= {"dangerous_max", "gold_leaks", "unresolved_tools", "ok", "failures"}
    for row in result.rows:
        assert wanted <= set(row)
        assert row["n_tasks"] == 6
        assert row["ok"] is not bool(row["failures"])
        assert row["oracle_mean"] >= 0.99
        assert (row["gold_leaks"], row["unresolved_tools"]) == (0, 0)
    shown = medgym("validate", "--domain", "medical_qa", "--n", 2).out
    assert "oracle_mean" in shown


def test_a_domain_that_is_not_as_it_should_be_is_a_finding(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "expert", POLICIES["do-nothing"])
    result = medgym("validate", "--domain", "medical_qa", "--n", 1, "--json")
    assert result.code == 1
    assert result.rows[0]["ok"] is False
    assert any("oracle_mean" in failure for failure in result.rows[0]["failures"])


@pytest.mark.parametrize("n", ["0", "-1", "some"])
def test_a_wrong_number_of_tasks(medgym: Any, n: str) -> None:
    medgym("validate", "--n", n).failed(2, "--n")


@pytest.mark.parametrize("name", [FILE_NAME, "plain.jsonl"])
def test_replay(medgym: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / "run" / "deep" / name
    path.parent.mkdir(parents=True)
    for seed in range(2):
        if name == FILE_NAME:
            append(path, stored(seed))
        else:
            with path.open("ab") as out:
                out.write(encode(stored(seed)))
    (path.parent / "timings.csv").write_text("not,a,trajectory\n")
    for place in (path, tmp_path / "run"):
        result = medgym("replay", place, "--json")
        assert (result.code, result.err) == (0, "")
        assert result.rows == [{"episodes": 2, "differences": 0}]
    assert "2 episodes replayed, 0 differences" in medgym("replay", path).out


@pytest.mark.parametrize("where", ["reward", "turn 2 observation", "ended", "record hash", "opening"])
def test_a_planted_difference_is_a_finding(medgym: Any, tmp_path: Path, where: str) -> None:
    row = json.loads(encode(stored()))
    if where == "reward":
        row["reward"]["composite"] = 0.123
    elif where.startswith("turn"):
        row["turns"][1]["observation"] += "!"
    else:
        row[where.replace(" ", "_")] = "other"
    path = tmp_path / FILE_NAME
    append(path, Trajectory.from_json(row))
    result = medgym("replay", path, "--json")
    assert (result.code, result.err) == (1, "")
    found, total = result.rows
    assert set(found) == {"task", "seed", "where", "stored", "replayed"}
    assert found["where"] == where
    assert total == {"episodes": 1, "differences": 1}
    result = medgym("replay", path)
    assert result.code == 1
    assert f"{where} differs" in result.out


def test_replay_of_nothing(medgym: Any, tmp_path: Path) -> None:
    medgym("replay", tmp_path / "none").failed(2, "does not exist")
    (tmp_path / "empty").mkdir()
    medgym("replay", tmp_path / "empty").failed(2, "no trajectories")
    (tmp_path / "empty" / FILE_NAME).write_bytes(b"")
    medgym("replay", tmp_path / "empty").failed(2, "no trajectory in")


def test_replay_of_what_cannot_be_read(medgym: Any, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    append(path, stored(0))
    whole = path.read_bytes()
    cases = {
        "cut": whole[: len(whole) // 2],
        "cut in the second": whole + whole[: len(whole) // 2],
        "no zstd": b"hello",
        "changed": whole[:40] + bytes(byte ^ 255 for byte in whole[40:90]) + whole[90:],
    }
    for what, data in cases.items():
        path.write_bytes(data)
        result = medgym("replay", path, "--json")
        assert result.code == 2, what
        assert str(path) in result.err, what
        assert len(result.err.splitlines()) == 1
    plain = {
        "other version": {"format_version": 99},
        "no fields": {"format_version": 1},
        "no object": [1],
        "unknown task": json.loads(encode(stored())) | {"task": "nope"},
        "a turn without calls": json.loads(encode(stored())) | {"turns": [{"text": "x", "reply": "", "speech": ""}]},
    }
    for what, row in plain.items():
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(row) + "\n")
        result = medgym("replay", path, "--json")
        assert (result.code, result.out) == (2, ""), what
        assert str(path) in result.err, what
        assert len(result.err.splitlines()) == 1
    path.write_bytes(b"\xff\xfe\x00" * 9)
    medgym("replay", path).failed(2, str(path), "damaged")
    (tmp_path / "folder.jsonl").mkdir()
    path.unlink()
    (tmp_path / FILE_NAME).unlink()
    medgym("replay", tmp_path).failed(3, "folder.jsonl")


def test_a_frame_by_frame_file_is_read_whole(medgym: Any, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(zstandard.ZstdCompressor().compress(encode(stored(0)) + encode(stored(1))))
    append(path, stored(2))
    assert medgym("replay", path, "--json").rows == [{"episodes": 3, "differences": 0}]
