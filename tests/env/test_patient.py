"""Who sits in the patient's seat."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medgym.env.domain import load_domain
from medgym.env.patient import MAX_QUESTIONS, HumanPatient, RulePatient
from medgym.env.task import Interview, Question, Task

INTERVIEW = Interview(
    "I feel awful.",
    (
        Question("onset", ("when", "start"), "Two days ago."),
        Question("fever", ("fever", "hot"), "Yes, I feel hot."),
        Question("travel", ("travel", "abroad"), "No travel."),
        Question("family", ("family", "mother"), "My mother is well."),
        Question("social", ("smoke", "alcohol"), "I smoke."),
        Question("arm pain", ("arm pain", "arm", "pain"), "The arm hurts."),
    ),
)


@pytest.mark.parametrize(
    ("speech", "topics"),
    [
        ("When did it start?", ("onset",)),
        ("WHEN DID IT START?", ("onset",)),
        ("when did it start", ("onset",)),
        ("Do you have a fever", ("fever",)),
        ("Any fevers?", ("fever",)),
        ("Tell me about travel.", ("travel",)),
        ("please describe your arm pain", ("arm pain",)),
        ("Fever? Travel?", ("fever", "travel")),
        ("Fever? And again, fever?", ("fever",)),
        ("Hello. When did it start? Thank you.", ("onset",)),
        ("Fever? Travel? Family? Smoke? Arm pain?", ("fever", "travel", "family", "social")),
    ],
)
def test_what_is_asked_is_answered(speech: str, topics: tuple[str, ...]) -> None:
    reply = RulePatient(INTERVIEW).reply(speech)
    assert reply.topics == topics
    answers = {question.topic: question.answer for question in INTERVIEW.questions}
    assert reply.text == " ".join(answers[topic] for topic in topics)


@pytest.mark.parametrize(
    "speech",
    [
        "Hello.",
        "I see.",
        "You have a fever and travelled abroad.",
        "Fever, travel, family, alcohol.",
        "...",
        "!",
        "start when",
    ],
)
def test_a_statement_gets_no_information(speech: str) -> None:
    reply = RulePatient(INTERVIEW).reply(speech)
    assert reply.topics == ()
    assert not any(question.answer in reply.text for question in INTERVIEW.questions)


def test_an_unknown_question_gets_an_honest_answer() -> None:
    reply = RulePatient(INTERVIEW).reply("What is the capital of France?")
    assert reply == type(reply)("I don't know about that.", ())
    mixed = RulePatient(INTERVIEW).reply("Fever? Any pets? Any hobbies?")
    assert mixed.text == "Yes, I feel hot. I don't know about that."


def test_a_word_inside_another_is_not_asked_about() -> None:
    assert RulePatient(INTERVIEW).reply("What of the alarm and the hotel?").topics == ()


def test_a_sentence_of_many_words_is_no_question() -> None:
    assert RulePatient(INTERVIEW).reply(" ".join(["fever travel family smoke"] * 15) + "?").topics == ()


def test_one_sentence_asks_about_one_thing() -> None:
    assert len(RulePatient(INTERVIEW).reply("fever, travel, family, smoke, arm pain, start?").topics) == 1


def test_nothing_is_volunteered_however_often_it_is_greeted() -> None:
    patient = RulePatient(INTERVIEW)
    assert {patient.reply("Hello.").text for _ in range(5)} == {"All right."}


def test_the_answers_are_the_same_every_time() -> None:
    asked = "When? Fever? What else?"
    assert len({RulePatient(INTERVIEW).reply(asked) for _ in range(5)}) == 1


@pytest.mark.parametrize("interview", [Interview(), Interview("Hi.", (Question("empty", ("", " - "), "never said"),))])
def test_a_patient_who_knows_nothing(interview: Interview) -> None:
    assert RulePatient(interview).reply("When did it start?").topics == ()
    assert RulePatient(interview).reply("").topics == ()


def test_the_pasted_ticket_yields_little(domain_name: str, spread: Callable[[str, int], list[Task]]) -> None:
    for task in spread(domain_name, 60):
        topics = RulePatient(task.interview).reply(task.ticket).topics
        assert len(topics) <= MAX_QUESTIONS
        needed = {mark for need in task.key.needs for mark in need.marks}
        assert not {f"asked:{topic}" for topic in topics} & needed


def test_twenty_questions_at_once_get_four_answers() -> None:
    for task in load_domain("clinical_diagnosis").tasks()[::40]:
        asked = " ".join(f"What about {question.words[0]}?" for question in task.interview.questions * 2)
        assert len(RulePatient(task.interview).reply(asked).topics) <= MAX_QUESTIONS


def test_every_topic_of_a_case_can_be_asked_for() -> None:
    for task in load_domain("clinical_diagnosis").tasks()[::9]:
        patient = RulePatient(task.interview)
        asked = {
            topic for q in task.interview.questions for word in q.words for topic in patient.reply(f"{word}?").topics
        }
        assert asked == {question.topic for question in task.interview.questions}


def test_a_person_answers_and_the_topics_are_judged_by_the_rules() -> None:
    heard: list[str] = []

    def ask(speech: str) -> str:
        heard.append(speech)
        return "Es tut weh."

    reply = HumanPatient(INTERVIEW, ask).reply("When did it start?")
    assert (reply.text, reply.topics) == ("Es tut weh.", ("onset",))
    assert heard == ["When did it start?"]
