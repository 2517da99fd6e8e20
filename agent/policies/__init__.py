"""The policies that can drive the agent, each a LangChain chat model."""
