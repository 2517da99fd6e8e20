"""CPU time of our side of a rollout: how many CPUs feed one GPU that serves at a given rate.

`python benchmarks/rollout_cpus.py --json` rolls `openai:` episodes to the token against an endpoint in another process
that answers at once with the expert's own messages, and prints the CPU seconds of this process (graph, episode, tools,
recorder, chat format, HTTP client) per turn and per generated token, and what one CPU carries. Start-up is left out: a
first round warms up. `--tokenizer DIR` names a folder with a tokenizer and chat template; by default a small one is
trained on the cases' own words.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medgym.agent.policies import PolicyOptions, make_policy
from medgym.agent.policies.local import load_words
from medgym.agent.runner import Pair, run_many
from medgym.env.baselines import play_script
from medgym.env.baselines.play import expert
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Episode

RATES = (1_000, 5_000, 20_000)  # generated tokens per second of one GPU


def messages_of(pairs: list[Pair]) -> dict[str, list[str]]:
    """What the expert says in each case, by the ticket that opens it."""
    found: dict[str, list[str]] = {}
    for task, seed in pairs:
        episode = play_script(Episode(task, seed), expert)
        found[episode.opening] = [turn.text for turn in episode.turns]
    return found


def serve(folder: str, said: dict[str, list[str]], out: Connection) -> None:
    """Answer `/v1/completions` with the expert's next message, from a table made beforehand."""
    words = load_words(folder, name="policy")
    style = words.chat_format
    end = style.turn_end
    answers = {ticket: [style.answer_ids(text) for text in texts] for ticket, texts in said.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.reply({"data": [{"id": "policy", "root": folder, "max_model_len": 1_000_000}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = words.tokenizer.decode(body["prompt"])
            turn = body["prompt"].count(end) // 2 - 1  # system and user, then answer and user in turns
            ticket = next(one for one in answers if one in text)
            ids = answers[ticket][min(turn, len(answers[ticket]) - 1)]
            self.reply({"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}}]})

        def reply(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    with Http(("127.0.0.1", 0), Handler) as http:
        out.send(http.server_port)
        http.serve_forever()


def small_tokenizer(folder: Path, said: dict[str, list[str]]) -> None:
    """A byte-level tokenizer trained on the cases, with ChatML's template."""
    from medgym.train.tiny import train_tokenizer

    texts = [text for ticket, messages in said.items() for text in (ticket, *messages)]
    train_tokenizer(texts, 8_000, 1_000_000).save_pretrained(folder)


def measure(episodes: int, concurrency: int, tokenizer: Path | None) -> dict[str, object]:
    """CPU seconds of this process over the second of two rounds."""
    tasks = [task for name in domain_names() for task in load_domain(name).tasks()[: episodes // len(domain_names())]]
    pairs: list[Pair] = [(task, seed) for seed, task in enumerate(tasks)]
    said = messages_of(pairs)
    with tempfile.TemporaryDirectory() as work:
        folder = tokenizer or Path(work) / "words"
        if tokenizer is None:
            small_tokenizer(folder, said)
        mine, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(
            target=serve, args=(str(folder), said, theirs), daemon=True
        )
        server.start()
        options = PolicyOptions(base_url=f"http://127.0.0.1:{mine.recv()}", concurrency=concurrency)
        with closing(make_policy("openai:policy", options)) as policy:
            list(run_many(policy, pairs[:concurrency], concurrency=concurrency))
            cpu, wall = time.process_time(), time.perf_counter()
            played = list(run_many(policy, pairs, concurrency=concurrency))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        server.terminate()
        server.join()
    streams: list[Any] = [one.tokens for one in played]
    turns = sum(len(one.turns) for one in played)
    generated = sum(len(turn["output_ids"]) for stream in streams for turn in stream["turns"])
    per_token = cpu / generated
    return {
        "episodes": len(played),
        "concurrency": concurrency,
        "submitted": sum(one.ended == "submitted" for one in played),
        "turns": turns,
        "tokens_per_turn": round(generated / turns, 1),
        "cpu_ms_per_turn": round(1000 * cpu / turns, 3),
        "cpu_ms_per_token": round(1000 * per_token, 4),
        "cpu_share_of_wall": round(cpu / wall, 2),
        "tokens_per_second_per_cpu": round(1 / per_token),
        "cpus_for_tokens_per_second": {str(rate): round(rate * per_token, 2) for rate in RATES},
    }


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--tokenizer", type=Path)
    options = parser.parse_args()
    figures = measure(options.episodes, options.concurrency, options.tokenizer)
    print(json.dumps(figures) if options.json else figures)


if __name__ == "__main__":
    main()
