"""Servers: trained policies behind an OpenAI-compatible endpoint, tools behind MCP, cases behind OpenEnv."""
