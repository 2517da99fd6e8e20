"""A small OpenAI-compatible server over transformers, for machines where vLLM cannot be had.

`create_app` makes the FastAPI app over a loaded policy, `serve` runs it. Its routes, fields and errors are those of
OpenAI and vLLM where it has them; what it cannot do it refuses by name. Needs fastapi and uvicorn (`medgym[http]`).
"""

from ..running import serve
from .app import create_app

__all__ = ["create_app", "serve"]
