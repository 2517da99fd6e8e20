"""Properties of the env: parsing never fails, the cap holds for any weights, doses never raise."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from medgym.env.action import Action, Call, Malformed, parse_action, write_call
from medgym.env.reward import WEIGHTS, compose
from medgym.env.reward.statement import asserts, fold, names_only
from medgym.env.safety.dose import doses_per_day, parse_dose, to_unit
from medgym.env.spaces import ClinicalText
from medgym.tools.errors import ToolError
from medgym.tools.registry import all_tools

share = st.floats(0, 1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(st.text(), values, max_size=5)
tags = st.lists(
    st.sampled_from(
        [
            "<tool_call>",
            "</tool_call>",
            "<think>",
            "</think>",
            '{"name": "wait"}',
            "{",
            "}",
            " hi? ",
            "[[",
            "\ud800",
            '"',
        ]
    )
    | st.text(max_size=8),
    max_size=12,
).map("".join)


@given(st.text() | tags)
def test_parsing_never_fails(text: str) -> None:
    action = parse_action(text)
    assert isinstance(action, Action)
    assert all(isinstance(call, (Call, Malformed)) for call in action.calls)
    assert "<tool_call>" not in action.speech
    assert "</tool_call>" not in action.speech


@given(st.text(min_size=1), objects)
def test_a_written_call_is_read_back(name: str, arguments: dict[str, object]) -> None:
    assert parse_action(write_call(name, arguments)).calls == (Call(name, arguments),)


@given(st.text(min_size=1), objects, st.text(max_size=30).filter(lambda text: "<" not in text))
def test_speech_around_a_call_does_not_touch_it(name: str, arguments: dict[str, object], speech: str) -> None:
    action = parse_action(f"{speech}{write_call(name, arguments)}{speech}")
    assert action.calls == (Call(name, arguments),)
    assert action.speech == " ".join(f"{speech} {speech}".split())


@given(tags)
def test_arguments_that_were_read_can_be_stored(text: str) -> None:
    for call in parse_action(text).calls:
        if isinstance(call, Call):
            assert json.loads(json.dumps(call.arguments)) == call.arguments


@given(
    st.fixed_dictionaries(dict.fromkeys(("accuracy", "process", "safety", "format", "coherence", "evidence"), share)),
    st.none() | share,
    st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1e6), max_size=6),
    st.booleans(),
)
def test_the_cap_holds_for_any_weights(
    shares: dict[str, float], assertion: float | None, weights: dict[str, float], submitted: bool
) -> None:
    try:
        reward = compose(**shares, assertion=assertion, capped=True, submitted=submitted, weights=weights)
    except ValueError:
        return  # all weights zero
    assert 0 <= reward.composite <= 0.1
    assert submitted or reward.composite == 0


@given(
    st.fixed_dictionaries(dict.fromkeys(("process", "safety", "format", "coherence"), share)),
    st.none() | share,
    st.tuples(share, share),
    st.tuples(share, share),
)
def test_more_accuracy_or_more_evidence_never_earns_less(
    shares: dict[str, float], assertion: float | None, accuracy: tuple[float, float], evidence: tuple[float, float]
) -> None:
    less, more = (
        compose(**shares, assertion=assertion, accuracy=a, evidence=e, capped=False, submitted=True).composite
        for a, e in zip(sorted(accuracy), sorted(evidence), strict=True)
    )
    assert less <= more + 1e-12
    assert 0 <= less <= 1
    assert more <= 1


@given(st.text() | st.from_regex(r"\A[0-9., /x-]{0,12}(mg|g|mcg|ml|units)?( ?/ ?kg)?\Z"))
def test_doses_never_raise(text: str) -> None:
    dose = parse_dose(text)
    if dose is not None:
        assert dose[0] >= 0
        for unit in ("mg", "g", "mcg", "units", "", "90"):
            amount = to_unit(dose, unit)
            assert amount is None or amount >= 0


@given(st.text() | st.from_regex(r"\A(every|q|once|[0-9]{1,6}| |times|-|hourly|h|day|week|weekly|/){0,8}\Z"))
def test_frequencies_never_raise(text: str) -> None:
    rate = doses_per_day(text)
    assert rate is None or rate >= 0


@given(st.text(max_size=200), st.text(max_size=30))
def test_the_matcher_takes_any_text(text: str, phrase: str) -> None:
    assert fold(text).isascii()
    assert asserts(text, phrase) in (True, False)
    assert names_only(text, [phrase], ["sepsis"]) in (True, False)


@given(
    st.lists(st.sampled_from(["sepsis", "gout", "stroke", "asthma"]), min_size=2, max_size=4, unique=True),
    st.sampled_from([" or ", ", ", "/", " vs ", "\n", " and ", "; "]),
)
def test_no_list_of_answers_is_an_answer(listed: list[str], between: str) -> None:
    names = ["sepsis", "gout", "stroke", "asthma"]
    text = between.join(listed)
    assert not any(names_only(text, [name], [other for other in names if other != name]) for name in names)


_words = st.lists(
    st.sampled_from(
        [
            "sepsis",
            "gout",
            "stroke",
            "not",
            "no",
            "but",
            "with",
            "due",
            "to",
            "ruled",
            "out",
            ",",
            ";",
            ":",
            "excluded",
            "rather",
            "than",
            "only",
            "or",
            "and",
            "history",
            "of",
            "unlikely",
            "without",
            "cannot",
            "exclude",
            "is",
            "was",
            "either",
            "neither",
            "nor",
            "differential",
            "most",
            "likely",
            "(",
            ")",
            ".",
            "causing",
            "non",
        ]
    ),
    max_size=14,
).map(" ".join)


@settings(max_examples=400)
@given(_words)
def test_no_sentence_answers_two_cases(text: str) -> None:
    names = ["sepsis", "gout", "stroke"]
    right = [name for name in names if names_only(text, [name], [other for other in names if other != name])]
    assert len(right) <= 1


@given(st.text(max_size=50), st.integers(0, 60))
def test_the_space_takes_any_text_that_fits(text: str, longest: int) -> None:
    space = ClinicalText(max(1, longest))
    assert (text in space) is (len(text) <= max(1, longest))
    assert space.sample() in space


@settings(max_examples=200)
@given(st.sampled_from(sorted(all_tools())), values)
def test_validating_arguments_gives_a_tool_error_or_arguments(name: str, arguments: object) -> None:
    try:
        all_tools()[name].parse(arguments)
    except ToolError as refused:
        code = refused.code
    else:
        code = ""
    assert code in ("", "invalid_arguments")
