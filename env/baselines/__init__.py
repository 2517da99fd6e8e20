"""Scripted policies that keep the reward honest: do-nothing, random, exploit scripts, dangerous.

Each is a script (`domain.Script`): it yields messages and receives observations, and sees what an agent sees:
the ticket and the shelf. `play_script` drives one through an episode.
"""

from .dangerous import dangerous
from .exploits import EXPLOITS
from .idle import do_nothing
from .play import Briefing, Policy, briefing, expert, play_script
from .random_policy import random_policy

POLICIES: dict[str, Policy] = {
    "expert": expert,
    "do-nothing": do_nothing,
    "random": random_policy,
    "dangerous": dangerous,
    **{f"exploit-{name}": script for name, script in EXPLOITS.items()},
}

__all__ = ["EXPLOITS", "POLICIES", "Briefing", "Policy", "briefing", "play_script"]
