"""The student: the tiny model, adapters, what is trainable, and policies that load again as they were saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat
from medgym.agent.policies.local import load_model
from medgym.env.briefing import PROTOCOL
from medgym.train.cases import pick_cases
from medgym.train.models import Student, load_student, parameter_counts, protocol_of, save_policy
from medgym.train.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from medgym.train.tiny import texts_of

TINY = {"layers": 2, "width": 32, "heads": 2, "vocabulary": 512, "context": 2048}
TASKS = {"domains": ["medical_qa"], "train_limit": 2, "val_limit": 1}
ROLLOUT = {"specs": "names", "observation_limit": 128}
CARD = {"seed": 3, "validation": {"reward": 0.25}}


def recipe(seed: int = 0, *, tiny: dict[str, Any] | None = None, **model: Any) -> Recipe:
    settings = {"path": "tiny", "lora_rank": 4, **model}
    sections = {"model": settings, "tiny": {**TINY, **(tiny or {})}, "tasks": TASKS, "rollout": ROLLOUT}
    return parse_recipe({"name": "t", "algorithm": "grpo", "seed": seed, **sections})


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def moved(student: Student) -> Student:
    """With its trainable weights away from where they began."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in cast("Any", student.model).parameters():
            if one.requires_grad:
                one.add_(0.05 * torch.randn(one.shape, generator=generator).to(one.dtype))
    return student


def logits(holder: Any, chat_format: ChatFormat) -> Tensor:
    ids = torch.tensor([chat_format.prompt_ids("You are the doctor.", "My head aches since 2 days.")])
    holder.model.eval()
    with torch.no_grad():
        return holder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def same(holder: Any, other: Any) -> None:
    assert torch.equal(logits(holder, holder.chat_format), logits(other, other.chat_format))


def tiny_bytes(folder: Path) -> list[bytes]:
    (made,) = folder.glob("models/tiny-*/config.json")
    return [(made.parent / name).read_bytes() for name in ("model.safetensors", "tokenizer.json", "config.json")]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        load_student(recipe(seed), cache_dir=tmp_path / name)
    assert tiny_bytes(tmp_path / "one") == tiny_bytes(tmp_path / "two")
    assert tiny_bytes(tmp_path / "one")[0] != tiny_bytes(tmp_path / "three")[0]


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    load_student(recipe(), cache_dir=tmp_path / "here")
    code = (
        "import json, sys; from pathlib import Path; from medgym.train.models import load_student; "
        "from medgym.train.recipe import parse_recipe; "
        "load_student(parse_recipe(json.loads(sys.argv[1])), cache_dir=Path(sys.argv[2]))"
    )
    given = json.dumps(recipe().model_dump(mode="json"))
    subprocess.run([sys.executable, "-c", code, given, str(tmp_path / "there")], check=True, capture_output=True)
    assert tiny_bytes(tmp_path / "here") == tiny_bytes(tmp_path / "there")


def test_a_tiny_model_is_made_once(cache: Path) -> None:
    said: list[str] = []
    load_student(recipe(seed=11), cache_dir=cache, say=said.append)
    load_student(recipe(seed=11), cache_dir=cache, say=said.append)
    assert sum("making the tiny model" in line for line in said) == 1


def test_the_tokenizer_reads_its_own_texts_back_with_chatml_and_single_digits(cache: Path) -> None:
    made = recipe(seed=5)
    student = load_student(made, cache_dir=cache)
    tokenizer = cast("Any", student.tokenizer)
    assert len(tokenizer) <= TINY["vocabulary"]
    assert tokenizer.chat_template == CHATML_TEMPLATE
    assert student.chat_format.turn_end == tokenizer.convert_tokens_to_ids("<|im_end|>")
    texts = list(texts_of(made))
    assert len(texts) > 3 * (2 + 1)
    for text in [*texts, "naïve 37.5 °C\t<|im_end|>"]:
        assert student.chat_format.text_of(student.chat_format.answer_ids(text)) == text
    assert [tokenizer.decode([one]) for one in tokenizer("120/80").input_ids] == ["1", "2", "0", "/", "8", "0"]
    spoken = "".join(texts)
    assert len(spoken) / sum(len(tokenizer(text).input_ids) for text in texts) > 2.5


def test_the_texts_are_those_of_the_runs_own_prompts() -> None:
    made = recipe()
    texts = list(texts_of(made))
    cases = pick_cases(made)
    for task in (*cases.train, *cases.val):
        assert any(text.startswith(task.ticket) for text in texts)
    assert any(PROTOCOL in text and "Tools: " in text for text in texts)
    assert max(map(len, texts)) < 4000
    withdrawn = parse_recipe(
        {
            **made.model_dump(mode="json"),
            "curriculum": {"enabled": True, "arguments_from": 1, "names_from": 2, "none_from": 3},
        }
    )
    assert sum(PROTOCOL in text for text in texts_of(withdrawn)) == 4 * sum(PROTOCOL in text for text in texts)


@pytest.mark.parametrize("tiny", [{"width": 30, "heads": 4}, {"width": 6, "heads": 2}])
def test_a_shape_that_does_not_work_out_is_refused(tiny: dict[str, Any], cache: Path) -> None:
    with pytest.raises(RecipeError, match=r"even multiple of tiny\.heads"):
        load_student(recipe(tiny=tiny), cache_dir=cache)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_only_the_adapter_learns_in_float32(dtype: str, cache: Path) -> None:
    student = load_student(recipe(dtype=dtype), cache_dir=cache)
    named = dict(cast("Any", student.model).named_parameters())
    learning = {name for name, one in named.items() if one.requires_grad}
    assert student.lora
    assert learning
    assert learning == {name for name in named if "lora_" in name}
    assert {named[name].dtype for name in learning} == {torch.float32}
    assert {one.dtype for name, one in named.items() if name not in learning} == {getattr(torch, dtype)}
    assert not any("lm_head" in name or "embed" in name for name in learning)
    assert student.loaded.model is student.model
    assert parameter_counts(student)[0] == sum(named[name].numel() for name in learning)


def test_named_targets_are_the_only_ones(cache: Path) -> None:
    student = load_student(recipe(lora_targets=["q_proj", "v_proj"]), cache_dir=cache)
    learning = [name for name, one in cast("Any", student.model).named_parameters() if one.requires_grad]
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in learning} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["q_proj", "lm_head"], "takes in the output head"),
        (".*(q_proj|head)", "takes in the output head"),
        (["nothing"], "does not fit tiny"),
    ],
)
def test_targets_that_cannot_be_are_refused(targets: list[str] | str, said: str, cache: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        load_student(recipe(lora_targets=targets), cache_dir=cache)


def test_rank_zero_trains_all(cache: Path) -> None:
    student = load_student(recipe(lora_rank=0), cache_dir=cache)
    learning, total = parameter_counts(student)
    assert not student.lora
    assert learning == total


def test_the_same_recipe_gives_the_same_adapter_and_leaves_the_random_state(cache: Path) -> None:
    load_student(recipe(), cache_dir=cache)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    one, other = load_student(recipe(), cache_dir=cache), load_student(recipe(), cache_dir=cache)
    assert torch.equal(torch.get_rng_state(), before)
    held = dict(cast("Any", other.model).named_parameters())
    for name, weight in cast("Any", one.model).named_parameters():
        assert torch.equal(weight, held[name]), name


def test_dropout_of_the_base_is_off(cache: Path, tmp_path: Path) -> None:
    base = Path(load_student(recipe(), cache_dir=cache).base)
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.5}))
    student = load_student(recipe(path=str(tmp_path / "base")), cache_dir=cache)
    model = cast("Any", student.model)
    model.train()
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert model.config.attention_dropout == 0.0


@pytest.mark.parametrize(("rank", "dtype"), [(4, "float32"), (4, "bfloat16"), (0, "float32"), (0, "bfloat16")])
def test_a_saved_policy_loads_with_identical_logits(rank: int, dtype: Any, cache: Path, tmp_path: Path) -> None:
    student = moved(load_student(recipe(lora_rank=rank, dtype=dtype), cache_dir=cache))
    assert logits(student, student.chat_format).std() > 0.5
    save_policy(student, tmp_path / "policy", CARD)
    again = load_model(tmp_path / "policy", dtype=dtype)
    same(student, again)
    assert again.chat_format.end_ids == student.chat_format.end_ids
    fresh = load_student(recipe(lora_rank=rank, dtype=dtype), cache_dir=cache)
    assert not torch.equal(logits(student, student.chat_format), logits(fresh, fresh.chat_format))


def test_an_adapter_of_a_tiny_model_brings_its_base_along(tmp_path: Path) -> None:
    student = moved(load_student(recipe(), cache_dir=tmp_path / "cache"))
    save_policy(student, tmp_path / "policy", CARD)
    expected = logits(student, student.chat_format)
    shutil.rmtree(tmp_path / "cache")
    shutil.move(tmp_path / "policy", tmp_path / "elsewhere")
    policy = tmp_path / "elsewhere"
    loaded = load_model(policy, base=policy / "base")
    assert torch.equal(logits(loaded, loaded.chat_format), expected)
    further = load_student(recipe(path=str(policy)), cache_dir=tmp_path / "cache")
    assert further.base == str(policy / "base")
    assert torch.equal(logits(further, further.chat_format), expected)


def test_training_goes_on_from_an_adapter(cache: Path, tmp_path: Path) -> None:
    student = moved(load_student(recipe(), cache_dir=cache))
    save_policy(student, tmp_path / "policy", CARD)
    further = load_student(recipe(path=str(tmp_path / "policy"), lora_rank=4), cache_dir=cache)
    same(student, further)
    assert parameter_counts(further) == parameter_counts(student)
    save_policy(moved(further), tmp_path / "second", CARD)
    same(further, load_model(tmp_path / "second"))
    for wrong, said in (({"lora_rank": 8}, "lora_rank 4, not 8"), ({"lora_alpha": 3}, "lora_alpha 8, not 3")):
        with pytest.raises(RecipeError, match=said):
            load_student(recipe(path=str(tmp_path / "policy"), **wrong), cache_dir=cache)


def test_an_adapter_is_merged_where_all_parameters_are_trained(cache: Path, tmp_path: Path) -> None:
    student = moved(load_student(recipe(), cache_dir=cache))
    save_policy(student, tmp_path / "policy", CARD)
    whole = load_student(recipe(path=str(tmp_path / "policy"), lora_rank=0), cache_dir=cache)
    assert not whole.lora
    assert parameter_counts(whole)[0] == parameter_counts(whole)[1]
    torch.testing.assert_close(logits(whole, whole.chat_format), logits(student, student.chat_format))
    save_policy(whole, tmp_path / "whole", CARD)
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    same(whole, load_model(tmp_path / "whole"))


def test_only_the_students_adapter_is_saved(cache: Path, tmp_path: Path) -> None:
    student = moved(load_student(recipe(), cache_dir=cache))
    model = cast("Any", student.model)
    model.add_adapter("teacher", model.peft_config["default"])
    model.set_adapter("default")
    save_policy(student, tmp_path / "policy", CARD)
    assert not list((tmp_path / "policy").rglob("teacher*"))
    same(student, load_model(tmp_path / "policy"))


def test_a_policy_is_replaced_whole_or_not_at_all(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = load_student(recipe(), cache_dir=cache)
    save_policy(student, tmp_path / "policy", {"step": 1})
    before = logits(student, student.chat_format)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    moved(student)
    with monkeypatch.context() as patched:
        patched.setattr(type(student.tokenizer), "save_pretrained", fail)
        with pytest.raises(OSError, match="no space left"):
            save_policy(student, tmp_path / "policy", {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    loaded = load_model(tmp_path / "policy")
    assert torch.equal(logits(loaded, loaded.chat_format), before)
    save_policy(student, tmp_path / "policy", {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    same(student, load_model(tmp_path / "policy"))


def test_the_policy_says_what_it_is(cache: Path, tmp_path: Path) -> None:
    made = recipe()
    save_policy(load_student(made, cache_dir=cache), tmp_path / "policy", CARD)
    card = (tmp_path / "policy" / "README.md").read_text()
    for part in ("not for clinical use", "trained with grpo", "| validation / reward | 0.25 |", "| seed | 3 |"):
        assert part in card
    assert load_recipe(str(tmp_path / "policy" / "recipe.json")) == made
    protocol = json.loads((tmp_path / "policy" / "protocol.json").read_text())
    assert protocol == protocol_of(made)
    assert protocol["prompt"] == {"brief": True, "specs": "names", "observation_limit": 128}
    assert (protocol["calls"], protocol["temperature"], protocol["max_new_tokens"]) == (PROTOCOL, 1.0, 256)


@pytest.mark.parametrize(("steps", "level"), [(2, "full"), (3, "arguments"), (6, "names"), (60, "none")])
def test_the_protocol_tells_of_tools_as_the_last_step_did(steps: int, level: str) -> None:
    stages = {"enabled": True, "arguments_from": 2, "names_from": 5, "none_from": 9}
    made = parse_recipe({"name": "t", "algorithm": "grpo", "optim": {"steps": 60}, "curriculum": stages})
    shorter = made.model_copy(update={"optim": made.optim.model_copy(update={"steps": steps})})
    assert cast("Any", protocol_of(shorter))["prompt"]["specs"] == level


def test_a_thinking_template_is_turned_off_for_good(cache: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(load_student(recipe(), cache_dir=cache).base, base)
    ending = "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<none>{% endif %}"
    (base / "chat_template.jinja").write_text(CHATML_TEMPLATE + ending)
    student = load_student(recipe(path=str(base)), cache_dir=cache)
    ids = student.chat_format.prompt_ids("a", "b")
    assert cast("Any", student.tokenizer).decode(ids).endswith("assistant\n<none>")
    save_policy(student, tmp_path / "policy", CARD)
    assert load_model(tmp_path / "policy").chat_format.prompt_ids("a", "b") == ids
    further = load_student(recipe(path=str(tmp_path / "policy")), cache_dir=cache)
    assert further.chat_format.prompt_ids("a", "b") == ids


def test_an_adapter_on_the_random_base_can_learn(cache: Path) -> None:
    made = recipe(lora_rank=8, tiny={"width": 64})
    student = load_student(made, cache_dir=cache)
    model = cast("Any", student.model)
    said = [text for text in texts_of(made) if "<tool_call>" in text and "submit_answer" in text][-1]
    ids = torch.tensor([student.chat_format.prompt_ids(None, "Go on.") + student.chat_format.answer_ids(said)])
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    losses: list[float] = []
    for _ in range(40):
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert losses[-1] < 0.15 * losses[0]


def test_what_is_no_model_is_refused(cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder with a config\.json"):
        load_student(recipe(path="nowhere"), cache_dir=cache)
