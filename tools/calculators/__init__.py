"""Published clinical scores as pure functions with citation, inputs, units, range and bands.

`calculators()` lists them, `find("CURB-65")` gets one, and calling it returns a `Score` or refuses with an error that
says what is missing (`MissingInput`) or wrong (`BadInput`). Nothing is ever guessed.
"""

from .calculator import Band, Calculator, Outcome, Score
from .inputs import BadInput, CalculatorError, Input, MissingInput, Value
from .registry import UnknownCalculator, calculators, find

__all__ = [
    "BadInput",
    "Band",
    "Calculator",
    "CalculatorError",
    "Input",
    "MissingInput",
    "Outcome",
    "Score",
    "UnknownCalculator",
    "Value",
    "calculators",
    "find",
]
