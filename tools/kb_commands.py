"""Commands on the literature: `medgym kb build | info | verify | search | get | bench`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .console import ENVIRONMENT, FINDING, CommandError, Output, leave
from .retrieval import DamagedIndex, EmptyQuery, Index, PassageIndex, UnknownPassage, load_index, open_starter
from .retrieval.dense import (
    DenseRanker,
    Encoder,
    FusedIndex,
    MedCptEncoder,
    MissingDense,
    SentenceTransformerEncoder,
    build_dense,
)
from .retrieval.engines import EngineMissing
from .retrieval.folder import MANIFEST
from .retrieval.folder import verify as verify_index
from .retrieval.ingest.build import NEAR_THRESHOLD, BuildError, Options, Progress, build
from .retrieval.ingest.raw import SourceError
from .retrieval.rendering import neutralised
from .retrieval.speed import drawn_queries, measure, read_queries

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where indices and models are cached.")]
IndexPath = Annotated[Path | None, typer.Option("--index", help="An index folder; default: the starter literature.")]
Engine = Annotated[str | None, typer.Option("--engine", help="whoosh or tantivy; default: by size.")]

Dense = Annotated[Path | None, typer.Option("--dense", help="Vectors of `kb encode`: fuse with their ranking.")]
Model = Annotated[
    list[Path] | None,
    typer.Option("--model", help="Folder of a sentence-transformers model; two for MedCPT: query and article encoder."),
]

kb = typer.Typer(help="The searched literature.", no_args_is_help=True)


@contextmanager
def _stated() -> Generator[None]:
    """Errors of the literature as one line with their exit code."""
    try:
        yield
    except (BuildError, EngineMissing, MissingDense) as error:
        raise CommandError(str(error), ENVIRONMENT) from error
    except (DamagedIndex, EmptyQuery, SourceError, ValueError) as error:
        raise CommandError(str(error)) from error


def _open(index: Path | None, engine: str | None, cache_dir: Path | None, output: Output) -> Index:
    if index is not None:
        with _stated():
            return load_index(index, engine)
    with output.progress() as shown:
        bar = shown.add_task("building the starter literature", total=None, visible=False)
        return open_starter(cache_dir, lambda done, total: shown.update(bar, completed=done, total=total, visible=True))


@kb.command("build")
def build_command(
    sources: Annotated[list[Path], typer.Argument(help="Files and folders: JSON lines, XML, Markdown, text, tables.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the index; the one that is there serves on.")],
    engine: Annotated[str, typer.Option(help="whoosh, tantivy, both, or auto (by size).")] = "auto",
    words: Annotated[int, typer.Option(help="Long texts are cut into pieces of about so many words.")] = 85,
    max_words: Annotated[int | None, typer.Option(help="Most words of a piece; default: 24/17 of --words.")] = None,
    columns: Annotated[list[str] | None, typer.Option("--map", help="FIELD=COLUMN of the source; repeat.")] = None,
    kind: Annotated[str, typer.Option(help="Kind of passages whose source names none.")] = "passage",
    license_allow: Annotated[
        list[str] | None, typer.Option("--license-allow", help="Only licences like this pattern (*, ?); repeat.")
    ] = None,
    near_duplicates: Annotated[bool, typer.Option("--near-duplicates", help="Drop near duplicates (MinHash).")] = False,
    near_threshold: Annotated[float, typer.Option(help="Similarity of near duplicates.")] = NEAR_THRESHOLD,
    with_starter: Annotated[
        bool, typer.Option("--with-starter", help="Take the starter literature in: cases are played with it.")
    ] = False,
    max_memory: Annotated[int, typer.Option(help="Megabytes for all processes together.")] = 3000,
    processes: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per core.")] = None,
    as_json: Json = False,
) -> None:
    """Build an index. Stopped or killed, the same command goes on where it was."""
    output = Output(as_json)
    with _stated(), output.progress() as shown:
        options = Options(
            engine=engine,
            words=words,
            limit=-(-words * 24 // 17) if max_words is None else max_words,
            license_allow=tuple(license_allow or ()),
            columns=_columns(columns or []),
            kind=kind,
            near_duplicates=near_threshold if near_duplicates else None,
            with_starter=with_starter,
            max_memory_mb=max_memory,
            processes=processes,
        )
        bars = {stage: shown.add_task(stage, total=None, visible=False) for stage in _STAGES}
        held: list[str] = []

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in held:
                held.append(stage)
                output.note(f"{stage}: {_STAGES[stage]}")
            shown.update(bars[stage], completed=done, total=total, visible=True)

        told: Progress = tell
        built = build(sources, out, options, told)
    manifest = built.manifest
    row = asdict(manifest) | {"unchanged": built.unchanged, "seconds": dict(built.seconds), "path": str(out.resolve())}
    output.emit(row)
    output.say(f"{manifest.n_passages:,} passages of {manifest.n_documents:,} documents in {out}", style="bold")
    if built.unchanged:
        output.say("an equal index was there and is whole: nothing was changed")
    for reason, count in manifest.dropped.items():
        output.say(f"  left out: {count:,} {reason}")
    if manifest.renamed:
        output.say(f"  {manifest.renamed:,} under another id, since theirs was taken")
    for licence, count in manifest.licences.items():
        output.say(f"  {count:>9,}  {licence}")
    seconds = ", ".join(f"{stage} {one:.1f}" for stage, one in built.seconds.items())
    output.say(f"searched with {' and '.join(manifest.engines)}; seconds: {seconds}")


_STAGES = {
    "reading": "texts are cut, analysed and hashed (bytes of the sources)",
    "deciding": "duplicates",
    "writing": "the store and the index (passages)",
    "sealing": "hashes and manifest",
}


def _columns(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [one for one, (name, _, column) in zip(given, pairs, strict=True) if not (name and column)]:
        raise CommandError(f"--map {wrong[0]}: write FIELD=COLUMN, such as text=abstract")
    return {name: column for name, _, column in pairs}


@kb.command()
def verify(
    index: Annotated[Path | None, typer.Argument(help="An index folder; default: the starter literature.")] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Check every file, hash and count; the first that is not as it was written is named."""
    output = Output(as_json)
    path = index or _open(None, None, cache_dir, output).info().path
    with _stated(), output.progress() as shown:
        bar = shown.add_task("verifying", total=None)
        if not (path / MANIFEST).is_file():
            raise CommandError(f"{path} holds no index ({MANIFEST} is missing)")
        try:
            manifest = verify_index(path, lambda done, total: shown.update(bar, completed=done, total=total))
        except DamagedIndex as error:
            raise CommandError(str(error), FINDING) from error
    output.emit({"path": str(path), "whole": True, "n_passages": manifest.n_passages, "key": manifest.key})
    output.say(f"{path}: whole, {manifest.n_passages:,} passages, every hash as written")


@kb.command()
def search(
    query: Annotated[str, typer.Argument(help="Plain words; no character is special.")],
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="How many passages.")] = 5,
    kind: Annotated[list[str] | None, typer.Option(help="Only passages of this kind; may be repeated.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only passages of this source; may be repeated.")] = None,
    year_from: Annotated[int | None, typer.Option(help="Only of this year or later.")] = None,
    year_to: Annotated[int | None, typer.Option(help="Only of this year or earlier.")] = None,
    index: IndexPath = None,
    engine: Engine = None,
    dense: Dense = None,
    model: Model = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Search for passages; exit code 1 when nothing is found."""
    output = Output(as_json)
    opened = _open(index, engine, cache_dir, output)
    with _stated():
        if dense is not None:
            opened = _fused(opened, dense, model)
        kinds, sources = tuple(kind or ()), tuple(source or ())
        hits = opened.search(query, k, kinds=kinds, sources=sources, year_from=year_from, year_to=year_to)
    for hit in hits:
        passage = hit.passage
        row = {"rank": hit.rank, "score": round(hit.score, 4), "id": passage.id, "title": passage.title}
        row |= {"kind": passage.kind, "source": passage.source, "year": passage.year, "licence": passage.licence}
        output.emit({**row, "snippet": hit.snippet})
        output.say(f"{hit.rank}. {neutralised(passage.title)}  [{passage.id}, {hit.score:.4g}]", style="bold")
        output.say(f"   {neutralised(hit.snippet)}\n   {neutralised(passage.source)}", style="dim")
    if not hits:
        output.say("nothing found")
    leave(0 if hits else FINDING)


def _encoder(model: list[Path] | None) -> Encoder:
    if not model or len(model) > 2:
        raise CommandError("name the encoder: --model FOLDER, twice (query, article) for MedCPT")
    return SentenceTransformerEncoder(model[0]) if len(model) == 1 else MedCptEncoder(model[0], model[1])


def _fused(index: Index, dense: Path, model: list[Path] | None) -> Index:
    if not isinstance(index, PassageIndex):
        raise CommandError("--dense needs an index folder: name it with --index")
    ranker = DenseRanker(dense, _encoder(model), corpus_hash=index.info().corpus_hash)
    return FusedIndex(index, ranker)


@kb.command()
def encode(
    out: Annotated[Path, typer.Option("--out", help="Where the vectors are to lie.")],
    model: Model = None,
    index: IndexPath = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Write a vector for every passage: the optional second stage of searching (`kb search --dense`)."""
    output = Output(as_json)
    opened = _open(index, None, cache_dir, output)
    if not isinstance(opened, PassageIndex):
        raise CommandError("only an index folder can be encoded")
    with _stated(), output.progress() as shown:
        bar = shown.add_task("encoding", total=len(opened))
        found = build_dense(
            opened.iter_passages(),
            _encoder(model),
            out,
            corpus_hash=opened.info().corpus_hash,
            progress=lambda done, _: shown.update(bar, completed=done),
        )
    row = {"encoder": found.encoder, "dimension": found.dimension, "count": found.count, "sha256": found.sha256}
    output.emit({**row, "path": str(out.resolve())})
    output.say(f"{len(opened):,} vectors in {out}")


@kb.command()
def get(
    passage_id: Annotated[str, typer.Argument(help="Passage id, as a search shows it.")],
    index: IndexPath = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show one passage with its provenance."""
    output = Output(as_json)
    try:
        passage = _open(index, None, cache_dir, output).get(passage_id)
    except UnknownPassage as error:
        raise CommandError(str(error)) from error
    row = {
        name: getattr(passage, name)
        for name in ("id", "title", "text", "document", "section", "source", "kind", "year", "date")
    }
    row |= {"licence": passage.licence, "certainty": passage.certainty, "sha256": passage.content_hash}
    output.emit(row)
    for name, value in row.items():
        output.say(f"{name}: {neutralised(str(value))}")


@kb.command()
def info(index: IndexPath = None, engine: Engine = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """What the literature is: engine, passages, parameters, hash, place."""
    output = Output(as_json)
    found = _open(index, engine, cache_dir, output).info()
    row = {
        "engine": found.engine,
        "n_passages": found.n_passages,
        "n_documents": found.n_documents,
        "kinds": dict(found.kinds),
        "k1": found.k1,
        "b": found.b,
        "corpus_hash": found.corpus_hash,
        "path": str(found.path),
        "size_mb": round(found.size / 1e6, 2),
    }
    output.emit(row)
    for name, value in row.items():
        output.say(f"{name}: {value}")


@kb.command()
def bench(
    index: IndexPath = None,
    engine: Engine = None,
    queries: Annotated[
        Path | None, typer.Option(help="One query a line; default: drawn from the passages themselves.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many queries.")] = 500,
    seed: Annotated[int, typer.Option(help="Draws the queries.")] = 0,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Time searches for ten passages, none asked twice: p50, p95, p99, and the memory of the process."""
    output = Output(as_json)
    opened = _open(index, engine, cache_dir, output)
    with _stated():
        asked = drawn_queries(opened, n, seed) if queries is None else read_queries(queries, n)
        row = {"engine": opened.info().engine, "n_passages": len(opened), **measure(opened, asked)}
    output.emit(row)
    for name, value in row.items():
        output.say(f"{name}: {value}")
