"""TT-OPD in TRL's hands: nothing at weight 0, the right gradient otherwise, and a teacher that survives a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medgym.train.mechanisms import MechanismSilentError
from medgym.train.opd.scoring import Scored, picked_logits
from medgym.train.opd.term import topk_divergence
from medgym.train.opd.trainer import LOGPS, WEIGHTS
from medgym.train.recipe import RecipeError
from medgym.train.rollout.row import RolloutRow

pytestmark = pytest.mark.usefixtures("toy_reward")

SHORT = {"max_turns": 2, "max_new_tokens": 12}
SGD = {"name": "sgd", "learning_rate": 0.5, "max_grad_norm": 1e9, "steps": 1}
Make = Callable[..., Any]


@pytest.fixture
def opd(tiny_recipe: Make) -> Make:
    """A TT-OPD recipe: keywords are sections."""

    def make(**sections: Any) -> Any:
        given = {"algorithm": "tt_opd", "rollout": SHORT, **sections}
        given["opd"] = {"ema_every": 1, "hard_copy_every": 0, **given.get("opd", {})}
        return tiny_recipe(**given)

    return make


def parameters(trainer: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def shifted(trainer: Any, amount: float = 0.05) -> None:
    """Move the teacher away from the student, as a past of the student would be."""
    generator = torch.Generator().manual_seed(3)
    state = trainer.teacher.state_dict()
    trainer.teacher.load_state_dict(
        {name: value + amount * torch.randn(value.shape, generator=generator) for name, value in state.items()}
    )


def outcomes(monkeypatch: pytest.MonkeyPatch, trainer: Any, pattern: Sequence[bool | None]) -> None:
    """Every rollout's rows turn out right, wrong or (None) masked in this order, again and again."""
    play = trainer.producer.play

    def played(plans: Any, engine: Any, **options: Any) -> list[RolloutRow]:
        rows: list[RolloutRow] = []
        for at, (plan, row) in enumerate(zip(plans, play(plans, engine, **options), strict=True)):
            right = pattern[at % len(pattern)]
            if right is None:
                rows.append(trainer.producer._masked(plan, "crash", "a bug"))
            else:
                rows.append(replace(row, reward={**row.reward, "submitted": True, "accuracy": float(right)}))
        return rows

    monkeypatch.setattr(trainer.producer, "play", played)


def scored(trainer: Any, rows: int = 4) -> tuple[Any, list[RolloutRow]]:
    """One rollout of the first case, as TRL makes it."""
    trainer.model.train()
    prompts = [{"prompt": next(iter(trainer.tasks))} for _ in range(rows)]
    return trainer._generate_and_score_completions(prompts), [prompt["rollout"] for prompt in prompts]


def count_passes(monkeypatch: pytest.MonkeyPatch, trainer: Any) -> list[int]:
    """Grows by one with every use of the teacher; the steps at which it was used."""
    used: list[int] = []
    scoring = trainer.teacher.scoring

    def spied() -> Any:
        used.append(trainer.state.global_step)
        return scoring()

    monkeypatch.setattr(trainer.teacher, "scoring", spied)
    return used


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_weight_zero_is_grpo_bit_for_bit(
    trainer_of: Make, tiny_recipe: Make, opd: Make, monkeypatch: pytest.MonkeyPatch, lora_rank: int
) -> None:
    model = {"lora_rank": lora_rank}
    plain = trainer_of(tiny_recipe(rollout=SHORT, model=model, optim={"steps": 3}), "plain")
    plain.train()
    state = torch.get_rng_state()
    none = trainer_of(opd(model=model, optim={"steps": 3}, opd={"coefficient": 0.0}), "none")
    used = count_passes(monkeypatch, none)
    none.train()
    assert used == []
    held, found = parameters(plain), parameters(none)
    assert held.keys() == found.keys()
    assert all(torch.equal(held[name], found[name]) for name in held)
    assert torch.equal(torch.get_rng_state(), state)  # as many draws as without a teacher
    for name in ("reward", "grad_norm", "entropy"):
        assert [one[name] for one in plain.state.log_history if name in one] == [
            one[name] for one in none.state.log_history if name in one
        ]
    none.run.mechanisms.check()  # nothing is on, so nothing must have fired


def test_the_teacher_rests_once_the_coefficient_is_zero(
    trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = opd(optim={"steps": 4}, opd={"schedule": "linear", "phase_out_steps": 2, "coefficient": 2.0})
    trainer = trainer_of(recipe)
    used = count_passes(monkeypatch, trainer)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "reward" in line]
    assert set(used) == {0, 1}
    assert [line["opd/coefficient"] for line in lines] == [2.0, 1.0, 0.0, 0.0]
    assert ["opd/kl_hint" in line for line in lines] == [True, True, False, False]
    assert trainer.run.mechanisms.counts["phase_out"] == 2
    assert trainer.run.mechanisms.counts["distillation"] == 4  # two micro-batches a step
    assert trainer.run.mechanisms.counts["ema"] == 2


def test_without_a_hint_a_fresh_teacher_is_the_student(trainer_of: Make, opd: Make) -> None:
    for rank in (0, 4):
        trainer = trainer_of(opd(model={"lora_rank": rank}, opd={"hints": "none"}), f"rank{rank}")
        batch, rows = scored(trainer)
        mask = (batch["completion_mask"] * batch["tool_mask"]).bool()
        gap = (batch[LOGPS] - batch["sampling_per_token_logps"])[mask].abs().max()
        assert gap < 1e-5
        assert batch[LOGPS][~mask].abs().max() == 0
        assert int(mask.sum()) == sum(row.policy_tokens for row in rows) > 0
        assert trainer._metrics["train"]["opd/kl_drift"][0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("place", ["first", "every"])
def test_a_hint_moves_the_teacher_and_never_reaches_the_student(
    trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    trainer = trainer_of(opd(opd={"hint_place": place}))
    outcomes(monkeypatch, trainer, [True, False])
    made: list[Any] = []
    splice = trainer.splicer.splice

    def spied(*args: Any) -> Any:
        made.append((splice(*args), args[3]))
        return made[-1][0]

    monkeypatch.setattr(trainer.splicer, "splice", spied)
    batch, rows = scored(trainer)
    assert len(made) == len(rows)
    mask = (batch["completion_mask"] * batch["tool_mask"]).bool()
    assert (batch[LOGPS] - batch["sampling_per_token_logps"])[mask].abs().mean() > 1e-4
    for at, (row, (spliced, text)) in enumerate(zip(rows, made, strict=True)):
        hint = " ".join(str(one) for one in trainer.splicer.hint_ids(text))
        words = " ".join(str(one) for one in trainer.student.tokenizer.encode(text, add_special_tokens=False))
        assert hint in " ".join(map(str, spliced.ids))
        assert len(spliced.hints) == (len(row.turn_spans) if place == "every" else 1)
        given = batch["prompt_ids"][at][batch["prompt_mask"][at].bool()].tolist()
        assert given == list(row.prompt_ids)  # TRL trains on what was sampled from
        student = " ".join(map(str, [*given, *batch["completion_ids"][at].tolist()]))
        assert hint not in student
        assert words not in student
    metrics = trainer._metrics["train"]
    assert (metrics["opd/hinted_correct"], metrics["opd/hinted_incorrect"]) == ([2], [2])
    assert metrics["opd/kl_hint"][0] > 10 * abs(metrics["opd/kl_drift"][0])
    assert metrics["opd/kl_drift"][0] >= 0


def test_the_teacher_scores_what_it_was_spliced(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch's teacher log-probabilities against one plain forward over prompt, hint and completion."""
    trainer = trainer_of(opd())
    shifted(trainer)
    outcomes(monkeypatch, trainer, [True])
    batch, rows = scored(trainer, 2)
    hints = trainer.hints.write(rows, 0)
    for at, (row, hint) in enumerate(zip(rows, hints, strict=True)):
        spliced = trainer.splicer.splice(row.prompt_ids, row.completion_ids, row.turn_spans, hint.text)
        with trainer.teacher.scoring() as model:
            logps = model(input_ids=torch.tensor([spliced.ids])).logits[0].log_softmax(-1)
        for place, sampled in enumerate(row.env_mask):
            if sampled:
                expected = logps[spliced.positions[place] - 1, row.completion_ids[place]]
                assert float(batch[LOGPS][at, place]) == pytest.approx(float(expected), abs=1e-4)


def test_masked_rows_are_left_out(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(opd())
    outcomes(monkeypatch, trainer, [True, None])
    batch, _ = scored(trainer)
    assert batch[WEIGHTS].sum(1).tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0])
    assert batch[LOGPS][1].abs().sum() == 0
    assert trainer._metrics["train"]["opd/skipped"] == [2]


def gradient_of(trainer: Any, batch: Any) -> dict[str, Tensor]:
    """The gradient of one micro-batch, as the training step takes it."""
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    return {name: value.grad.clone() for name, value in trainer.model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "bnpo", "dapo"])
def test_the_term_is_the_fold(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch, loss_type: str) -> None:
    """On-policy and token-level: the loss with its term and the loss over folded advantages have one gradient."""
    loss = {"loss_type": loss_type, "scale_rewards": "group"}
    sections: dict[str, Any] = {"loss": loss, "batch": {"prompts": 2, "group": 2, "micro": 4}}
    found: list[dict[str, Tensor]] = []
    for mode in ("loss", "advantage"):
        trainer = trainer_of(opd(**sections, opd={"mode": mode, "coefficient": 2.0}), mode)
        shifted(trainer)
        batch, _ = scored(trainer)
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        with torch.no_grad():  # the rollout's own log-probabilities differ in the sixth digit
            logps = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, attention, batch["completion_ids"].size(1)
            )[0]
        batch["opd_student_logps"] = logps
        found.append(gradient_of(trainer, batch))
        if mode == "loss":
            plain = gradient_of(trainer, {name: value for name, value in batch.items() if name != WEIGHTS})
            size = max(float(value.abs().max()) for value in plain.values())
            assert largest_difference(found[0], plain) > 0.1 * size  # the term does something
    largest = max(float(value.abs().max()) for value in found[0].values())
    assert largest_difference(*found) < 1e-6 * max(1.0, largest)


def test_the_fold_is_refused_with_sequence_ratios(opd: Make) -> None:
    with pytest.raises(RecipeError, match=r"set opd\.mode = 'loss'"):
        opd(
            algorithm="gspo",
            batch={"prompts": 2, "group": 2, "micro": 2, "updates": 2},
            opd={"enabled": True, "mode": "advantage"},
        )


def test_the_teacher_gets_no_gradient_and_the_student_does(trainer_of: Make, opd: Make) -> None:
    for rank in (0, 4):
        trainer = trainer_of(opd(model={"lora_rank": rank}), f"rank{rank}")
        shifted(trainer)
        batch, _ = scored(trainer)
        batch["advantages"] = torch.zeros_like(batch["advantages"])  # distillation alone
        found = gradient_of(trainer, batch)
        assert set(found) == set(parameters(trainer))
        assert sum(float(value.abs().sum()) for value in found.values()) > 0
        teacher = [
            value for name, value in trainer.teacher.model.named_parameters() if rank == 0 or ".teacher." in name
        ]
        assert teacher
        assert all(value.grad is None and not value.requires_grad for value in teacher)


def test_decay_zero_follows_at_once_and_a_slower_one_lags(trainer_of: Make, opd: Make) -> None:
    distances: list[float] = []
    for decay in (0.0, 0.5):
        trainer = trainer_of(opd(optim={"steps": 2}, opd={"ema_decay": decay}), f"decay{decay}")
        before = parameters(trainer)
        trainer.train()
        assert largest_difference(before, parameters(trainer)) > 1e-4
        distances.append(trainer.teacher.distance())
        line = [one for one in trainer.state.log_history if "opd/teacher_distance" in one][-1]
        assert line["opd/teacher_distance"] == pytest.approx(distances[-1])
    assert distances[0] == 0.0
    assert distances[1] > 1e-4


def apart(trainer: Any, rows: Sequence[RolloutRow], estimator: str) -> float:
    """How far the student is from the hinted teacher at the sampled places of these rows.

    For topk the KL over the whole vocabulary; the others know the sampled ids only: their mean squared log ratio.
    """
    ours: list[Scored] = []
    theirs: list[Scored] = []
    for row, hint in zip(rows, trainer.hints.write(rows, 0), strict=True):
        places = [at for at, sampled in enumerate(row.env_mask) if sampled]
        spliced = trainer.splicer.splice(row.prompt_ids, row.completion_ids, row.turn_spans, hint.text)
        ours.append(Scored((*row.prompt_ids, *row.completion_ids), [len(row.prompt_ids) + at for at in places]))
        theirs.append(Scored(spliced.ids, [spliced.positions[at] for at in places]))
    device = torch.device("cpu")
    with trainer.teacher.scoring() as model:
        target = picked_logits(model, theirs, temperature=1.0, device=device)
    with torch.no_grad():
        held = picked_logits(trainer.model, ours, temperature=1.0, device=device)
    if estimator == "topk":
        return float(topk_divergence(held, target, held.size(-1)).mean())
    ids = torch.tensor([[one.ids[place]] for one in ours for place in one.places])
    return float((held.log_softmax(-1).gather(1, ids) - target.log_softmax(-1).gather(1, ids)).square().mean())


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["reverse", "k3", "topk"])
def test_distillation_alone_pulls_the_student_to_the_teacher(trainer_of: Make, opd: Make, estimator: str) -> None:
    """Steps on one rollout without advantages close the gap to a hinted teacher that stands still."""
    trainer = trainer_of(opd(batch={"prompts": 2, "group": 2, "micro": 4}, opd={"estimator": estimator}))
    shifted(trainer)
    batch, rows = scored(trainer)
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    before = apart(trainer, rows, estimator)
    optimizer = torch.optim.Adam([value for value in trainer.model.parameters() if value.requires_grad], lr=3e-3)
    for _ in range(30):
        gradient_of(trainer, batch)
        optimizer.step()
    assert apart(trainer, rows, estimator) < 0.3 * before


@pytest.mark.slow
def test_the_reward_rises_beside_the_distillation(trainer_of: Make, opd: Make) -> None:
    """A reward within a random model's reach rises under TT-OPD, but not with the gradient cut."""
    rises: list[float] = []
    for cut in (False, True):
        recipe = opd(
            model={"lora_rank": 0},
            rollout={"max_turns": 1, "max_new_tokens": 24},
            batch={"prompts": 2, "group": 4, "micro": 4},
            optim={"steps": 4 if cut else 12, "learning_rate": 3e-3},
            opd={"coefficient": 0.5, "schedule": "linear", "ema_decay": 0.5},
        )
        trainer = trainer_of(recipe, f"cut{cut}")
        if cut:
            for parameter in trainer.model.parameters():
                parameter.register_hook(lambda gradient: gradient * 0)
        trainer.train()
        seen = [line["reward"] for line in trainer.state.log_history if "reward" in line]
        rises.append(sum(seen[-2:]) / 2 - sum(seen[:2]) / 2)
        trainer.run.mechanisms.check()
    assert rises[0] > 0.15
    assert rises[1] < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["loss", "advantage"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_splits_of_a_batch_agree(trainer_of: Make, opd: Make, lora_rank: int, mode: str) -> None:
    """The same eight rows as micro-batches of 8, 4 and 2, three SGD steps with EMA and hard copy between.

    Small steps where all parameters learn: the gradient's norm is 45, and after a step of half of that a difference in
    rounding flips a token that is sampled.
    """
    rate = SGD["learning_rate"] if lora_rank else 2e-3
    held: list[tuple[dict[str, Tensor], dict[str, Tensor], list[float]]] = []
    for micro in (8, 4, 2):
        recipe = opd(
            model={"lora_rank": lora_rank},
            batch={"prompts": 2, "group": 4, "micro": micro},
            optim={**SGD, "steps": 3, "learning_rate": rate},
            opd={"mode": mode, "ema_decay": 0.5, "hard_copy_every": 2, "max_tokens_per_turn": 8},
        )
        trainer = trainer_of(recipe, f"micro{micro}")
        shifted(trainer)
        before = parameters(trainer)
        trainer.train()
        assert largest_difference(before, parameters(trainer)) > 1e-3
        norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
        held.append((parameters(trainer), trainer.teacher.state_dict(), norms))
    for other, teacher, norms in held[1:]:
        assert largest_difference(held[0][0], other) < 2e-5
        assert largest_difference(held[0][1], teacher) < 2e-5
        assert norms == pytest.approx(held[0][2], rel=1e-3)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_resumed_run_is_the_straight_run(trainer_of: Make, opd: Make, lora_rank: int) -> None:
    recipe = opd(
        model={"lora_rank": lora_rank},
        optim={"steps": 4},
        checkpoints={"every": 2},
        opd={"ema_decay": 0.6, "hard_copy_every": 3, "schedule": "linear"},
    )
    straight = trainer_of(recipe, "straight")
    straight.coefficient_lowered(0.5)
    straight.train()
    point = Path(straight.args.output_dir) / "checkpoint-2"
    resumed = trainer_of(recipe, "resumed")
    resumed.train(resume_from_checkpoint=str(point))
    assert largest_difference(parameters(straight), parameters(resumed)) < 1e-6
    assert largest_difference(straight.teacher.state_dict(), resumed.teacher.state_dict()) < 1e-6
    assert resumed.run.mechanisms.counts == straight.run.mechanisms.counts
    lines = [
        [line["opd/coefficient"] for line in trainer.state.log_history if "opd/coefficient" in line]
        for trainer in (straight, resumed)
    ]
    assert lines[0] == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert lines[1] == pytest.approx(lines[0])


def test_a_checkpoint_holds_student_and_teacher_bit_for_bit(trainer_of: Make, opd: Make) -> None:
    recipe = opd(optim={"steps": 2}, checkpoints={"every": 2}, opd={"ema_decay": 0.9})
    trainer = trainer_of(recipe, "one")
    trainer.train()
    other = trainer_of(recipe, "other")
    assert largest_difference(parameters(trainer), parameters(other)) > 0
    other._load_from_checkpoint(str(Path(trainer.args.output_dir) / "checkpoint-2"))
    assert largest_difference(parameters(trainer), parameters(other)) == 0
    assert largest_difference(trainer.teacher.state_dict(), other.teacher.state_dict()) == 0
    student = {name.replace(".default.", ".teacher."): value for name, value in parameters(other).items()}
    assert largest_difference(other.teacher.state_dict(), student) > 0  # the two are not the same weights


def test_every_mechanism_that_is_on_fires(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = opd(
        optim={"steps": 4},
        opd={
            "ema_every": 1,
            "hard_copy_every": 2,
            "max_turns": 1,
            "max_tokens_per_turn": 8,
            "top_ratio": 0.5,
            "sign_flip": True,
            "kl_clip": 1e-4,
        },
    )
    trainer = trainer_of(recipe)
    outcomes(monkeypatch, trainer, [True, False])
    trainer.train()
    counts = trainer.run.mechanisms.counts
    on = {"ema", "hard_copy", "hints", "hint_correct", "hint_incorrect", "truncation", "distillation", "phase_out"}
    assert on | {"top_ratio", "sign_flip", "kl_clip"} <= set(counts)
    assert all(counts[name] > 0 for name in counts)
    assert counts["hint_correct"] == counts["hint_incorrect"] == 8
    assert (counts["ema"], counts["hard_copy"], counts["phase_out"]) == (2, 2, 3)
    trainer.run.mechanisms.check()


def test_a_truncation_that_cuts_nothing_ends_the_run(trainer_of: Make, opd: Make) -> None:
    trainer = trainer_of(opd(opd={"max_turns": 99}))
    trainer.train()
    with pytest.raises(MechanismSilentError, match="never fired: truncation"):
        trainer.run.mechanisms.check()


def test_the_gate_holds_the_teacher_back(trainer_of: Make, opd: Make) -> None:
    trainer = trainer_of(opd(optim={"steps": 2}, opd={"gate_on_validation": True}))
    trainer.train()
    assert trainer.run.mechanisms.counts["teacher_gate"] == 2
    assert trainer.run.mechanisms.counts["ema"] == 0
    found = type("Found", (), {"reward": 0.4})()
    trainer.validated(2, found)
    trainer.follow(3)
    assert trainer.run.mechanisms.counts["ema"] == 1
    trainer.validated(4, found)  # no better than the best: closed again
    trainer.follow(5)
    assert trainer.run.mechanisms.counts["ema"] == 1


def test_the_unhinted_drift_gates_the_coefficient(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drift beyond kl_off turns distillation off for good; where it may return, the drift is still measured."""
    for allowed in (False, True):
        trainer = trainer_of(
            opd(opd={"schedule": "kl_gated", "allow_rise": allowed, "kl_start": 1e-6, "kl_off": 1e-4}), str(allowed)
        )
        shifted(trainer)
        used = count_passes(monkeypatch, trainer)
        batch, _ = scored(trainer)
        assert WEIGHTS in batch
        assert trainer._metrics["train"]["opd/kl_drift"][0] > 1e-4
        used.clear()
        batch, _ = scored(trainer)
        assert trainer.coefficient == 0
        assert WEIGHTS not in batch
        assert bool(used) is allowed
        trainer.teacher._refresh(0.0)  # student and teacher meet again
        scored(trainer)
        scored(trainer)
        assert (trainer.coefficient > 0) is allowed


def test_the_margin_is_kept_over_rollouts(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(opd())
    outcomes(monkeypatch, trainer, [True, False])
    scored(trainer)
    metrics = trainer._metrics["train"]
    assert "opd/hint_margin" not in metrics  # one row of each outcome is no spread
    scored(trainer)
    assert metrics["opd/hint_margin_low"][0] <= metrics["opd/hint_margin"][0] <= metrics["opd/hint_margin_high"][0]


def test_rows_in_another_order_are_noticed(trainer_of: Make, opd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(opd())
    batch, rows = scored(trainer)
    rows[0] = replace(rows[0], completion_ids=rows[0].completion_ids[:-1])
    with pytest.raises(RuntimeError, match="another order"):
        trainer._teacher_logps(rows, [None] * 4, batch["tool_mask"].bool(), batch)
