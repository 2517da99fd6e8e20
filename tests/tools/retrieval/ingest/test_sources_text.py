"""Markdown and plain text: sections, titles, front matter, and text without the marks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.retrieval.ingest.raw import RawText
from medgym.tools.retrieval.ingest.sources import SourceError, find_files, read_texts
from medgym.tools.retrieval.ingest.sources.markdown import Page, Section, parse_markdown


def read(path: Path, content: str | bytes) -> list[RawText]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [raw for file in find_files(path) for raw in read_texts(file, {})]


def sections(content: str) -> list[tuple[str, str]]:
    return [(section.heading, section.text) for section in parse_markdown(content).sections]


def test_plain_text_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('[{"file": "sepsis.txt", "licence": "CC0"}]')
    assert read(tmp_path / "sepsis.txt", "\ufeff# Not a heading\n\n*x*\n") == [
        RawText("", "sepsis", "# Not a heading\n\n*x*\n", "sepsis.txt", "", "sepsis", "CC0", "", "document")
    ]


def test_a_page_is_a_text_a_section(tmp_path: Path) -> None:
    folder = tmp_path / "guides"
    folder.mkdir()
    (folder / "sepsis.md").write_text(
        "# Sepsis #\n\nFirst.\n\n## Care\n\n### Fluids\n\nSaline.\n\n## Drugs\nNoradrenaline.\n\n# Appendix\nEnd.\n"
    )
    (file,) = find_files(tmp_path)
    found = list(read_texts(file, {}))
    assert [(raw.title, raw.section, raw.text) for raw in found] == [
        ("Sepsis", "", "First."),
        ("Sepsis — Care > Fluids", "Care > Fluids", "Saline."),
        ("Sepsis — Drugs", "Drugs", "Noradrenaline."),
        ("Sepsis — Appendix", "Appendix", "End."),
    ]
    assert {(raw.document, raw.source, raw.kind) for raw in found} == {("guides/sepsis.md", "sepsis", "document")}


def test_front_matter_speaks_for_the_page(tmp_path: Path) -> None:
    content = (
        '---\ntitle: "Sepsis care"\nlicense: CC BY\nDate: 2021-03-04\nsource: WHO\ntags:\n  - x\n---\n# Sepsis\nText.\n'
    )
    assert read(tmp_path / "a.md", content) == [
        RawText("", "Sepsis care — Sepsis", "Text.", "a.md", "Sepsis", "WHO", "CC BY", "2021-03-04", "document")
    ]
    assert parse_markdown("---\ntitle: Sepsis\n---\n# Sepsis\nText.").sections == (Section("", "Text."),)


@pytest.mark.parametrize(
    "content",
    ["---\nno end: here\n", "---\nnothing said\n---\nmore", "text\n---\ntitle: x\n---\nmore"],
)
def test_what_is_no_front_matter_is_text(content: str) -> None:
    page = parse_markdown(content)
    assert page.front == {}
    assert page.sections


def test_without_a_heading_above_all_the_file_names_the_page(tmp_path: Path) -> None:
    found = read(tmp_path / "dosing.md", "Intro.\n\n## Adults\nOne.\n\n## Children\nTwo.\n")
    assert [(raw.title, raw.text) for raw in found] == [
        ("dosing", "Intro."),
        ("dosing — Adults", "One."),
        ("dosing — Children", "Two."),
    ]


def test_underlined_headings() -> None:
    assert parse_markdown("The\ntitle\n===\nOne.\n\nPart\n----\nTwo.\n\n- item\n---\nThree.\n\n---\nFour.\n") == Page(
        "The\ntitle", {}, (Section("", "One."), Section("Part", "Two.\n\n- item\n\nThree.\n\n\nFour."))
    )


def test_nothing_in_a_fence_is_a_heading() -> None:
    text = "# T\n```sh\n# not *this*\n~~~\n```\n~~~~\n## nor this\n~~~\n~~~~\n    # nor this\n#nor this\n## Yes\nx\n"
    assert sections(text) == [
        ("", "# not *this*\n~~~\n## nor this\n~~~\n    # nor this\n#nor this"),
        ("Yes", "x"),
    ]


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("see [the *label*](https://x.org/a_(b) \"title\") now", "see the label now"),
        ("![a chart](chart.png) and [text][ref]", "a chart and text"),
        ("[![badge](a.svg)](b)", "badge"),
        ("<https://x.org/a_b_c>", "https://x.org/a_b_c"),
        ("**bold *and* more** __so__ _it_ ***all*** ~~gone~~", "bold and more so it all gone"),
        ("`a*b*c` and ``x_y_z``", "a*b*c and x_y_z"),
        (r"5 \* 3 \[x\](y) \_a\_", "5 * 3 [x](y) _a_"),
        ("2*3 and 4*5, snake_case_name, a * b * c", "2*3 and 4*5, snake_case_name, a * b * c"),
        ("INR [2.0-3.0] (target)", "INR [2.0-3.0] (target)"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("before <!-- a\ncomment --> after", "before  after"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "| a | b |\n\n| 1 | 2 |"),
        ("x\n\n[ref]: https://x.org\n***", "x"),
    ],
)  # fmt: skip
def test_marks_are_taken_off(marked: str, plain: str) -> None:
    assert sections(marked) == [("", plain)]


def test_headings_lose_their_marks_too() -> None:
    page = parse_markdown("# The [*dose*](x) of C# ##\n##\nText.\n")
    assert (page.title, page.sections) == ("The dose of C#", (Section("", "Text."),))


@given(st.text(st.sampled_from("#*_`~[]()<>!-=|:\\ \t\nab1.\"'>"), max_size=200))
def test_any_page_is_read(content: str) -> None:
    page = parse_markdown(content)
    assert all(section.text for section in page.sections)
    said = page.title + "".join(section.heading + section.text for section in page.sections)
    assert max(said, default="") < "\U0010ff00"


@pytest.mark.parametrize(
    "unit", ["[", "[a](", "**a ", "__a ", "a`", "~~a", " ", "| ", "- ", "#", "<!--", "\\", "> ", "<http://"]
)
def test_a_page_of_one_mark_is_read_in_the_time_of_its_length(unit: str) -> None:
    assert parse_markdown(unit * 100_000 + "x").sections or unit == "<!--"


@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_what_is_not_utf8_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name} line 2: not UTF-8"):
        read(tmp_path / name, b"one\ntw\xe9\n")


def test_an_empty_file_has_an_empty_text(tmp_path: Path) -> None:
    assert [raw.text for raw in read(tmp_path / "a.txt", "")] == [""]
    assert read(tmp_path / "b.md", "# Only a heading\n") == []
