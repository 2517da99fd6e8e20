"""What is drawn and what is left out; curves over seeds; looks that differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgym.train.study.report.canvas import drawing, looks
from medgym.train.study.report.curves import mean_over_seeds, range_of_means
from medgym.train.study.report.effects import comparison_rows
from medgym.train.study.report.forests import draw_comparisons
from medgym.train.study.report.pictures import CURVES, Picture, write_pictures
from medgym.train.study.report.tables import study_tables
from medgym.train.watch.series import Series

Make = Callable[..., Any]


def draw(study: Any, out: Path) -> dict[str, Picture]:
    record = study.read()
    return {one.name: one for one in write_pictures(record, study_tables(record), out)}


def series(*points: tuple[int, float]) -> Series:
    return Series("m", ("rl",) * len(points), tuple(at for at, _ in points), tuple(value for _, value in points))


def test_the_mean_of_seeds_is_over_steps_that_all_have():
    steps, values = mean_over_seeds([series((1, 0.0), (2, 1.0), (3, 5.0)), series((1, 1.0), (2, 2.0))])
    assert (steps, values) == ([1, 2], [0.5, 1.5])
    assert mean_over_seeds([]) == ([], [])
    assert mean_over_seeds([series((1, 0.0)), series((2, 0.0))]) == ([], [])


def test_the_range_of_means_is_over_the_arms_that_have_a_step():
    found = {"a": [series((1, 0.0), (2, 2.0))], "b": [series((2, 1.0), (3, 4.0))]}
    assert range_of_means(found) == ([1, 2, 3], [0.0, 1.0, 4.0], [0.0, 2.0, 4.0])


def test_looks_of_thirty_five_arms_differ():
    found = looks([f"arm-{at}" for at in range(35)])
    assert len({(look.colour, look.dash) for look in found.values()}) == 35


def test_what_was_logged_is_drawn_and_the_rest_is_named(uneven: Any, tmp_path: Path):
    drawn = draw(uneven, tmp_path / "plots")
    assert {name for name, one in drawn.items() if not one.drawn} == {"validation"}
    assert drawn["validation"].missing == ("val_reward",)
    assert drawn["reward_parts"].missing == tuple(
        f"clinical/{part}" for part in ("process", "format", "coherence", "assertion")
    )
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        f"{name}.svg" for name, one in drawn.items() if one.drawn
    }


def test_an_empty_study_draws_nothing(make: Make, tmp_path: Path):
    drawn = draw(make([("base", ""), ("grpo", "grpo")], families=[("f", [("base", "grpo")])]), tmp_path / "plots")
    assert set(drawn) == {"arms", "comparisons", "alarms", *(curves.name for curves in CURVES)}
    assert not any(one.drawn for one in drawn.values())
    assert list((tmp_path / "plots").iterdir()) == []


def test_text_is_text_and_arms_are_named(written: Any):
    plots: Path = written[1] / "plots"
    reward = (plots / "reward.svg").read_text()
    assert "<title>Training reward</title>" in reward
    for words in (">grpo<", ">opd<", ">gspo<", ">optimiser step<"):
        assert words in reward
    assert ">sft<" not in reward  # it has no stage rl
    assert ">sft<" in (plots / "supervised_loss.svg").read_text()
    forest = (plots / "comparisons.svg").read_text()
    assert ">no evaluation of gspo<" in forest  # on heldout
    assert ">gspo less grpo<" in forest
    assert "ppo" not in forest  # it is in the tables, and the caption says so
    arms = (plots / "arms.svg").read_text()
    assert ">not evaluated<" in arms
    assert ">ppo<" not in arms
    assert ">grpo-s1: entropy_collapse<" in (plots / "alarms.svg").read_text()


def test_colours_are_those_of_the_house(written: Any):
    plots: Path = written[1] / "plots"
    assert looks(["base", "sft", "grpo"])["grpo"].colour == "#009e73"
    assert "stroke: #009e73" in (plots / "reward.svg").read_text()


def test_the_axis_of_the_forest_holds_every_interval(make: Make):
    arms = ("sft", "a", "b", "c")
    study = make([(arm, arm) for arm in arms], families=[("f", [("sft", "a")]), ("g", [("sft", "b"), ("sft", "c")])])
    for arm, shift in zip(arms, (0.0, 0.01, 0.5, -0.4), strict=True):  # the widest ones in the last panels
        for split in ("val", "heldout"):
            study.evaluate(arm, 0, split, {f"t{at}": 0.4 + shift * (1 + at / 9) for at in range(9)})
    rows = comparison_rows(study.read())
    with drawing():
        figure = draw_comparisons(rows)
        assert figure is not None
        assert len(figure.axes) == 4
        for axes in figure.axes:
            low, high = axes.get_xlim()
            assert low < min(row.tasks_low for row in rows if row.tasks_low is not None)
            assert high > max(row.tasks_high for row in rows if row.tasks_high is not None)


def test_a_forest_of_no_differences_is_not_one_of_rounding(make: Make):
    study = make([("sft", "sft"), ("grpo", "grpo")], families=[("f", [("sft", "grpo")])])
    for arm in ("sft", "grpo"):
        study.evaluate(arm, 0, "val", {"a": 0.0, "b": 0.0})
    with drawing():
        figure = draw_comparisons(comparison_rows(study.read()))
        assert figure is not None
        low, high = figure.axes[0].get_xlim()
    assert low <= -0.02
    assert high >= 0.02


def test_many_arms_have_a_panel_each(make: Make, tmp_path: Path):
    names = [f"arm-{at}" for at in range(9)]
    study = make([(name, name) for name in names], seeds=[0, 1])
    for at, name in enumerate(names):
        lines = [
            {
                "stage": "rl",
                "step": step,
                "clinical/composite": at / 10,
                "clinical/safety": 1.0,
                "grad_norm": 0.1 * step,
            }
            for step in range(1, 25)
        ]
        study.train(name, 0, lines)
        study.train(name, 1, lines[:3])
    draw(study, tmp_path)
    for picture, panels in (("reward", 9), ("reward_parts", 1), ("gradient", 9)):
        assert (tmp_path / f"{picture}.svg").read_text().count('<g id="axes_') == panels
    parts = (tmp_path / "reward_parts.svg").read_text()
    assert all(f">{name}<" in parts for name in names)


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.5], [0.21, 0.23], [1e-6, 0.0, 1e4]])
def test_a_logarithmic_axis_bears_any_values(make: Make, tmp_path: Path, values: list[float]):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [{"stage": "rl", "step": at, "grad_norm": one} for at, one in enumerate(values, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(study, tmp_path)["gradient"].drawn
    assert "$" not in (tmp_path / "gradient.svg").read_text()


def test_a_margin_without_bounds_is_drawn(make: Make, tmp_path: Path):
    study = make([("opd", "opd")], seeds=[0])
    bounds = [(None, None), (0.1, 0.3), (None, 0.2)]
    lines = [
        {"stage": "rl", "step": at, "opd/hint_margin": 0.2, "opd/hint_margin_low": low, "opd/hint_margin_high": high}
        for at, (low, high) in enumerate(bounds, 1)
    ]
    study.train("opd", 0, lines)
    assert draw(study, tmp_path)["hint_margin"].drawn


def test_the_readers_own_settings_play_no_part(written: Any, tmp_path: Path):
    import matplotlib

    settings: Any = {"lines.linewidth": 9.0, "font.size": 20.0, "svg.fonttype": "path", "axes.facecolor": "black"}
    library: Any = matplotlib  # typed in part
    with library.rc_context(settings):
        draw(written[0], tmp_path / "own")
        assert library.rcParams["font.size"] == 20.0  # and are left as they were
    for path in sorted((tmp_path / "own").iterdir()):
        assert path.read_bytes() == (written[1] / "plots" / path.name).read_bytes()


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install .medgym\[train\]"), drawing():
        pass
