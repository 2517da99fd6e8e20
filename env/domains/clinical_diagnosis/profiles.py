"""How each condition presents: the rows of `conditions.toml`, validated. Generator and oracle share them.

A profile is medical knowledge, not the key of a case: which patient has which condition is drawn in `cases.py`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Lines = Annotated[list[str], Field(min_length=1)]
VITALS = ("heart_rate", "systolic_bp", "diastolic_bp", "respiratory_rate", "temperature_c", "spo2")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Decisive(_Row):
    """The test that settles the condition, and how it reads: report texts, or a range of values."""

    test: str
    result: list[str] = []
    value: Range | None = None


class Plan(_Row):
    """First-line management: groups of phrases, any of a group states that step; and what is wrong here."""

    first_line: Annotated[list[Lines], Field(min_length=1)]
    avoid: list[str] = []


class Profile(_Row):
    """One condition's presentation; see `conditions.toml`."""

    names: Lines
    age: tuple[int, int]
    sex: Literal["any", "male", "female"]
    complaint: Lines
    opening: Lines
    exam: Lines
    background: list[str] = []
    home_medications: list[str] = []
    family: list[str] = []
    social: list[str] = []
    vitals: dict[str, Range]
    labs: dict[str, Range]
    history: dict[str, str]
    symptoms: dict[str, str]
    decisive: Decisive
    supporting: dict[str, str | Range] = {}
    plan: Plan
    key_findings: Lines


@cache
def profiles() -> dict[str, Profile]:
    """Profiles by disease id, in file order; raises pydantic's `ValidationError` naming row and field."""
    text = (Path(__file__).parent / "conditions.toml").read_text(encoding="utf-8")
    return {name: Profile.model_validate(row) for name, row in tomllib.loads(text).items()}
