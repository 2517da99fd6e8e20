"""Policies behind servers: one OpenAI-compatible endpoint or several, with or without token ids.

`ServedEngine` is the sampler of `LocalChatModel` over vLLM; `EndpointPool` spreads episodes and bridges restarts.
"""

from .endpoint import Endpoint, EndpointBusy, EndpointDown, ServerError
from .engine import LogprobsMode, ServedEngine
from .pool import EndpointPool

__all__ = ["Endpoint", "EndpointBusy", "EndpointDown", "EndpointPool", "LogprobsMode", "ServedEngine", "ServerError"]
