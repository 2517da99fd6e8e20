"""One patient's record: an immutable chart, and over it a log of events on a simulated clock."""

from .chart import Allergy, Chart, Immunization, LabResult, Latent, Medication, Note, Problem, Vitals
from .record import Event, Order, Record, RecordError

__all__ = [
    "Allergy",
    "Chart",
    "Event",
    "Immunization",
    "LabResult",
    "Latent",
    "Medication",
    "Note",
    "Order",
    "Problem",
    "Record",
    "RecordError",
    "Vitals",
]
