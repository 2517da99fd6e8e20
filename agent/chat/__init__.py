"""Policies as LangChain chat models for anybody's app: tool calling, streaming, structured output, token ids.

`load_policy` gives the model of a folder (in this process) or of a server's address. Both put what training needs
into `response_metadata`: `prompt_token_ids`, `token_ids` and `logprobs`.
"""

from .loading import load_policy

__all__ = ["load_policy"]
