"""Searching the literature at full size: our engines beside SQLite FTS5 and bm25s, on the same terms and questions.

`python benchmarks/retrieval.py --source DIR --json` builds an index of DIR with `medgym kb build` for each of our
engines (`build_s`: from the packed files to the manifest that `medgym kb verify` has checked; `index_s`: the engine's
part; `peak_mb`: most resident memory of all processes together) and one each with FTS5 and bm25s from the same terms
(`build_s`: reading them from our store, and indexing). Then every engine answers the same real questions in a process
of its own: `p50_ms`, `p95_ms`, `p99_ms` of ranking ten passages, `rss_mb` after the last. Whoosh takes its query cap
(`uncapped_p50_ms` without); `served_p50_ms` and `served_p95_ms` are ours with the passages fetched.

`overlap_at_10` is the share of Whoosh's first ten that tantivy has too, both as they are served; `overlap_uncapped`
without the cap. `recall_at_10` is the share of MedQuAD questions, asked in their own words, with a passage of an answer
to it in the first ten (of the fast engine; `engines.NAME.recall_at_10` of each). `held_back` asks the same of indices
(tantivy and bm25s) where MedQuAD's passages have lost their titles, which hold the questions.

The questions lie in `--questions` (default: the folder above `--source`): MedLFQA's consumer questions, and the titles
of MedQuAD in the source. bm25s is not a part of medgym: `pip install bm25s`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENGINES = ("tantivy", "whoosh", "fts5", "bm25s")
OURS = ("tantivy", "whoosh")
K = 10


# ------------------------------------------------------------------------------------------------- processes and memory


def children(pid: int) -> list[int]:
    """All processes below one."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return below + [one for child in below for one in children(child)]


def resident(pid: int) -> float:
    """Resident MB of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def watched(command: list[str]) -> tuple[dict[str, Any], float, float]:
    """Run it; the JSON it prints, its seconds, and the most resident MB of all its processes together."""
    peak = 0.0
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.1):
                peak = max(peak, sum(resident(one) for one in [process.pid, *children(process.pid)]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, _ = process.communicate()
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(out.splitlines()[-1]), time.perf_counter() - started, peak


def own(*arguments: object) -> list[str]:
    """This script, in a process of its own."""
    return [sys.executable, __file__, *map(str, arguments)]


def medgym(*arguments: object) -> list[str]:
    """A command of medgym."""
    return [sys.executable, "-m", "medgym.cli", *map(str, arguments), "--json"]


# ------------------------------------------------------------------------------------------------------------ questions


def questions(folder: Path, index: Path, n: int, seed: int) -> dict[str, list[str]]:
    """`n` distinct consumer questions of MedLFQA, and 250 of MedQuAD, drawn."""
    from medgym.tools.retrieval.analysis import terms

    draw = random.Random(seed)
    asked: dict[str, None] = {}
    for file in sorted((folder / "medlfqa").rglob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            question = str(json.loads(line)["Question"]).strip()
            if terms(question):  # one is empty
                asked[question] = None
    if len(asked) < n:
        sys.exit(f"{folder} holds {len(asked)} questions of MedLFQA, not {n}: name the folder with --questions")
    medquad = sorted(
        {one["title"] for one in records(index) if one["source"] == "medquad" and one["title"].rstrip().endswith("?")}
    )
    return {"consumer": draw.sample(sorted(asked), n), "medquad": draw.sample(medquad, min(250, len(medquad)))}


def records(index: Path) -> Iterator[dict[str, Any]]:
    """The records of one of our indices."""
    from medgym.tools.retrieval.store import FILE, PassageStore

    (data,) = index.glob("data-*")
    return map(json.loads, PassageStore(data / FILE).records())


def terms_of(index: Path, titles: bool) -> Iterator[tuple[str, str, str]]:
    """Title, source and terms of every passage."""
    from medgym.tools.retrieval.analysis import joined_terms

    for one in records(index):
        title = one["title"] if titles or one["source"] != "medquad" else ""
        yield one["title"], one["source"], f"{joined_terms(title)} {joined_terms(one['text'])}".strip()


# -------------------------------------------------------------------------------------------------------- other engines


def build_fts5(index: Path, out: Path) -> dict[str, float]:
    """An FTS5 table of the terms."""
    started = time.perf_counter()
    rows = [(at, terms) for at, (_, _, terms) in enumerate(terms_of(index, True))]
    read = time.perf_counter()
    database = sqlite3.connect(out / "fts5.sqlite")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("CREATE VIRTUAL TABLE t USING fts5(content, content='', tokenize=\"unicode61 tokenchars '.'\")")
    database.executemany("INSERT INTO t(rowid, content) VALUES (?, ?)", rows)
    database.execute("INSERT INTO t(t) VALUES ('optimize')")
    database.commit()
    database.close()
    return {"build_s": time.perf_counter() - started, "index_s": time.perf_counter() - read}


def build_bm25s(index: Path, out: Path, titles: bool = True) -> dict[str, float]:
    """A bm25s index of the terms."""
    import bm25s

    started = time.perf_counter()
    known: dict[str, int] = {}
    corpus = [[known.setdefault(term, len(known)) for term in terms.split()] for _, _, terms in terms_of(index, titles)]
    read = time.perf_counter()
    ranker = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    ranker.index((corpus, known), show_progress=False)
    ranker.save(str(out / "bm25s"))
    return {"build_s": time.perf_counter() - started, "index_s": time.perf_counter() - read}


class Fts5:
    """Ranks with FTS5's bm25; every term is searched for."""

    def __init__(self, out: Path) -> None:
        self.database = sqlite3.connect(out / "fts5.sqlite")

    def rank(self, query: str) -> list[int]:
        from medgym.tools.retrieval.analysis import terms

        wanted = " OR ".join(f'"{term}"' for term in sorted(set(terms(query))))
        found = self.database.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?", (wanted, K))
        return [number for (number,) in found]


class Bm25s:
    """Ranks with bm25s; every term is searched for."""

    def __init__(self, out: Path) -> None:
        import bm25s

        self.ranker = bm25s.BM25.load(str(out / "bm25s"), load_corpus=False)

    def rank(self, query: str) -> list[int]:
        from medgym.tools.retrieval.analysis import terms

        wanted = sorted(term for term in set(terms(query)) if term in self.ranker.vocab_dict)
        if not wanted:
            return []
        found = self.ranker.retrieve([wanted], k=K, n_threads=1, show_progress=False)
        return [int(number) for number in found.documents[0]]


class Ours:
    """One of our engines as it is served, and without its cap."""

    def __init__(self, index: Path, engine: str) -> None:
        from medgym.tools.retrieval import load_index
        from medgym.tools.retrieval.folder import data_folder, read_manifest

        self.index = load_index(index, engine)
        self.folder = data_folder(index, read_manifest(index)) / engine
        self.engine = engine

    def rank(self, query: str) -> list[int]:
        return [number for number, _ in self.index.ranked(query, K)]

    def served(self, queries: list[str]) -> list[float]:
        """Milliseconds with the passages fetched."""
        taken: list[float] = []
        for query in queries:
            started = time.perf_counter()
            self.index.search(query, K)
            taken.append(1000 * (time.perf_counter() - started))
        return taken

    def uncapped(self, queries: list[str]) -> tuple[list[list[int]], list[float]]:
        """First ten and milliseconds with all terms."""
        from medgym.tools.retrieval.analysis import terms
        from medgym.tools.retrieval.engines import Filters, open_ranker

        ranker = open_ranker(self.engine, self.folder)
        found: list[list[int]] = []
        taken: list[float] = []
        for query in queries:
            started = time.perf_counter()
            found.append([number for number, _ in ranker.rank(sorted(set(terms(query))), K, Filters())])
            taken.append(1000 * (time.perf_counter() - started))
        return found, taken


def search(engine: str, index: Path, out: Path, asked: dict[str, list[str]]) -> dict[str, Any]:
    """Ask everything; times, the first ten of each question, and memory."""
    import numpy as np

    from medgym.tools.retrieval.speed import resident_mb

    ranker = Ours(index, engine) if engine in OURS else Fts5(out) if engine == "fts5" else Bm25s(out)
    everything = [*asked["consumer"], *asked["medquad"]]
    for query in everything:
        ranker.rank(query)  # a round that is not timed: files are read, memory is mapped (rankings are not cached)
    taken: list[float] = []
    found: list[list[int]] = []
    for query in everything:
        started = time.perf_counter()
        ranked = ranker.rank(query)
        taken.append(1000 * (time.perf_counter() - started))
        found.append(ranked)
    served = ranker.served(everything) if isinstance(ranker, Ours) else []
    memory = resident_mb()
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]).round(3).tolist()
    row: dict[str, Any] = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "rss_mb": round(memory, 1), "found": found}
    if isinstance(ranker, Ours):
        row["uncapped"], times = ranker.uncapped(everything)
        row["uncapped_p50_ms"] = round(float(np.median(times)), 3)
        row["served_p50_ms"], row["served_p95_ms"] = np.percentile(served, [50, 95]).round(3).tolist()
    return row


# ------------------------------------------------------------------------------------------------------------- measures


def overlap(one: list[list[int]], other: list[list[int]]) -> float:
    """Mean share of the first list's first ten that the other has."""
    shares = [len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True) if a]
    return round(sum(shares) / len(shares), 4)


def recall(found: list[list[int]], asked: list[str], answers: dict[str, set[int]]) -> float:
    """Share of questions with a passage of an answer in the first ten."""
    hits = [bool(answers[question] & set(ranked)) for question, ranked in zip(asked, found, strict=True)]
    return round(sum(hits) / len(hits), 4)


def held_back(index: Path, out: Path, asked: list[str], answers: dict[str, set[int]]) -> dict[str, float]:
    """Recall where MedQuAD's passages have no titles, by tantivy and bm25s over the same terms."""
    from medgym.tools.retrieval.analysis import terms
    from medgym.tools.retrieval.engines import Filters, open_ranker, write_engine
    from medgym.tools.retrieval.store import Row

    folder = out / "held-back"
    folder.mkdir()
    rows = (Row("", "", "", found, "passage", "", None) for _, _, found in terms_of(index, False))
    for _ in write_engine("tantivy", rows, folder):
        pass
    ranker = open_ranker("tantivy", folder)
    ours = [[number for number, _ in ranker.rank(sorted(set(terms(one))), K, Filters())] for one in asked]
    subprocess.run(own("--make", "bm25s-held-back", "--index", index, "--work", out), check=True, stdout=sys.stderr)
    other = Bm25s(out / "untitled")
    theirs = [other.rank(one) for one in asked]
    return {"tantivy": recall(ours, asked, answers), "bm25s": recall(theirs, asked, answers)}


def compare(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Build and ask all of them."""
    engines: dict[str, dict[str, Any]] = {}
    indices: dict[str, Path] = {}
    for engine in (one for one in OURS if one in options.engines):
        indices[engine] = out / engine
        command = medgym("kb", "build", options.source, "--out", indices[engine], "--engine", engine)
        built, seconds, peak = watched(command)
        checked, verified, _ = watched(medgym("kb", "verify", indices[engine]))
        assert checked["whole"]
        engines[engine] = {
            "build_s": round(seconds + verified, 1),
            "index_s": round(built["seconds"][f"index {engine}"], 1),
            "verify_s": round(verified, 1),
            "peak_mb": round(peak, 1),
            "size_mb": round(sum(one.stat().st_size for one in indices[engine].rglob("*") if one.is_file()) / 1e6, 1),
        }
        print(engine, engines[engine], file=sys.stderr)
    base = next(iter(indices.values()))
    for engine in (one for one in options.engines if one not in OURS):
        built, _, peak = watched(own("--make", engine, "--index", base, "--work", out))
        place = out / ("fts5.sqlite" if engine == "fts5" else "bm25s")
        files = [place] if place.is_file() else list(place.rglob("*"))
        size = sum(one.stat().st_size for one in files) / 1e6
        engines[engine] = {**built, "peak_mb": round(peak, 1), "size_mb": round(size, 1)}
        print(engine, engines[engine], file=sys.stderr)
    asked = questions(options.questions or options.source.parent, base, options.n, options.seed)
    (out / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    found: dict[str, dict[str, Any]] = {}
    for engine in engines:
        index = indices.get(engine, base)
        found[engine], _, _ = watched(own("--search", engine, "--index", index, "--work", out))
        shown = {name: value for name, value in found[engine].items() if name not in ("found", "uncapped")}
        engines[engine] |= shown
        print(engine, shown, file=sys.stderr)
    answers: dict[str, set[int]] = {question: set() for question in asked["medquad"]}
    for number, (title, source, _) in enumerate(terms_of(base, True)):
        if source == "medquad" and title in answers:
            answers[title].add(number)
    n = len(asked["consumer"])
    for engine in engines:
        engines[engine]["recall_at_10"] = recall(found[engine]["found"][n:], asked["medquad"], answers)
    result: dict[str, Any] = {
        "n_passages": sum(1 for _ in records(base)),
        "n_questions": {name: len(ones) for name, ones in asked.items()},
        "recall_at_10": engines[next(iter(engines))]["recall_at_10"],
        "engines": engines,
    }
    if {"tantivy", "whoosh"} <= engines.keys():
        result["overlap_at_10"] = overlap(found["whoosh"]["found"], found["tantivy"]["found"])
        result["overlap_uncapped"] = overlap(found["whoosh"]["uncapped"], found["tantivy"]["uncapped"])
    if {"tantivy", "bm25s"} <= engines.keys():
        result["held_back"] = held_back(base, out, asked["medquad"], answers)
    if {"tantivy", "fts5"} <= engines.keys():
        result["times_faster_than_fts5"] = round(engines["fts5"]["p50_ms"] / engines["tantivy"]["uncapped_p50_ms"], 1)
    return result


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--questions", type=Path, help="default: the folder above --source")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    parser.add_argument("--n", type=int, default=500, help="consumer questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where to build; default: a temporary folder")
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--search", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        if options.make == "fts5":
            figures = build_fts5(options.index, options.work)
        elif options.make == "bm25s":
            figures = build_bm25s(options.index, options.work)
        else:
            figures = build_bm25s(options.index, options.work / "untitled", titles=False)
        print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
        return
    if options.search:
        asked = json.loads((options.work / "questions.json").read_text(encoding="utf-8"))
        print(json.dumps(search(options.search, options.index, options.work, asked)))
        return
    if options.source is None:
        parser.error("--source is needed: a folder that `medgym kb build` reads")
    if set(options.engines) - set(ENGINES) or not set(options.engines) & set(OURS):
        parser.error(f"--engines: of {', '.join(ENGINES)}, at least one of {' and '.join(OURS)}")
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(prefix="retrieval-", dir=options.work))
    (out / "untitled").mkdir()
    try:
        figures = compare(options, out)
    finally:
        shutil.rmtree(out)
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
