"""PubMed's and MedQuAD's XML: what is read of it, and what is refused."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from medgym.tools.retrieval.ingest.raw import RawText
from medgym.tools.retrieval.ingest.sources import SourceError, find_files, read_texts

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2024//EN"
 "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_240101.dtd">
"""
ONE = "<Abstract><AbstractText>One <b>whole</b>.</AbstractText></Abstract>"


def article(
    pmid: int, abstract: str = ONE, date: str = "<Year>1999</Year>", title: str = "A <i>title</i>.", version: int = 1
) -> str:
    return f"""<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM">
<PMID Version="{version}">{pmid}</PMID>
<Article PubModel="Print"><Journal><ISSN>0140-6736</ISSN><JournalIssue><PubDate>{date}</PubDate></JournalIssue>
<Title>Lancet (London, England)</Title><ISOAbbreviation>Lancet</ISOAbbreviation></Journal>
<ArticleTitle>{title}</ArticleTitle>{abstract}</Article>
<OtherAbstract Type="plain"><AbstractText>Not this.</AbstractText></OtherAbstract>
<CommentsCorrectionsList><CommentsCorrections><PMID>99</PMID></CommentsCorrections></CommentsCorrectionsList>
</MedlineCitation><PubmedData><ReferenceList><Reference><ArticleIdList><ArticleId>7</ArticleId></ArticleIdList>
</Reference></ReferenceList></PubmedData></PubmedArticle>"""


def read(path: Path, content: str | bytes) -> list[RawText]:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return [raw for file in find_files(path) for raw in read_texts(file, {})]


def pubmed(*articles: str) -> str:
    return f"{HEAD}<PubmedArticleSet>{''.join(articles)}</PubmedArticleSet>"


def test_an_abstract_is_one_text_or_one_for_each_part(tmp_path: Path) -> None:
    parts = (
        '<Abstract><AbstractText Label="BACKGROUND" NlmCategory="BACKGROUND">Doses &lt; 5&#xB5;g.</AbstractText>'
        '<AbstractText Label="RESULTS">  CO<sub>2</sub>\n rose.</AbstractText><AbstractText Label="NOTE"/>'
        '<AbstractText Label="UNLABELLED">Rest.</AbstractText><CopyrightInformation/></Abstract>'
    )
    book = f"<PubmedBookArticle><BookDocument><PMID>5</PMID>{ONE}</BookDocument></PubmedBookArticle>"
    found = read(tmp_path / "p.xml.gz", pubmed(article(11), article(12, ""), book, article(13, parts)))
    source = "Lancet (London, England) 1999"
    assert found == [
        RawText("pmid:11", "A title.", "One whole.", "pmid:11", "", source, "", "1999", "abstract"),
        RawText(
            "pmid:13:0",
            "A title. — BACKGROUND",
            "Doses < 5µg.",
            "pmid:13",
            "BACKGROUND",
            source,
            "",
            "1999",
            "abstract",
        ),
        RawText("pmid:13:1", "A title. — RESULTS", "CO2 rose.", "pmid:13", "RESULTS", source, "", "1999", "abstract"),
        RawText("pmid:13:2", "A title.", "Rest.", "pmid:13", "", source, "", "1999", "abstract"),
    ]


@pytest.mark.parametrize(
    ("said", "date"),
    [
        ("<Year>2001</Year><Month>Feb</Month><Day>3</Day>", "2001-02-03"),
        ("<Year>2001</Year><Month>December</Month>", "2001-12"),
        ("<Year>2001</Year><Month>07</Month><Day>31</Day>", "2001-07-31"),
        ("<Year>2001</Year><Month>13</Month>", "2001"),
        ("<Year>2001</Year><Month>Feb</Month><Day>x</Day>", "2001-02"),
        ("<Year>2001</Year><Season>Winter</Season>", "2001"),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", "1998"),
        ("<MedlineDate>Winter</MedlineDate>", ""),
        ("", ""),
    ],
)
def test_dates_of_publication(tmp_path: Path, said: str, date: str) -> None:
    (raw,) = read(tmp_path / "p.xml", pubmed(article(1, date=said)))
    assert raw.date == date
    assert raw.source == f"Lancet (London, England) {date[:4]}".strip()


def test_later_versions_and_articles_without_a_title(tmp_path: Path) -> None:
    found = read(tmp_path / "p.xml", pubmed(article(1), article(1, version=2, title="")))
    assert [(raw.id, raw.document, raw.title) for raw in found] == [
        ("pmid:1", "pmid:1", "A title."),
        ("pmid:1.2", "pmid:1", "PMID 1"),
    ]


def test_a_single_article_is_a_file_too(tmp_path: Path) -> None:
    assert [raw.id for raw in read(tmp_path / "p.xml", article(3))] == ["pmid:3"]


def test_many_articles_take_the_memory_of_one(tmp_path: Path) -> None:
    path = tmp_path / "p.xml"
    path.write_text(pubmed(*(article(number) for number in range(1, 8000))))
    (file,) = find_files(path)
    tracemalloc.start()
    assert sum(1 for _ in read_texts(file, {})) == 7999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20 < path.stat().st_size


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pubmed(article(1))[:-30], r"p\.xml line \d+: not well-formed"),
        (pubmed(article(1), "<a></b>"), "not well-formed"),
        (pubmed(article(1).replace("<PMID", "<P").replace("</PMID", "</P")), "article 1 has an abstract but no PMID"),
        (pubmed(article(1, title="&nbsp;")), "uses the entity 'nbsp'"),
    ],
)
def test_damaged_xml_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read(tmp_path / "p.xml", content)


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a "b">',
    ],
)
def test_declared_entities_are_refused(tmp_path: Path, declared: str) -> None:
    with pytest.raises(SourceError, match="declares the entity 'a'"):
        read(tmp_path / "p.xml", f"<!DOCTYPE x [{declared}]><PubmedArticleSet>&a;</PubmedArticleSet>")


MEDQUAD = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001_1" source="CancerGov" url="https://www.cancer.gov/x">
 <!--a remark-->
<Focus>Acromegaly</Focus>
<FocusAnnotations><Synonyms><Synonym>Giant</Synonym></Synonyms></FocusAnnotations>
<QAPairs>
 <QAPair pid="1"><Question qid="0000001_1-1" qtype="information">What is (are) Acromegaly ?</Question>
  <Answer>Too much &quot;hormone&quot;.
     - one</Answer></QAPair>
 <QAPair pid="2"><Question qid="0000001_1-2" qtype="symptoms">What symptoms ?</Question><Answer> </Answer></QAPair>
 <QAPair pid="3"><Answer>No question.</Answer></QAPair>
 <QAPair pid="4"><Question qtype="causes">Why ?</Question></QAPair>
</QAPairs>
</Document>
"""


def test_medquad_is_one_text_an_answer(tmp_path: Path) -> None:
    document, source = "CancerGov:0000001_1", "MedQuAD CancerGov"
    assert read(tmp_path / "0000001_1.xml", MEDQUAD) == [
        RawText(
            "medquad:CancerGov:0000001_1-1", "What is (are) Acromegaly ?", 'Too much "hormone".\n     - one',
            document, "information", source, "CC BY 4.0", "", "answer",
        ),
        RawText("medquad:CancerGov:0000001_1-3", "Acromegaly", "No question.",
            document, "", source, "CC BY 4.0", "", "answer"),
    ]  # fmt: skip


def test_the_manifest_may_say_another_licence(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('[{"file": "1.xml", "licence": "US government work"}]')
    assert {raw.licence for raw in read(tmp_path / "1.xml", MEDQUAD)} == {"US government work"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('<Document id="1" source="CDC"><Body/></Document>', "without <QAPairs>"),
        ("<Document><QAPairs/></Document>", "without its source and id"),
    ],
)
def test_another_document_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read(tmp_path / "d.xml", content)
