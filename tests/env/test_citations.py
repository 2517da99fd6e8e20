"""A medical_qa answer has to cite a passage that it retrieved and that says so."""

from collections.abc import Callable

import pytest

from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode


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
