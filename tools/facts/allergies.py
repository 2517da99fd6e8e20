"""Whether a recorded allergy speaks against a drug.

Owns the reading of a recorded allergen ("penicillin", "TMP-SMX rash", "heparin (HIT)") and the search for the row of
the cross-reactivity table that covers a drug. Promises to say the level, the basis, the source and the certainty, and
never to invent a percentage. What the cells mean in agents stands in `data/allergy_terms.csv`.
"""

from dataclasses import dataclass
from functools import cache

from .drugs import classes_of, members, resolve
from .names import canonical, class_keys, name_key
from .reader import FactError, read_rows
from .rows import AllergyFact
from .tables import allergy_facts, drug_classes

SAME_DRUG, SAME_CLASS = "same drug", "same class"
_ORDER = (SAME_DRUG, "certain", "high", "high for cetuximab", "moderate-high", SAME_CLASS, "moderate")
_ORDER_BELOW = ("relevant", "low", "very low", "none")
# Classes whose members share the structure that an allergic patient reacts to, where the table gives no estimate.
_STRUCTURAL = (
    "carbapenems", "macrolides", "fluoroquinolones", "tetracyclines", "aminoglycosides",
    "sulfonamide antibiotics", "penicillins", "other penicillins", "low molecular weight heparins",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AllergyConflict:
    """A recorded allergen that speaks against a drug.

    `level` is "same drug", "same class" or the cross-reactivity of the table; `fact` is the row it came from, if any.
    """

    allergen: str
    drug: str
    level: str
    basis: str
    action: str
    source: str
    certainty: str
    fact: AllergyFact | None


@dataclass(frozen=True, slots=True)
class _Term:
    phrase: str
    agents: frozenset[str]
    said_as: tuple[str, ...]
    reaction_words: tuple[str, ...]


@cache
def _terms() -> dict[str, _Term]:
    terms: dict[str, _Term] = {}
    for row in read_rows("allergy_terms.csv"):
        agents: set[str] = set()
        for agent in row.items("agents"):
            group = agent.removeprefix("class:")
            agents |= set(members(group)) if group != agent else {resolve(agent)}
        phrase = row.needed("phrase")
        said = tuple(name_key(word) for word in (phrase, *row.items("said_as")))
        terms[phrase] = _Term(phrase, frozenset(agents), said, tuple(map(name_key, row.items("reaction_words"))))
    for fact in allergy_facts():
        for phrase in (fact.culprit, fact.related_agent):
            if phrase not in terms:
                raise FactError(f"allergy_terms.csv lacks the phrase {phrase!r} of allergy.csv: add a row for it")
    return terms


def _contains(text: str, word: str) -> bool:
    return f" {word} " in f" {text} "


@dataclass(frozen=True, slots=True)
class _Allergen:
    """A recorded allergen, read: its key, the drug or the class that it names."""

    key: str
    drug: str | None
    group: str | None


@cache
def _drug_in(key: str) -> str | None:
    """The drug named by the longest run of words of `key`."""
    words = key.split()
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            drug = canonical(" ".join(words[start : start + length]))
            if drug is not None:
                return drug
    return None


def _class_in(key: str) -> str | None:
    """The drug class that the key names, in the plural, or in the singular unless that is a drug ("heparin")."""
    for candidate, name in sorted(class_keys().items(), key=lambda item: -len(item[0])):
        single = candidate.removesuffix("s")
        if _contains(key, candidate) or (_contains(key, single) and canonical(single) is None):
            return name
    return None


def _read(allergen: str) -> _Allergen:
    key = name_key(allergen)
    group = _class_in(key)
    return _Allergen(key, None if group else _drug_in(key), group)


def _culprit_covers(fact: AllergyFact, allergen: _Allergen) -> bool:
    term = _terms()[fact.culprit]
    if any(_contains(allergen.key, said) for said in term.said_as):
        return True
    if allergen.group is not None:
        group = frozenset(members(allergen.group))
        return bool(group) and group <= term.agents
    return allergen.drug in term.agents


def _reaction(fact: AllergyFact, allergen: _Allergen) -> bool | None:
    """Whether the record names the reaction that the row is about; None where the row is about any reaction."""
    words = _terms()[fact.culprit].reaction_words
    return any(_contains(allergen.key, word) for word in words) if words else None


def _certainty(fact: AllergyFact, allergen: _Allergen) -> str:
    """The row's certainty; medium at best where the row is about one kind of reaction that the record does not name."""
    return "medium" if fact.certainty == "high" and _reaction(fact, allergen) is False else fact.certainty


def _from_table(text: str, allergen: _Allergen, drug: str) -> list[AllergyConflict]:
    """The rows that link allergen and drug; a row about another reaction gives way to one about the reaction named."""
    facts = [
        fact
        for fact in allergy_facts()
        if drug in _terms()[fact.related_agent].agents and _culprit_covers(fact, allergen)
    ]
    if any(_reaction(fact, allergen) for fact in facts):
        facts = [fact for fact in facts if _reaction(fact, allergen) is not False]
    found: list[AllergyConflict] = []
    for fact in facts:
        basis = "; ".join(part for part in (fact.estimate, fact.basis) if part)
        certainty = _certainty(fact, allergen)
        level = fact.cross_reactivity
        found.append(AllergyConflict(text, drug, level, basis, fact.action, fact.source, certainty, fact))
    return found


def _recorded_class(text: str, allergen: _Allergen, drug: str) -> AllergyConflict | None:
    if allergen.group is None or drug not in members(allergen.group):
        return None
    basis = f"{drug} belongs to the recorded class, {allergen.group}"
    row = next(row for row in drug_classes() if row.name == allergen.group)
    return AllergyConflict(text, drug, SAME_CLASS, basis, "avoid", row.source, row.certainty, None)


def _same_structure(text: str, allergen: _Allergen, drug: str) -> AllergyConflict | None:
    if allergen.drug is None:
        return None
    for row in drug_classes():
        if row.name in _STRUCTURAL and row.name in classes_of(drug) and row.name in classes_of(allergen.drug):
            basis = f"both are {row.name}; the tables give no estimate"
            return AllergyConflict(text, drug, SAME_CLASS, basis, "avoid or seek advice", row.source, "medium", None)
    return None


def _said_so(text: str, allergen: _Allergen, drug: str) -> AllergyConflict | None:
    """A conflict where the recorded word itself ("sulfa", "penicillin") stands for a group that holds the drug."""
    for fact in allergy_facts():
        term = _terms()[fact.culprit]
        if drug in term.agents and any(_contains(allergen.key, said) for said in term.said_as):
            basis = f"{drug} is among the agents recorded as {fact.culprit}"
            return AllergyConflict(
                text, drug, SAME_CLASS, basis, "avoid", fact.source, _certainty(fact, allergen), fact
            )
    return None


def _strength(link: AllergyConflict) -> tuple[bool, bool, int]:
    """A sort key: links that speak against the drug first, then certain ones, then by level."""
    return link.level not in _ORDER, link.certainty != "high", (*_ORDER, *_ORDER_BELOW).index(link.level)


def allergy_relation(allergen: str, drug: str) -> AllergyConflict | None:
    """The strongest link between a recorded allergen and a drug, however weak ("very low", "none"); None if unknown.

    Args:
        allergen: as recorded, with or without the reaction: "penicillin", "heparin (HIT)", "lisinopril angio-oedema".
        drug: any name that `canonical` knows.

    Raises:
        UnknownDrug: if no table knows `drug`.
    """
    known = resolve(drug)
    read = _read(allergen)
    if read.drug == known:
        basis, source = "the drug itself is recorded as an allergen", "the patient's record"
        return AllergyConflict(allergen, known, SAME_DRUG, basis, "avoid", source, "high", None)
    recorded = (_said_so(allergen, read, known), _recorded_class(allergen, read, known))
    found = [*_from_table(allergen, read, known), *(link for link in recorded if link is not None)]
    if not found:
        return _same_structure(allergen, read, known)
    return min(found, key=_strength)


def allergy_conflict(allergen: str, drug: str) -> AllergyConflict | None:
    """The link between a recorded allergen and a drug where it is strong enough to speak against the drug.

    That is the same drug, the same class, or a cross-reactivity from moderate upwards; None otherwise, which for an
    allergen that the tables do not know says nothing about safety.

    Raises:
        UnknownDrug: if no table knows `drug`.
    """
    link = allergy_relation(allergen, drug)
    return link if link is not None and link.level in _ORDER else None
