"""Plots and report.html from a run's folder."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medgym.train.recipe import parse_recipe, to_json
from medgym.train.sections import Detectors
from medgym.train.watch.detectors import Watch
from medgym.train.watch.log import MetricsError, MetricsLog, read_metrics
from medgym.train.watch.plots import PLOTS, write_plots
from medgym.train.watch.report import DISCLAIMER, render_report, write_report

TRACES = Path(__file__).parents[2] / "data" / "traces"
PNG = b"\x89PNG\r\n\x1a\n"


def fill(folder: Path, name: str = "v29") -> Watch:
    """A run's folder, from a synthetic trace."""
    make = runpy.run_path(str(TRACES / "generate.py"))["make"]
    log = MetricsLog(folder / "metrics.jsonl")
    watch = Watch(Detectors())
    for step in range(1, 6):
        log.write("warmup", step, {"loss": 3.0 / step})
    for line in make(name):
        values = {key: value for key, value in line.items() if key not in ("stage", "step")}
        watch.update(line["step"], values)
        extra = {"tools/share/wait": 0.4, "mechanism/hints": line["step"], "mechanism/length_control": 0}
        log.write("rl", line["step"], {**values, **extra, **watch.metrics()})
        if line["step"] in (1, 40, 80):
            log.write("rl", line["step"], {"val_reward": 0.5, "val_reward_low": 0.4, "val_reward_high": None})
    return watch


SUMMARY: Mapping[str, object] = {
    "steps": 85,
    "mechanisms": {"hints": 80, "length_control": 0},
    "signal_first": 3.0,
    "signal_last": 4.5,
    "val_reward_start": {"value": 0.5, "low": 0.4375, "high": 0.5625},
    "val_reward_end": [0.125, 0.0625, 0.1875],
    "seconds_per_step": 12.5,
    "own_code_share": 0.03125,
}


class Checker(HTMLParser):
    """Every tag that is opened is closed, in order; collects addresses and texts."""

    VOID = frozenset({"meta", "img", "!doctype"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended, with its report."""
    folder = tmp_path_factory.mktemp("run")
    watch = fill(folder)
    recipe = parse_recipe({"name": "deaths/v29", "about": "Dies & tells <why>.", "algorithm": "tt_opd", "seed": 7})
    (folder / "recipe.json").write_text(json.dumps(to_json(recipe)))
    summary = {**SUMMARY, "alarms": [alarm.to_json() for alarm in watch.alarms]}
    MetricsLog(folder / "metrics.jsonl").finish(summary)
    assert write_report(folder) == folder / "report.html"
    return folder


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_plot_with_data_is_drawn(finished: Path):
    lines, _ = read_metrics(finished / "metrics.jsonl")
    logged = {name for line in lines for name in line}
    wanted = {plot.name for plot in PLOTS if any(curve.metric in logged for curve in plot.curves)}
    drawn = list((finished / "plots").iterdir())
    assert {path.name for path in drawn} == {f"{name}.png" for name in wanted | {"tool_shares", "detectors"}}
    assert {"accuracy", "length", "turns", "tool_rate", "kl", "coefficient", "loss", "gradient"} <= wanted
    assert all(path.read_bytes().startswith(PNG) for path in drawn)


def test_a_curve_changes_its_picture(tmp_path: Path):
    def picture(values: list[float], folder: str) -> bytes:
        lines = [{"stage": "rl", "step": at, "entropy": value} for at, value in enumerate(values, 1)]
        (drawn,) = write_plots(lines, tmp_path / folder)  # pyright: ignore[reportArgumentType]
        return drawn.path.read_bytes()

    assert picture([1.0, 2.0, 3.0], "one") == picture([1.0, 2.0, 3.0], "two")
    assert picture([1.0, 2.0, 3.0], "one") != picture([1.0, 2.0, 9.0], "three")


@pytest.mark.parametrize("value", [0.0, -1.0, 5.0])
def test_single_points_and_zero_gradients_are_drawn(tmp_path: Path, value: float):
    drawn = write_plots([{"stage": "rl", "step": 1, "grad_norm": value, "loss": value}], tmp_path)
    assert {one.path.stem for one in drawn} == {"gradient", "loss"}


def test_nothing_logged_nothing_drawn(tmp_path: Path):
    assert write_plots([{"stage": "rl", "step": 1, "other": 1.0}], tmp_path) == []


def test_the_report_says_what_the_run_was_and_did(finished: Path):
    found = checked(page_of(finished))
    assert DISCLAIMER in found.text
    assert "Dies & tells <why>." in found.text
    for said in (
        "deaths/v29",
        "tt_opd",
        "95% interval 0.4375 to 0.5625",
        "95% interval 0.0625 to 0.1875",
        "3 → 4.5",
        "12.5",
        "3.1%",
        "5 warmup + 80 rl",
        "never fired",
        "broken syntax comes before broken reasoning",
        "hard_copy_every",
    ):
        assert said in found.text, said
    assert found.text.count("malformed_calls") >= 2  # the alarm and the setting
    pictures = [one for one in found.addresses if one.startswith("data:image/png;base64,")]
    assert len(pictures) == len(list((finished / "plots").glob("*.png"))) > 10


def test_the_report_loads_nothing_and_runs_nothing(finished: Path):
    page = page_of(finished)
    assert all(one.startswith("data:") for one in checked(page).addresses)
    assert "<script" not in page
    assert not re.search(r"https?://|url\(", page)


def test_text_from_outside_is_escaped():
    hostile = "<script>alert(1)</script>"
    recipe = {"name": hostile, "about": hostile, "model": {"path": hostile}, "tasks": {hostile: hostile}, "x": hostile}
    lines = [{"stage": hostile, "step": 1, f"alarm/{hostile}": 1, f"mechanism/{hostile}": 0}]
    page = render_report(recipe, lines, None, [])  # pyright: ignore[reportArgumentType]
    assert "<script" not in page
    told = {"alarms": [{"detector": hostile, "meaning": hostile, "metric": hostile, "step": hostile, "value": hostile}]}
    page = render_report({}, lines, {**told, "mechanisms": {hostile: hostile}, "signal_first": hostile}, [])  # pyright: ignore[reportArgumentType]
    assert "<script" not in page
    checked(page)


def test_an_unfinished_run_is_called_so(tmp_path: Path):
    MetricsLog(tmp_path / "metrics.jsonl").write("rl", 3, {"loss": 1.0})
    text = checked(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "not finished" in text
    assert "No detector was watching." in text
    assert "There is no recipe.json" in text


def test_silent_detectors_are_called_silent(tmp_path: Path):
    MetricsLog(tmp_path / "metrics.jsonl").write("rl", 3, {"alarm/kl_drift": 0})
    text = checked(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "AlarmsNone." in text.replace("\n", "")


def test_alarms_are_found_in_the_lines_where_the_summary_has_none(finished: Path):
    lines, _ = read_metrics(finished / "metrics.jsonl")
    assert "degenerate_text" in checked(render_report({}, lines, SUMMARY, [])).text


def test_a_folder_without_metrics_is_refused(tmp_path: Path):
    with pytest.raises(MetricsError, match="folder of a training run"):
        write_report(tmp_path)


def test_a_mechanism_that_nothing_called_for_is_no_fault() -> None:
    told = {"mechanisms": {"dynamic_sampling": 0, "hints": 0}, "mechanisms_conditional": ["dynamic_sampling"]}
    page = render_report({}, [{"stage": "rl", "step": 1, "reward": 0.5}], told, [])  # pyright: ignore[reportArgumentType]
    assert page.count("nothing called for it") == 1
    assert page.count("never fired") == 1
