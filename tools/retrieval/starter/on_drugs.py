"""The passages on drugs: classes, kinetics, dose rules, dose limits, pregnancy, lactation, allergy, antidotes."""

from collections.abc import Iterator

from ...facts import (
    DosingRule,
    MaxDose,
    PkRole,
    PregnancyFact,
    aliases_of,
    allergy_facts,
    antidotes,
    classes_of,
    dosing_rules,
    drug_classes,
    interactions_of,
    known_drugs,
    max_doses,
    pk_roles,
    pregnancy_facts,
)
from ..passage import Passage
from .prose import listing, passage, slug, spell

_ROLES = {
    "inhibitor": "inhibits",
    "inducer": "induces",
    "substrate": "depends on",
    "prodrug": "is a prodrug activated by",
}
_UNITS = {"CrCl": "creatinine clearance (mL/min)", "eGFR": "eGFR (mL/min/1.73 m2)", "creatinine": "creatinine (mg/dL)"}
_CONSEQUENCE = {
    "inhibitor": "Drugs that are cleared this way rise in level when it is added, and fall again when it is stopped",
    "inducer": "Drugs that are cleared this way fall in level while it is given, and rise again after it is stopped",
    "substrate": "Its own level rises with an inhibitor of this route and falls with an inducer of it",
    "prodrug": "An inhibitor of this step takes away the effect, and a fast metaboliser gets too much of it",
}
_SEEN_WITH = 8


def _overview(drug: str) -> Passage | None:
    """What a drug is filed under and interacts with; None where the tables say neither."""
    groups = [row for row in drug_classes() if row.name in classes_of(drug)]
    pairs = interactions_of(drug)
    others = list(dict.fromkeys(pair.b for pair in pairs))
    if not groups and not others:
        return None
    shown = others[:_SEEN_WITH]
    behind = [row.certainty for row in groups] + [pair.interaction.certainty for pair in pairs if pair.b in shown]
    agents = "agent" if len(others) == 1 else "agents"
    return passage(
        f"drug-{slug(drug)}",
        f"{drug}: drug overview",
        [
            f"{drug} is filed under {listing(row.name for row in groups)}"
            if groups
            else f"{drug} is filed under no class of its own",
            f"It is also called {listing(aliases_of(drug), 'or')}" if aliases_of(drug) else "",
            f"It interacts with {len(others)} {agents} in these tables, the most serious first: {listing(shown)}"
            if others
            else "These tables list no interaction for it, which does not mean that there is none",
            "Before it is prescribed, check the patient's other medicines, allergies, renal and hepatic function, "
            "and pregnancy",
        ],
        document=drug,
        section="overview",
        source="the drug and interaction tables of medgym",
        kind="drug",
        certainty="high" if set(behind) == {"high"} else "medium",
    )


def _overviews() -> Iterator[Passage]:
    for drug in known_drugs():
        overview = _overview(drug)
        if overview is not None:
            yield overview


def _classes() -> Iterator[Passage]:
    for row in drug_classes():
        yield passage(
            f"class-{slug(row.name)}",
            f"{row.name}: members of the class",
            [
                f"The class {row.name} comprises {listing(row.members)}",
                f"Its ATC code is {listing(row.atc)}" if row.atc else "It is a composite group without an ATC code",
                f"Note: {row.note}" if row.note else "",
                "A statement about the class holds for each member unless a row on that member says otherwise",
            ],
            document=row.name,
            section="members",
            source=row.source,
            kind="drug",
            certainty=row.certainty,
        )


def _kinetics(row: PkRole) -> Passage:
    return passage(
        f"pk-{slug(row.drug)}-{row.role}-{slug(row.target)}",
        f"{row.drug}: {row.role}, {row.target}",
        [
            f"{row.drug} {_ROLES[row.role]} {row.target}; the strength or sensitivity is given as: {row.strength}",
            _CONSEQUENCE[row.role],
        ],
        document=row.drug,
        section="kinetics",
        source=row.source,
        kind="drug",
        certainty=row.certainty,
    )


def _band(row: DosingRule) -> str:
    if row.low is not None and row.high is not None:
        unit = _UNITS[row.metric]
        return f"{unit} below {row.high:g}" if row.low == 0 else f"{unit} from {row.low:g} to below {row.high:g}"
    if row.grades:
        return f"Child-Pugh class {listing(row.grades, 'or')}"
    return {"criteria": "the criteria named in the rule", "any": "any degree of impairment"}.get(
        row.qualifier, row.qualifier
    )


def _dosing(number: int, row: DosingRule) -> Passage:
    band = _band(row)
    return passage(
        f"dose-{slug(row.drug)}-{row.organ}-{number}",
        f"{row.drug}: dose in {row.organ} impairment" if row.organ != "neonate" else f"{row.drug}: use in neonates",
        [
            f"The usual adult dose of {row.drug} is {spell(row.usual_adult_dose)}",
            f"With {band} the rule is: {spell(row.adjustment)}",
            f"The reason is {spell(row.rationale)}",
            "Measure again when the patient's condition changes, since the band may change with it",
        ],
        document=row.drug,
        section=f"{row.organ} dosing",
        source=row.source,
        kind="dosing",
        certainty=row.certainty,
    )


def _limit(number: int, row: MaxDose) -> Passage:
    def amount(text: str) -> str:
        return f"{text} {row.unit}" if text.replace(".", "").isdigit() else text

    return passage(
        f"max-{slug(row.drug)}-{number}",
        f"{row.drug}: maximum dose, {row.route}, {row.population}",
        [
            f"The largest single dose of {row.drug} by the {row.route} route in the population {spell(row.population)} "
            f"is {spell(amount(row.max_single))}, and the largest daily dose is {spell(amount(row.max_daily))}",
            f"Note: {spell(row.note)}" if row.note else "",
            "An order above either limit is questioned before it is given",
        ],
        document=row.drug,
        section="maximum dose",
        source=row.source,
        kind="dosing",
        certainty=row.certainty,
    )


def _pregnancy(row: PregnancyFact) -> Iterator[Passage]:
    category = f"; the former FDA category was {row.legacy_fda_category}" if row.legacy_fda_category else ""
    period = f"Timing or point to watch: {spell(row.critical_period)}" if row.critical_period else ""
    other = f"Alternatives or advice: {row.safer_alternative}" if row.safer_alternative else ""
    sections = (
        ("pregnancy", f"{row.drug} in pregnancy", [
            f"The pregnancy risk of {row.drug} ({row.drug_class}) is given as {row.pregnancy_risk}{category}",
            spell(row.pregnancy_note),
            period,
            other,
            "Weigh the untreated illness against the drug, and ask about pregnancy before it is prescribed",
        ]),
        ("lactation", f"{row.drug} while breast-feeding", [
            f"For breast-feeding, {row.drug} ({row.drug_class}) is rated as follows: {row.lactation}",
            spell(row.lactation_note),
            "Watch the infant for effects of the drug, most closely in the first weeks and after preterm birth",
        ]),
    )  # fmt: skip
    for section, title, sentences in sections:
        yield passage(
            f"preg-{slug(row.drug)}-{section}",
            title,
            sentences,
            document=row.drug,
            section=section,
            source=row.source,
            kind="pregnancy",
            certainty=row.certainty,
        )


def _allergies() -> Iterator[Passage]:
    for row in allergy_facts():
        culprit = row.culprit.removesuffix(" allergy")
        yield passage(
            f"allergy-{slug(row.culprit)}-to-{slug(row.related_agent)}",
            f"{culprit} allergy and {row.related_agent}",
            [
                f"In a patient with an allergy or reaction to {culprit}, the cross-reactivity or link with "
                f"{row.related_agent} is {row.cross_reactivity} ({spell(row.estimate)})",
                f"The basis is {row.basis}" if row.basis else "",
                f"Recommended action: {row.action}",
                "Record the reaction itself as well as the name of the drug",
            ],
            document=f"Allergy to {culprit}",
            section="cross-reactivity",
            source=row.source,
            kind="allergy",
            certainty=row.certainty,
        )


def _antidotes() -> Iterator[Passage]:
    for row in antidotes():
        sections = (
            ("antidote", f"{row.toxin}: antidote", [
                f"The antidote or specific treatment for {row.toxin} is {row.antidote}",
                f"Adult dose: {spell(row.adult_dose)}",
                f"It is given for {spell(row.indication)}",
                "Airway, breathing and circulation come first, and a poison centre can be called at any hour",
            ]),
            ("recognition", f"{row.toxin}: how to recognise it", [
                f"What gives {row.toxin} away is {spell(row.clue)}",
                f"Treatment is called for when there is {spell(row.indication)}; it consists of {row.antidote}",
                "Ask for the time and the amount of exposure, and look for a second agent",
            ]),
        )  # fmt: skip
        for section, title, sentences in sections:
            yield passage(
                f"antidote-{slug(row.toxin)}-{section}",
                title,
                sentences,
                document=row.toxin,
                section=section,
                source=row.source,
                kind="antidote",
                certainty=row.certainty,
            )


def drug_passages() -> Iterator[Passage]:
    """The passages on drugs and classes, table by table."""
    yield from _overviews()
    yield from _classes()
    yield from map(_kinetics, pk_roles())
    for number, rule in enumerate(dosing_rules(), start=1):
        yield _dosing(number, rule)
    for number, limit in enumerate(max_doses(), start=1):
        yield _limit(number, limit)
    for fact in pregnancy_facts():
        yield from _pregnancy(fact)
    yield from _allergies()
    yield from _antidotes()
