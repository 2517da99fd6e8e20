"""The tools themselves, a module per theme; `tools.registry` collects them. Adding one edits one module here."""
