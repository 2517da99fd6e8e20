"""`medgym serve --policy` as somebody mistypes it. How it serves is tested beside `agent/serve/`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.serve import policy_server

HEAVY = ("torch", "transformers", "fastapi", "uvicorn", "langchain_openai", "openai", "peft", "mcp", "openenv")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A folder that looks like a policy's; nothing of it is loaded."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return folder


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ((), 2, "say what to serve"),
        (("--policy", "nowhere"), 2, "'nowhere' is no folder with a config.json"),
        (("--policy", "policy", "--engine", "tgi"), 2, "--engine tgi is not one of vllm, transformers"),
        (("--policy", "policy", "--port", "-1"), 2, "--port"),
        (("--policy", "policy", "--port", "70000"), 2, "--port"),
        (("--policy", "policy", "--max-model-len", "0"), 2, "--max-model-len"),
        (("--policy", "policy", "--api-key-file", "none.txt"), 2, "--api-key-file none.txt cannot be read"),
        (("--policy", "policy", "--api-key-file", "empty.txt"), 2, "the first line is empty"),
        (("--policy", "policy", "--engine", "transformers", "--python", "p"), 2, "--python is for vLLM"),
        (
            ("--policy", "policy", "--engine", "transformers", "--vllm-arg=-x", "--port", "0"),
            2,
            "--vllm-arg is for vLLM",
        ),
        (("--policy", "policy", "--engine", "transformers", "--dtype", "int4", "--port", "0"), 2, "dtype int4"),
        (("--policy", "policy", "--nonsense"), 2, "--nonsense"),
        (("--policy", "damaged", "--engine", "transformers"), 2, "adapter_config.json is damaged"),
        (("--policy", "lost", "--engine", "transformers"), 2, "/gone"),
        (("--policy", "policy", "--engine", "transformers", "--host", "192.0.2.1"), 3, "cannot listen on 192.0.2.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_misused(medgym: Any, policy: Path, options: tuple[str, ...], code: int, part: str) -> None:
    Path("empty.txt").write_text("\nsecret")
    for name, text in (("damaged", "{"), ("lost", json.dumps({"base_model_name_or_path": "/gone"}))):
        Path(name).mkdir()
        Path(name, "adapter_config.json").write_text(text)
    if "--host" in options:
        result = medgym("serve", *options)
        assert result.code == code
        note, line = result.err.splitlines() if result.err.count("\n") == 2 else ("", result.err)
        assert part in line
        assert "--api-key-file" in result.out + note
        return
    medgym("serve", *options).failed(code, part)


def test_a_port_in_use(medgym: Any, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_server, "PORT_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        result = medgym("serve", "--policy", policy, "--engine", "transformers", "--port", port, "--json")
    assert (result.code, result.out) == (3, "")
    assert f"cannot listen on 127.0.0.1, port {port}: " in result.err.splitlines()[-1]


def test_an_interpreter_without_vllm(medgym: Any, policy: Path) -> None:
    result = medgym(
        "serve", "--policy", policy, "--python", sys.executable, "--port", 0, "--state-dir", "state", "--json"
    )
    assert (result.code, result.out) == (3, "")
    assert f"{sys.executable} has no vLLM: install it there" in result.err.splitlines()[-1]


def test_the_command_imports_nothing_heavy() -> None:
    script = (
        "import sys, medgym.cli, medgym.agent.serve.commands\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
