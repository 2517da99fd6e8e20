"""Records from elsewhere: a FHIR R4 Bundle, or the project's own JSON, as a chart, and what it does not hold."""

from ..chart_json import ChartError
from .bundle import read_bundle
from .intake import Intake, Remark
from .source import read_record

__all__ = ["ChartError", "Intake", "Remark", "read_bundle", "read_record"]
