"""The whole report: the same bytes from the same files, and nothing left out of the page."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgym.train.study.packing import pack_study
from medgym.train.study.records import StudyError
from medgym.train.study.report import write_study_report
from medgym.train.study.report.effects import comparison_rows

Make = Callable[..., Any]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_a_second_run_and_packed_files_give_the_same_bytes(uneven: Any, tmp_path: Path):
    first, packed = tmp_path / "deep/down/first", tmp_path / "packed"
    assert write_study_report(uneven.folder, first) == first / "report.md"
    earlier = files_of(first)
    write_study_report(uneven.folder, first)  # over the earlier one
    assert files_of(first) == earlier
    uneven.pack()
    assert not list(uneven.folder.rglob("*.jsonl"))
    write_study_report(uneven.folder, packed)
    assert len(earlier) > 20
    assert files_of(packed) == earlier
    pack_study(uneven.folder, tmp_path / "kept")
    write_study_report(tmp_path / "kept", tmp_path / "kept-report")
    assert files_of(tmp_path / "kept-report") == earlier


def test_another_process_on_another_day_gives_the_same_bytes(written: Any, uneven: Any, tmp_path: Path):
    for path in uneven.folder.rglob("*"):
        os.utime(path, (0, 0))
    program = (
        "import sys; from pathlib import Path; from medgym.train.study.report import write_study_report\n"
        "assert 'matplotlib' not in sys.modules, 'imported before anything is drawn'\n"
        "write_study_report(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    there = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", program, uneven.folder, tmp_path / "there"], env=there, check=True)
    assert files_of(written[1]) == files_of(tmp_path / "there")


def test_nothing_says_when_or_where_it_was_made(written: Any):
    for name, content in files_of(written[1]).items():
        assert str(written[1].parent).encode() not in content, name
        assert b"<dc:date>" not in content, name
        assert b"matplotlib.org" not in content, name


def test_every_arm_and_every_pair_is_on_the_page(written: Any):
    page = (written[1] / "report.md").read_text("utf-8")
    grid = page.split("## Runs\n")[1].split("\n## ")[0]
    for arm in ("base", "sft", "grpo", "opd", "gspo", "ppo"):
        assert f"| {arm} | what {arm} is |" in grid
    assert "s2: **failed**, 3 steps, not evaluated" in grid
    assert "s1: **unfinished**, 7 steps, not evaluated" in grid
    assert "s0: **not run**<br>s1: **not run**<br>s2: **not run**" in grid
    assert "s0: untrained, evaluated on val, heldout" in grid
    assert "Not evaluated: ppo." in page
    assert "Not evaluated: opd, gspo, ppo." in page
    assert "Not compared: ppo less grpo (no evaluation of ppo), opd less grpo on heldout (no evaluation of opd)" in page
    assert "| grpo less sft | val | 8 (4) | +0.100 |" in page
    assert "| gspo less grpo | val | 6 (3), in common of 6 and 8 |" in page
    assert "gspo-s1 was evaluated on 5 of the 8 tasks of val." in page


def test_the_page_says_what_the_study_is_and_what_failed(written: Any):
    page = (written[1] / "report.md").read_text("utf-8")
    assert page.startswith("# Study synthetic\n\nFigures that nobody trained for.\n\nSmall \\| and \\*odd\\*.\n\n")
    assert "not a medical device" in page
    assert "| processor | two cores |" in page
    assert "| torch | 2.13.0 |" in page
    assert r"| opd-s2:train | 2 | RuntimeError: out of memory \| &lt;b&gt; |" in page
    assert "Held out: conditions or fact rows that nothing was trained on." in page
    assert "- **opd-s0: hints is on and never fired.**" in page
    assert "- **opd-s1: hints is on and has not fired yet, in a run that is not finished.**" in page
    assert "resampling is on" not in page
    assert "Runs without mechanisms: sft-s0." in page
    assert "Left out, since no run has logged them in the stage `rl`: Validation while training.\n" in page
    assert "| grpo | 3 | 5 min 02 s | 1 min 00 s | 6 min 02 s |" in page
    assert "over tasks, those of one fact row or condition resampled together" in page


def test_links_and_tables_hold(written: Any):
    page = (written[1] / "report.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([^)]+)\)", page))
    assert linked == set(files_of(written[1])) - {"report.md"}
    blocks = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert len(blocks) > 10
    for lines in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]


def test_tables_hold_every_digit(written: Any):
    study, out = written
    rows = comparison_rows(study.read())
    written = rows_of(out / "tables" / "comparisons.csv")
    assert len(written) == len(rows)
    for row, line in zip(rows, written, strict=True):
        assert line["p"] == ("" if row.p is None else repr(row.p))
        assert line["difference"] == ("" if row.difference is None else repr(row.difference))
        assert line["held_out"] == ("yes" if row.held_out else "no")
    arms = rows_of(out / "tables" / "arms.csv")
    assert {"parts/accuracy", "cases_with/evidence", "composite_of_seed/s2", "groups"} <= set(arms[0])
    times = {(line["arm"], line["seed"]): line for line in rows_of(out / "tables" / "time.csv")}
    assert times["opd", "2"]["failures"] == "train: RuntimeError: out of\nmemory | <b>"
    assert times["base", "0"]["evaluated"] == "val | heldout"


def test_an_earlier_picture_that_is_no_longer_true_goes(uneven: Any, tmp_path: Path):
    write_study_report(uneven.folder, tmp_path)
    assert (tmp_path / "plots" / "kl.svg").is_file()
    for seed in range(3):
        (uneven.folder / f"opd-s{seed}" / "metrics.jsonl").unlink()
    (tmp_path / "plots" / "notes.txt").write_text("mine")
    page = write_study_report(uneven.folder, tmp_path).read_text("utf-8")
    assert not (tmp_path / "plots" / "kl.svg").exists()
    assert "kl.svg" not in page
    assert (tmp_path / "plots" / "notes.txt").exists()


def test_a_study_that_has_only_begun_has_a_report(make: Make, tmp_path: Path):
    study = make([("base", ""), ("grpo", "grpo")], families=[("f", [("base", "grpo")])])
    page = write_study_report(study.folder, tmp_path / "out").read_text("utf-8")
    assert "Runs: 4, of them 4 not run." in page
    assert "Not compared: grpo less base (no evaluation of base and grpo)." in page
    assert "Left out, since no run has logged them in a supervised stage: Loss of supervised arms.\n" in page
    assert "No policy has been evaluated yet." in page
    assert "|" not in page.split("## In short")[1].split("## Runs")[0]  # no table of nothing
    assert "No failure is in the ledger." in page
    assert rows_of(tmp_path / "out" / "tables" / "mechanisms.csv") == []


def test_arms_that_the_edition_leaves_out_are_named_once_as_such(make: Make, tmp_path: Path):
    arms = [("sft", "sft"), ("grpo", "grpo"), ("gspo", "gspo")]
    study = make(arms, seeds=[0], families=[("f", [("sft", "grpo"), ("sft", "gspo")])], left_out=["gspo"])
    page = write_study_report(study.folder, tmp_path / "out").read_text("utf-8")
    assert "The edition takes 2 of the 3 arms of the grid, with seed 0. Runs: 2, of them 2 not run." in page
    assert "Not in this edition: gspo (what gspo is)." in page
    assert "Not in this edition: gspo less sft." in page
    assert "| gspo |" not in page
    states = {line["arm"]: line["state"] for line in rows_of(tmp_path / "out" / "tables" / "time.csv")}
    assert states == {"sft": "not run", "grpo": "not run", "gspo": "not in this edition"}


def test_half_a_character_of_a_cut_message_is_written(make: Make, tmp_path: Path):
    study = make([("grpo", "grpo")], seeds=[0])
    study.event("failed", "grpo-s0:train", seconds=1.0, message="cut \ud83d")
    assert r"cut \ud83d" in write_study_report(study.folder, tmp_path / "out").read_text("utf-8")


def test_another_folder_is_refused(tmp_path: Path):
    with pytest.raises(StudyError, match="holds no study"):
        write_study_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
