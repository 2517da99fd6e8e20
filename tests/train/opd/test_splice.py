"""Hints between ids: the template's own rendering, every sampled id in its place, the student untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat, tool_results_text
from medgym.train.opd.splice import SpliceError, Splicer

SYSTEM = "You are a careful clinician."
HINT = "Look again at the findings."
Row = tuple[list[int], list[int], list[tuple[int, int]]]


def recorded(chat_format: ChatFormat, answers: Sequence[Sequence[int]], ended: bool = True) -> Row:
    """Prompt, completion and turn spans of an episode with these answers (ids), as the recorder builds them."""
    prompt = chat_format.prompt_ids(SYSTEM, "I have chest pain.")
    completion: list[int] = []
    spans: list[tuple[int, int]] = []
    for at, answer in enumerate(answers):
        if at:
            completion += chat_format.suffix_ids(tool_results_text([f"result {at}"]), previous_ended=ended)
        spans.append((len(completion), len(completion) + len(answer) + ended))
        completion += [*answer, *([chat_format.turn_end] if ended else [])]
    return prompt, completion, spans


def sampled(spliced_ids: Sequence[int], positions: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    return [[spliced_ids[positions[at]] for at in range(start, end)] for start, end in spans]


def test_first_hint_is_the_templates_own_rendering(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    prompt, completion, spans = recorded(chat_format, [[40, 41]])
    spliced = Splicer(chat_format).splice(prompt, completion, spans, HINT)
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "I have chest pain."},
        {"role": "user", "content": HINT},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert list(spliced.ids) == tokenizer.encode(text, add_special_tokens=False) + completion
    ((start, end),) = spliced.hints
    assert HINT in tokenizer.decode(list(spliced.ids[start:end]))
    assert [*spliced.ids[:start], *spliced.ids[end:]] == prompt + completion


def test_a_hint_before_every_answer(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    prompt, completion, spans = recorded(chat_format, [[40, 41], [42], [43, 44, 45]])
    splicer = Splicer(chat_format, "every")
    spliced = splicer.splice(prompt, completion, spans, HINT)
    assert len(spliced.hints) == 3
    hint, header = splicer.hint_ids(HINT), list(chat_format.answer_header_ids)
    for (start, end), (first, _) in zip(spliced.hints, spans, strict=True):
        assert list(spliced.ids[start:end]) == hint
        assert list(spliced.ids[end : spliced.positions[first]]) == header  # the hint, the header, the answer
    rest = [one for at, one in enumerate(spliced.ids) if not any(a <= at < b for a, b in spliced.hints)]
    assert rest == prompt + completion


def test_cut_answers_keep_their_places(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    prompt, completion, spans = recorded(chat_format, [[40, 41], [42]], ended=False)
    spliced = Splicer(chat_format, "every").splice(prompt, completion, spans, HINT)
    assert sampled(spliced.ids, spliced.positions, spans) == [[40, 41], [42]]


def test_without_a_hint_the_teacher_sees_the_students_ids(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    prompt, completion, spans = recorded(chat_format, [[40, 41], [42]])
    spliced = Splicer(chat_format, "every").splice(prompt, completion, spans, "")
    assert list(spliced.ids) == prompt + completion
    assert list(spliced.positions) == list(range(len(prompt), len(prompt) + len(completion)))
    assert spliced.hints == ()


def test_control_tokens_in_a_hint_are_text(tokenizer: Any) -> None:
    splicer = Splicer(ChatFormat(tokenizer))
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    attack = "x" + "".join(token.content for token in added.values()) + "y"
    plain, attacked = splicer.hint_ids("x y"), splicer.hint_ids(attack)
    assert [one for one in attacked if one in added] == [one for one in plain if one in added]
    assert attack in tokenizer.decode(attacked)


def contains(ids: Sequence[int], part: Sequence[int]) -> bool:
    return any(list(ids[at : at + len(part)]) == list(part) for at in range(len(ids) - len(part) + 1))


@settings(max_examples=60)
@given(data=st.data())
def test_every_id_keeps_its_place_and_no_hint_reaches_the_student(tiny_tokenizers: dict[str, Any], data: Any) -> None:
    chat_format = ChatFormat(tiny_tokenizers[data.draw(st.sampled_from(sorted(tiny_tokenizers)))])
    answer = st.lists(st.integers(0, 255), min_size=1, max_size=6)
    answers = data.draw(st.lists(answer, min_size=1, max_size=4))
    place = data.draw(st.sampled_from(["first", "every"]))
    hint = data.draw(st.text(min_size=1, max_size=20).filter(str.strip))
    prompt, completion, spans = recorded(chat_format, answers, data.draw(st.booleans()))
    before = (list(prompt), list(completion))
    splicer = Splicer(chat_format, place)
    spliced = splicer.splice(prompt, completion, spans, hint)
    assert [spliced.ids[at] for at in spliced.positions] == completion
    assert list(spliced.positions) == sorted(set(spliced.positions))
    assert spliced.positions[0] > 0
    assert len(spliced.ids) == len(prompt) + len(completion) + len(spliced.hints) * len(splicer.hint_ids(hint))
    assert (prompt, completion) == before
    assert not contains(prompt, splicer.hint_ids(hint))
    assert all(list(spliced.ids[a:b]) == splicer.hint_ids(hint) for a, b in spliced.hints)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (  # as Gemma and Mistral do
            "{% for m in messages %}{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
            "{{ raise_exception('roles must alternate') }}{% endif %}"
            "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            "refuses a conversation of user, user.*roles must alternate",
        ),
        (  # drops what is not the last user message
            "{% for m in messages %}{% if m.role == 'user' and not loop.last %}{{ '<|im_start|>old\n' }}{% endif %}"
            "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            "rewrites what is already there",
        ),
        (  # numbers the messages
            "{% for m in messages %}{{ '<|im_start|>' + m.role + (loop.index | string) + m.content + '<|im_end|>\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            "differently in the first and in later places",
        ),
        (  # nothing parts the user's words from the answer's header
            "{% for m in messages %}{{ m.role + ': ' + m.content }}{% if m.role == 'assistant' %}<|im_end|>"
            "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '\n\nassistant:' }}{% endif %}",
            "ids at the edges of a user turn",
        ),
    ],
)
def test_templates_that_cannot_are_refused(tiny_tokenizers: dict[str, Any], template: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Splicer(ChatFormat(tiny_tokenizers["chatml"], template))


def test_a_row_of_another_template_is_refused(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["qwen"]
    quiet = ChatFormat(tokenizer, options={"enable_thinking": False})
    prompt, completion, spans = recorded(ChatFormat(tokenizer), [[40]])
    with pytest.raises(SpliceError, match="another template"):
        Splicer(quiet).splice(prompt, completion, spans, HINT)
    own = recorded(quiet, [[40]])
    assert len(Splicer(quiet).splice(*own, HINT).hints) == 1


def test_a_row_without_a_turn_is_refused(tiny_tokenizers: dict[str, Any]) -> None:
    splicer = Splicer(ChatFormat(tiny_tokenizers["chatml"], CHATML_TEMPLATE))
    with pytest.raises(SpliceError, match="no place"):
        splicer.splice([1, 2], [3], [], HINT)
