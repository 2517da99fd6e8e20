"""A corpus of vectors made by hand, a lexical index that counts words, and tiny random models written on the spot."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from medgym.tools.retrieval.analysis import terms
from medgym.tools.retrieval.index import EmptyQuery, IndexInfo
from medgym.tools.retrieval.passage import Hit, Passage

WORDS = ("warfarin", "bleeding", "fever", "heparin", "ulcer", "cough", "rash", "and", "of")


def make(passage_id: str, text: str, *, kind: str = "drug", source: str = "a label 2020", year: int = 2020) -> Passage:
    return Passage(
        id=passage_id,
        title="Note",
        text=text,
        document="doc",
        section="section",
        source=source,
        kind=kind,
        year=year,
        licence="Apache-2.0 (medgym)",
        date=str(year),
        certainty="high",
    )


class TableEncoder:
    """Vectors looked up by text."""

    def __init__(self, table: dict[str, Sequence[float]], name: str = "table") -> None:
        self.table = {text: np.asarray(vector, dtype=np.float32) for text, vector in table.items()}
        self.dimension = len(next(iter(self.table.values())))
        self.name = f"{name}@1"
        self.fingerprint = f"{name} 1"
        self.asked: list[int] = []

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.table[text] for text in texts])

    def encode_passages(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.asked.append(len(pairs))
        return np.stack([self.table[text] for _, text in pairs])


class CountingIndex:
    """Passages ranked by how many words of the query they hold."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self.held = list(passages)

    def numbers(self, *, kinds=(), sources=(), year_from=None, year_to=None) -> np.ndarray | None:
        if not kinds and not sources and year_from is None and year_to is None:
            return None
        wanted = [
            number
            for number, one in enumerate(self.held)
            if (not kinds or one.kind in kinds)
            and (not sources or one.source.casefold() in {source.casefold() for source in sources})
            and (year_from is None or (one.year is not None and one.year >= year_from))
            and (year_to is None or (one.year is not None and one.year <= year_to))
        ]
        return np.asarray(wanted, dtype=np.int64)

    def ranked(self, query: str, k: int, **filters: object) -> list[tuple[int, float]]:
        wanted = set(terms(query))
        if not wanted:
            raise EmptyQuery(query)
        allowed = self.numbers(**filters)
        numbers = range(len(self.held)) if allowed is None else allowed.tolist()
        scored = [(number, float(len(wanted & set(terms(self.held[number].text))))) for number in numbers]
        return sorted((one for one in scored if one[1]), key=lambda one: (-one[1], one[0]))[:k]

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        return [self.held[number] for number in numbers]

    def iter_passages(self) -> Iterator[Passage]:
        return iter(self.held)

    def search(self, query: str, k: int = 10, **filters: object) -> list[Hit]:
        raise AssertionError("a fused index asks for `ranked`")

    def get(self, passage_id: str) -> Passage:
        return next(one for one in self.held if one.id == passage_id)

    def document(self, name: str) -> list[Passage]:
        return [one for one in self.held if one.document == name]

    def info(self) -> IndexInfo:
        digest = hashlib.sha256("".join(sorted(one.id + one.text for one in self.held)).encode()).hexdigest()
        kinds = Counter(one.kind for one in self.held)
        return IndexInfo("counting", len(self.held), 1, 1.2, 0.75, digest, kinds, Path("kb"), 1000)

    def close(self) -> None:
        self.held.clear()

    def __len__(self) -> int:
        return len(self.held)


@pytest.fixture
def passage() -> Callable[..., Passage]:
    return make


@pytest.fixture
def table_encoder() -> type[TableEncoder]:
    return TableEncoder


@pytest.fixture
def counting_index() -> type[CountingIndex]:
    return CountingIndex


def write_bert(folder: Path, seed: int, width: int) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'medgym[dense]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'medgym[dense]'")
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)))
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=512,
        initializer_range=1.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(folder)


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Callable[..., Path]:
    """Writes a random BERT with a tokenizer of a few words into a new folder."""

    def write(name: str, seed: int = 0, width: int = 8) -> Path:
        write_bert(tmp_path / name, seed, width)
        return tmp_path / name

    return write


@pytest.fixture
def tiny_sentence_model(tiny_bert: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a random sentence-transformers model with mean pooling into a new folder."""

    def write(name: str, seed: int = 0, **settings: object) -> Path:
        pytest.importorskip("sentence_transformers", reason="pip install 'medgym[dense]'")
        folder = tiny_bert(name, seed)
        home = "sentence_transformers.models"
        steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
        modules = [
            {"idx": at, "name": str(at), "path": path, "type": f"{home}.{step}"}
            for at, (path, step) in enumerate(steps)
        ]
        pooling = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling").mkdir()
        for file, cells in {
            "modules.json": modules,
            "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
            "config_sentence_transformers.json": settings,
            "1_Pooling/config.json": pooling,
        }.items():
            (folder / file).write_text(json.dumps(cells))
        return folder

    return write
