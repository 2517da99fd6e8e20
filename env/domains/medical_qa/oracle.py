"""The oracle: reads the question, searches, opens, weighs, and chooses by what the opened passages say."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, cast

from ....tools.record.testcatalog import plain
from ....tools.retrieval.analysis import terms
from ...action import write_call
from ...domain import Script
from ...observation import results, rows

Ask: TypeAlias = Generator[str, str, str]

_OPTION = re.compile(r"^([A-E])\) (.*)$", re.MULTILINE)


def solve(ticket: str) -> Script:
    """Yields messages, receives observations."""
    stem = ticket.split("\n")[1]
    options = dict(_OPTION.findall(ticket))
    family, pattern = next(
        (family, match) for family, match in ((f, p.search(stem)) for f, p in _STEMS.items()) if match
    )
    observation = yield write_call("analyze_answer_options", {"question": stem, "options": list(options.values())})
    del observation
    chosen = yield from _FAMILIES[family](pattern.groups(), options)
    observation = yield write_call(
        "summarize_evidence", {"query": _QUERIES[family].format(*pattern.groups(), option=chosen)}
    )
    cited = [str(row["id"]) for row in rows(results(observation)[0], "sources")]
    letter = next(letter for letter, text in options.items() if text == chosen)
    yield write_call("submit_answer", {"option": letter, "evidence": cited})


_STEMS = {
    "identify": re.compile(r"these findings: (.*)\. Which condition fits best\?$"),
    "confirm": re.compile(r"^Which test or finding confirms (.*)\?$"),
    "first_line": re.compile(r"^What is the first-line management of (.*)\?$"),
    "interaction": re.compile(
        r"^A patient takes (.*?)\. Which of these drugs, if added, is a (\w+) interaction: (.*)\?$"
    ),
    "antidote": re.compile(r"^Which antidote or specific treatment is given for (.*)\?$"),
    "pregnancy": re.compile(r"^A pregnant patient takes (.*), which is contraindicated in pregnancy"),
    "dosing": re.compile(r"^What does the label say of (.*) at a (\w+) of ([\d.]+) "),
}
_QUERIES = {
    "identify": "{option} key findings",
    "confirm": "{0} confirm diagnosis tests",
    "first_line": "{0} first-line management",
    "interaction": "{0} {option} interaction",
    "antidote": "{0} antidote",
    "pregnancy": "{0} in pregnancy",
    "dosing": "{0} renal impairment dose {option}",
}


def _open_best(query: str, wanted: Callable[[str], bool]) -> Generator[str, str, list[str]]:
    """Search, then open the first document whose name is wanted; the texts of its passages."""
    observation = yield write_call("search_pubmed", {"query": query[:400], "max_results": 10})
    found = [str(row["document"]) for row in rows(results(observation)[0], "articles")]
    document = next((name for name in found if wanted(name)), found[0])
    observation = yield write_call("browse_article", {"pmid": document})
    return [str(row["text"]) for row in rows(results(observation)[0], "passages")]


def _best_covered(texts: list[str], options: dict[str, str]) -> str:
    """The option of which the opened texts say most, verbatim first."""
    whole = plain(" ".join(texts))
    said = set(terms(" ".join(texts)))

    def covered(option: str) -> tuple[bool, float, int]:
        own = set(terms(option))
        parts = [plain(part) for part in option.split(";")]
        return all(part in whole for part in parts), len(own & said) / max(1, len(own)), len(option)

    return max(options.values(), key=covered)


def _identify(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    findings = found[0]
    observation = yield write_call("get_differential_diagnosis", {"symptoms": findings}) + "".join(
        write_call("check_diagnostic_criteria", {"condition": option}) for option in options.values()
    )
    listed = results(observation)[1:]
    wanted = {plain(part) for part in findings.split("; ")}
    fits = {
        option: len(wanted & {plain(text) for text in cast("list[str]", row.get("findings", []))})
        for option, row in zip(options.values(), listed, strict=True)
    }
    chosen = max(fits, key=lambda option: fits[option])
    yield from _open_best(f"{chosen} key findings", lambda name: plain(name) == plain(chosen))
    return chosen


def _confirm(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    observation = yield write_call("check_diagnostic_criteria", {"condition": found[0]})
    confirmed = plain("; ".join(cast("list[str]", results(observation)[0]["confirmatory"])))
    texts = yield from _open_best(f"{found[0]} confirm", lambda name: plain(name) == plain(found[0]))
    exact = [option for option in options.values() if plain(option) == confirmed]
    return exact[0] if exact else _best_covered(texts, options)


def _first_line(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    yield write_call("check_diagnostic_criteria", {"condition": found[0]})
    texts = yield from _open_best(f"{found[0]} first-line management", lambda name: plain(name) == plain(found[0]))
    return _best_covered(texts, options)


def _interaction(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    taken = found[0]
    calls = "".join(
        write_call("search_pubmed", {"query": f"{taken} {option} drug interaction"}) for option in options.values()
    )
    observation = yield calls
    chosen = ""
    for option, result in zip(options.values(), results(observation), strict=True):
        names = [plain(str(row["document"])) for row in rows(result, "articles")]
        if any(plain(option) in name and plain(taken) in name for name in names):
            chosen = option
    chosen = chosen or next(iter(options.values()))
    yield from _open_best(
        f"{taken} {chosen} drug interaction", lambda name: plain(chosen) in plain(name) and plain(taken) in plain(name)
    )
    yield write_call("get_drug_information", {"drug_name": taken}) + (
        write_call("get_drug_information", {"drug_name": chosen})
    )
    return chosen


def _antidote(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    texts = yield from _open_best(f"{found[0]} antidote", lambda name: plain(name) == plain(found[0]))
    return _best_covered(texts, options)


def _pregnancy(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    texts = yield from _open_best(f"{found[0]} in pregnancy", lambda name: plain(name) == plain(found[0]))
    yield write_call("get_drug_information", {"drug_name": found[0]})
    return _best_covered(texts, options)


def _dosing(found: tuple[str, ...], options: dict[str, str]) -> Ask:
    drug, metric, value = found[0], found[1], float(found[2])
    observation = yield write_call("get_drug_information", {"drug_name": drug})
    yield from _open_best(f"{drug} dose in renal impairment", lambda name: plain(name) == plain(drug))
    for row in rows(results(observation)[0], "dose_adjustments"):
        low, high = row["low"], row["high"]
        if (
            row["metric"] == metric
            and isinstance(low, (int, float))
            and isinstance(high, (int, float))
            and low <= value < high
        ):
            exact = [option for option in options.values() if option == row["adjustment"]]
            if exact:
                return exact[0]
    return next(iter(options.values()))


_FAMILIES: dict[str, Callable[[tuple[str, ...], dict[str, str]], Ask]] = {
    "identify": _identify,
    "confirm": _confirm,
    "first_line": _first_line,
    "interaction": _interaction,
    "antidote": _antidote,
    "pregnancy": _pregnancy,
    "dosing": _dosing,
}
