"""Names of the domains, by folder, and their Gymnasium ids. Light: nothing of a domain is loaded."""

from __future__ import annotations

from functools import cache
from pathlib import Path

DOMAINS = Path(__file__).parent / "domains"


@cache
def domain_names() -> tuple[str, ...]:
    """The folders of `env/domains` that hold a `shelf.toml`, sorted."""
    return tuple(sorted(entry.parent.name for entry in DOMAINS.glob("*/shelf.toml")))


def env_id(name: str) -> str:
    """The Gymnasium id of a domain's folder name; parts of one or two letters are acronyms."""
    parts = name.split("_")
    return f"medgym/{''.join(part.upper() if len(part) <= 2 else part.capitalize() for part in parts)}-v1"
