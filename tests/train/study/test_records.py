"""Reading a study's folder: what a kill leaves is read, what is damaged is named, no run is passed over."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medgym.train.study.ledger import Ledger
from medgym.train.study.packing import pack_study
from medgym.train.study.records import LEDGER_FILE, StudyError, read_study, run_name, run_of

CASE: dict[str, object] = {
    "task": "qa/row/1",
    "group": "row",
    "split": "val",
    "composite": 0.5,
    "parts": {"safety": 1.0},
    "correct": True,
    "submitted": True,
    "capped": False,
    "attempts": 4,
    "well_formed": 3,
    "turns": 6,
    "policy_tokens": 300,
    "finish": "submitted",
}
STUDY: dict[str, object] = {
    "edition": "tiny",
    "about": "",
    "arms": [
        {"name": "sft", "about": "", "recipe": "study/sft", "start": ""},
        {"name": "sft-short", "about": "", "recipe": "study/sft-short", "start": ""},
    ],
    "taken": ["sft"],
    "seeds": [0],
    "evaluation": {"val": 1, "seed": 0},
    "families": [{"name": "f", "about": "", "pairs": [["sft", "sft-short"]]}],
    "versions": {},
    "hardware": {"cores": 2},
}
EVENT: dict[str, object] = {"event": "finished", "job": "sft-s0:train", "seconds": 2.0}
LINE: dict[str, object] = {"stage": "sft", "step": 1, "loss": 0.5}


def lines_of(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A small study with a finished run."""
    folder = tmp_path / "study"
    write_run(folder, "sft-s0")
    (folder / "study.json").write_text(json.dumps(STUDY))
    (folder / LEDGER_FILE).write_text(lines_of(EVENT))
    return folder


def write_run(folder: Path, name: str) -> None:
    run = folder / name
    run.mkdir(parents=True)
    (run / "recipe.json").write_text(json.dumps({"algorithm": "sft"}))
    (run / "metrics.jsonl").write_text(lines_of(LINE, {"summary": {"steps": 1, "mechanisms": {"hints": 2}}}))
    (run / "evaluation-val.jsonl").write_text(lines_of(CASE))


def read_runs(folder: Path) -> list[str]:
    return [run_name(run.arm, run.seed) for run in read_study(folder).runs]


def test_a_study_is_read(study: Path):
    record = read_study(study)
    (run,) = record.runs
    assert (run.arm, run.seed, run.recipe, run.lines) == ("sft", 0, {"algorithm": "sft"}, [LINE])
    assert run.summary == {"steps": 1, "mechanisms": {"hints": 2}}
    assert [(case.group, case.composite) for case in run.evaluations["val"]] == [("row", 0.5)]
    assert record.families[0].pairs == [("sft", "sft-short")]
    assert (list(record.taken), record.ledger) == (["sft"], [EVENT])


def test_every_seed_that_there_is_is_read_in_order(study: Path):
    for name in ("sft-s10", "sft-s2", "sft-short-s1", "gone-s0", "sft-s01", "sft-s", "notes"):
        write_run(study, name)
    (study / "sft-s3").mkdir()  # nothing in it yet
    (study / "sft-s4").write_text("a file")
    assert read_runs(study) == ["sft-s0", "sft-s2", "sft-s10", "sft-short-s1"]


@pytest.mark.parametrize("name", ["sft-s0", "sft-short-s12", "a-s1-s2"])
def test_a_runs_name_gives_its_arm_and_seed_back(name: str):
    found = run_of(name)
    assert found is not None
    assert run_name(*found) == name


def test_a_ledger_line_that_a_kill_cut_is_left_out(study: Path):
    path = study / LEDGER_FILE
    path.write_text(lines_of(EVENT) + json.dumps({**EVENT, "event": "stopped"})[:-9])
    assert read_study(study).ledger == [EVENT]
    path.write_text(lines_of(EVENT) + json.dumps({**EVENT, "event": "stopped"}))  # whole, but for its newline
    assert read_study(study).ledger == [EVENT]


def test_the_runner_reads_the_ledger_as_the_report_does(study: Path):
    path = study / LEDGER_FILE
    path.write_text(lines_of(EVENT) + '{"event": "sto')
    ledger = Ledger(study)
    assert ledger.events == [EVENT]
    ledger.add("started", "sft-s0:evaluate")
    assert [event["event"] for event in read_study(study).ledger] == ["finished", "started"]
    path.write_text("{\n" + lines_of(EVENT))
    with pytest.raises(StudyError, match=r"ledger\.jsonl, line 1 is damaged"):
        Ledger(study)


def test_half_a_character_in_a_message_is_read(study: Path):
    (study / LEDGER_FILE).write_text(lines_of({**EVENT, "message": "cut \ud83d"}))
    assert read_study(study).ledger[0]["message"] == "cut \ud83d"


def test_a_metrics_line_that_a_kill_cut_is_left_out(study: Path):
    path = study / "sft-s0" / "metrics.jsonl"
    path.write_bytes(lines_of(LINE).encode() + '{"stage": "sft", "step": 2, "note": "é'.encode()[:-1])
    (run,) = read_study(study).runs
    assert (run.lines, run.summary) == ([LINE], None)


def without(values: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in values.items() if name != key}


DAMAGED = [
    ("study.json", "", r"study\.json is damaged \(Invalid JSON.*begin the study again"),
    ("study.json", json.dumps(without(STUDY, "taken")), r"study\.json is damaged \(taken: "),
    ("study.json", json.dumps({**STUDY, "seeds": ["0"]}), r"study\.json is damaged \(seeds\.0: "),
    ("study.json", json.dumps({**STUDY, "arms": [{"name": "sft"}]}), r"study\.json is damaged \(arms\.0\.about: "),
    ("ledger.jsonl", "{\n" + lines_of(EVENT), r"ledger\.jsonl, line 1 is damaged .*: delete that line"),
    ("ledger.jsonl", lines_of(EVENT, [1]), r"ledger\.jsonl, line 2 does not say .*: delete that line"),
    ("ledger.jsonl", lines_of({"event": "failed"}), r"ledger\.jsonl, line 1 does not say"),
    (
        "sft-s0/recipe.json",
        '{"algorithm": ',
        r"recipe\.json is damaged .*or delete the folder and the lines on sft-s0 in",
    ),
    ("sft-s0/recipe.json", "[]", r"recipe\.json is damaged"),
    ("sft-s0/metrics.jsonl", "{\n" + lines_of(LINE), r"metrics\.jsonl, line 1 is damaged.*or delete the folder"),
    ("sft-s0/metrics.jsonl", lines_of({"step": 1}), r"metrics\.jsonl holds a line without a stage"),
    ("sft-s0/metrics.jsonl", lines_of({"summary": 3}), r"the summary in .*metrics\.jsonl is damaged"),
    ("sft-s0/metrics.jsonl", lines_of({"summary": {"mechanisms": {"a": "x"}}}), r"damaged \(mechanisms\.a: "),
    ("sft-s0/evaluation-val.jsonl", lines_of(CASE)[:-9], r"evaluation-val\.jsonl, line 1 is damaged .*sft-s0:evaluate"),
    ("sft-s0/evaluation-val.jsonl", lines_of(CASE, without(CASE, "group")), r"val\.jsonl, line 2 is damaged \(group: "),
    ("sft-s0/evaluation-val.jsonl", lines_of({**CASE, "turns": "6"}), r"damaged \(turns: "),
    ("sft-s0/evaluation-val.jsonl", lines_of({**CASE, "parts": {"safety": None}}), r"damaged \(parts\.safety: "),
    ("sft-s0/evaluation-val.jsonl", lines_of({**CASE, "composite": float("nan")}), r"damaged \(composite: .*finite"),
]


@pytest.mark.parametrize(("name", "content", "said"), DAMAGED)
def test_what_is_damaged_is_named_with_what_to_do(study: Path, name: str, content: str, said: str):
    (study / name).write_text(content)
    with pytest.raises(StudyError, match=said):
        read_study(study)


FILES = ["study.json", "ledger.jsonl", "sft-s0/recipe.json", "sft-s0/metrics.jsonl", "sft-s0/evaluation-val.jsonl"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut", [lambda packed: packed[:-10], lambda packed: b"no gzip", lambda packed: b""])
def test_a_packed_file_that_is_damaged_is_named(study: Path, name: str, cut: Callable[[bytes], bytes]):
    path = study / name
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(cut(gzip.compress(path.read_bytes())))
    path.unlink()
    with pytest.raises(StudyError, match=name.rpartition("/")[2].replace(".", r"\.")):
        read_study(study)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_text_is_named(study: Path, name: str):
    (study / name).write_bytes(b'{"\xff": 1}\n')
    with pytest.raises(StudyError, match=name.rpartition("/")[2].replace(".", r"\.")):
        read_study(study)


def test_another_folder_is_no_study(tmp_path: Path):
    with pytest.raises(StudyError, match=r"holds no study: there is no study\.json"):
        read_study(tmp_path)


def test_a_packed_study_reads_equal(study: Path, tmp_path: Path):
    write_run(study, "sft-s7")
    (study / LEDGER_FILE).write_text(lines_of(EVENT) + '{"event": "sto')
    pack_study(study, tmp_path / "packed")
    assert (tmp_path / "packed" / "sft-s7" / "evaluation-val.jsonl.gz").is_file()
    assert read_study(tmp_path / "packed") == read_study(study)
    pack_study(tmp_path / "packed", tmp_path / "again")
    assert read_study(tmp_path / "again") == read_study(study)
