"""Policies: whoever answers for the agent, each as a LangChain chat model.

`expert`, `random`, `do-nothing`, `dangerous` and the `exploit-*` scripts need nothing; `openai:MODEL` any
OpenAI-compatible endpoint; `local:PATH` a model in this process; `human` a person.
"""

from .factory import Policy, PolicyError, PolicyOptions, PolicyUnavailable, make_policy, policy_names

__all__ = ["Policy", "PolicyError", "PolicyOptions", "PolicyUnavailable", "make_policy", "policy_names"]
