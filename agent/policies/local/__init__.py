"""The policy that runs in this process: Hugging Face weights, own decoding loop, ids in and ids out.

`load_model` loads a folder, an adapter or the packaged SmolLM2; `LocalChatModel` makes a LangChain chat model of it;
`RollingBatcher` lets concurrent episodes share forward passes. torch, transformers, peft and llguidance are imported
only when something is loaded or sampled.
"""

from .guided import tool_call_grammar
from .loading import LoadedModel, load_model
from .model import LocalChatModel
from .request import ContextLengthError, MissingExtraError, SampleOutput, SampleRequest
from .rolling import RollingBatcher
from .words import Words, load_words

__all__ = [
    "ContextLengthError",
    "LoadedModel",
    "LocalChatModel",
    "MissingExtraError",
    "RollingBatcher",
    "SampleOutput",
    "SampleRequest",
    "Words",
    "load_model",
    "load_words",
    "tool_call_grammar",
]
