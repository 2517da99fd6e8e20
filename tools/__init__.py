"""What an agent can do: the record, facts, calculators, retrieval, the tool catalogue and the shelf."""

if __name__ != "medgym.tools":  # a bare checkout on sys.path would make a second, separate copy of every module
    raise ImportError("this folder is the package medgym.tools: run `pip install -e .`, then `import medgym.tools`")
