"""The case: tasks, domains, episode, simulated patient, safety rules, reward, Gymnasium adapter, trajectories.

Importing this registers the environments' names with Gymnasium and loads nothing else.
"""

if __name__ != "medgym.env":  # a bare checkout on sys.path would make a second, separate copy of every module
    raise ImportError("this folder is the package medgym.env: run `pip install -e .`, then `import medgym.env`")

from .registration import register_envs

register_envs()
