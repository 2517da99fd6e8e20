"""The starter literature: passages that medgym writes from its own fact tables."""

from .corpus import starter_passages

__all__ = ["starter_passages"]
