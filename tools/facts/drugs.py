"""Questions about drugs, answered from the fact tables.

Owns the expansion of classes: which drugs a class row covers, which interactions two drugs have, which rows of the
pregnancy, dose and dosing tables speak of a drug. Names may be written in any way that `canonical` knows. An unknown
name raises `UnknownDrug` with the nearest names; a known drug about which the tables are silent gives an empty answer,
which says nothing about safety. Allergies are left to `allergies`.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .names import SUBSTANCES, agents_of, canonical, class_keys, class_of_entry, known_drugs, name_key
from .rows import SEVERITIES, DosingRule, Interaction, MaxDose, PkRole, PregnancyFact
from .tables import dosing_rules, drug_classes, interactions, max_doses, pk_roles, pregnancy_facts

TRIPLE_WHAMMY = "ACE inhibitors plus diuretics (triple whammy)"
DIURETICS = ("loop diuretics", "thiazide diuretics", "potassium-sparing diuretics")


class UnknownDrug(KeyError):
    """No table knows this drug or class; `nearest` are the closest known names."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        by_lower = {candidate.lower(): candidate for candidate in known}
        close = difflib.get_close_matches(name.strip().lower(), by_lower, n=3, cutoff=0.6)
        self.nearest = tuple(by_lower[candidate] for candidate in close)
        super().__init__(name)

    def __str__(self) -> str:
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else "; give the generic name"
        return f"{self.name!r} is not in the fact tables{hint}"


def resolve(name: str) -> str:
    """The canonical name of a drug or substance.

    Raises:
        UnknownDrug: if no table knows it.
    """
    drug = canonical(name)
    if drug is None:
        raise UnknownDrug(name, (*known_drugs(), *SUBSTANCES))
    return drug


@cache
def _members() -> dict[str, tuple[str, ...]]:
    rows = {row.name: row.members for row in drug_classes()}

    def expand(entry: str) -> list[str]:
        if entry in rows:
            return [agent for member in rows[entry] for agent in expand(member)]
        return [canonical(agent) or agent for agent in agents_of(entry)]

    return {name: tuple(dict.fromkeys(expand(name))) for name in rows}


def members(name: str) -> tuple[str, ...]:
    """The canonical single agents of a class, nested classes expanded, in table order.

    Raises:
        UnknownDrug: if there is no such class.
    """
    known = class_keys().get(name_key(name))
    if known is None:
        raise UnknownDrug(name, (row.name for row in drug_classes()))
    return _members()[known]


def classes_of(drug: str) -> tuple[str, ...]:
    """The classes that `drug` belongs to, directly or through a nested class, in table order."""
    known = resolve(drug)
    return tuple(name for name, agents in _members().items() if known in agents)


@cache
def _agents(entry: str) -> frozenset[str]:
    """The canonical agents that a table entry, drug or class, covers."""
    group = class_of_entry(entry)
    if group is not None:
        return frozenset(_members()[group])
    return frozenset(canonical(agent) or agent for agent in agents_of(entry))


@cache
def _sides() -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """For each interaction row, the agents that its two sides cover; a condition covers none."""
    return tuple(
        (
            frozenset[str]() if row.kinds[0] == "condition" else _agents(row.drug_a),
            frozenset[str]() if row.kinds[1] == "condition" else _agents(row.drug_b),
        )
        for row in interactions()
    )


@cache
def _rows_naming() -> dict[str, tuple[int, ...]]:
    """For each agent, the positions of the interaction rows that cover it on either side."""
    naming: dict[str, list[int]] = {}
    for position, (first, second) in enumerate(_sides()):
        for agent in first | second:
            naming.setdefault(agent, []).append(position)
    return {agent: tuple(positions) for agent, positions in naming.items()}


def _rank(row: Interaction) -> tuple[int, int, str]:
    """Most severe first, then the row that names more single agents, then the id."""
    return SEVERITIES.index(row.severity), row.kinds.count("class"), row.id


def _covering(a: str, b: str, *, with_diuretic: bool) -> tuple[Interaction, ...]:
    if a == b:
        return ()
    found: list[Interaction] = []
    for position in _rows_naming().get(a, ()):
        row, (first, second) = interactions()[position], _sides()[position]
        if row.drug_a == TRIPLE_WHAMMY and not with_diuretic:
            continue
        if (a in first and b in second) or (b in first and a in second):
            found.append(row)
    return tuple(sorted(found, key=_rank))


def interactions_between(a: str, b: str) -> tuple[Interaction, ...]:
    """The rows that cover the pair, classes expanded, in either order; most severe first, named agents before classes.

    A drug does not interact with itself. The triple of RAS blocker, NSAID and diuretic needs all three: see
    `interactions_among`.

    Raises:
        UnknownDrug: if no table knows one of the two.
    """
    return _covering(resolve(a), resolve(b), with_diuretic=False)


@dataclass(frozen=True, slots=True)
class DrugPair:
    """Two canonical drugs of a list, and a row that covers them."""

    a: str
    b: str
    interaction: Interaction


def interactions_among(drugs: Iterable[str]) -> tuple[DrugPair, ...]:
    """All interactions within a medication list, most severe first; repeats of a drug count once.

    Raises:
        UnknownDrug: if no table knows one of the drugs.
    """
    listed = sorted({resolve(drug) for drug in drugs})
    diuretic = any(drug in members(group) for group in DIURETICS for drug in listed)
    found = [
        DrugPair(a, b, row)
        for position, a in enumerate(listed)
        for b in listed[position + 1 :]
        for row in _covering(a, b, with_diuretic=diuretic)
    ]
    return tuple(sorted(found, key=lambda pair: (*_rank(pair.interaction), pair.a, pair.b)))


def condition_interactions(drug: str) -> tuple[Interaction, ...]:
    """The rows that set `drug` against a condition of the patient ("asthma"), most severe first."""
    known = resolve(drug)
    rows = (interactions()[position] for position in _rows_naming().get(known, ()))
    return tuple(sorted((row for row in rows if "condition" in row.kinds), key=_rank))


def interactions_of(drug: str) -> tuple[DrugPair, ...]:
    """Every agent that `drug` interacts with, `drug` first in each pair, most severe first; one pair for each row.

    Raises:
        UnknownDrug: if no table knows the drug.
    """
    known = resolve(drug)
    found: list[DrugPair] = []
    for position in _rows_naming().get(known, ()):
        row, (first, second) = interactions()[position], _sides()[position]
        if row.drug_a == TRIPLE_WHAMMY:
            continue
        others = (second if known in first else frozenset[str]()) | (first if known in second else frozenset[str]())
        found += [DrugPair(known, other, row) for other in others if other != known]
    return tuple(sorted(found, key=lambda pair: (*_rank(pair.interaction), pair.b)))


def pregnancy_of(drug: str) -> tuple[PregnancyFact, ...]:
    """The pregnancy rows for `drug`, its own row before those of its classes."""
    known = resolve(drug)
    rows = [row for row in pregnancy_facts() if known in _agents(row.drug)]
    return tuple(sorted(rows, key=lambda row: class_of_entry(row.drug) is not None))


def _route_words(route: str) -> set[str]:
    return set(name_key(route).split())


def max_dose_of(drug: str, route: str | None = None) -> tuple[MaxDose, ...]:
    """The dose limits for `drug`, for all populations; `route` ("IV", "oral") narrows them."""
    known = resolve(drug)
    rows = (row for row in max_doses() if known in _agents(row.drug))
    if route is None:
        return tuple(rows)
    wanted = _route_words(route) or {""}
    return tuple(row for row in rows if wanted <= _route_words(row.route))


def dosing_of(drug: str) -> tuple[DosingRule, ...]:
    """The renal, hepatic and neonatal dose rules for `drug`, its own before those of its classes."""
    known = resolve(drug)
    rows = [row for row in dosing_rules() if known in _agents(row.drug)]
    return tuple(sorted(rows, key=lambda row: class_of_entry(row.drug) is not None))


def pk_roles_of(drug: str) -> tuple[PkRole, ...]:
    """The enzyme and transporter roles of `drug`, its own before those of its classes."""
    known = resolve(drug)
    rows = [row for row in pk_roles() if known in _agents(row.drug)]
    return tuple(sorted(rows, key=lambda row: class_of_entry(row.drug) is not None))
