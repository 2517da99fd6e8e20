"""The faces of a tool: LangChain tool, OpenAI function, MCP tool and TRL function, all derived from its `ToolSpec`.

A face changes the form and nothing else: name, description and argument schema are those of the spec, and a call
goes through the one `execute` that it was given. LangChain, MCP and transformers are imported on first use only.
"""

from .execute import Execute, desk_executor, is_error
from .langchain import as_langchain_tool, langchain_tools
from .mcp import as_mcp_tool, mcp_tools
from .openai import as_openai_tool, openai_tools
from .trl import as_trl_function, trl_functions

__all__ = [
    "Execute",
    "as_langchain_tool",
    "as_mcp_tool",
    "as_openai_tool",
    "as_trl_function",
    "desk_executor",
    "is_error",
    "langchain_tools",
    "mcp_tools",
    "openai_tools",
    "trl_functions",
]
