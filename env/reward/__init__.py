"""The reward: what an episode earned, from its state. One function for env, training and evaluation."""

from .compose import WEIGHTS, Reward, compose
from .score import score

__all__ = ["WEIGHTS", "Reward", "compose", "score"]
