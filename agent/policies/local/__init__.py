"""The policy that runs in this process: Hugging Face weights, own decoding loop, ids in and ids out.

`load_model` loads a folder, an adapter or the packaged SmolLM2; `LocalChatModel` makes a LangChain chat model of it;
`MicroBatcher` lets concurrent episodes share forward passes. torch, transformers, peft and llguidance are imported
only when something is loaded or sampled.
"""

from .batching import MicroBatcher
from .guided import tool_call_grammar
from .loading import LoadedModel, load_model
from .model import LocalChatModel
from .request import ContextLengthError, MissingExtraError, SampleOutput, SampleRequest
from .words import Words, load_words

__all__ = [
    "ContextLengthError",
    "LoadedModel",
    "LocalChatModel",
    "MicroBatcher",
    "MissingExtraError",
    "SampleOutput",
    "SampleRequest",
    "Words",
    "load_model",
    "load_words",
    "tool_call_grammar",
]
