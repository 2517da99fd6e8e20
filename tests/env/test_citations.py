"""A medical_qa answer has to cite a passage that it retrieved and that says so; an id never retrieved is a finding."""

from collections.abc import Callable

import pytest

from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.safety import Proposal, judge
from medgym.env.safety.submission import FAMILIES
from medgym.tools.record import Record
from medgym.tools.retrieval.starter import starter_passages


@pytest.mark.parametrize(
    ("cite", "retrieve", "assertion"),
    [
        (lambda key: [key.citable[0]], True, 1.0),
        (lambda key: [key.citable[0]], False, 0.0),
        (lambda key: ["vitals-adult"], True, 0.0),
        (lambda key: [], True, 0.0),
    ],
)
def test_what_a_citation_is_worth(cite: Callable[..., list[str]], retrieve: bool, assertion: float) -> None:
    task = next(task for task in load_domain("medical_qa").tasks() if task.provenance["family"] == "antidote")
    episode = Episode(task)
    if retrieve:
        episode.step(write_call("browse", {"id": task.key.citable[0]}))
    letter = next(letter for letter, text in task.options.items() if text == task.key.answers[0])
    episode.step(write_call("submit_answer", {"option": letter, "evidence": cite(task.key)}))
    assert episode.reward.accuracy == 1.0
    assert episode.reward.assertion == assertion
    invented = [verdict.rule for verdict in episode.verdicts]
    assert invented == ([] if retrieve and assertion else ["invented_citation"] if cite(task.key) else [])


def cited(domain: str, seen: set[str], **answer: object) -> list[str]:
    """The messages of `invented_citation` for a submission of that domain."""
    task = load_domain(domain).tasks()[0]
    given = load_domain(domain).shelf.get("submit_answer").parse(answer).__dict__
    found = judge(Proposal("submit_answer", given, Record(task.chart), seen))
    return [verdict.message for verdict in found if verdict.rule == "invented_citation"]


@pytest.mark.parametrize(
    "evidence",
    ["dx-PE-findings", " dx-PE-findings ", "DX-pe-Findings", "[dx-PE-findings]", "passage:dx-PE-findings"],
)
def test_a_listed_id_is_compared_as_an_id(evidence: str) -> None:
    assert cited("medical_qa", {"passage:dx-PE-findings"}, option="A", evidence=[evidence]) == []
    assert len(cited("medical_qa", {"passage:vitals-adult"}, option="A", evidence=[evidence])) == 1


TEXTS = [
    "Pleuritic pain speaks for it [dx-PE-findings].",
    "See [vitals-adult; dx-PE-findings].",
    "Based on passage: dx-PE-findings",
    "Evidence: passage:dx-PE-findings.",
    "As DX-PE-FINDINGS says, the calf is swollen.",
    "Source ids: pmc:PMC111:4",
    "[pmc:PMC111:4]",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("domain", "answer"), [("medical_qa", {"option": "A"}), ("clinical_diagnosis", {"diagnosis": "pulmonary embolism"})]
)
def test_an_id_in_the_free_text_is_a_citation(text: str, domain: str, answer: dict[str, object]) -> None:
    others = {"passage:vitals-adult", "passage:pmc:PMC5139951:1"}
    assert len(cited(domain, others, **answer, reasoning=text)) == 1
    assert cited(domain, {*others, "passage:dx-PE-findings", "passage:pmc:PMC111:4"}, **answer, reasoning=text) == []


@pytest.mark.parametrize(
    "text",
    [
        "A drug-induced, dose-dependent, lab-confirmed first-line problem [beta-lactam] [COVID-19] [10-20] [I26.99].",
        "Bowel passage: non-obstructed. Source: pelvis. Evidence: CT-confirmed. SARS-CoV-2, HLA-B27, 18F-FDG, bp-low.",
        "Class-III agent; max-dose 40 mg; dx-PE; pmc:PMC111:4 in passing; see [1-3], [a-b-1].",
    ],
)
def test_what_only_looks_like_an_id_is_no_citation(text: str) -> None:
    assert cited("clinical_diagnosis", {"passage:pmc:PMC5139951:1"}, diagnosis="flu", reasoning=text) == []


def test_an_id_is_reported_once() -> None:
    text = "[dx-PE-findings] and dx-PE-findings again"
    assert len(cited("medical_qa", set(), option="A", evidence=["dx-PE-findings"] * 2, reasoning=text)) == 1


def test_the_families_of_the_starter_literature_are_all_known() -> None:
    assert {passage.id.partition("-")[0] for passage in starter_passages()} == FAMILIES
