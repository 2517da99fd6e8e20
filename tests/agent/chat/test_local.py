"""`load_policy` of a folder: the policy in this process, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import weakref
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import openai
import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from medgym.agent import load_policy
from medgym.agent.chat import local
from medgym.agent.chat.local import ChatLocalPolicy, LocalServer
from medgym.agent.chat_format import ChatFormat
from medgym.agent.policies.local import load_model
from medgym.agent.protocol import form_of_policy, prompt_ids

pytestmark = [  # the clients of a model that is dropped are closed by the garbage collector, as ChatOpenAI leaves them
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ASKED = "What is sepsis?"
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Finds texts.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def load(folder: Path, **settings: Any) -> ChatLocalPolicy:
    model = load_policy(folder, **{"threads": 1, "temperature": 0, "max_tokens": 16, **settings})
    assert isinstance(model, ChatLocalPolicy)
    return model


def port_of(model: ChatLocalPolicy) -> int:
    assert model.openai_api_base is not None
    return int(model.openai_api_base.rpartition(":")[2].removesuffix("/v1"))


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def policies() -> int:
    return sum(thread.name == "medgym-policy" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def nothing_left() -> Any:
    before = policies()
    yield
    gc.collect()
    assert policies() <= before


@pytest.mark.parametrize("what", ["policy_folder", "adapter_folder"])
async def test_a_folder_answers_with_ids(what: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(what)
    model = load(folder)
    answer = model.invoke(ASKED)
    found = answer.response_metadata
    loaded: Any = load_model(folder)
    said = [{"role": "user", "content": ASKED}]
    assert found["prompt_token_ids"] == prompt_ids(said, [], loaded.chat_format, form_of_policy(folder))
    import torch

    with torch.no_grad():
        ids = torch.tensor([[*found["prompt_token_ids"], *found["token_ids"]]])
        logits = loaded.model(ids).logits[0, len(found["prompt_token_ids"]) - 1 : -1]
    assert logits[:, : len(loaded.tokenizer)].argmax(-1).tolist() == found["token_ids"]
    sampled = torch.log_softmax(logits, -1).gather(1, ids[0, len(found["prompt_token_ids"]) :, None])[:, 0]
    assert [one["logprob"] for one in found["logprobs"]["content"]] == pytest.approx(sampled.tolist(), abs=1e-4)
    for other in (await model.ainvoke(ASKED), reduce(add, model.stream(ASKED))):
        assert (other.content, other.response_metadata["token_ids"]) == (answer.content, found["token_ids"])
    model.close()


def test_tools_are_said_as_in_training(policy_folder: Path, tiny_tokenizers: dict[str, Any]) -> None:
    model = load(policy_folder)
    ids = model.bind_tools([SEARCH]).invoke(ASKED).response_metadata["prompt_token_ids"]
    form, format_ = form_of_policy(policy_folder), ChatFormat(tiny_tokenizers["qwen"])
    assert ids == prompt_ids([{"role": "user", "content": ASKED}], [SEARCH], format_, form)
    assert "Tools: search" in tiny_tokenizers["qwen"].decode(ids)
    model.close()


def test_closing_frees_the_port_and_the_weights(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Any]] = []
    make = local.transformers_app

    def watched(*args: Any, **settings: Any) -> Any:
        app = make(*args, **settings)
        kept.append(weakref.ref(app))
        return app

    monkeypatch.setattr(local, "transformers_app", watched)
    model = load(policy_folder)
    port = port_of(model)
    model.invoke(ASKED)
    assert kept[0]() is not None
    model.close()
    model.close()
    gc.collect()
    assert kept[0]() is None
    assert refuses(port)
    with pytest.raises((openai.APIConnectionError, RuntimeError)):
        model.invoke(ASKED)


def test_a_model_that_is_dropped_stops_its_server(policy_folder: Path) -> None:
    model = load(policy_folder)
    model.invoke(ASKED)
    port, seen = port_of(model), weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
    assert refuses(port)


def test_a_copy_goes_on_when_the_first_is_dropped(policy_folder: Path) -> None:
    model = load(policy_folder)
    said = model.invoke(ASKED).content
    longer = model.model_copy(update={"max_tokens": 20})
    bound = model.bind(stop=["never said"])
    port = port_of(model)
    del model
    gc.collect()
    assert str(longer.invoke(ASKED).content).startswith(str(said))
    assert bound.invoke(ASKED).content == said
    del longer, bound
    gc.collect()
    assert refuses(port)


def test_nobody_else_may_ask(policy_folder: Path) -> None:
    model = load(policy_folder)
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{model.openai_api_base}/models")
    assert model.openai_api_key is not None
    assert str(model.openai_api_key.get_secret_value()) not in repr(model)
    model.close()


def test_a_proxy_of_the_environment_is_not_asked(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    model = load(policy_folder)
    assert model.invoke(ASKED).content
    model.close()


def test_settings_that_are_wrong_leave_no_server(policy_folder: Path) -> None:
    before = policies()
    with pytest.raises(ValueError, match="temperature"):
        load(policy_folder, temperature="hot")
    gc.collect()
    assert policies() == before
    with pytest.raises(ValueError, match="dtype int4 is not one of"):
        load(policy_folder, dtype="int4")


def test_a_base_that_was_moved(policy_folder: Path, adapter_folder: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(adapter_folder, tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/nowhere"}))
    with pytest.raises(FileNotFoundError, match="give `base="):
        load(adapter)
    model = load(adapter, base=str(policy_folder), max_model_len=64)
    assert model.invoke(ASKED).content
    with pytest.raises(openai.BadRequestError, match="context length"):
        model.invoke("pain " * 100)
    model.close()


def test_a_server_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no socket left")

    monkeypatch.setattr("medgym.agent.serve.completions.serve", broken)
    with pytest.raises(OSError, match="no socket left"):
        LocalServer(None)
    monkeypatch.setattr("medgym.agent.serve.completions.serve", lambda *_, **__: None)
    with pytest.raises(TimeoutError, match="was not ready"):
        LocalServer(None)


SCRIPT = """
import sys
from medgym.agent import load_policy
model = load_policy(sys.argv[1], threads=1, max_tokens=4)
print(model.invoke("Hello").response_metadata["token_ids"])
"""


@pytest.mark.slow
def test_a_script_that_never_closes_ends(policy_folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(policy_folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) <= 4


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatLocalPolicy]:
        return ChatLocalPolicy

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "policy", "base_url": "http://127.0.0.1:1/v1"}
