"""`medgym serve --policy` as a process: which engine, the ready line, how it answers and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest

from medgym.agent.serve import policy_server, vllm_process
from medgym.agent.serve.policy_server import NO_VLLM, PolicyServer
from medgym.agent.serve.vllm_process import ServerFailed, VLLMSettings
from medgym.tools.console import CommandError


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command, and the line that it printed when it was ready."""
    command = [sys.executable, "-m", "medgym.cli", "serve", "--policy", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=folder.parent,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.kill()


def ask(about: dict[str, Any], **settings: Any) -> Any:
    with openai.OpenAI(base_url=about["url"], api_key=settings.pop("key", "none"), max_retries=0) as client:
        said: Any = [{"role": "user", "content": "Hello"}]
        body = {"return_token_ids": True}
        return client.chat.completions.create(
            **{"model": about["model"], "messages": said, "max_tokens": 8, "extra_body": body, **settings}
        )


@pytest.mark.slow
def test_an_adapter_under_its_name_with_a_key(policy_folder: Path, adapter_folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret word\nand a note\n")
    arguments = ("--engine", "transformers", "--name", "tuned", "--api-key-file", str(key), "--max-model-len", "512")
    with served(adapter_folder, *arguments) as (process, about):
        versions = about.pop("versions")
        assert versions.keys() == {"medgym", "torch", "transformers"}
        url = about.pop("url")
        assert url.startswith("http://127.0.0.1:")
        assert about == {
            "ready": True,
            "engine": "transformers",
            "model": "tuned",
            "base": str(policy_folder),
            "adapter": str(adapter_folder),
            "prompt": {"brief": False, "specs": "arguments", "observation_limit": 300},
        }
        about["url"] = url
        answer = ask(about, key="secret word")
        assert (answer.model, len(answer.choices[0].token_ids)) == ("tuned", answer.usage.completion_tokens)
        with openai.OpenAI(base_url=url, api_key="secret word") as client:
            (card,) = client.models.list().data
        found: Any = card
        assert (found.id, found.parent, found.max_model_len) == ("tuned", str(policy_folder), 512)
        with pytest.raises(openai.AuthenticationError):
            ask(about, key="wrong")
        with pytest.raises(openai.NotFoundError):
            ask(about, key="secret word", model="policy")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


@pytest.mark.slow
def test_a_merged_adapter_from_its_own_folder(adapter_folder: Path, tmp_path: Path) -> None:
    arguments = ("--merge", "--cache-dir", str(tmp_path), "--runtime-lora", "--state-dir", str(tmp_path / "state"))
    with served(adapter_folder, *arguments) as (process, about):
        assert about["adapter"] is None
        assert Path(about["base"]).parent == tmp_path / "models"
        assert ask(about).choices[0].token_ids
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
    assert NO_VLLM in said
    assert "Traceback" not in said


FAKE = """#!{python}
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

if sys.argv[1] == "-c" and "importlib.metadata" in sys.argv[2]:
    print('{{"vllm": "9.9"}}')
    sys.exit()
if sys.argv[1] == "-c":
    code, sys.argv = sys.argv[2], ["-c", *sys.argv[3:]]
    exec(code)
print("loading weights", flush=True)
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path != "/health":
            os._exit(5)

told = dict(zip(sys.argv, sys.argv[1:]))
HTTPServer((told["--host"], int(told["--port"])), Health).serve_forever()
"""


@pytest.fixture
def fake_vllm(tmp_path: Path) -> Path:
    """An interpreter whose vLLM is healthy, and dies when it is asked anything else."""
    script = tmp_path / "python"
    script.write_text(FAKE.format(python=sys.executable))
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_vllm_is_started_and_stopped(policy_folder: Path, fake_vllm: Path, tmp_path: Path, how: signal.Signals) -> None:
    with served(policy_folder, "--python", str(fake_vllm), "--state-dir", str(tmp_path)) as (process, about):
        assert (about["engine"], about["model"], about["versions"]) == ("vllm", "policy", {"vllm": "9.9"})
        process.send_signal(how)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
    (log,) = (tmp_path / "serve").glob("*.log")
    assert log.name == f"policy-process{process.pid}.log"
    assert log.read_text().startswith("loading weights")
    assert f"starting vLLM (its log: {log})" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(about["pid"], 0)


def test_vllm_that_dies_ends_the_command(policy_folder: Path, fake_vllm: Path, tmp_path: Path) -> None:
    with served(policy_folder, "--python", str(fake_vllm), "--log", str(tmp_path / "v.log")) as (process, about):
        with suppress(OSError, HTTPException):  # it may be gone before it has answered
            urlopen(about["url"], timeout=20).close()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "medgym: vLLM ended with code 5; the end of" in said
    assert "loading weights" in said


def server(folder: Path, tmp_path: Path, **settings: Any) -> PolicyServer:
    return PolicyServer(str(folder), settings.pop("settings", VLLMSettings(port=0)), tmp_path / "log", **settings)


def run(served: PolicyServer) -> list[str]:
    notes: list[str] = []
    served.run(lambda _: None, notes.append)
    return notes


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which engine would have served."""
    chosen: list[str] = []
    monkeypatch.setattr(PolicyServer, "_vllm", lambda *_: chosen.append("vllm"))
    monkeypatch.setattr(PolicyServer, "_transformers", lambda *_: chosen.append("transformers"))
    return chosen


def test_the_engine(policy_folder: Path, tmp_path: Path, engines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[object] = [None]
    monkeypatch.setattr(policy_server, "find_spec", lambda _: there[0])
    assert run(server(policy_folder, tmp_path)) == [NO_VLLM]
    assert run(server(policy_folder, tmp_path, engine="transformers")) == []
    assert run(server(policy_folder, tmp_path, engine="vllm")) == []
    assert run(server(policy_folder, tmp_path, python=Path("p"))) == []
    there[0] = object()
    assert run(server(policy_folder, tmp_path)) == []
    assert engines == ["transformers", "transformers", "vllm", "vllm", "vllm"]


def test_what_is_not_for_the_engine(policy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--python is for vLLM"):
        run(server(policy_folder, tmp_path, engine="transformers", python=Path("p")))
    extra = VLLMSettings(port=0, extra=("--seed",))
    with pytest.raises(CommandError, match="--vllm-arg is for vLLM"):
        run(server(policy_folder, tmp_path, engine="transformers", settings=extra))


def test_a_port_that_is_let_go_is_waited_for(policy_folder: Path, tmp_path: Path, engines: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        threading.Timer(0.5, held.close).start()
        notes = run(server(policy_folder, tmp_path, engine="vllm", settings=VLLMSettings(port=port)))
    assert notes == [f"port {port} is taken: waiting up to 10 s for it"]
    assert engines == ["vllm"]


def test_a_port_that_stays_taken(policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever listens there, it is not taken for the server that was to be started."""
    monkeypatch.setattr(policy_server, "PORT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as held:
        settings = VLLMSettings(port=held.getsockname()[1])
        for engine in ("vllm", "transformers"):
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {settings.port}: Address already"):
                run(server(policy_folder, tmp_path, engine=engine, settings=settings))
    with pytest.raises(OSError, match=r"cannot listen on 192.0.2.1, port 0"):
        run(server(policy_folder, tmp_path, engine="vllm", settings=VLLMSettings(host="192.0.2.1", port=0)))


def test_a_signal_that_comes_while_it_starts(
    policy_folder: Path, tmp_path: Path, fake_vllm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = vllm_process.VLLMProcess.start

    def start(self: vllm_process.VLLMProcess) -> None:
        started(self)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

    monkeypatch.setattr(vllm_process.VLLMProcess, "start", start)
    before = signal.getsignal(signal.SIGTERM)
    told: list[object] = []
    server(policy_folder, tmp_path, python=fake_vllm).run(told.append, lambda _: None)
    assert told == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_failures_of_vllm_are_the_environments(policy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no working Python") as caught:
        run(server(policy_folder, tmp_path, python=tmp_path / "none"))
    assert caught.value.code == 3
    assert isinstance(caught.value.__cause__, ServerFailed)
