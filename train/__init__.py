"""Learning from trajectories: rollouts for TRL, SFT, DPO, PPO, the GRPO family, TT-OPD, verifiers, recipes.

Heavy packages (torch, transformers, trl, peft) are imported by the modules that use them, not here.
"""

if __name__ != "medgym.train":  # a bare checkout on sys.path would make a second, separate copy of every module
    raise ImportError("this folder is the package medgym.train: run `pip install -e .`, then `import medgym.train`")
