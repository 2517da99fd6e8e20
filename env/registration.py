"""Registers every domain with Gymnasium: `medgym/ClinicalDiagnosis-v1`, `medgym/MedicalQA-v1`, ...

Called when `medgym.env` is imported, as Gymnasium's convention has it; it registers names only and imports none
of the environments.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry  # pyright: ignore[reportUnknownVariableType]

from .domain_ids import domain_names, env_id


def register_envs() -> None:
    """Register each domain once.

    `disable_env_checker` and `order_enforce`: the env checks itself (reset before step) and is clean under
    `check_env`, which the wrappers are not, since they differ from the unwrapped env.
    """
    for name in domain_names():
        if env_id(name) not in registry:
            register(
                id=env_id(name),
                entry_point="medgym.env.gym_env:ClinicalEnv",
                kwargs={"domain": name},
                disable_env_checker=True,
                order_enforce=False,
            )
