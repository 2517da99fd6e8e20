"""Speed of the environment: steps, resets and imports, each beside a yardstick taken in the same run.

`python benchmarks/env_steps.py --json` prints `steps_per_s` (non-retrieval steps of `ClinicalEnv`, one process),
`reset_ms` (median), `import_ratio` (`import medgym.env` over `import gymnasium, pydantic`, medians of fresh
interpreters) and `plain_dict_steps_per_s` (a loop that only parses the same message and looks the answer up in a
dictionary: what this machine can do at best).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

STEPS, RESETS, IMPORTS = 20_000, 400, 7
TOOLS = (
    "get_vital_signs",
    "get_patient_info",
    "get_medications",
    "get_clinical_notes",
    "get_lab_results",
    "think",
    "calculate_bmi",
)


def bench_steps(steps: int) -> tuple[float, float]:
    """(steps per second through the env, the same messages through a dictionary)."""
    import gymnasium

    import medgym.env  # noqa: F401
    from medgym.env.action import parse_action, write_call

    env = gymnasium.make("medgym/ClinicalDiagnosis-v1")
    env.reset(seed=0)
    episode = env.unwrapped.episode
    patient = episode.record.chart.patient_id
    messages = [
        write_call(name, {"thought": "The potassium is high."} if name == "think" else {"patient_id": patient})
        for name in TOOLS
    ]
    task = episode.task.id
    done = 0
    spent = 0.0
    while done < steps:
        env.reset(options={"task_id": task})
        started = time.perf_counter()
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(messages[done % len(messages)])
            over = terminated or truncated
            done += 1
        spent += time.perf_counter() - started
    answers = {message: json.dumps({"ok": True}) for message in messages}
    started = time.perf_counter()
    for index in range(done):
        message = messages[index % len(messages)]
        parse_action(message)
        json.loads(answers[message])
    plain = time.perf_counter() - started
    return done / spent, done / plain


def bench_resets(resets: int) -> float:
    """Median milliseconds of a seeded reset."""
    import gymnasium

    import medgym.env  # noqa: F401

    env = gymnasium.make("medgym/ClinicalDiagnosis-v1")
    env.reset(seed=0)
    times: list[float] = []
    for seed in range(resets):
        started = time.perf_counter()
        env.reset(seed=seed)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def bench_import(repeats: int) -> tuple[float, float, list[str]]:
    """Median seconds of `import medgym.env` and of `import gymnasium, pydantic`; heavy modules found loaded."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    named = "('torch', 'langchain_core', 'langgraph')"
    heavy = f"import sys, medgym.env; print(' '.join(m for m in {named} if m in sys.modules))"

    def once(modules: str) -> float:
        return float(
            subprocess.run(
                [sys.executable, "-c", code.format(modules)], capture_output=True, text=True, check=True
            ).stdout
        )

    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):  # alternating, so that a busy neighbour slows both
        ours.append(once("medgym.env"))
        theirs.append(once("gymnasium, pydantic"))
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.split()
    return statistics.median(ours), statistics.median(theirs), loaded


def main() -> None:
    """Run all of it and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    steps, plain = bench_steps(arguments.steps)
    ours, theirs, loaded = bench_import(IMPORTS)
    row = {
        "steps_per_s": round(steps),
        "plain_dict_steps_per_s": round(plain),
        "reset_ms": round(bench_resets(RESETS), 4),
        "import_ratio": round(ours / theirs, 3),
        "import_medgym_env_s": round(ours, 4),
        "import_gymnasium_pydantic_s": round(theirs, 4),
        "heavy_modules_loaded": loaded,
    }
    print(json.dumps(row) if arguments.json else "\n".join(f"{key}: {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
