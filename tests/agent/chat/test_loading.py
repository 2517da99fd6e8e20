"""`load_policy` of an address: which model it takes, and what it says when there is none."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from medgym.agent import load_policy
from medgym.agent.chat.loading import ServerUnavailable
from medgym.agent.policies.local import MissingExtraError

pytestmark = [  # the clients of a model that is dropped are closed by the garbage collector, as ChatOpenAI leaves them
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Served = Callable[..., AbstractContextManager[str]]


def card(name: str, parent: str | None = None) -> dict[str, object]:
    return {"id": name, "object": "model", "parent": parent}


@contextmanager
def serving(body: bytes, code: int = 200, key: str | None = None) -> Iterator[str]:
    """A server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = key is None or self.headers.get("Authorization") == f"Bearer {key}"
            self.send_response(code if known else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def listing(*cards: dict[str, object], **settings: Any) -> AbstractContextManager[str]:
    return serving(json.dumps({"object": "list", "data": cards}).encode(), **settings)


def name_of(model: Any) -> str:
    return model.model_name


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_an_address_with_or_without_v1(address: str, ending: str) -> None:
    model: Any = load_policy(address + ending, temperature=0.5, max_tokens=4)
    assert (model.model_name, model.openai_api_base) == ("policy", f"{address}/v1")
    assert (model.temperature, model.max_tokens) == (0.5, 4)


def test_the_adapter_is_what_is_meant() -> None:
    with listing(card("policy-base"), card("policy", "policy-base")) as url:
        assert name_of(load_policy(url)) == "policy"
        assert name_of(load_policy(url, model="policy-base")) == "policy-base"


def test_several_models() -> None:
    with listing(card("base"), card("one", "base"), card("two", "base")) as url:
        with pytest.raises(ValueError, match=r"2 models, say which \(model=\): one, two"):
            load_policy(url)
        assert name_of(load_policy(url, model="two")) == "two"
    with listing(card("a"), card("b")) as url, pytest.raises(ValueError, match="2 models"):
        load_policy(url)


def test_a_model_that_it_has_not(address: str) -> None:
    with pytest.raises(ValueError, match="has no model 'other': one of policy"):
        load_policy(address, model="other")


def test_an_adapter_that_is_loaded_later(address: str, adapter_folder: Path) -> None:
    def post(path: str, body: dict[str, str]) -> None:
        sent = Request(f"{address}/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        urlopen(sent).close()

    before = load_policy(address, temperature=0, max_tokens=12).invoke("Hello").response_metadata["token_ids"]
    post("load_lora_adapter", {"lora_name": "tuned", "lora_path": str(adapter_folder)})
    try:
        tuned = load_policy(address, temperature=0, max_tokens=12)
        assert name_of(tuned) == "tuned"
        assert tuned.invoke("Hello").response_metadata["token_ids"] != before
    finally:
        post("unload_lora_adapter", {"lora_name": "tuned"})
    assert name_of(load_policy(address)) == "policy"


def test_a_key() -> None:
    with listing(card("policy"), key="right") as url:
        for wrong in (None, "wrong"):
            with pytest.raises(ServerUnavailable, match=r"401 Unauthorized.*give its api_key"):
                load_policy(url, api_key=wrong)
        model: Any = load_policy(url, api_key="right")
        assert model.openai_api_key.get_secret_value() == "right"
        assert "right" not in repr(model)


def test_the_environments_key_is_not_sent(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "precious")
    model: Any = load_policy(address)
    assert model.openai_api_key.get_secret_value() == "none"


def test_nothing_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(ServerUnavailable, match="nothing answers at"):
            load_policy(url)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"3", b"{}", b'{"data": 3}', b'{"data": ["x"]}', b'{"data": [{}]}'])
def test_no_openai_server(body: bytes) -> None:
    with serving(body) as url, pytest.raises(ServerUnavailable, match="no OpenAI-compatible server: it lists no model"):
        load_policy(url)


def test_a_server_without_such_a_route() -> None:
    with serving(b"", code=404) as url, pytest.raises(ServerUnavailable, match=r"refuses \(404 Not Found\)$"):
        load_policy(url)


def test_a_server_of_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            there, _ = listening.accept()
            with there:
                there.recv(4096)
                there.sendall(b"SSH-2.0-something\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ServerUnavailable, match="no OpenAI-compatible server"):
            load_policy(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    with pytest.raises(ServerUnavailable):
        load_policy("http://127.0.0.1:port")


def test_no_models_at_all() -> None:
    with listing() as url, pytest.raises(ValueError, match="0 models"):
        load_policy(url)


def test_a_folder_takes_no_servers_arguments(policy_folder: Path) -> None:
    for settings in ({"model": "x"}, {"api_key": "x"}):
        with pytest.raises(ValueError, match="for a server's address"):
            load_policy(policy_folder, **settings)  # type: ignore[arg-type]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder with a config"):
        load_policy(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("package", "extra"),
    [("langchain_openai", "langchain"), ("fastapi", "http"), ("uvicorn", "http"), ("torch", "local")],
)
def test_a_missing_package_names_its_extra(
    policy_folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    without(monkeypatch, package)
    with pytest.raises(MissingExtraError, match=rf'pip install "medgym\[[a-z,]*{extra}') as caught:
        load_policy(policy_folder, threads=1)
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_served_policy_needs_langchain_only(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "langchain_openai")
    with pytest.raises(MissingExtraError, match=r'pip install "medgym\[langchain\]"'):
        load_policy(address)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if `package` were not installed: it and what of ours imports it are forgotten."""
    for name, module in list(sys.modules.items()):
        ours = name.startswith(("medgym.agent.chat.", "medgym.agent.serve.")) and not name.endswith(".loading")
        if ours or (name.partition(".")[0] == package and package != "torch"):
            parent, _, child = name.rpartition(".")
            if hasattr(sys.modules.get(parent), child):  # what is imported anew is forgotten after the test, too
                monkeypatch.setattr(sys.modules[parent], child, module)
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
