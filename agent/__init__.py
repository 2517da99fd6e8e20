"""The LangGraph loop: state, graph, interlock, prompts, recorder, policies and play."""

if __name__ != "medgym.agent":  # a bare checkout on sys.path would make a second, separate copy of every module
    raise ImportError("this folder is the package medgym.agent: run `pip install -e .`, then `import medgym.agent`")
