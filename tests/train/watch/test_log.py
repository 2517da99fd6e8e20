"""metrics.jsonl: lines, rewinding for a resume, the summary, cut tails."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgym.train.watch.log import MetricsError, MetricsLog, read_metrics

ORDER = ("warmup", "rl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def fill(path: Path) -> MetricsLog:
    log = MetricsLog(path)
    for stage, steps in (("warmup", (1, 2)), ("rl", (0, 1, 2, 3))):
        for step in steps:
            log.write(stage, step, {"loss": step / 2, "note": "x"})
    return log


def places(path: Path) -> list[tuple[object, object]]:
    return [(line["stage"], line["step"]) for line in read_metrics(path)[0]]


def test_lines_and_summary_are_read_back(path: Path):
    log = fill(path)
    log.finish({"steps": 5, "val_reward_end": {"mean": math.nan, "interval": (0.1, math.inf)}})
    lines, summary = read_metrics(path)
    assert lines[0] == {"stage": "warmup", "step": 1, "loss": 0.5, "note": "x"}
    assert len(lines) == 6
    assert summary == {"steps": 5, "val_reward_end": {"mean": None, "interval": [0.1, None]}}
    assert json.loads(path.read_text().splitlines()[-1])["summary"]["steps"] == 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(path: Path, value: float):
    MetricsLog(path).write("rl", 1, {"kl": value, "reward": 0.5})
    assert read_metrics(path)[0] == [{"stage": "rl", "step": 1, "kl": None, "reward": 0.5}]
    assert "NaN" not in path.read_text()


def test_a_second_finish_replaces_the_first(path: Path):
    fill(path).finish({"steps": 1})
    MetricsLog(path).finish({"steps": 2})
    assert path.read_text().count('"summary"') == 1
    assert read_metrics(path)[1] == {"steps": 2}


@pytest.mark.parametrize("same_object", [True, False])
def test_a_line_after_the_summary_takes_it_away(path: Path, same_object: bool):
    log = fill(path)
    log.finish({"steps": 1})
    (log if same_object else MetricsLog(path)).write("rl", 4, {"loss": 1.0})
    lines, summary = read_metrics(path)
    assert summary is None
    assert lines[-1]["step"] == 4


@pytest.mark.parametrize(
    ("stage", "step", "left"),
    [
        ("rl", 2, [("warmup", 1), ("warmup", 2), ("rl", 0), ("rl", 1), ("rl", 2)]),
        ("rl", 0, [("warmup", 1), ("warmup", 2), ("rl", 0)]),
        ("warmup", 1, [("warmup", 1)]),
        ("warmup", 0, []),
    ],
)
def test_rewind_keeps_what_came_before(path: Path, stage: str, step: int, left: list[tuple[object, object]]):
    fill(path).finish({"steps": 5})
    MetricsLog(path).rewind(ORDER, stage, step)
    assert places(path) == left
    assert read_metrics(path)[1] is None
    assert [other.name for other in path.parent.iterdir()] == ["metrics.jsonl"]


def test_rewind_then_write_gives_no_line_twice(path: Path):
    fill(path)
    log = MetricsLog(path)
    log.rewind(ORDER, "rl", 1)
    log.write("rl", 2, {"loss": 9.0})
    assert places(path) == [("warmup", 1), ("warmup", 2), ("rl", 0), ("rl", 1), ("rl", 2)]
    assert read_metrics(path)[0][-1]["loss"] == 9.0


@pytest.mark.parametrize("action", ["rewind", "write", "read", "finish"])
def test_a_cut_last_line_is_left_out(path: Path, action: str):
    fill(path)
    with path.open("a") as out:
        out.write('{"stage": "rl", "step": 4, "lo')
    log = MetricsLog(path)
    if action == "rewind":
        log.rewind(ORDER, "rl", 9)
    elif action == "write":
        log.write("rl", 4, {"loss": 4.0})
    elif action == "finish":
        log.finish({})
    assert places(path)[:6] == [("warmup", 1), ("warmup", 2), ("rl", 0), ("rl", 1), ("rl", 2), ("rl", 3)]
    assert len(places(path)) == (7 if action == "write" else 6)


def test_a_damaged_middle_line_is_named(path: Path):
    fill(path)
    text = path.read_text().splitlines()
    path.write_text("\n".join([text[0], text[1][:10], *text[2:], ""]))
    with pytest.raises(MetricsError, match="line 2 is damaged"):
        read_metrics(path)
    with pytest.raises(MetricsError, match="line 2 is damaged"):
        MetricsLog(path).rewind(ORDER, "rl", 2)


@pytest.mark.parametrize("text", ["3\n", '{"loss": 1}\n'])
def test_a_line_without_step_is_refused(path: Path, text: str):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(MetricsError, match="line 1 is no metrics line"):
        read_metrics(path)


def test_unknown_stages_are_refused(path: Path):
    fill(path)
    with pytest.raises(MetricsError, match="'sft' is not one of warmup, rl"):
        MetricsLog(path).rewind(ORDER, "sft", 0)
    with pytest.raises(MetricsError, match="belongs to another recipe"):
        MetricsLog(path).rewind(("rl",), "rl", 0)
    assert len(places(path)) == 6


def test_a_missing_file_says_what_to_give(path: Path):
    with pytest.raises(MetricsError, match="folder of a training run"):
        read_metrics(path)
    MetricsLog(path).rewind(ORDER, "rl", 0)
    assert read_metrics(path) == ([], None)


@pytest.mark.parametrize("name", ["stage", "step", "summary"])
def test_own_keys_cannot_be_metrics(path: Path, name: str):
    with pytest.raises(MetricsError, match=name):
        MetricsLog(path).write("rl", 1, {name: 1.0})


def test_other_values_are_refused(path: Path):
    with pytest.raises(MetricsError, match="'loss' is a list"):
        MetricsLog(path).write("rl", 1, {"loss": [1.0]})  # pyright: ignore[reportArgumentType]


def test_only_the_writing_process_writes_but_all_listen(path: Path):
    heard: list[tuple[str, int, float]] = []
    log = MetricsLog(path, writes=False)
    log.listen(lambda stage, step, values: heard.append((stage, step, float(values["loss"] or 0))))
    log.write("rl", 1, {"loss": 2.0})
    log.finish({"steps": 1})
    log.rewind(ORDER, "rl", 0)
    assert heard == [("rl", 1, 2.0)]
    assert not path.exists()


def test_threads_do_not_mix_lines(path: Path):
    log = MetricsLog(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: log.write("rl", step, {"text": "y" * 500}), range(200)))
    assert sorted(int(line["step"] or 0) for line in read_metrics(path)[0]) == list(range(200))
