"""The OpenEnv client of the cases, and the action, observation and state that it shares with the server.

    with ClinicalEnvClient(base_url="http://localhost:8000") as env:
        result = env.reset(domain="medical_qa", split="train", seed=1)
        while not result.done:
            result = env.step(ClinicalAction(message=policy(result.observation)))

An action is one assistant message in the text protocol of `env.action`. One client is one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ...env.gym_env import ACTION_LENGTH
from ...tools.spec import JsonObject

try:
    from openenv.core.client_types import StepResult
    from openenv.core.env_client import EnvClient
    from openenv.core.env_server.types import Action, Observation, State
except ImportError as error:
    raise ImportError('OpenEnv is not installed: pip install "medgym[openenv]"') from error

if TYPE_CHECKING:
    from typing import Any


class ClinicalAction(Action):
    """One assistant message: tagged calls and speech."""

    message: str = Field(max_length=ACTION_LENGTH, description="One assistant message; calls stand in tool_call tags")

    @field_validator("message", mode="before")
    @classmethod
    def _without_half_characters(cls, value: object) -> object:
        """JSON can spell half a surrogate pair, which is no text and could not be sent back."""
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class ClinicalObservation(Observation):
    """What the agent reads. `reward` is 0 until the case ends, then the composite.

    `metadata` is for the harness, not for the agent: the task's id (which may name its condition), verdicts and
    errors of the turn, and at the end how it ended and the reward's breakdown.
    """

    text: str = Field(description="The ticket, or what came back for the message")
    system: str = Field(default="", description="The system prompt; in the first observation only")
    tools: list[JsonObject] = Field(
        default_factory=list[JsonObject], description="The tools in the OpenAI form; in the first observation only"
    )
    turns_left: int = Field(ge=0, description="Messages that may still be sent")


class ClinicalState(State):
    """Where a session stands."""

    task_id: str | None = Field(default=None, description="The open case")
    domain: str | None = Field(default=None, description="Its domain")
    ended: str | None = Field(default=None, description="submitted, budget or dead_end, once the case is closed")


class ClinicalEnvClient(EnvClient[ClinicalAction, ClinicalObservation, ClinicalState]):
    """A session with a server of `agent.serve.openenv_server`; `reset` takes the fields of its `ResetOptions`.

    Args:
        base_url: of the server, `http://` or `ws://`.
        api_key: where the server asks for one.
        options: further arguments of OpenEnv's `EnvClient`.
    """

    def __init__(self, base_url: str | None = None, *, api_key: str | None = None, **options: Any) -> None:
        if api_key is not None:
            options["headers"] = {**(options.get("headers") or {}), "Authorization": f"Bearer {api_key}"}
        super().__init__(base_url, **options)

    def _step_payload(self, action: ClinicalAction) -> dict[str, Any]:
        return action.model_dump()

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[ClinicalObservation]:
        reward, done = payload.get("reward"), bool(payload.get("done"))
        seen = ClinicalObservation.model_validate({**payload["observation"], "reward": reward, "done": done})
        return StepResult(observation=seen, reward=reward, done=done, metadata=seen.metadata)

    def _parse_state(self, payload: dict[str, Any]) -> ClinicalState:
        return ClinicalState.model_validate(payload)
