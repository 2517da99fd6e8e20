"""medgym: a clinical agent gym and the agents that come out of it. A research tool, not for clinical use."""

__version__ = "0.1.0"
