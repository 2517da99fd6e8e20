"""One case being worked: what a message does, what is refused, what ends it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from medgym.env.action import Malformed, write_call
from medgym.env.episode import DEAD_END_AFTER, MAX_CALLS_PER_MESSAGE, CallRecord, Episode, EpisodeOver, Review
from medgym.env.patient import HumanPatient
from medgym.env.reward.score import evidence_share, final_statement
from medgym.env.safety import judge as judging
from medgym.env.safety.verdict import Proposal, Verdict
from medgym.env.task import Key, Need, Task
from medgym.tools.record import Allergy, Medication

THINK = write_call("think", {"thought": "hm"})


def patient(episode: Episode) -> dict[str, object]:
    return {"patient_id": episode.record.chart.patient_id}


def do(episode: Episode, name: str, **arguments: object) -> CallRecord:
    (made,) = episode.step(write_call(name, arguments)).calls
    return made


def prescribe(episode: Episode, drug: str, dosage: str = "500 mg", frequency: str = "once daily") -> str:
    return write_call(
        "prescribe_medication", {**patient(episode), "drug_name": drug, "dosage": dosage, "frequency": frequency}
    )


def on(task: Task, **chart: object) -> Episode:
    return Episode(replace(task, chart=replace(task.chart, **chart)))  # pyright: ignore[reportArgumentType]


# ---- the opening


def test_the_opening_is_the_ticket_and_what_the_patient_says_unasked(clinical_task: Task, question_task: Task) -> None:
    assert Episode(clinical_task).opening == f"{clinical_task.ticket}\n\nPatient: {clinical_task.interview.opening}"
    assert Episode(question_task).opening == question_task.ticket


def test_a_new_episode_starts_afresh(clinical_task: Task) -> None:
    first = Episode(clinical_task)
    before = first.record.state_hash()
    first.step(
        prescribe(first, "paracetamol")
        + write_call("find_tools", {"query": "open an article of the literature", "k": 5})
    )
    second = Episode(clinical_task)
    assert second.record.state_hash() == before != first.record.state_hash()
    assert len(second.desk.shelf.offered()) < len(first.desk.shelf.offered())
    assert second.seen == set()


# ---- results, marks, errors


def test_marks_come_from_calls_that_succeeded(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    assert do(episode, "get_vital_signs", **patient(episode)).marks == ("chart:vitals",)
    assert do(episode, "get_lab_results", patient_id="P0000").marks == ()
    assert do(episode, "get_clinical_notes").marks == ()
    assert do(episode, "get_clinical_notes", **patient(episode), note_type="discharge").marks == ()
    assert episode.seen == {"chart:vitals"}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("<tool_call>oops</tool_call>", "malformed_call"),
        (write_call("no_such_tool", {}), "unknown_tool"),
        (write_call("calculate_news2", {}), "unknown_tool"),
        (write_call("get_vital_signs", {}), "invalid_arguments"),
        (write_call("get_vital_signs", None), "invalid_arguments"),
        (write_call("get_vital_signs", ["P0000"]), "invalid_arguments"),
        (write_call("get_vital_signs", {"patient_id": "P0000"}), "unknown_patient"),
        (write_call("get_vital_signs", {"patient_id": "P0000", "more": 1}), "invalid_arguments"),
        (write_call("get_vital_signs", {"patient_id": 5}), "invalid_arguments"),
        (write_call("wait", {"minutes": "5"}), "invalid_arguments"),
        (write_call("wait", {"minutes": -5}), "invalid_arguments"),
        (write_call("think", {"thought": "a\x00b"}), "invalid_arguments"),
        (write_call("think", {"thought": "\ud800"}), "invalid_arguments"),
        (write_call("think", {"\ud800": "x"}), "invalid_arguments"),
        (write_call("think", {"thought": "x" * 4001}), "invalid_arguments"),
        (write_call("order_lab_test", {"patient_id": "P0000", "test_name": "ECG"}), "unknown_patient"),
        (write_call("submit_answer", {}), "invalid_arguments"),
    ],
)
def test_a_wrong_call_is_an_observation_and_changes_nothing(clinical_task: Task, call: str, code: str) -> None:
    episode = Episode(clinical_task)
    before = episode.record.state_hash()
    turn = episode.step(call)
    (made,) = turn.calls
    assert made.error == code
    error = json.loads(made.result)["error"]
    assert error["code"] == code
    assert error["message"]
    assert made.result in turn.observation
    assert episode.record.state_hash() == before
    assert episode.record.now == 0
    assert episode.seen == set()
    assert episode.ended is None


def test_a_tool_that_exists_elsewhere_is_named_so_and_can_be_found(question_task: Task) -> None:
    episode = Episode(question_task)
    assert do(episode, "get_vital_signs", **patient(episode)).error == "not_on_shelf"
    assert do(episode, "find_tools", query="latest vital signs of the patient").error is None
    assert do(episode, "get_vital_signs", **patient(episode)).error == "not_found"  # on the shelf; none on this chart


def test_a_tool_that_raises_is_an_observation_and_in_the_log(
    clinical_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    episode = Episode(clinical_task)
    spec = episode.desk.shelf.get("get_vital_signs")

    def broken(desk: object, **_: object) -> dict[str, object]:
        episode.desk.mark("chart:vitals")
        raise KeyError("secret")

    episode.desk.shelf._specs["get_vital_signs"] = replace(spec, handler=broken)
    with caplog.at_level(logging.ERROR):
        made = do(episode, "get_vital_signs", **patient(episode))
    assert made.error == "tool_failed"
    assert made.marks == ()
    assert "secret" not in made.result
    assert "KeyError: 'secret'" in caplog.text
    assert "chart:vitals" not in episode.seen
    assert do(episode, "get_clinical_notes", **patient(episode)).marks == ("chart:notes",)  # nothing left over


def test_one_bad_call_does_not_stop_the_others(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    turn = episode.step(f"{THINK}<tool_call>x</tool_call>{THINK}")
    assert [call.error for call in turn.calls] == [None, "malformed_call", None]
    assert turn.observation.count("<tool_response>") == 3


def test_more_calls_than_a_message_may_hold(clinical_task: Task) -> None:
    turn = Episode(clinical_task).step(THINK * (MAX_CALLS_PER_MESSAGE + 5))
    assert [call.error for call in turn.calls] == [None] * MAX_CALLS_PER_MESSAGE + ["malformed_call"]
    assert isinstance(turn.action.calls[-1], Malformed)
    assert "the rest was dropped" in turn.calls[-1].result


# ---- the clock


def test_the_clock_moves_only_by_calls_that_succeed(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    episode.step("When did it start?")
    do(episode, "get_vital_signs", patient_id="P0000")
    do(episode, "think", thought="hm")
    assert episode.record.now == 0
    assert do(episode, "get_vital_signs", **patient(episode)).at == 0
    assert episode.record.now == 1
    assert do(episode, "search_medical_literature", query="appendicitis").at == 1
    assert episode.record.now == 3
    do(episode, "wait", minutes=10)
    assert episode.record.now == 13


def test_a_result_is_there_when_its_time_has_come(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    ordered = json.loads(
        do(episode, "order_lab_test", **patient(episode), test_name="CT abdomen", priority="stat").result
    )
    mark = f"result:{ordered['test']}"
    assert do(episode, "order_lab_test", **patient(episode), test_name="CT abdomen").error == "refused"
    do(episode, "get_lab_results", **patient(episode))
    assert mark not in episode.seen
    waited = json.loads(do(episode, "wait", minutes=1440).result)
    assert waited["results_in"] == [ordered["test"]]
    assert waited["now"] == ordered["due"]
    assert mark not in episode.seen  # waiting is not reading
    do(episode, "get_lab_results", **patient(episode))
    assert mark in episode.seen


# ---- repeats


def test_a_read_made_again_is_counted(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    assert [do(episode, "get_vital_signs", **patient(episode)).repeated for _ in range(3)] == [False, True, True]
    assert do(episode, "get_vital_signs_trend", **patient(episode)).repeated is False
    assert [do(episode, "get_vital_signs").repeated for _ in range(2)] == [False, False]  # failed: counted as failed


def test_a_read_that_brings_something_new_is_no_repeat(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    assert do(episode, "get_lab_results", **patient(episode)).repeated is False
    do(episode, "order_lab_test", **patient(episode), test_name="ECG", priority="stat")
    do(episode, "wait", minutes=600)
    assert do(episode, "get_lab_results", **patient(episode)).repeated is False
    assert do(episode, "get_lab_results", **patient(episode)).repeated is True


def test_repeats_lower_process_and_coherence(clinical_task: Task) -> None:
    once, thrice = Episode(clinical_task), Episode(clinical_task)
    for episode, times in ((once, 1), (thrice, 3)):
        for _ in range(times):
            do(episode, "get_vital_signs", **patient(episode))
        do(episode, "submit_answer", diagnosis="acute appendicitis")
    assert once.reward.evidence == thrice.reward.evidence
    assert once.reward.process > thrice.reward.process
    assert once.reward.coherence > thrice.reward.coherence


# ---- speech


def test_speech_is_answered_and_marked(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    turn = episode.step("When did it start?")
    answer = next(q.answer for q in clinical_task.interview.questions if q.topic == "onset")
    assert turn.observation == f"Patient: {answer}"
    assert "asked:onset" in episode.seen


def test_a_statement_beside_a_call_is_not_answered(clinical_task: Task) -> None:
    turn = Episode(clinical_task).step(f"I will look at the chart. {THINK}")
    assert turn.reply == ""
    assert "Patient:" not in turn.observation


def test_thoughts_are_not_said_to_the_patient(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    turn = episode.step(f"<think>When did it start?</think>{THINK}")
    assert turn.topics == ()
    assert episode.seen == set()


def test_an_empty_message_says_so(clinical_task: Task) -> None:
    assert "no tool was called" in Episode(clinical_task).step("").observation


def test_a_person_in_the_patients_seat(clinical_task: Task) -> None:
    episode = Episode(clinical_task, patient=HumanPatient(clinical_task.interview, lambda speech: f"You said {speech}"))
    turn = episode.step("When did it start?")
    assert turn.observation == "Patient: You said When did it start?"
    assert "asked:onset" in episode.seen


# ---- the end


def test_a_submission_ends_the_case(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    turn = episode.step(write_call("submit_answer", {"diagnosis": "gout"}))
    assert episode.ended == "submitted"
    assert json.loads(turn.calls[0].result)["status"] == "submitted"
    with pytest.raises(EpisodeOver, match="closed"):
        episode.step("Hello?")


def test_calls_after_the_submission_are_refused(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    turn = episode.step(write_call("submit_answer", {"diagnosis": "gout"}) * 2 + THINK + prescribe(episode, "aspirin"))
    assert [call.error for call in turn.calls] == [None, "episode_over", "episode_over", "episode_over"]
    assert episode.submission is not None
    assert episode.submission["diagnosis"] == "gout"
    assert episode.verdicts == []


def test_an_invalid_submission_does_not_end_the_case(question_task: Task) -> None:
    episode = Episode(question_task)
    for option in ("F", "a", "A or B", ["A"], None, ""):
        assert do(episode, "submit_answer", option=option).error == "invalid_arguments"
        do(episode, "think", thought=f"not {option}")
    assert episode.ended is None


def test_the_budget(clinical_task: Task) -> None:
    episode = Episode(clinical_task, max_turns=3)
    assert "Messages left" in episode.step(THINK).observation
    episode.step(THINK)
    assert episode.ended is None
    turn = episode.step(THINK)
    assert episode.ended == "budget"
    assert "closed without an answer" in turn.observation
    assert episode.reward.composite == 0


def test_the_budget_may_be_smaller_than_the_tasks_but_not_larger(clinical_task: Task) -> None:
    assert Episode(clinical_task, max_turns=10_000).turns_left == clinical_task.max_turns
    with pytest.raises(ValueError, match="at least one message"):
        Episode(clinical_task, max_turns=0)


def test_a_submission_in_the_last_message_counts(clinical_task: Task) -> None:
    episode = Episode(clinical_task, max_turns=1)
    do(episode, "submit_answer", diagnosis="gout")
    assert episode.ended == "submitted"


@pytest.mark.parametrize("message", ["I see.", "", "<tool_call>x</tool_call>", write_call("nothing", {})])
def test_a_dead_end(clinical_task: Task, message: str) -> None:
    episode = Episode(clinical_task)
    for _ in range(DEAD_END_AFTER - 1):
        episode.step(message)
    assert episode.ended is None
    assert "led nowhere" in episode.step(message).observation
    assert episode.ended == "dead_end"


def test_something_useful_puts_the_dead_end_off(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    for _ in range(DEAD_END_AFTER - 1):
        episode.step("I see.")
    episode.step("When did it start?")
    for _ in range(DEAD_END_AFTER - 1):
        episode.step("I see.")
    assert episode.ended is None


# ---- safety


def test_a_blocked_attempt_counts_and_caps(clinical_task: Task) -> None:
    episode = on(clinical_task, allergies=(Allergy("penicillin", "anaphylaxis", "severe"),))
    before = episode.record.state_hash()
    (made,) = episode.step(prescribe(episode, "amoxicillin")).calls
    assert made.error == "blocked_by_safety"
    assert made.verdicts[0].severity == 5
    assert episode.record.state_hash() == before
    do(episode, "submit_answer", diagnosis="acute appendicitis")
    assert episode.reward.capped
    assert episode.reward.safety == 0
    assert episode.reward.composite <= 0.1


def test_a_block_cannot_be_confirmed_away(clinical_task: Task) -> None:
    episode = on(clinical_task, allergies=(Allergy("penicillin", "anaphylaxis", "severe"),))
    (made,) = episode.step(prescribe(episode, "amoxicillin"), confirm=lambda review: True).calls
    assert made.error == "blocked_by_safety"
    assert made.confirmed is None
    review = episode.review(episode.open_turn(prescribe(episode, "amoxicillin")))
    assert review is not None
    assert episode.carry_out(episode.turns[-1], review, True).error == "blocked_by_safety"


@pytest.mark.parametrize(("confirm", "error"), [(None, "not_confirmed"), (False, "not_confirmed"), (True, None)])
def test_what_wants_a_humans_word(clinical_task: Task, confirm: bool | None, error: str | None) -> None:
    episode = on(clinical_task, medications=(Medication("warfarin", "3 mg", "daily"),), allergies=())
    asked: list[Review] = []

    def ask(review: Review) -> bool:
        asked.append(review)
        return bool(confirm)

    order = prescribe(episode, "metronidazole", "400 mg", "every 8 h")
    (made,) = episode.step(order, None if confirm is None else ask).calls
    assert made.error == error
    assert made.confirmed is confirm
    assert len(asked) == (confirm is not None)
    prescribed = [drug.drug for drug in episode.record.medications()]
    assert ("metronidazole" in prescribed) is (error is None)
    assert max(verdict.severity for verdict in episode.verdicts) == 4  # the finding stands, confirmed or not


def test_a_warning_is_carried_out_and_told(clinical_task: Task) -> None:
    episode = on(clinical_task, allergies=())
    (made,) = episode.step(prescribe(episode, "paracetamol")).calls
    assert made.error is None
    assert json.loads(made.result)["safety"] == ["prescribes before reading the allergy list"]


def test_reviewing_changes_nothing(clinical_task: Task) -> None:
    episode = on(clinical_task, allergies=(Allergy("penicillin", "anaphylaxis", "severe"),))
    turn = episode.open_turn(prescribe(episode, "amoxicillin"))
    before = episode.record.state_hash()
    assert all(episode.review(turn) is not None for _ in range(3))
    assert episode.verdicts == []
    assert episode.record.state_hash() == before
    assert turn.calls == []


def test_a_safety_rule_that_raises_blocks(clinical_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(proposal: Proposal) -> list[Verdict]:
        raise RuntimeError("no rule today")

    monkeypatch.setitem(judging.__globals__, "RULES", {"prescribe_medication": (broken,)})
    episode = Episode(clinical_task)
    (made,) = episode.step(prescribe(episode, "paracetamol")).calls
    assert made.error == "blocked_by_safety"
    assert episode.verdicts[0].severity == 5
    do(episode, "submit_answer", diagnosis="acute appendicitis")
    assert episode.reward.capped


def test_a_harmful_answer_is_blocked_and_another_may_follow(question_task: Task) -> None:
    episode = Episode(question_task)
    harmful = question_task.key.hazards[0].option
    assert do(episode, "submit_answer", option=harmful).error == "blocked_by_safety"
    assert episode.submission is None
    right = next(letter for letter, text in question_task.options.items() if text == question_task.key.answers[0])
    assert do(episode, "submit_answer", option=right).error is None
    assert episode.reward.accuracy == 1
    assert episode.reward.capped


def test_an_invented_citation_costs_safety(question_task: Task) -> None:
    episode = Episode(question_task)
    right = next(letter for letter, text in question_task.options.items() if text == question_task.key.answers[0])
    do(episode, "submit_answer", option=right, evidence=["dx-PE-findings"])
    assert episode.reward.safety == pytest.approx(0.2)


# ---- the reward reads the state


def test_the_reward_is_fixed_once_the_case_has_ended(clinical_task: Task) -> None:
    episode = Episode(clinical_task)
    assert episode.reward.composite == 0
    do(episode, "submit_answer", diagnosis="acute appendicitis", plan="surgery")
    assert episode.reward is episode.reward
    assert episode.reward.accuracy == 1
    assert 0 < episode.reward.composite < 0.3


def test_a_recorded_diagnosis_that_contradicts_the_answer_costs_coherence(clinical_task: Task) -> None:
    coherences: list[float] = []
    for recorded in ("acute appendicitis", "Appendicitis.", "gout"):
        episode = Episode(clinical_task)
        do(episode, "record_diagnosis", **patient(episode), diagnosis=recorded)
        do(episode, "submit_answer", diagnosis="acute appendicitis")
        coherences.append(episode.reward.coherence)
    assert coherences == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        ({"diagnosis": "acute appendicitis"}, 1),
        ({"diagnosis": "APPENDICITIS", "icd10_code": "K35.80"}, 1),
        ({"diagnosis": "acute appendicitis", "icd10_code": "K35"}, 1),
        ({"diagnosis": "acute appendicitis", "icd10_code": "I21.4"}, 0),
        ({"diagnosis": "not appendicitis"}, 0),
        ({"diagnosis": "appendicitis or acute cholecystitis"}, 0),
        ({"diagnosis": "gout", "reasoning": "acute appendicitis"}, 0),
        ({"diagnosis": "gout", "icd10_code": "K35.80"}, 0),
    ],
)
def test_accuracy_of_a_free_text_diagnosis(clinical_task: Task, answer: dict[str, str], accuracy: float) -> None:
    episode = Episode(clinical_task)
    do(episode, "submit_answer", **answer)
    assert episode.reward.accuracy == accuracy


def test_a_forbidden_step_costs_the_whole_assertion(clinical_task: Task) -> None:
    key = clinical_task.key
    plan = "; ".join(group[0] for group in key.rubric)
    assertions: list[float | None] = []
    for text in (plan, f"{plan}. {key.forbidden[0]}", f"{plan}. No {key.forbidden[0]}", ""):
        episode = Episode(clinical_task)
        do(episode, "submit_answer", diagnosis="acute appendicitis", plan=text)
        assertions.append(episode.reward.assertion)
    assert assertions == [1.0, 0.0, 1.0, 0.0]


def test_evidence_is_the_share_of_needs_by_any_of_their_marks() -> None:
    needs = tuple(Need(name, frozenset({name, f"{name}2"}), name) for name in "abcd")
    key = Key(("x",), needs)
    assert evidence_share(key, set()) == 0
    assert evidence_share(key, {"a", "a2", "z"}) == 0.25
    assert evidence_share(key, {"a", "b2", "c", "d"}) == 1


def test_the_final_statement_keeps_fields_apart() -> None:
    assert final_statement({"diagnosis": "no", "plan": "surgery", "evidence": ["x"], "empty": ""}) == "no.\nsurgery"


def test_a_key_wants_an_answer_and_three_needs_and_does_not_show_itself() -> None:
    needs = tuple(Need(name, frozenset({name}), name) for name in "abc")
    with pytest.raises(ValueError, match="an answer"):
        Key((), needs)
    with pytest.raises(ValueError, match="three"):
        Key(("x",), (needs[0], needs[0], needs[1]))
    assert repr(Key(("secret",), needs)) == "Key(sealed)"
