"""Which pictures the report has, in order, and their drawing into a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..records import StudyRecord
from .canvas import drawing, save
from .curves import Curves, Panel, draw_curves, logged
from .forests import draw_arms, draw_comparisons
from .marks import draw_alarms
from .tables import Tables

PARTS = ("accuracy", "process", "safety", "format", "coherence", "assertion", "evidence")
CURVES = (
    Curves("reward", "Training reward", (Panel("clinical/composite", "Composite reward, unshaped", "reward"),)),
    Curves("reward_parts", "Parts of the reward", tuple(Panel(f"clinical/{one}", one, "score") for one in PARTS)),
    Curves("validation", "Validation while training", (Panel("val_reward", "Validation reward", "reward"),)),
    Curves("episode_length", "Length of an episode", (Panel("turns/policy_tokens", "Episode", "policy tokens"),)),
    Curves("turns", "Turns of an episode", (Panel("turns/mean", "Turns of an episode", "messages"),)),
    Curves(
        "tool_rate",
        "Tool calls",
        (
            Panel("tools/well_formed_frac", "Well-formed calls", "share of attempts"),
            Panel("tools/calls", "Calls", "calls per episode"),
        ),
    ),
    Curves(
        "kl",
        "Divergence from the teacher",
        (
            Panel("opd/kl_hint", "With the hint", "nats per token"),
            Panel("opd/kl_drift", "Without the hint (drift)", "nats per token"),
        ),
    ),
    Curves(
        "coefficient",
        "Distillation coefficient",
        (Panel("opd/coefficient", "Distillation coefficient", "coefficient"),),
    ),
    Curves(
        "hint_margin",
        "Hint margin: right over wrong answers, with its 95% interval",
        (Panel("opd/hint_margin", "Hint margin", "nats per token", "opd/hint_margin_low", "opd/hint_margin_high"),),
        "Bands are the 95% interval that each seed logged; nothing is smoothed.",
    ),
    Curves(
        "teacher_distance",
        "Distance between teacher and student",
        (Panel("opd/teacher_distance", "Distance of the teacher", "relative norm"),),
    ),
    Curves("gradient", "Gradient norm", (Panel("grad_norm", "Gradient norm", "before clipping"),), scale="log"),
    Curves("entropy", "Entropy of the policy", (Panel("entropy", "Entropy", "nats per token"),)),
    Curves("dead_groups", "Dead groups", (Panel("collapse/dead_groups", "Dead groups", "share of groups"),)),
    Curves("supervised_loss", "Loss of supervised arms", (Panel("loss", "Loss", "loss"),), stage="supervised"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the report has or would have.

    Attributes:
        name: of the file, without `.svg`.
        title: of the picture.
        caption: below it.
        missing: metrics of it that no run logged.
        drawn: whether there is a file.
    """

    name: str
    title: str
    caption: str
    missing: tuple[str, ...] = ()
    drawn: bool = False


ARMS = Picture(
    "arms",
    "Reward of the arms",
    "Mean reward and its 95% interval over tasks, those of one fact row or condition resampled together; rings are the "
    "seeds. Arms that were not evaluated are left out.",
)
COMPARISONS = Picture(
    "comparisons",
    "Comparisons",
    "Difference and its 95% interval: over tasks (blue; filled where Holm's p is at most 0.05), over seeds (orange). "
    "Pairs that were not compared are left out.",
)
ALARMS = Picture(
    "alarms",
    "Alarms of the detectors",
    "Marks are alarms; runs and detectors without one are not drawn.",
)


def write_pictures(record: StudyRecord, tables: Tables, folder: Path) -> list[Picture]:
    """Draw all that there is to draw, and take away what an earlier report drew and this one does not.

    Args:
        record: of the study.
        tables: of it.
        folder: takes `<name>.svg`; made if need be.

    Raises:
        ImportError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with drawing():
        made = [
            _kept(draw_arms(tables.arms), folder, ARMS),
            _kept(draw_comparisons(tables.comparisons), folder, COMPARISONS),
            _kept(draw_alarms(record), folder, ALARMS),
        ]
        for curves in CURVES:
            missing = tuple(one.metric for one in curves.panels if not logged(record, curves, one.metric))
            picture = Picture(curves.name, curves.title, curves.caption, missing)
            made.append(_kept(draw_curves(record, curves), folder, picture))
    return made


def _kept(figure: Any | None, folder: Path, picture: Picture) -> Picture:
    path = folder / f"{picture.name}.svg"
    if figure is None:
        path.unlink(missing_ok=True)
        return picture
    save(figure, path, picture.title)
    return replace(picture, drawn=True)
