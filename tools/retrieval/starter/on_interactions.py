"""The passages on interactions: one row in full, its management, and each member of a class that the row covers."""

from collections.abc import Iterator

from ...facts import Interaction, aliases_of, drug_classes, interactions, members
from ...facts.drugs import TRIPLE_WHAMMY
from ..passage import Passage
from .prose import listing, passage, slug, spell

_SEVERITY = {
    "contraindicated": "contraindicated: the two must not be given together",
    "major": "a major interaction: avoid it or act before harm is done",
    "moderate": "a moderate interaction: it can be accepted with precautions",
}
_TYPE = {
    "PK": "pharmacokinetic: one changes the level of the other",
    "PD": "pharmacodynamic: their actions add up or oppose each other",
    "PK/PD": "both pharmacokinetic and pharmacodynamic",
    "PD/PK": "both pharmacodynamic and pharmacokinetic",
}
_MEMBERS_SHOWN = 24
_NAMES_SHOWN = 8


def _write(
    row: Interaction, suffix: str, title: str, section: str, sentences: list[str], certainty: str | None = None
) -> Passage:
    return passage(
        f"ddi-{row.id}{suffix}",
        title,
        sentences,
        document=f"{row.drug_a} and {row.drug_b}",
        section=section,
        source=row.source,
        kind="interaction",
        certainty=certainty or row.certainty,
    )


def _ansm(row: Interaction) -> str:
    if row.ansm_2020_level is None:
        return ""
    return f"The French thesaurus of 2020 files the pair under: {row.ansm_2020_level}"


def _other_names(row: Interaction) -> str:
    said = [
        f"{name} is also called {listing(aliases_of(name)[:_NAMES_SHOWN], 'or')}"
        for name, kind in zip((row.drug_a, row.drug_b), row.kinds, strict=True)
        if kind != "class" and aliases_of(name)
    ]
    return "; ".join(said)


def _certainty(row: Interaction, group: str) -> str:
    """That of the row, or of the membership in the class where that is lower."""
    found = next(known.certainty for known in drug_classes() if known.name == group)
    return row.certainty if found == "high" else found


def _row_passages(row: Interaction) -> Iterator[Passage]:
    pair = f"{row.drug_a} with {row.drug_b}"
    yield _write(row, "", f"{row.drug_a} and {row.drug_b}: drug interaction", "interaction", [
        f"The combination of {pair} is {_SEVERITY[row.severity]}",
        f"The effect to expect is {spell(row.effect)}",
        f"The mechanism is {spell(row.mechanism)}",
        f"What to do: {spell(row.management)}",
        _ansm(row),
        _other_names(row),
    ])  # fmt: skip
    yield _write(row, "-management", f"Managing {pair}", "management", [
        f"A patient who takes {row.drug_a} and is to receive {row.drug_b}, or the other way round, needs this step "
        f"first: {spell(row.management)}",
        f"The aim is to prevent {spell(row.effect)}",
        f"The interaction is {_TYPE[row.mechanism_type]}",
    ])  # fmt: skip


def _member_passages(row: Interaction) -> Iterator[Passage]:
    """For a certain row on a class, a passage for each member against the whole other side."""
    names, kinds = (row.drug_a, row.drug_b), row.kinds
    if TRIPLE_WHAMMY in names:  # takes three drugs, so no member of it holds for a pair
        return
    for side in (0, 1):
        if kinds[side] != "class":
            continue
        if side == 1 and names[0] == names[1]:
            continue
        other, other_is_class = names[1 - side], kinds[1 - side] == "class"
        for member in members(names[side]):
            against = [drug for drug in (members(other) if other_is_class else (other,)) if drug != member]
            if not against:
                continue
            shown = listing(against[:_MEMBERS_SHOWN], "or")
            suffix, title = f"-{slug(member)}-with-{slug(other)}", f"{member} and {other}: drug interaction"
            yield _write(row, suffix, title, "member", [
                f"{member}, one of the {names[side]}, together with {shown} is rated {row.severity}",
                f"Giving both risks {spell(row.effect)} through {spell(row.mechanism)}",
                f"For {member} the advice is the same as for its class: {spell(row.management)}",
            ], _certainty(row, names[side]))  # fmt: skip


def interaction_passages() -> Iterator[Passage]:
    """The passages on every interaction row, in table order; classes are expanded only where certainty is high."""
    for row in interactions():
        yield from _row_passages(row)
        if row.certainty == "high":
            yield from _member_passages(row)
