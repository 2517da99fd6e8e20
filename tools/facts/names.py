"""What a drug is called: one canonical name for every spelling, synonym, brand and written order.

Owns the vocabulary of single agents. Canonical names are the international names that the tables use, without the
synonym or qualifier in parentheses ("paracetamol", "iron"). A name that is not known gives None, never a guess; a
class ("penicillins") is not a drug.
"""

import re
import unicodedata
from functools import cache

from .reader import FactError, read_rows
from .tables import dosing_rules, drug_classes, interactions, max_doses, pk_roles, pregnancy_facts

SUBSTANCES = frozenset({"alcohol", "tobacco smoking", "grapefruit juice", "tyramine-rich food", "salt substitutes"})

# Words of a written order that say how a drug is given, not which drug it is.
_ORDER_WORDS = frozenset(
    word
    for line in (
        "oral orally po iv im sc sq subcut subcutaneous intravenous intramuscular intranasal inhaled",
        "nebulised nebulized neb topical rectal pr sublingual sl ophthalmic transdermal injection infusion",
        "tablet tablets tab tabs capsule capsules cap caps solution suspension syrup cream inhaler patch",
        "drops xr xl sr er ir cr la mr ec dr extended release modified immediate sustained daily once twice",
        "od bd bid tds tid qds qid qd hs prn nightly weekly stat hourly mg mcg ug g gram grams ml l unit",
        "units iu mmol meq kg day days week weeks for low high dose doses per load loading bolus systemic",
        "plain treatment prophylaxis every hour hours h min x",
    )
    for word in line.split()
)
_DOSE = re.compile(r"\d+(?:[.,]\d+)*(?:mg|mcg|ug|g|ml|iu|units|mmol|meq|h)?|q\d+h|\d+x")
_TOKEN = re.compile(r"[a-z0-9]+")
_PAREN = re.compile(r"\(([^()]*)\)")
# Parentheses in the tables that hold a second name of the same drug; all others hold a route or an indication.
_SYNONYMS = frozenset(
    {"acetaminophen", "meperidine", "albuterol", "nitroglycerin", "glibenclamide"}
    | {"norepinephrine", "epinephrine", "methylergonovine"}
)
# Table entries that name more than one agent, or one by its salt, formulation or use.
_COMPOSITE = {
    "methadone or buprenorphine": ("methadone", "buprenorphine"),
    "MMR and varicella vaccine": ("MMR vaccine", "varicella vaccine"),
    "MMR": ("MMR vaccine",),
    "varicella": ("varicella vaccine",),
    "yellow fever": ("yellow fever vaccine",),
    "BCG": ("BCG vaccine",),
    "oral typhoid": ("oral typhoid vaccine",),
    "live influenza nasal": ("live nasal influenza vaccine",),
    "influenza (inactivated), Tdap, RSV vaccine": ("influenza vaccine", "Tdap", "RSV vaccine"),
    "gadolinium contrast group I": ("gadolinium contrast",),
    "inhaled budesonide": ("budesonide",),
    "ethinylestradiol with progestogen": ("ethinylestradiol",),
    "metoprolol succinate": ("metoprolol",),
    "lithium carbonate": ("lithium",),
    "insulin regular (DKA)": ("insulin",),
    "venlafaxine XR": ("venlafaxine",),
    "bupropion XL": ("bupropion",),
    "tramadol IR": ("tramadol",),
    "alcohol (excess)": ("alcohol",),
}


def name_key(name: str) -> str:
    """The comparison key of a name: lower case letters and digits, words joined by one space, accents dropped."""
    folded = unicodedata.normalize("NFKD", name).replace("µ", "u").replace("μ", "u")
    plain = "".join(mark for mark in folded if not unicodedata.combining(mark)).lower()
    return " ".join(_TOKEN.findall(re.sub(r"['’`]", "", plain)))


def agents_of(entry: str) -> tuple[str, ...]:
    """The canonical single agents that a table entry such as "enoxaparin (treatment)" stands for."""
    if entry in _COMPOSITE:
        return _COMPOSITE[entry]
    return (_PAREN.sub("", entry).strip(),)


@cache
def class_keys() -> dict[str, str]:
    """Class names by their keys, with the name without its parentheses where no other class has that name."""
    keys = {name_key(row.name): row.name for row in drug_classes()}
    for row in drug_classes():
        keys.setdefault(name_key(_PAREN.sub("", row.name)), row.name)
    return keys


@cache
def class_of_entry(entry: str) -> str | None:
    """The class that a table entry names ("opioids (short course)" is opioids); None for a drug."""
    keys = class_keys()
    return keys.get(name_key(entry)) or keys.get(name_key(_PAREN.sub("", entry)))


def _entries() -> list[str]:
    """Every cell of the tables that may name a drug."""
    found: list[str] = []
    for row in interactions():
        found += [name for name, kind in zip((row.drug_a, row.drug_b), row.kinds, strict=True) if kind != "condition"]
    found += [member for group in drug_classes() for member in group.members]
    found += [row.drug for row in (*pk_roles(), *dosing_rules(), *max_doses(), *pregnancy_facts())]
    for row in read_rows("allergy_terms.csv"):
        found += [agent for agent in row.items("agents") if not agent.startswith("class:")]
    return found


@cache
def _by_key() -> dict[str, str]:
    """Canonical names by key.

    Raises:
        FactError: if an alias stands for two drugs.
    """
    keys: dict[str, str] = {}
    for entry in _entries():
        if class_of_entry(entry):
            continue
        for agent in agents_of(entry):
            keys.setdefault(name_key(agent), agent)
        if len(agents_of(entry)) == 1:
            keys.setdefault(name_key(entry), agents_of(entry)[0])
        keys.update({name_key(alias): agents_of(entry)[0] for alias in _PAREN.findall(entry) if alias in _SYNONYMS})
    for row in read_rows("drug_aliases.csv"):
        drug = keys.setdefault(name_key(row.needed("drug")), row.needed("drug"))
        for alias in row.items("aliases"):
            if keys.setdefault(name_key(alias), drug) != drug:
                raise FactError(f"drug_aliases.csv, row {row.line}: {alias!r} already means {keys[name_key(alias)]!r}")
    for drug in set(keys.values()):  # "oral typhoid vaccine" is found without "oral", too
        if bare := _without_order_words(name_key(drug)):
            keys.setdefault(bare, drug)
    return keys


def _without_order_words(key: str) -> str:
    words = key.split()
    return " ".join(word for word in words if word not in _ORDER_WORDS and not _DOSE.fullmatch(word))


def canonical(name: str) -> str | None:
    """The canonical name of a drug, however it is written; None if it is not known.

    Case, punctuation, accents, common synonyms and brands, and dose, route and formulation words do not matter:
    "Acetaminophen 500 mg oral", "TYLENOL" and "paracetamol" are all "paracetamol".
    """
    keys = _by_key()
    bare = _PAREN.sub(" ", name)
    for text in (name, bare):
        key = name_key(text)
        for candidate in (key, _without_order_words(key)):
            if candidate in keys:
                return keys[candidate]
    return None


@cache
def _aliases() -> dict[str, tuple[str, ...]]:
    return {_by_key()[name_key(row.needed("drug"))]: row.items("aliases") for row in read_rows("drug_aliases.csv")}


def aliases_of(drug: str) -> tuple[str, ...]:
    """Other names of a drug, synonyms before brands; empty if none is listed or the drug is not known."""
    known = canonical(drug)
    return () if known is None else _aliases().get(known, ())


@cache
def known_drugs() -> tuple[str, ...]:
    """The canonical names of all single agents that any table names, sorted; substances and food are left out."""
    return tuple(sorted(set(_by_key().values()) - SUBSTANCES, key=str.lower))
