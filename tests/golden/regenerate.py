"""Write the golden trajectories anew: `python tests/golden/regenerate.py`, where a change of tasks or reward is meant.

Look at `git diff tests/golden` afterwards: every line that changed is a change of what an agent sees or is paid.
"""

from __future__ import annotations

from pathlib import Path

from medgym.agent.graph import build_case_graph
from medgym.agent.policies import make_policy
from medgym.agent.runner import run_episode
from medgym.env.domain import load_domain
from medgym.env.trajectory import Trajectory, encode

FOLDER = Path(__file__).parent
CASES = {  # file: policy, domain, number of the task, seed
    "expert-clinical.jsonl": ("expert", "clinical_diagnosis", 0, 0),
    "expert-qa.jsonl": ("expert", "medical_qa", 0, 0),
    "random-clinical.jsonl": ("random", "clinical_diagnosis", 1, 1),
}


def played(name: str) -> Trajectory:
    """The episode of a file, played now."""
    policy_name, domain, number, seed = CASES[name]
    policy = make_policy(policy_name)
    return run_episode(build_case_graph(policy.model_for), policy, load_domain(domain).tasks()[number], seed)


if __name__ == "__main__":
    for case in CASES:
        (FOLDER / case).write_bytes(encode(played(case)))
