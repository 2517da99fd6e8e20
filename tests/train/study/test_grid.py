"""The grid and its editions: every arm resolves, what an edition sets arrives, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgym.train.recipe import RecipeError, recipe_names, to_json
from medgym.train.study.grid import Edition, edition_names, load_edition, parse_edition
from medgym.train.study.jobs import blocked, jobs_of, ready
from medgym.train.study.records import StudyError

EDITION = """
about = "two arms"
arms = ["sft", "grpo"]
seeds = [3, 4]
[evaluation]
val = 10
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(EDITION)
    return path


@pytest.mark.parametrize("name", edition_names())
def test_every_recipe_of_every_edition_resolves(name: str) -> None:
    edition = load_edition(name)
    recipes = {arm.name: to_json(edition.recipe_of(arm, seed)) for arm in edition.taken for seed in edition.seeds}
    trained = [arm for arm in edition.taken if arm.start]
    assert trained
    for arm in trained:
        assert recipes[arm.name]["model"]["path"] == f"{arm.start}-s{edition.seeds[0]}/policy"  # type: ignore[index]
    assert parse_edition(edition.to_json(), name) == edition


def test_the_grid_is_the_issue_of_the_study() -> None:
    """Every arm that was asked for is there, from one start, and each has a recipe of its own that differs."""
    edition = load_edition("gpu")
    arms = {arm.name: arm for arm in edition.taken}
    wanted = "base sft grpo dapo dr-grpo gspo grpo-cosine tt-opd opd-reset-only opd-ema-only opd-fast-ema opd-frozen "
    wanted += "opd-no-hints opd-shuffled-hints opd-no-length opd-lambda-1 opd-lambda-2 opd-no-phase-out upstream "
    wanted += "death-v29 death-v30 death-v31 control sft-short"
    assert set(arms) == set(wanted.split())
    assert {arm.start for arm in arms.values()} == {"", "sft", "sft-short"}
    assert len(edition.seeds) == 3
    recipes = {name: to_json(edition.recipe_of(arm, 0)) for name, arm in arms.items() if arm.start == "sft"}
    for one in recipes.values():
        one.pop("name"), one.pop("about")
        assert one["optim"]["steps"] >= 60  # type: ignore[index]
    bodies = [str(one) for one in recipes.values()]
    assert len(set(bodies)) == len(bodies)
    assert {f"study/{name}" for name in arms if name not in ("base", "control")} == {
        name for name in recipe_names() if name.startswith("study/")
    }


def test_what_an_edition_sets_arrives(write: Path) -> None:
    write.write_text(
        EDITION
        + '[set]\n"optim.steps" = 6\n[set_if_on]\n"opd.ema_every" = 2\n[set_for.grpo]\n"optim.learning_rate" = 0.5\n'
    )
    edition = load_edition(str(write))
    sft, grpo = (edition.recipe_of(arm, 4) for arm in edition.taken)
    assert (sft.optim.steps, grpo.optim.steps, grpo.seed) == (6, 6, 4)
    assert (sft.optim.learning_rate, grpo.optim.learning_rate) == (5e-4, 0.5)
    tiny = load_edition("tiny")
    frozen, moving = (tiny.recipe_of(tiny.arm(name), 0).opd for name in ("opd-frozen", "tt-opd"))
    assert (frozen.ema_every, frozen.hard_copy_every, moving.ema_every, moving.hard_copy_every) == (0, 0, 1, 2)


def test_an_untrained_arm_has_no_adapter() -> None:
    edition = load_edition("cpu")
    recipe = edition.recipe_of(edition.arm("base"), 0)
    assert (recipe.model.path, recipe.model.lora_rank) == ("smollm2", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('arms = ["grop"]', "no arm 'grop'; nearest: grpo"),
        ('arms = ["grpo"]', "begins from 'sft', which is not among"),
        ("seeds = []", "seeds"),
        ("epochs = 3", "epochs"),
        ("about = ", "is not TOML"),
    ],
)
def test_what_is_wrong_with_an_edition_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(("" if text.startswith("about") else 'about = "x"\n') + text + "\n[evaluation]\nval = 2\n")
    with pytest.raises(StudyError, match=said):
        load_edition(str(path))


def test_unknown_editions_and_keys(write: Path) -> None:
    with pytest.raises(StudyError, match="no edition 'cpus'; nearest: cpu"):
        load_edition("cpus")
    write.write_text(EDITION + '[set]\n"optim.step" = 6\n')
    edition = load_edition(str(write))
    with pytest.raises(RecipeError, match=r"optim\.step"):
        edition.recipe_of(edition.taken[0], 0)


def names(edition: Edition) -> list[str]:
    return [job.name for job in jobs_of(edition)]


def test_jobs_in_order(write: Path) -> None:
    assert names(load_edition(str(write))) == [
        "sft-s3:train",
        "sft-s3:evaluate",
        "grpo-s3:train",
        "grpo-s3:evaluate",
        "grpo-s4:train",
        "grpo-s4:evaluate",
    ]


def test_what_is_ready_and_what_will_never_be(write: Path) -> None:
    jobs = jobs_of(load_edition(str(write)))

    def open_jobs(finished: set[str], busy: set[str] = frozenset(), lost: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
        return [job.name for job in ready(jobs, finished, busy, lost)]

    assert open_jobs(set()) == ["sft-s3:train"]
    assert open_jobs(set(), {"sft-s3:train"}) == []
    assert open_jobs({"sft-s3:train"}) == ["sft-s3:evaluate", "grpo-s3:train", "grpo-s4:train"]
    assert open_jobs({"sft-s3:train"}, lost={"grpo-s3:train"}) == ["sft-s3:evaluate", "grpo-s4:train"]
    assert [job.name for job in blocked(jobs, {"grpo-s3:train"})] == ["grpo-s3:evaluate"]
    assert len(blocked(jobs, {"sft-s3:train"})) == 5
