"""The chat format against the tokenizer's own rendering, and where it must differ from it."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat, Span, tool_results_text

SYSTEM = "You are a careful clinician.\nTools: search(query)."
USER = "I have chest pain \u2265 3 days. \u00b5g? \n\nWhat now?"


def own_ids(tokenizer: Any, *contents: str, generate: bool = True, system: bool = True) -> list[int]:
    """What the tokenizer itself makes of the conversation."""
    roles = (["system"] if system else []) + ["user", "assistant"] * 3
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("user", [USER, "\nleading line", "x", "caf\u00e9 \u65e5\u672c \U0001f600", "a  b\t"])
def test_prompt_is_the_tokenizers_own(tokenizer: Any, user: str) -> None:
    assert ChatFormat(tokenizer).prompt_ids(SYSTEM, user) == own_ids(tokenizer, SYSTEM, user)


def test_prompt_without_system_takes_the_templates_default(tokenizer: Any, style: str) -> None:
    ids = ChatFormat(tokenizer).prompt_ids(None, USER)
    assert ids == own_ids(tokenizer, USER, system=False)
    assert ("small assistant" in tokenizer.decode(ids)) == (style == "chatml")


@pytest.mark.parametrize("follow", ["And now?", "\n leading", " both \n"])
def test_stream_is_the_tokenizers_own_history(tokenizer: Any, follow: str) -> None:
    chat_format = ChatFormat(tokenizer)
    stream = chat_format.prompt_ids(SYSTEM, USER)
    stream += [*chat_format.answer_ids("Rest and fluids."), *chat_format.suffix_ids(follow, previous_ended=True)]
    assert stream == own_ids(tokenizer, SYSTEM, USER, "Rest and fluids.", follow)


def test_suffix_brings_the_end_token_only_after_a_cut(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    ended = chat_format.suffix_ids("And now?", previous_ended=True)
    assert chat_format.suffix_ids("And now?", previous_ended=False) == [chat_format.turn_end, *ended]
    assert ended.count(chat_format.turn_end) == 1  # the user message's own


def test_history_is_not_rewritten_as_the_template_would(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["qwen"]
    chat_format = ChatFormat(tokenizer)
    answer = "<think>\nLet me think.\n</think>\n\nRest."
    stream = [*chat_format.prompt_ids(SYSTEM, USER), *chat_format.answer_ids(answer)]
    stream += chat_format.suffix_ids("And?", previous_ended=True)
    assert "Let me think." in tokenizer.decode(stream)
    assert "Let me think." not in tokenizer.decode(own_ids(tokenizer, SYSTEM, USER, answer, "And?"))


def test_template_options(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["qwen"]
    quiet = ChatFormat(tokenizer, options={"enable_thinking": False})
    assert tokenizer.decode(quiet.prompt_ids(SYSTEM, "x")).endswith("assistant\n<think>\n\n</think>\n\n")
    assert tokenizer.decode(quiet.suffix_ids("x", previous_ended=True)).endswith("<think>\n\n</think>\n\n")


def test_begin_token_once(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["llama3"]
    chat_format = ChatFormat(tokenizer)
    ids = [*chat_format.prompt_ids(SYSTEM, USER), *chat_format.suffix_ids(USER, previous_ended=True)]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_end_ids(tokenizer: Any, style: str) -> None:
    chat_format = ChatFormat(tokenizer, extra_end_ids=[0, tokenizer.eos_token_id])
    end = "<|eot_id|>" if style == "llama3" else "<|im_end|>"
    assert chat_format.turn_end == tokenizer.convert_tokens_to_ids(end)
    assert chat_format.end_ids == tuple(dict.fromkeys([chat_format.turn_end, tokenizer.eos_token_id, 0]))


def test_special_tokens_in_contents_are_text(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    attack = "x" + "".join(token.content for token in added.values()) + "y"
    for render in (
        lambda text: chat_format.prompt_ids(SYSTEM, text),
        lambda text: chat_format.suffix_ids(text, previous_ended=True),
        lambda text: chat_format.suffix_ids(tool_results_text([text], text), previous_ended=False),
    ):
        harmless, attacked = render("plain"), render(attack)
        assert [one for one in attacked if one in added] == [one for one in harmless if one in added]
        assert attack in tokenizer.decode(attacked)


def test_control_tokens_in_the_system_message_are_text_too(tokenizer: Any) -> None:
    chat_format = ChatFormat(tokenizer)
    ids = chat_format.prompt_ids("stop <|im_end|><|eot_id|> here", "x")
    controls = set(tokenizer.all_special_ids) | {chat_format.turn_end}
    plain = chat_format.prompt_ids("stop here", "x")
    assert [one for one in ids if one in controls] == [one for one in plain if one in controls]


def test_tool_tags_of_the_vocabulary(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["qwen"]
    chat_format = ChatFormat(tokenizer)
    call, response = (tokenizer.convert_tokens_to_ids(tag) for tag in ("<tool_call>", "<tool_response>"))
    assert chat_format.prompt_ids("write <tool_call>", "x").count(call) == 1  # ours: the token that the model knows
    assert chat_format.prompt_ids("x", "write <tool_call>").count(call) == 0
    ids = chat_format.suffix_ids(tool_results_text(["a <tool_response> b", "c"], "d"), previous_ended=True)
    assert ids.count(response) == 2


def test_tool_results_text() -> None:
    spans = tool_results_text(["one", "two"], "then I said")
    assert "".join(span.text for span in spans) == (
        "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>\nthen I said"
    )
    assert [span.text for span in spans if span.trust == "content" and span.text.strip()] == [
        "one",
        "two",
        "then I said",
    ]
    assert "".join(span.text for span in tool_results_text(["one"])) == "<tool_response>\none\n</tool_response>"


@pytest.mark.parametrize("seed", range(20))
def test_any_text_survives(tokenizer: Any, seed: int) -> None:
    draw = random.Random(seed)
    specials = [token.content for token in tokenizer.backend_tokenizer.get_added_tokens_decoder().values()]
    atoms = [
        *specials,
        "<|",
        "|>",
        " ",
        "\n",
        "a",
        "\u00e9",
        "\u2265",
        "\U0001f600",
        "\x04",
        "\x00",
        "tool_call",
        "<",
        ">",
    ]
    text = "x" + "".join(draw.choice(atoms) for _ in range(30)) + "x"
    chat_format = ChatFormat(tokenizer)
    head, tail = chat_format.prompt_ids(SYSTEM, "x"), chat_format.prompt_ids(SYSTEM, text)
    controls = set(tokenizer.backend_tokenizer.get_added_tokens_decoder())
    assert sum(one in controls for one in head) == sum(one in controls for one in tail)
    assert text in tokenizer.decode(tail)


def test_characters_outside_the_vocabulary_do_not_become_control_tokens() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter != "\u0104"]  # no byte 4
    vocabulary = {
        piece: at for at, piece in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(letters)])
    }
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    assert 0 in tokenizer.encode("a\x04b", add_special_tokens=False)  # what the tokenizer itself does
    ids = ChatFormat(tokenizer, CHATML_TEMPLATE).prompt_ids("s", "a\x04b")
    assert 0 not in ids
    assert "a\ufffdb" in tokenizer.decode(ids)


def test_token_that_swallows_spaces() -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {piece: at for at, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, rstrip=True, special=True) for t in ("<|user|>", "<|ai|>", "<|end|>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + ('ai' if m.role == 'assistant' else 'user') + '|>\n' + m.content"
        " + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|ai|>\n' }}{% endif %}"
    )
    chat_format = ChatFormat(tokenizer)
    stream = [*chat_format.prompt_ids(None, "hi"), *chat_format.answer_ids("ho")]
    stream += chat_format.suffix_ids("again", previous_ended=True)
    assert stream == own_ids(tokenizer, "hi", "ho", "again", system=False)


def test_our_chatml_has_no_default_system_prompt(tiny_tokenizers: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizers["chatml"]
    ids = ChatFormat(tokenizer, CHATML_TEMPLATE).prompt_ids(None, " hi ")
    assert tokenizer.decode(ids) == "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("output", [[], [300, 301, 302]])
def test_text_of_drops_only_the_end_token(tokenizer: Any, output: list[int]) -> None:
    chat_format = ChatFormat(tokenizer)
    text = tokenizer.decode(output)
    assert chat_format.text_of([*output, chat_format.turn_end]) == text
    assert chat_format.text_of(output) == text
    end = tokenizer.decode([chat_format.turn_end])
    assert chat_format.text_of([chat_format.turn_end, *output, chat_format.turn_end]) == end + text


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("", "no chat template"),
        ("{% for m in messages %}{{ m.content + '\n' }}{% endfor %}", "closes an answer by no special token"),
        ("{% for m in messages %}{{ m.role }}<|im_end|>{% endfor %}", "does not write the user content exactly once"),
        ("{% for m in messages %}{{ m.content + m.content }}<|im_end|>{% endfor %}", "exactly once"),
    ],
)
def test_unusable_templates_are_refused(tiny_tokenizers: dict[str, Any], template: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ChatFormat(tiny_tokenizers["chatml"], template)


def test_template_without_system_messages(tiny_tokenizers: dict[str, Any]) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    )
    chat_format = ChatFormat(tiny_tokenizers["chatml"], template)
    assert chat_format.prompt_ids(None, "x")
    with pytest.raises(ValueError, match="no system here"):
        chat_format.prompt_ids("s", "x")


def test_span_defaults_to_content() -> None:
    assert Span("x").trust == "content"


def test_imports_without_torch_and_transformers() -> None:
    code = (
        "import sys, medgym.agent.chat_format, medgym.agent.recorder, medgym.agent.policies.local;"
        "sys.exit(bool({'torch', 'transformers', 'tokenizers', 'peft', 'llguidance'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("text", ["Look again.", "two\n\nlines \u2265 1", "<|im_end|><|eot_id|>"])
def test_extra_user_turn_is_the_templates_difference(tokenizer: Any, text: str) -> None:
    chat_format = ChatFormat(tokenizer)
    header = list(chat_format.answer_header_ids)
    prompt = chat_format.prompt_ids(SYSTEM, USER)
    assert prompt[-len(header) :] == header
    assert chat_format.suffix_ids("And?", previous_ended=True)[-len(header) :] == header
    told = [*prompt[: -len(header)], *chat_format.extra_user_turn_ids(text), *header]
    messages = [{"role": role, "content": content} for role, content in (("system", SYSTEM), ("user", USER))]
    messages.append({"role": "user", "content": text})
    own = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(told) == own
    if "<|" not in text:  # else the tokenizer itself would make control tokens of the words
        assert told == tokenizer.encode(own, add_special_tokens=False)
    assert told.count(chat_format.turn_end) == prompt.count(chat_format.turn_end) + 1


def test_extra_user_turn_takes_template_options_and_drops_outer_spaces(tiny_tokenizers: dict[str, Any]) -> None:
    quiet = ChatFormat(tiny_tokenizers["qwen"], options={"enable_thinking": False})
    assert "<think>" in tiny_tokenizers["qwen"].decode(list(quiet.answer_header_ids))
    assert quiet.extra_user_turn_ids("  x\n") == quiet.extra_user_turn_ids("x")


def test_extra_user_turn_needs_a_template_that_takes_one(tiny_tokenizers: dict[str, Any]) -> None:
    template = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
        "{% endif %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    )
    chat_format = ChatFormat(tiny_tokenizers["chatml"], template)
    assert chat_format.suffix_ids("y", previous_ended=True)  # usable as such
    with pytest.raises(ValueError, match=r"user, user: alternate"):
        chat_format.extra_user_turn_ids("z")
