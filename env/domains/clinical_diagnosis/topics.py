"""What a question to the patient is about: words per topic, and the topics that every patient can answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ....tools.record import Chart
from ...task import Question

TOPIC_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onset": (
            "when",
            "start",
            "started",
            "begin",
            "began",
            "onset",
            "how long",
            "sudden",
            "suddenly",
            "come on",
            "first notice",
        ),
        "location": ("where", "location", "which part", "point to"),
        "character": (
            "what kind",
            "what is it like",
            "describe",
            "feel like",
            "character",
            "type of pain",
            "sharp",
            "dull",
        ),
        "radiation": ("spread", "radiate", "radiation", "go anywhere", "move anywhere", "travel to"),
        "severity": ("how bad", "severe", "severity", "scale", "out of ten", "how strong"),
        "aggravating": ("worse", "aggravate", "aggravating", "bring it on", "brings it on", "trigger"),
        "relieving": ("better", "relieve", "relieving", "help", "helps", "ease"),
        "associated": (
            "other symptom",
            "anything else",
            "else",
            "associated",
            "along with",
            "other problem",
            "other complaint",
        ),
        "previous_episodes": ("before", "ever had", "previous", "previously", "happened before", "earlier episode"),
        "recent_events": (
            "recent",
            "recently",
            "lately",
            "lead up",
            "injury",
            "surgery",
            "operation",
            "illness",
            "what happened",
            "change in",
        ),
        "travel": ("travel", "travelled", "trip", "abroad", "flight"),
        "exposure": ("exposed", "exposure", "contact with", "sick contact", "anyone ill", "anyone sick", "animal"),
        "menstrual": ("period", "menstrual", "pregnant", "pregnancy", "missed"),
        "urinary": ("urine", "urinary", "pass water", "urinating", "peeing"),
        "bowel": ("bowel", "stool", "motion", "diarrhoea", "constipation"),
        "weight": ("weight", "appetite", "eating"),
        "sleep": ("sleep", "sleeping", "wake"),
        "mood": ("mood", "feeling low", "worried", "anxious"),
    }
)


def general_questions(chart: Chart) -> tuple[Question, ...]:
    """Past history, drugs, allergies, family and habits, from the chart."""
    problems = ", ".join(row.name for row in chart.problems) or "nothing serious"
    drugs = ", ".join(row.drug for row in chart.medications) or "nothing regular"
    allergies = ", ".join(f"{row.allergen} ({row.reaction})" for row in chart.allergies) or "none that I know of"
    return (
        Question(
            "past_history",
            ("medical history", "past history", "conditions", "diagnosed", "health problem", "medical problem"),
            f"I have been treated for {problems}.",
        ),
        Question(
            "medications",
            ("medication", "medicine", "tablets", "pills", "drugs", "taking", "prescription"),
            f"I take {drugs}.",
        ),
        Question("allergies", ("allergy", "allergies", "allergic", "reaction to"), f"Allergies: {allergies}."),
        Question("family", ("family", "parents", "mother", "father", "runs in"), chart.family_history),
        Question(
            "social", ("smoke", "smoking", "alcohol", "drink", "job", "work", "live", "home"), chart.social_history
        ),
    )
