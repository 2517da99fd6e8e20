"""Training an agent of your own: your LangGraph graph, medgym's cases and recorder, an optimiser step in plain torch.

    python docs/examples/train_own_agent.py                                     # a tiny random model, half a minute
    python docs/examples/train_own_agent.py --model FOLDER --free --steps 60    # one that can write calls by itself
    python docs/examples/langchain_app.py --policy runs/own-agent               # what was trained, in an app

Needs `pip install "medgym[train]"`. Two nodes, `plan` and `act`, ask the same policy. The recorder keeps the ids that
were sampled and their log-probabilities; the step learns from exactly these, never from text tokenised again. Printed
are the mean reward, the loss, the share of tokens that is trained, and how far the log-probabilities now lie from those
recorded. A random model learns nothing of use; for whole runs take `medgym train`. Not for clinical use.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import END, MessagesState, StateGraph

from medgym.agent.guide import guided_schemas
from medgym.agent.policies.local import LocalChatModel
from medgym.agent.recorder import Recorder, recording
from medgym.agent.toolkit import episode_tools
from medgym.env.action import Call, parse_action
from medgym.env.briefing import PromptForm, system_prompt
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.trajectory import Trajectory
from medgym.train.models import Student, load_student, save_policy
from medgym.train.recipe import parse_recipe
from medgym.train.rollout.producer import row_of
from medgym.train.rollout.row import RolloutRow

GROUP = 4  # episodes of a case, which are compared with each other
RECIPE = {"name": "own-agent", "algorithm": "grpo", "rollout": {"specs": "names"}}  # how the saved policy is prompted
RECIPE |= {"tiny": {"layers": 2, "width": 64, "heads": 2, "context": 8192}}
RECIPE |= {"tasks": {"domains": ["medical_qa"], "train_limit": 8, "val_limit": 8}}  # words for the tiny tokenizer


def my_graph(model: Any, episode: Episode, free: bool) -> Any:
    """Your agent: any graph will do, as long as it only ever adds messages."""
    tools = {tool.name: tool for tool in episode_tools(episode)}

    def plan(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], max_new_tokens=24), HumanMessage("Now act, by calls.")]}

    def act(state: MessagesState) -> dict[str, Any]:
        # an untrained model writes no valid call: decoding is held to the schemas, off-policy for the sake of a start
        schemas = None if free else guided_schemas(episode, 96)
        answer = model.invoke(state["messages"], tools=schemas, max_new_tokens=96)
        results: list[ToolMessage] = []
        for call in parse_action(answer.text).calls:
            if episode.ended:
                break
            known = isinstance(call, Call) and isinstance(call.arguments, dict) and call.name in tools
            result = tools[call.name].invoke(call.arguments) if known else episode.step("").observation
            results.append(ToolMessage(result, tool_call_id=f"{len(state['messages'])}-{len(results)}"))
        return {"messages": [answer, *(results or [HumanMessage(episode.step("").observation)])]}

    graph = StateGraph(MessagesState).add_node("plan", plan).add_node("act", act)
    graph.set_entry_point("plan").add_edge("plan", "act")
    return graph.add_conditional_edges("act", lambda _: END if episode.ended else "act").compile()


def play(student: Student, task: Any, seed: int, free: bool) -> tuple[RolloutRow, float]:
    """One episode as a row for training, and what it earned: a little for calls that work, so that there is a slope."""
    episode, recorder = Episode(task, seed, max_turns=4), Recorder()
    model = LocalChatModel(student.loaded, seed=seed, guided_max_string=16, guided_drop_optional=True)
    told = system_prompt(episode.domain, episode.desk.shelf.offered(), PromptForm(brief=True, specs="names"))
    start = [SystemMessage(told), HumanMessage(f"{episode.opening}\nFirst say in a few words what you will do.")]
    with recording(recorder):  # whatever the policy samples in here goes into this stream
        my_graph(model, episode, free).invoke({"messages": start}, {"recursion_limit": 100})
    trajectory = Trajectory.of(episode, "own-agent", suite="v1", tokens=recorder.to_dict(), sampling={})
    row = row_of(trajectory, recorder, episode.ended or "budget")
    row.check()  # ids, mask and log-probabilities belong together
    worked = [call.error is None for turn in episode.turns for call in turn.calls]
    return row, episode.reward.composite + 0.1 * fmean(worked or [0.0])


def learn(student: Student, rows: list[RolloutRow], advantages: list[float], optimiser: Any) -> tuple[float, float]:
    """A policy-gradient step: its loss, and the largest gap to the recorded log-probabilities."""
    total, gap, trained = 0.0, 0.0, sum(row.policy_tokens for row in rows)
    optimiser.zero_grad()
    for row, advantage in zip(rows, advantages, strict=True):
        ids, at = torch.tensor([row.prompt_ids + row.completion_ids]), len(row.prompt_ids)
        mask = torch.tensor(row.env_mask) == 1  # what was sampled; the rest is the environment's
        logits = student.model(input_ids=ids).logits[0, at - 1 : -1].float()
        new, old = logits.log_softmax(-1).gather(-1, ids[0, at:, None])[:, 0][mask], torch.tensor(row.logprobs)[mask]
        gap = max(gap, float((new.detach() - old).abs().max()))
        loss = -(advantage * (new - old).exp()).sum() / trained  # GRPO's, with one step per rollout: no clip is due
        loss.backward()
        total += loss.item()
    optimiser.step()
    return total, gap


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, smollm2, or a folder")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="do not hold calls to the tools' schemas")
    parser.add_argument("--out", type=Path, default=Path("runs/own-agent"))
    options = parser.parse_args()
    student = load_student(parse_recipe({**RECIPE, "model": {"path": options.model, "dtype": "float32"}}), say=print)
    optimiser = torch.optim.AdamW([one for one in student.model.parameters() if one.requires_grad], lr=1e-3)
    tasks = [task for task in load_domain("medical_qa").tasks() if task.split == "train"]
    for step in range(options.steps):
        played = [play(student, tasks[step % len(tasks)], step * GROUP + at, options.free) for at in range(GROUP)]
        rows, rewards = [row for row, _ in played], [reward for _, reward in played]
        mean, spread = fmean(rewards), pstdev(rewards)
        loss, gap = learn(student, rows, [(one - mean) / (spread + 1e-4) for one in rewards], optimiser)
        share = sum(row.policy_tokens for row in rows) / sum(len(row.prompt_ids + row.completion_ids) for row in rows)
        print(f"step {step}: reward {mean:.3f} ± {spread:.3f}, loss {loss:+.4f}, trained {share:.0%}, gap {gap:.0e}")
    save_policy(student, options.out, {"steps": options.steps})
    print(f'saved: medgym.agent.load_policy("{options.out}")')


if __name__ == "__main__":
    main()
