"""From a trainer's logs to lines, detectors and trackers, with a real trainer on two weights."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from medgym.train.sections import Detectors
from medgym.train.watch.callbacks import LogCallback, attach, plain_values, same_everywhere, tell_trackers
from medgym.train.watch.detectors import StoppedByDetector, Watch
from medgym.train.watch.log import MetricsLog, read_metrics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(tensorboard|torch|google).*")


class Line(nn.Module):
    """y = ax + b."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(1, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": ((self.inner(x).squeeze(-1) - labels) ** 2).mean()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(steps: int = 4, *, report_to: str = "none", extra: Mapping[str, float | None] | None = None) -> Trainer:
        args = TrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=steps,
            logging_steps=1,
            per_device_train_batch_size=2,
            save_strategy="no",
            report_to=report_to,
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_nan_inf_filter=False,
        )
        data = [{"x": torch.tensor([float(at)]), "labels": torch.tensor(2.0 * at)} for at in range(8)]

        class Noted(Trainer):
            def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
                logs.update(extra or {})  # pyright: ignore[reportArgumentType, reportCallIssue]
                super().log(logs, start_time)

        torch.manual_seed(0)
        trainer = Noted(model=Line(), args=args, train_dataset=data)  # pyright: ignore[reportArgumentType]
        trainer.remove_callback(PrinterCallback)
        return trainer

    return make


def test_a_real_trainer_writes_one_line_a_step(make_trainer: Callable[..., Trainer], path: Path):
    trainer = make_trainer(4)
    attach(trainer, LogCallback(MetricsLog(path), "sft"))
    trainer.train()
    lines, summary = read_metrics(path)
    assert summary is None
    assert [(line["stage"], line["step"]) for line in lines] == [("sft", step) for step in (1, 2, 3, 4)]
    assert all(isinstance(line["loss"], float) and isinstance(line["grad_norm"], float) for line in lines)
    assert set(lines[0]) == {"stage", "step", "loss", "grad_norm", "learning_rate"}


def test_noise_is_dropped_and_tensors_become_numbers():
    logs = {
        "epoch": 0.5,
        "total_flos": 1e9,
        "train_runtime": 3.0,
        "train_loss": 1.0,
        "eval_samples_per_second": 2.0,
        "eval_loss": 0.25,
        "loss": torch.tensor(1.5),
        "kl": np.float32(0.5),
        "reward": None,
        "note": "full",
        "table": [1, 2],
        "vector": torch.zeros(3),
    }
    assert plain_values(logs) == {"eval_loss": 0.25, "loss": 1.5, "kl": 0.5, "reward": None, "note": "full"}


def called(callback: LogCallback, logs: dict[str, object] | None, step: int = 1, main: bool = True) -> None:
    state = TrainerState(global_step=step, is_world_process_zero=main)
    callback.on_log(None, state, TrainerControl(), logs=logs)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("logs", [None, {}, {"train_runtime": 2.0, "train_loss": 1.0, "total_flos": 3.0, "epoch": 1.0}])
def test_a_log_of_clocks_only_is_no_line(path: Path, logs: dict[str, object] | None):
    called(LogCallback(MetricsLog(path), "rl"), logs)
    assert not path.exists()


def test_only_the_main_process_writes(path: Path):
    called(LogCallback(MetricsLog(path), "rl"), {"loss": 1.0}, main=False)
    assert not path.exists()


def test_counts_and_alarms_stand_in_the_same_line(path: Path):
    watch = Watch(Detectors(kl_drift="lower", lower_factor=0.5))
    factors: list[float] = []
    callback = LogCallback(
        MetricsLog(path), "rl", watch=watch, lowered=factors.append, extra=lambda: {"mechanism/hints": 7}
    )
    for step in range(1, 7):
        called(callback, {"opd/kl_drift": 2.0}, step)
    lines, _ = read_metrics(path)
    assert [line["alarm/kl_drift"] for line in lines] == [0, 0, 0, 0, 1, 1]
    assert {line["mechanism/hints"] for line in lines} == {7}
    assert factors == [0.5]


def test_a_stop_is_raised_after_its_line_is_written(path: Path):
    callback = LogCallback(MetricsLog(path), "rl", watch=Watch(Detectors(gradient_spike="stop")))
    with pytest.raises(StoppedByDetector, match="gradient_spike at step 3"):
        called(callback, {"grad_norm": math.nan}, 3)
    (line,) = read_metrics(path)[0]
    assert line["grad_norm"] is None
    assert line["alarm/gradient_spike"] == 1


def test_a_stop_ends_a_real_training(make_trainer: Callable[..., Trainer], path: Path):
    trainer = make_trainer(10, extra={"opd/kl_drift": 3.0})
    attach(trainer, LogCallback(MetricsLog(path), "rl", watch=Watch(Detectors(kl_drift="stop"))))
    with pytest.raises(StoppedByDetector):
        trainer.train()
    assert read_metrics(path)[0][-1]["step"] == trainer.state.global_step == 5


def test_the_callback_stands_first_and_completes_what_others_see(make_trainer: Callable[..., Trainer], path: Path):
    seen: list[dict[str, Any]] = []

    class Later(TrainerCallback):
        def on_log(self, args: object, state: object, control: object, logs: Any = None, **_: object) -> None:
            seen.append(dict(logs))

    trainer = make_trainer(1, extra={"tools/phantom": None, "reward": 0.5})
    trainer.add_callback(Later())
    attach(trainer, LogCallback(MetricsLog(path), "rl", watch=Watch(Detectors()), extra=lambda: {"mechanism/hints": 2}))
    trainer.train()
    assert seen[0]["mechanism/hints"] == 2
    assert seen[0]["alarm/kl_drift"] == 0
    assert "tools/phantom" not in seen[0]
    assert read_metrics(path)[0][0]["tools/phantom"] is None


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float]]] = {}
    for file in folder.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((one.step, one.value) for one in events.Scalars(tag))
    return found


def test_tensorboard_gets_our_names(
    make_trainer: Callable[..., Trainer], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    trainer = make_trainer(3, report_to="tensorboard", extra={"clinical/accuracy": 0.5, "tools/share/wait": 0.25})
    attach(trainer, LogCallback(MetricsLog(path), "rl", watch=Watch(Detectors()), extra=lambda: {"mechanism/hints": 4}))

    class Validates(TrainerCallback):
        def on_step_end(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            tell_trackers(trainer, {"val_reward": 0.1 * state.global_step, "val_reward_low": None})

    trainer.add_callback(Validates())
    trainer.train()
    found = scalars(tmp_path / "tb")
    assert found["train/clinical/accuracy"][:3] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert found["train/tools/share/wait"][0] == (1, 0.25)
    assert found["train/mechanism/hints"][0] == (1, 4.0)
    assert found["train/alarm/kl_drift"][0] == (1, 0.0)
    assert found["train/val_reward"] == [(step, pytest.approx(0.1 * step)) for step in (1, 2, 3)]
    assert "train/val_reward_low" not in found
    assert not any("val_reward" in line for line in read_metrics(path)[0])


def test_one_process_keeps_its_values():
    values = {"loss": 1.0}
    assert same_everywhere(values) is values


TWO_PROCESSES = """
import sys, torch.distributed as distributed
from pathlib import Path
from transformers import TrainerControl, TrainerState
from medgym.train.sections import Detectors
from medgym.train.watch.callbacks import LogCallback
from medgym.train.watch.detectors import StoppedByDetector, Watch
from medgym.train.watch.log import MetricsLog

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
callback = LogCallback(MetricsLog(folder / "metrics.jsonl"), "rl", watch=Watch(Detectors(kl_drift="stop")))
try:
    for step in range(1, 10):
        state = TrainerState(global_step=step, is_world_process_zero=rank == 0)
        # the second process sees nothing wrong by itself
        callback.on_log(None, state, TrainerControl(), logs={"opd/kl_drift": 2.0 if rank == 0 else 0.0})
except StoppedByDetector as stopped:
    (folder / f"stopped-{rank}").write_text(str(stopped.alarm.step))
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_stop_together_and_one_writes(tmp_path: Path):
    command = [sys.executable, "-c", TWO_PROCESSES]
    started = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in (0, 1)]
    ended = [one.communicate(timeout=120)[1] for one in started]
    assert [one.returncode for one in started] == [0, 0], ended
    assert [(tmp_path / f"stopped-{rank}").read_text() for rank in (0, 1)] == ["5", "5"]
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")[0]] == [1, 2, 3, 4, 5]
