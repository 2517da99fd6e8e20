"""The text protocol as a chat template, for servers that render conversations by themselves (vLLM).

The template turns tools, calls and results into the plain system, user and assistant messages of `agent.protocol`,
and hands those to the policy's own template, whatever it is. A test holds the two renderings equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..env.briefing import CALLS, PROTOCOL, PromptForm

_SIGNATURES = """
{%- set told = namespace(text='', first=true, case=false) -%}
{%- for tool in tools or [] -%}
  {%- set function = tool.function -%}
  {%- if function.name == 'submit_answer' -%}{%- set told.case = true -%}{%- endif -%}
  {%- set line = namespace(text='', first=true) -%}
  {%- set required = (function.parameters or {}).get('required', []) -%}
  {%- for key, schema in (function.parameters or {}).get('properties', {}).items() -%}
    {%- if schema.get('enum') -%}{%- set kind = schema['enum'] | join('|') -%}
    {%- else -%}{%- set kind = schema.get('type', 'any') | string -%}{%- endif -%}
    {%- set mark = '' if key in required else '?' -%}
    {%- set line.text = line.text ~ ('' if line.first else ', ') ~ key ~ mark ~ ': ' ~ kind -%}
    {%- set line.first = false -%}
  {%- endfor -%}
  {%- set about = (function.description or '').split('. ')[0].rstrip('.') -%}
  {%- set told.text = told.text ~ LINE -%}
  {%- set told.first = false -%}
{%- endfor -%}
{%- if not told.first -%}
  {%- set told.text = (PROTOCOL if told.case else CALLS) ~ HEAD ~ told.text -%}
{%- endif -%}
"""

_LINES = {
    "full": (
        "'\\n\\nTools (? marks optional arguments):'",
        "'\\n- ' ~ function.name ~ '(' ~ line.text ~ '): ' ~ about",
    ),
    "arguments": ("'\\n\\nTools (? marks optional arguments):'", "'\\n- ' ~ function.name ~ '(' ~ line.text ~ ')'"),
    "names": ("'\\n\\nTools: '", "('' if told.first else ', ') ~ function.name"),
    "none": ("''", "''"),
}

_MESSAGES = """
{%- set all = namespace(said=[], role='', text='', results=false, system='') -%}
{%- for message in messages -%}
  {%- set role = 'system' if message.role == 'developer' else message.role -%}
  {%- if role == 'system' and all.role not in ('', 'system') -%}{%- set role = 'user' -%}{%- endif -%}
  {%- if message.content is string -%}{%- set content = message.content -%}
  {%- else -%}
    {%- set parts = namespace(text='') -%}
    {%- for part in message.content or [] -%}{%- set parts.text = parts.text ~ part.text -%}{%- endfor -%}
    {%- set content = parts.text -%}
  {%- endif -%}
  {%- if role == 'assistant' and message.tool_calls -%}
    {%- set calls = namespace(text='') -%}
    {%- for call in message.tool_calls -%}
      {%- set given = call.function.arguments -%}
      {%- set given = given if given is string else given | tojson -%}
      {%- set body = '{"name": ' ~ call.function.name | tojson ~ ', "arguments": ' ~ (given or '{}') ~ '}' -%}
      {%- set body = body ESCAPED -%}
      {%- set calls.text = calls.text ~ '<tool_call>' ~ body ~ '</tool_call>' -%}
    {%- endfor -%}
    {%- set content = content ~ '\\n' ~ calls.text if content else calls.text -%}
  {%- endif -%}
  {%- set content = content NEUTRAL -%}
  {%- if role == 'tool' -%}
    {%- set content = CUT -%}
    {%- set content = '<tool_response>\\n' ~ content ~ '\\n</tool_response>' -%}
  {%- endif -%}
  {%- set side = 'user' if role == 'tool' else role -%}
  {%- if side == all.role -%}
    {%- set all.text = all.text ~ '\\n' ~ content -%}
  {%- else -%}
    {%- if all.role -%}{%- set all.said = all.said + [{'role': all.role, 'content': all.text}] -%}{%- endif -%}
    {%- set all.role = side -%}
    {%- set all.text = content -%}
  {%- endif -%}
{%- endfor -%}
{%- set all.said = all.said + [{'role': all.role, 'content': all.text}] -%}
{%- if told.text -%}
  {%- if all.said[0].role != 'system' -%}
    {%- set all.said = [{'role': 'system', 'content': told.text}] + all.said -%}
  {%- elif CALLS not in all.said[0].content -%}
    {%- set system = all.said[0].content ~ '\\n\\n' ~ told.text if all.said[0].content else told.text -%}
    {%- set all.said = [{'role': 'system', 'content': system}] + all.said[1:] -%}
  {%- endif -%}
{%- endif -%}
{%- set talk = all.said[1:] if all.said[0].role == 'system' else all.said -%}
{%- if not talk or talk[0].role == 'assistant' -%}
  {{- raise_exception('the conversation must begin with a user message (a system message may stand before it)') -}}
{%- endif -%}
{%- if add_generation_prompt and talk[-1].role == 'assistant' -%}
  {{- raise_exception("the last message is the assistant's: add what it is to answer") -}}
{%- endif -%}
{%- set messages = all.said -%}
{%- set tools = none -%}
"""

_ESCAPED = "\\u003c"  # as `env.action.write_call` writes it
_TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>")


def protocol_template(base: str, form: PromptForm | None = None, specials: Iterable[str] = ()) -> str:
    """A chat template that takes tools, calls and results, around a policy's own.

    Args:
        base: the policy's template, which knows system, user and assistant.
        form: how much of the tools is said, and the length of a result (see `agent.protocol`).
        specials: control tokens of the tokenizer; where a content spells one, a zero-width space parts it, since a
            server would read it as the control token itself.
    """
    form = form or PromptForm()
    head, line = _LINES[form.specs]
    signatures = _SIGNATURES.replace("HEAD", head).replace("LINE", line)
    escaped = "".join(f" | replace({json.dumps(tag)}, {json.dumps(tag.replace('<', _ESCAPED))})" for tag in _TAGS)
    neutral = "".join(
        f" | replace({json.dumps(one)}, {json.dumps(one[0] + chr(0x200B) + one[1:])})" for one in specials
    )
    messages = (
        _MESSAGES.replace("ESCAPED", escaped).replace("NEUTRAL", neutral).replace("CUT", _cut(form.observation_limit))
    )
    head_text = f"{{%- set CALLS = {json.dumps(CALLS)} -%}}{{%- set PROTOCOL = {json.dumps(PROTOCOL)} -%}}"
    return (head_text + _tight(signatures) + _tight(messages)).replace("\n", "") + base


def _tight(source: str) -> str:
    return "".join(line.strip() for line in source.splitlines())


def _cut(limit: int | None) -> str:
    """`cut_middle` as a Jinja expression over `content`."""
    if limit is None:
        return "content"
    note = f"(' [... ' ~ (content | length - {limit}) ~ ' characters cut ...] ')"
    keep = f"([0, {limit} - {note} | length] | max)"
    tail = f"({keep} // 2)"
    cut = f"content[:{keep} - {tail}] ~ {note} ~ content[content | length - {tail}:]"
    return f"(content if content | length <= {limit} else {cut})"
