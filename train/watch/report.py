"""`report.html`: one file that says what a run was, what it did and how it went, pictures inside.

Reads what lies in the run's folder (`metrics.jsonl`, `recipe.json`), so that it can be made again at any time. All
text is escaped; there are no scripts and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import cast

from ... import __version__
from ..recipe import RESOLVED_FILE
from .log import FILE_NAME, Line, read_metrics
from .page import STYLE
from .plots import Drawn, write_plots
from .series import alarm_steps, metrics_below, series_of, stage_lengths

REPORT_FILE = "report.html"
PLOTS_FOLDER = "plots"
DISCLAIMER = (
    "A research tool. Its patients are invented and its rules cover a small part of medicine; a policy trained here is "
    "not a medical device, and nothing it says may be used to diagnose or treat anyone."
)
JsonObject = Mapping[str, object]


def write_report(folder: Path) -> Path:
    """Draw the plots of a run and write its report.

    Args:
        folder: of the run; `metrics.jsonl` must be there, `recipe.json` may.

    Returns:
        `folder/report.html`; the pictures lie in `folder/plots` as well.

    Raises:
        MetricsError: there are no metrics, or they are damaged.
        ImportError: matplotlib is not installed.
    """
    lines, summary = read_metrics(folder / FILE_NAME)
    stored = folder / RESOLVED_FILE
    recipe: JsonObject = json.loads(stored.read_text("utf-8")) if stored.is_file() else dict[str, object]()
    drawn = write_plots(lines, folder / PLOTS_FOLDER)
    target = folder / REPORT_FILE
    target.write_text(render_report(recipe, lines, summary, drawn), encoding="utf-8")
    return target


def render_report(recipe: JsonObject, lines: Sequence[Line], summary: JsonObject | None, drawn: Sequence[Drawn]) -> str:
    """The page; arguments as they are read from the run's folder."""
    name = str(recipe.get("name", "run"))
    parts = [
        _head(name, recipe),
        _glance(lines, summary),
        _section("Mechanisms", _mechanisms(lines, summary)),
        _section("Alarms", _alarms(lines, summary)),
        _section("Plots", _pictures(drawn)),
        _section("Recipe", _recipe(recipe)),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(name)}: medgym training'
        f"</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{''.join(parts)}\n<footer>medgym "
        f"{escape(__version__)}. {escape(DISCLAIMER)}</footer>\n</main>\n</body>\n</html>\n"
    )


def _head(name: str, recipe: JsonObject) -> str:
    model = cast("JsonObject", recipe.get("model", {}))
    facts = {"algorithm": recipe.get("algorithm"), "model": model.get("path"), "seed": recipe.get("seed")}
    said = " · ".join(f"{key} <b>{escape(str(value))}</b>" for key, value in facts.items() if value is not None)
    about = f"<p>{escape(str(recipe['about']))}</p>" if recipe.get("about") else ""
    return (
        f"<header><h1>{escape(name)}</h1><p class=facts>{said}</p>{about}"
        f'<p class="notice"><b>Not for clinical use.</b> {escape(DISCLAIMER)}</p></header>'
    )


def _glance(lines: Sequence[Line], summary: JsonObject | None) -> str:
    cards = [
        _card("steps", " + ".join(f"{length} {stage}" for stage, length in stage_lengths(lines).items()) or "none")
    ]
    if summary is None:
        cards.append(_card("state", "not finished", "there is no summary: the run was stopped or is still going"))
    found = summary or {}
    for key, label in (("val_reward_start", "validation reward, start"), ("val_reward_end", "validation reward, end")):
        if found.get(key) is not None:
            cards.append(_card(label, *_with_interval(found[key])))
    if found.get("signal_first") is not None:
        cards.append(
            _card("signal", f"{_number(found['signal_first'])} → {_number(found.get('signal_last'))}", "first, last")
        )
    if found.get("seconds_per_step") is not None:
        cards.append(_card("seconds a step", _number(found["seconds_per_step"]), "median"))
    share = found.get("own_code_share")
    if isinstance(share, int | float):
        cards.append(_card("own code", f"{100 * share:.1f}%", "of a step: env, reward, recording"))
    alarms = _alarm_count(lines)
    if alarms is not None:
        cards.append(_card("alarms", str(alarms), "", "bad" if alarms else "good"))
    return f'<section class="cards">{"".join(cards)}</section>'


def _card(label: str, value: str, note: str = "", kind: str = "") -> str:
    below = f"<span>{escape(note)}</span>" if note else ""
    return f'<div class="card {kind}"><span>{escape(label)}</span><strong>{escape(value)}</strong>{below}</div>'


def _with_interval(value: object) -> tuple[str, str]:
    """A figure and its bounds, from a number, `{value, low, high}` or `[value, low, high]`."""
    if isinstance(value, Mapping):
        held = cast("JsonObject", value)
        value = [held.get("value", held.get("mean")), held.get("low"), held.get("high")]
    if not isinstance(value, list | tuple):
        return _number(value), ""
    estimate, low, high = (*cast("Sequence[object]", value), None, None, None)[:3]
    return _number(estimate), "" if low is None or high is None else f"95% interval {_number(low)} to {_number(high)}"


def _mechanisms(lines: Sequence[Line], summary: JsonObject | None) -> str:
    counts = dict(cast("Mapping[str, object]", (summary or {}).get("mechanisms") or {}))
    if not counts:
        prefix = "mechanism/"
        counts = {
            name.removeprefix(prefix): series_of(lines, name).values[-1:] for name in metrics_below(lines, prefix)
        }
        counts = {name: values[0] for name, values in counts.items() if values}
    if not counts:
        return "<p>None is switched on, or none has been counted.</p>"
    conditional = cast("Sequence[object]", (summary or {}).get("mechanisms_conditional") or ())
    never = {True: "nothing called for it", False: '<b class="bad">never fired</b>'}
    rows = [
        (escape(name), _number(count), "" if count else never[name in conditional]) for name, count in counts.items()
    ]
    return _table(("mechanism", "times fired", ""), rows)


def _alarms(lines: Sequence[Line], summary: JsonObject | None) -> str:
    if _alarm_count(lines) is None:
        return "<p>No detector was watching.</p>"
    told = cast("Sequence[JsonObject]", (summary or {}).get("alarms") or [])
    if told:
        rows = [
            (
                escape(str(alarm.get("step"))),
                escape(str(alarm.get("detector"))),
                f"{escape(str(alarm.get('metric')))} = {_number(alarm.get('value'))}",
                _number(alarm.get("limit")),
                escape(str(alarm.get("meaning"))),
            )
            for alarm in told
        ]
        return _table(("step", "detector", "measured", "limit", "meaning"), rows)
    steps = alarm_steps(lines)
    if not steps:
        return '<p class="good">None.</p>'
    return _table(("step", "stage", "detector"), [(str(at), escape(stage), escape(name)) for name, stage, at in steps])


def _alarm_count(lines: Sequence[Line]) -> int | None:
    """Alarms in all; None where no detector was on."""
    return len(alarm_steps(lines)) if metrics_below(lines, "alarm/") else None


def _pictures(drawn: Sequence[Drawn]) -> str:
    if not drawn:
        return "<p>Nothing was logged that could be drawn.</p>"
    return f'<div class="plots">{"".join(_picture(one) for one in drawn)}</div>'


def _picture(drawn: Drawn) -> str:
    data = base64.b64encode(drawn.path.read_bytes()).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(drawn.title)} over the steps"></figure>'


def _recipe(recipe: JsonObject) -> str:
    """A folded table per section; plain settings first."""
    if not recipe:
        return f"<p>There is no {RESOLVED_FILE} beside the metrics.</p>"
    plain = {key: value for key, value in recipe.items() if not isinstance(value, Mapping)}
    parts = [_settings("the run", plain)]
    parts += [
        _settings(key, cast("JsonObject", value))
        for key, value in recipe.items()
        if isinstance(value, Mapping) and value
    ]
    return "".join(parts)


def _settings(title: str, values: JsonObject) -> str:
    rows = [
        (escape(str(key)), f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>")
        for key, value in values.items()
    ]
    return f"<details><summary>{escape(title)}</summary>{_table(('setting', 'value'), rows)}</details>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are already escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: object) -> str:
    """Escaped; floats to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else escape("unknown" if value is None else str(value))
