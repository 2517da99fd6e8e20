"""The command `medgym serve`: a policy for OpenAI clients, tools for MCP clients, cases for OpenEnv clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from ...tools.cache import state_root
from ...tools.console import CommandError, Output
from .policy_server import Engine, PolicyServer
from .tool_server import Address, ToolsOver, serve_mcp, serve_openenv
from .vllm_process import VLLMSettings

Host = Annotated[str, typer.Option("--host", help="Address to listen on; default: this machine only.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")]
KeyFile = Annotated[
    Path | None, typer.Option("--api-key-file", help="A file whose first line clients must send as their API key.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object when it is ready, and nothing else.")]
Mcp = Annotated[bool, typer.Option("--mcp", help="Serve tools to MCP clients.")]
OpenEnv = Annotated[bool, typer.Option("--openenv", help="Serve cases to OpenEnv clients.")]
Transport = Annotated[str, typer.Option("--transport", help="--mcp: stdio or http.")]
Case = Annotated[str | None, typer.Option("--case", help="--mcp: tools over this case.")]
RecordFile = Annotated[
    Path | None, typer.Option("--record", help="--mcp: tools over this patient: a FHIR bundle or our JSON.")
]
DomainName = Annotated[str | None, typer.Option("--domain", help="--record: whose tools; --openenv: only its cases.")]
LiteratureFolder = Annotated[Path | None, typer.Option("--literature", help="--mcp: another literature.")]
LogRecord = Annotated[bool, typer.Option("--log-record", help="--mcp: let the log show what stands in the record.")]
PolicyFolder = Annotated[str | None, typer.Option("--policy", help="Folder of a model or adapter, smollm2 or trained.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="vllm or transformers; default: vllm if it is there.")]
ServedName = Annotated[str, typer.Option("--name", help="What requests call the policy.")]
Base = Annotated[str | None, typer.Option("--base", help="Base model of an adapter, where it was moved.")]
Merge = Annotated[bool, typer.Option("--merge", help="Fold the adapter into its base and serve whole weights.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
MaxModelLen = Annotated[int | None, typer.Option("--max-model-len", min=1, help="Tokens of a conversation.")]
MaxNumSeqs = Annotated[int, typer.Option("--max-num-seqs", min=1, help="Requests computed together.")]
CacheGb = Annotated[int, typer.Option("--cache-gb", min=1, help="vllm on a CPU: key-value cache.")]
Threads = Annotated[str, typer.Option("--threads", help="vllm on a CPU: its cores, such as 0-3.")]
RuntimeLora = Annotated[
    bool, typer.Option("--runtime-lora", help="Let requests load and unload adapters from this machine's folders.")
]
MaxLoraRank = Annotated[int, typer.Option("--max-lora-rank", min=1, help="vllm: of adapters loaded later.")]
Interpreter = Annotated[
    Path | None, typer.Option("--python", help="An interpreter that has vLLM, such as .venv-serve-cpu/bin/python.")
]
VllmArgs = Annotated[
    list[str] | None, typer.Option("--vllm-arg", help="A further argument for vLLM, as it is; may be repeated.")
]
StartSeconds = Annotated[float, typer.Option("--start-seconds", min=1, help="How long starting may take.")]
LogFile = Annotated[Path | None, typer.Option("--log", help="File for what vLLM prints.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where models are cached.")]
StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Where logs are kept.")]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    policy: PolicyFolder = None,
    engine: EngineName = None,
    name: ServedName = "policy",
    base: Base = None,
    merge: Merge = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    dtype: Dtype = "auto",
    max_model_len: MaxModelLen = None,
    max_num_seqs: MaxNumSeqs = 64,
    cache_gb: CacheGb = 2,
    threads: Threads = "auto",
    runtime_lora: RuntimeLora = False,
    max_lora_rank: MaxLoraRank = 16,
    python: Interpreter = None,
    vllm_arg: VllmArgs = None,
    start_seconds: StartSeconds = 600.0,
    log: LogFile = None,
    cache_dir: CacheDir = None,
    state_dir: StateDir = None,
    mcp: Mcp = False,
    openenv: OpenEnv = False,
    transport: Transport = "stdio",
    case: Case = None,
    record: RecordFile = None,
    domain: DomainName = None,
    literature: LiteratureFolder = None,
    log_record: LogRecord = False,
    as_json: Json = False,
) -> None:
    """Serve a policy, tools or cases to other programs, until it is stopped (Ctrl-C, SIGTERM)."""
    output = Output(as_json)
    if [policy is not None, mcp, openenv].count(True) != 1:
        raise CommandError("say what to serve, one of: --policy DIR, --mcp, --openenv")
    if transport not in ("stdio", "http"):
        raise CommandError(f"--transport {transport} is not one of stdio, http")
    if engine is not None and engine not in get_args(Engine):
        raise CommandError(f"--engine {engine} is not one of {', '.join(get_args(Engine))}")
    key = read_key(api_key_file)
    if host not in LOOPBACK and key is None:
        output.note(f"{host} can be reached by others, and no key is asked for: --api-key-file wants one")

    def ready(about: Mapping[str, object]) -> None:
        output.emit(about)
        output.say(f"{about.get('model', about.get('protocol'))} is served at {about['url']}", style="bold")
        if policy is not None:
            output.say(f'engine {about["engine"]}; in Python: medgym.agent.load_policy("{about["url"]}")')

    if policy is None:
        address = Address(host, port, key)
        if openenv:
            serve_openenv(domain, address, ready)
        else:
            over = ToolsOver(case, record, domain or "clinical_diagnosis", literature, redact=not log_record)
            serve_mcp(over, address if transport == "http" else None, ready)
        return
    settings = VLLMSettings(
        name=name, host=host, port=port, api_key=key, dtype=dtype, max_model_len=max_model_len,
        max_num_seqs=max_num_seqs, cache_gb=cache_gb, threads=threads, runtime_lora=runtime_lora,
        max_lora_rank=max_lora_rank, extra=tuple(vllm_arg or ()),
    )  # fmt: skip
    server = PolicyServer(
        policy,
        settings,
        log=(log or state_root(state_dir) / "serve" / f"{name}-{port or f'process{os.getpid()}'}.log").absolute(),
        base=base,
        cache_dir=cache_dir,
        engine=cast("Literal['vllm', 'transformers'] | None", engine),
        python=python,
        merge=merge,
        start_seconds=start_seconds,
    )
    server.run(ready, output.note)


def read_key(file: Path | None) -> str | None:
    """The API key that a file holds; kept out of the command line, which others on the machine can read.

    Raises:
        CommandError: the file cannot be read, or its first line is empty.
    """
    if file is None:
        return None
    try:
        key = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--api-key-file {file} cannot be read: {error}") from error
    if not key:
        raise CommandError(f"--api-key-file {file}: the first line is empty")
    return key
