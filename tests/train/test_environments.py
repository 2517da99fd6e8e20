"""The environment classes in TRL's own loop: a real `GRPOTrainer` on CPU, an expert's tokens, and a random model's."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import get_json_schema

from medgym.env.action import Call, parse_action
from medgym.env.baselines import play_script
from medgym.env.baselines.play import expert
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.tools.faces import as_trl_function
from medgym.train.environments import case_reward, environment_factory, task_rows
from medgym.train.sections import Tiny
from medgym.train.tiny import random_model, train_tokenizer

DOMAINS = ("clinical_diagnosis", "medical_qa")
CONTEXT = 40_000

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using 'environment_factory'"),  # TRL's: experimental
    # of torch's own checks on a machine without a GPU
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
]


def nothing(name: str, arguments: dict[str, object]) -> str:
    raise AssertionError(name)


@pytest.mark.parametrize("domain", DOMAINS)
def test_public_methods_are_the_shelf(domain: str):
    made = environment_factory(domain)
    public = {name for name, _ in inspect.getmembers(made, inspect.isfunction) if not name.startswith("_")}
    shelf = {spec.name: spec for spec in load_domain(domain).shelf.offered()}
    spoken = {"ask_patient"} if domain == "clinical_diagnosis" else set()
    assert public == shelf.keys() - {"find_tools"} | {"reset"} | spoken
    instance = made()
    for name in public & shelf.keys():
        shown = get_json_schema(as_trl_function(shelf[name], nothing))
        assert get_json_schema(getattr(instance, name)) == shown
    for name in spoken:
        assert get_json_schema(getattr(instance, name))["function"]["parameters"]["required"] == ["question"]


def test_a_case_by_hand():
    row = task_rows("clinical_diagnosis", split="train", limit=1)[0]
    one, other = (environment_factory("clinical_diagnosis")() for _ in range(2))
    with pytest.raises(RuntimeError, match="reset"):
        one.wait(minutes=5)
    ticket = one.reset(**row)
    patient = re.search(r"P\d{4}", ticket).group()
    assert "clinical_diagnosis" not in ticket + str(row["prompt"])
    assert other.reset(**row) == ticket
    assert json.loads(one.get_vital_signs(patient_id=patient))
    assert one.ask_patient(question="When did it start?").startswith("Patient: ")
    assert json.loads(one.get_vital_signs(patient_id=1))["error"]["code"] == "invalid_arguments"
    assert json.loads(one.submit_answer())["error"]["code"] == "invalid_arguments"
    assert len(one.episode.turns) == 4
    assert len(other.episode.turns) == 0
    assert one.reward == 0
    one.submit_answer(diagnosis="Gout", plan="rest", icd10_code="M10.9")
    assert one.episode.ended == "submitted"
    over = json.loads(one.get_vital_signs(patient_id=patient))
    assert over["error"]["code"] == "episode_over"
    assert 0 <= one.reward < 0.5
    assert case_reward(environments=[one, other], prompts=[]) == [one.reward, 0]
    one.reset(**row)
    assert one.episode.ended is None


def test_the_budget_ends_a_case_and_results_can_be_cut():
    row = task_rows("medical_qa", limit=1)[0]
    made = environment_factory("medical_qa", observation_limit=300)()
    made.reset(**row)
    found = made.search_pubmed(query="myocardial infarction")
    assert len(found) <= 300
    assert "characters cut" in found
    for _ in range(made.episode.turns_left):
        last = made.think(thought="hm")
    assert "closed without an answer" in last
    assert json.loads(made.think(thought="hm"))["error"]["code"] == "episode_over"
    assert made.reward == 0


def test_wrong_rows_are_refused():
    train = task_rows("medical_qa", split="train", limit=1)[0]
    made = environment_factory("medical_qa", split="test")()
    with pytest.raises(ValueError, match="split train"):
        made.reset(**train)
    with pytest.raises(ValueError, match="task_rows"):
        made.reset(prompt=train["prompt"])
    with pytest.raises(ValueError, match="not of medical_qa"):
        made.reset(task_id=task_rows("clinical_diagnosis", limit=1)[0]["task_id"])
    with pytest.raises(ValueError, match="no tasks in split"):
        task_rows("medical_qa", split="nothing")  # type: ignore[arg-type]


def tokenizer_and_model(domain: str) -> tuple[Any, Any]:
    from trl.chat_template_utils import qwen3_chat_template

    texts: list[str] = []
    for task in load_domain(domain).tasks()[::12]:
        episode = play_script(Episode(task), expert)
        texts += [episode.opening, *(turn.text + turn.observation for turn in episode.turns)]
    texts += [json.dumps(spec.openai) for spec in load_domain(domain).shelf.offered()] * 4
    tokenizer: Any = train_tokenizer(texts, 3000, CONTEXT)
    tokenizer.chat_template = qwen3_chat_template
    tiny = Tiny(layers=1, width=16, heads=1, vocabulary=3000, context=CONTEXT)
    return tokenizer, random_model(tiny, len(tokenizer), 0)


class Expert:
    """Stands for `model.generate`: reads each row's conversation out of its ids and says the expert's next message."""

    def __init__(self, tokenizer: Any, domain: str) -> None:
        self.tokenizer = tokenizer
        self.domain = load_domain(domain)
        self.asked = 0

    def __call__(self, input_ids: Any, attention_mask: Any, **_: object) -> Any:
        said = [
            [*self.tokenizer.encode(self._next(self.tokenizer.decode(row[mask.bool()]))), self.tokenizer.eos_token_id]
            for row, mask in zip(input_ids, attention_mask, strict=True)
        ]
        width = max(map(len, said))
        padded = [ids + [self.tokenizer.pad_token_id] * (width - len(ids)) for ids in said]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    def _next(self, text: str) -> str:
        """The message that follows; the script is played anew from what the text says came back."""
        talk = text.split("<|im_start|>user\n", 1)[1]
        ticket = talk.split("<|im_end|>", 1)[0]
        results = iter(re.findall(r"<tool_response>\n(.*?)\n</tool_response>", talk, re.DOTALL))
        script = self.domain.solve(ticket)
        message = next(script)
        while (heard := self._heard(message, results)) is not None:
            try:
                message = script.send(heard)
            except StopIteration:
                return "Done."
        self.asked += 1
        return "\n".join(
            f"<tool_call>\n{json.dumps({'name': call.name, 'arguments': call.arguments})}\n</tool_call>"
            for call in self._calls(message)
        )

    def _calls(self, message: str) -> list[Call]:
        action = parse_action(message)
        asking = [Call("ask_patient", {"question": action.speech})] if action.speech else []
        return [*asking, *(call for call in action.calls if isinstance(call, Call))]

    def _heard(self, message: str, results: Iterator[str]) -> str | None:
        """The observation of the text protocol, put together from the results of TRL's loop; None at its end."""
        shown: list[str] = []
        spoken = ""
        for call in self._calls(message):
            result = next(results, None)
            if result is None:
                return None
            if call.name == "ask_patient":
                spoken = result
            else:
                shown.append(f"<tool_response>\n{result}\n</tool_response>")
        return "\n".join([*shown, spoken])


def trainer_for(domain: str, tokenizer: Any, model: Any, folder: Path, rows: int, length: int) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=length,
        max_tool_calling_iterations=30,
        max_steps=rows,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        disable_tqdm=True,
        chat_template_kwargs={"enable_thinking": False},
    )
    return GRPOTrainer(
        model,
        reward_funcs=case_reward,
        args=config,
        train_dataset=Dataset.from_list(task_rows(domain, split="train", limit=rows)),
        processing_class=tokenizer,
        environment_factory=environment_factory(domain, split="train"),
    )


@pytest.mark.parametrize(("domain", "steps"), [("clinical_diagnosis", 1), ("medical_qa", 2)])
def test_the_expert_earns_the_reward_through_trl(
    domain: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokenizer, model = tokenizer_and_model(domain)
    trainer = trainer_for(domain, tokenizer, model, tmp_path, rows=steps, length=24_000)
    scripted = Expert(tokenizer, domain)
    monkeypatch.setattr(model, "generate", scripted)
    trainer.train()
    logged = [line for line in trainer.state.log_history if "rewards/case_reward/mean" in line]
    assert len(logged) == steps
    assert all(line["rewards/case_reward/mean"] >= 0.99 for line in logged)
    assert all(line["tools/failure_frequency"] == 0 for line in logged)
    assert scripted.asked >= 2 * 4 * steps


def test_a_random_model_goes_through(tmp_path: Path):
    tokenizer, model = tokenizer_and_model("medical_qa")
    trainer = trainer_for("medical_qa", tokenizer, model, tmp_path, rows=1, length=16)
    trainer.train()
    logged = next(line for line in trainer.state.log_history if "rewards/case_reward/mean" in line)
    assert logged["rewards/case_reward/mean"] == 0
    assert trainer.state.global_step == 1
