"""MedQuAD's XML: questions that patients ask, answered by the NIH's sites; one text per answer.

The form is that of https://github.com/abachaa/MedQuAD (Ben Abacha and Demner-Fushman, 2019): one `Document` a file.
Three of its collections hold questions whose answers were removed: those hold nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..raw import RawText, SourceError
from .files import SourceFile
from .xml_elements import subtrees, text_of

LICENCE = "CC BY 4.0"


def read_medquad(file: SourceFile) -> Iterator[RawText]:
    """The answers of a file, white space as it came.

    Raises:
        SourceError: not well-formed, no `QAPairs`, or a document that does not say its id and source.
    """
    for document in subtrees(file.path, "Document"):
        pairs = document.find("QAPairs")
        if pairs is None:
            raise SourceError(f"{file.path}: <Document> without <QAPairs>; only MedQuAD's form is known")
        source, name = document.get("source", "").strip(), document.get("id", "").strip()
        if not source or not name:
            raise SourceError(f"{file.path}: <Document> without its source and id")
        focus = text_of(document.find("Focus"))
        for number, pair in enumerate(pairs.iterfind("QAPair"), 1):
            answer = pair.find("Answer")
            text = "" if answer is None else "".join(answer.itertext())
            if not text.strip():
                continue
            question = pair.find("Question")
            yield RawText(
                id=f"medquad:{source}:{name}-{pair.get('pid', '').strip() or number}",
                title=text_of(question) or focus,
                text=text,
                document=f"{source}:{name}",
                section="" if question is None else question.get("qtype", "").strip(),
                source=f"MedQuAD {source}",
                licence=file.licence or LICENCE,
                kind="answer",
            )
