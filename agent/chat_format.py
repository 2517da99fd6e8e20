"""From messages to token ids, one direction only and append-only.

Owns the rendering of a first prompt and of what follows an answer, for any Hugging Face fast tokenizer whose chat
template knows system, user and assistant. Tools are text in the system message and never reach the template.
Promises that special tokens written inside a content become ordinary text, that the template's own ones stay
special, and that nothing already sampled is rendered again. Which messages are new is left to `agent.recorder`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypedDict, cast

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\n' ~ message['content'] ~ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Plain ChatML: no default system prompt, nothing stripped, nothing added. Used for SmolLM2."""

_MARKS = {
    "system": "zqSYSTEMzq",
    "user": "zqUSERzq",
    "assistant": "zqASSISTANTzq",
    "next": "zqNEXTzq",
    "extra": "zqEXTRAzq",
}
_PAD = "\n \n"


class ChatTokenizer(Protocol):
    """What is needed of a Hugging Face fast tokenizer."""

    chat_template: str | None

    @property
    def backend_tokenizer(self) -> Tokenizer: ...
    @property
    def eos_token_id(self) -> int | None: ...
    def __len__(self) -> int: ...
    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        **kwargs: object,
    ) -> str: ...
    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str: ...


Trust: TypeAlias = Literal["template", "trusted", "content"]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text and which added tokens it may form.

    `template`: all. `trusted`: those that are not control tokens, such as a `<tool_call>` of the vocabulary; for the
    system message and for the tags around a tool's result. `content`: none.
    """

    text: str
    trust: Trust = "content"


UserText: TypeAlias = str | Sequence[Span]


def tool_results_text(results: Sequence[str], human: str | None = None) -> list[Span]:
    """The one user message after an answer: every result in `<tool_response>` tags, then the human's words."""
    spans: list[Span] = []
    for result in results:
        spans += [Span("<tool_response>\n", "trusted"), Span(result), Span("\n</tool_response>", "trusted"), Span("\n")]
    if human is not None:
        return [*spans, Span(human)]
    return spans[:-1]


class ChatFormat:
    """The ids of prompts and of what follows an answer, under one tokenizer and template.

    Args:
        tokenizer: a fast tokenizer.
        template: a Jinja chat template; None takes the tokenizer's own.
        extra_end_ids: further ids that end an answer (those of a generation config).
        options: extra variables for the template, such as `{"enable_thinking": False}`.

    Raises:
        ValueError: there is no template, or it cannot be used append-only (each message says why).
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: str | None = None,
        *,
        extra_end_ids: Sequence[int] = (),
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._template = template if template is not None else tokenizer.chat_template
        if not self._template:
            raise ValueError("the tokenizer has no chat template: give one (`template=`), for instance CHATML_TEMPLATE")
        self._options = dict(options or {})
        self._vocabulary = _Vocabulary(tokenizer.backend_tokenizer)
        between = _parts(self._render("user", "assistant", "next"), "assistant", "next")[1]
        after_answer = self._vocabulary.first_special(between)
        if after_answer is None:
            raise ValueError(
                "the chat template closes an answer by no special token, so the end of a turn cannot be seen: "
                f"after the answer comes {between!r}; use another template"
            )
        self.turn_end, cut = after_answer
        self._after_end = between[cut:]
        ends = [self.turn_end, tokenizer.eos_token_id, *extra_end_ids]
        self.end_ids: tuple[int, ...] = tuple(dict.fromkeys(end for end in ends if end is not None))
        """Ids that end an answer; the first, `turn_end`, is the one the template writes."""

    def prompt_ids(self, system: str | None, user: UserText) -> list[int]:
        """Ids of a first prompt, up to where the answer begins. Without `system` the template's own default holds."""
        if system is None:
            head, tail = _parts(self._render("user"), "user")
            return self._encode(Span(head, "template"), *self._content("user", user), Span(tail, "template"))
        head, middle, tail = _parts(self._render("system", "user"), "system", "user")
        return self._encode(
            Span(head, "template"),
            *self._content("system", [Span(system, "trusted")]),
            Span(middle, "template"),
            *self._content("user", user),
            Span(tail, "template"),
        )

    def suffix_ids(self, user: UserText, previous_ended: bool) -> list[int]:
        """Ids between an answer and the next one.

        Args:
            user: the next user message.
            previous_ended: whether the stream already ends with `turn_end`; if not, it comes first here.
        """
        tail = _parts(self._render("user", "assistant", "next"), "assistant", "next")[2]
        ids = self._encode(Span(self._after_end, "template"), *self._content("next", user), Span(tail, "template"))
        return ids if previous_ended else [self.turn_end, *ids]

    def answer_ids(self, text: str) -> list[int]:
        """Ids of an earlier answer that was not sampled here (an example in a prompt), with its end token."""
        return [*self._encode(Span(text, "trusted")), self.turn_end]

    @cached_property
    def answer_header_ids(self) -> tuple[int, ...]:
        """Ids that open an answer; every prompt and every suffix ends with them. May be empty.

        Raises:
            ValueError: the template opens answers in more than one way, or cannot take one more user turn before them.
        """
        return tuple(self._encode(Span(self._extra_turn[2], "template")))

    def extra_user_turn_ids(self, text: str) -> list[int]:
        """Ids of one more user turn, to be put right before `answer_header_ids`; spaces around the text are dropped.

        They are the difference between the template's rendering with and without that turn.

        Raises:
            ValueError: the template refuses two user turns in a row, or writes what is around them differently.
        """
        before, after, _ = self._extra_turn
        return self._encode(Span(before, "template"), Span(text.strip()), Span(after, "template"))

    def text_of(self, output_ids: Sequence[int]) -> str:
        """The text of sampled ids, exactly as decoded, without the end token."""
        ids = list(output_ids)
        if ids and ids[-1] in self.end_ids:
            ids.pop()
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    @cached_property
    def _extra_turn(self) -> tuple[str, str, str]:
        """What stands before and after the content of one more user turn, and what opens an answer."""
        conversations = [("user",), ("user", "assistant", "next")]
        if self._takes_system:
            conversations += [("system", "user"), ("system", "user", "assistant", "next")]
        found = {self._difference(*places) for places in conversations}
        if len(found) > 1:
            raise ValueError(
                "the chat template writes one more user turn differently in the first and in later places, so it "
                f"cannot be put between ids that are there already: {sorted(found)!r}; use another template"
            )
        return found.pop()

    def _difference(self, *places: str) -> tuple[str, str, str]:
        """How the rendering of a conversation changes with one more user turn; see `_extra_turn`."""
        plain, due = self._render(*places, due=False), self._render(*places)
        told, told_due = self._render(*places, "extra", due=False), self._render(*places, "extra")
        header = due[len(plain) :]
        if (plain + header, told + header) != (due, told_due) or not told.startswith(plain):
            raise ValueError(
                "the chat template rewrites what is already there when one more user turn follows, or what opens the "
                "answer: no turn can be put between ids; use another template"
            )
        before, after = _parts(told[len(plain) :], "extra")
        pieces = (plain, before + _MARKS["extra"] + after, header)
        apart = [one for piece in pieces for one in self._encode(Span(piece, "template"))]
        if apart != self._encode(Span(told_due, "template")):
            raise ValueError(
                "the ids at the edges of a user turn depend on what stands next to it (no special token parts them): "
                "no turn can be put between ids; use another template"
            )
        return before, after, header

    def _encode(self, *spans: Span) -> list[int]:
        return self._vocabulary.encode(spans)

    def _content(self, place: str, text: UserText) -> list[Span]:
        spans = [Span(text)] if isinstance(text, str) else list(text)
        left, right = self._strips[place]
        while left and spans:
            first = spans.pop(0)
            kept = first.text.lstrip()
            if kept:
                spans.insert(0, Span(kept, first.trust))
                break
        while right and spans:
            last = spans.pop()
            kept = last.text.rstrip()
            if kept:
                spans.append(Span(kept, last.trust))
                break
        return spans

    @cached_property
    def _strips(self) -> dict[str, tuple[bool, bool]]:
        """Which ends of a content the template strips, per place."""
        found: dict[str, tuple[bool, bool]] = {"system": (False, False)}
        for places in (("system", "user"), ("user", "assistant", "next")):
            if places[0] == "system" and not self._takes_system:
                continue
            rendered = self._render(*places, pad=_PAD)
            for place in places:
                before, after = rendered.split(_MARKS[place])
                found[place] = (not before.endswith(_PAD), not after.startswith(_PAD))
        return found

    @cached_property
    def _takes_system(self) -> bool:
        try:
            self._render("system", "user")
        except ValueError:
            return False
        return True

    def _render(self, *places: str, pad: str = "", due: bool = True) -> str:
        """The template over a dummy conversation whose contents are marks, the next answer being `due` or not."""
        from jinja2 import TemplateError

        roles = {"next": "user", "extra": "user"}
        conversation = [{"role": roles.get(place, place), "content": f"{pad}{_MARKS[place]}{pad}"} for place in places]
        try:
            rendered = self.tokenizer.apply_chat_template(
                conversation,
                chat_template=self._template,
                add_generation_prompt=due,
                tokenize=False,
                **self._options,
            )
        except TemplateError as error:
            said = ", ".join(roles.get(place, place) for place in places)
            raise ValueError(f"the chat template refuses a conversation of {said}: {error}") from error
        for place in places:
            if rendered.count(_MARKS[place]) != 1:
                raise ValueError(f"the chat template does not write the {place} content exactly once; use another one")
        return rendered


def _parts(rendered: str, *places: str) -> list[str]:
    """What stands before, between and after the marks of `places`, in that order."""
    parts: list[str] = []
    for place in places:
        before, rendered = rendered.split(_MARKS[place])
        parts.append(before)
    return [*parts, rendered]


class _AddedToken(TypedDict):
    id: int
    content: str
    special: bool
    lstrip: bool
    rstrip: bool


class _Vocabulary:
    """Encodes spans: allowed added tokens by name, everything else by a copy of the tokenizer that has none.

    Neighbouring ordinary text is encoded in one piece, so harmless contents get the ids that the tokenizer itself
    gives to the rendered conversation.
    """

    def __init__(self, backend: Tokenizer) -> None:
        from tokenizers import Tokenizer

        state = cast("dict[str, object]", json.loads(backend.to_str()))
        added = cast("list[_AddedToken]", state["added_tokens"])
        state.update(added_tokens=[], truncation=None, padding=None, post_processor=None)
        self._plain = Tokenizer.from_str(json.dumps(state))
        self._control = frozenset(token["id"] for token in added if token["special"])
        self._allowed: dict[Trust, tuple[re.Pattern[str], list[int]]] = {
            "template": _alternatives(added),
            "trusted": _alternatives([token for token in added if not token["special"]]),
            "content": _alternatives([]),
        }

    def first_special(self, text: str) -> tuple[int, int] | None:
        """Id and end position of the added token that `text` begins with, spaces aside."""
        pattern, ids = self._allowed["template"]
        found = pattern.match(text.lstrip())
        if found is None or found.lastindex is None:
            return None
        return ids[found.lastindex - 1], len(text) - len(text.lstrip()) + found.end()

    def encode(self, spans: Sequence[Span]) -> list[int]:
        ids: list[int] = []
        run = ""
        for span in spans:
            pattern, allowed = self._allowed[span.trust]
            at = 0
            for found in pattern.finditer(span.text):
                assert found.lastindex is not None
                ids += self._ordinary(run + span.text[at : found.start()])
                ids.append(allowed[found.lastindex - 1])
                run, at = "", found.end()
            run += span.text[at:]
        return ids + self._ordinary(run)

    def _ordinary(self, text: str) -> list[int]:
        """Ids of ordinary text; never a control token, whatever it spells."""
        encoding = self._plain.encode(text, add_special_tokens=False)
        if self._control.isdisjoint(encoding.ids):
            return encoding.ids
        # A control token is a piece of the vocabulary itself, or stands for a character that the vocabulary lacks.
        ids: list[int] = []
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token not in self._control:
                ids.append(token)
                continue
            for piece in text[start:end] if end - start > 1 else "\ufffd":
                spelled = self._plain.encode(piece, add_special_tokens=False).ids
                ids += [one for one in spelled if one not in self._control]
        return ids


def _alternatives(tokens: Sequence[_AddedToken]) -> tuple[re.Pattern[str], list[int]]:
    ordered = sorted(tokens, key=lambda token: -len(token["content"]))
    space = {True: r"\s*", False: ""}
    patterns = [f"{space[token['lstrip']]}({re.escape(token['content'])}){space[token['rstrip']]}" for token in ordered]
    return re.compile("|".join(patterns) or r"(?!)"), [token["id"] for token in ordered]
