"""One OpenAI-compatible server, spoken to over HTTP: a single try per call, and every answer told apart.

An answer is good, or says that the request is wrong (`ServerError`, `ContextLengthError`), or is none
(`EndpointDown`: refused, reset, cut in its middle; `EndpointBusy`: it says so itself, or 5xx). Whom to ask instead and
when to ask again is left to `pool`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..factory import PolicyUnavailable
from ..local.request import ContextLengthError

CONNECT_SECONDS = 10.0
KEPT_SECONDS = 2.0  # an idle connection is closed by us before the server does it: uvicorn's limit is 5
SHOWN = 300  # characters of an answer that are quoted
BUSY = (408, 425, 429)
TOO_LONG = ("context length", "max_tokens must be at least 1")  # the second: the prompt fills it to the last place


class ServerError(PolicyUnavailable):
    """The server does not answer, refuses, or answers in a form that cannot be used."""


class EndpointDown(Exception):
    """No usable answer this time; the same request may be sent again, here or elsewhere."""


class EndpointBusy(EndpointDown):
    """The server is there and could not answer this request; others it may answer."""


def server_root(base_url: str) -> str:
    """The address without the `/v1` that OpenAI's clients want in it."""
    return base_url.rstrip("/").removesuffix("/v1")


class Endpoint:
    """A server's HTTP client, shared by all threads.

    Args:
        base_url: with or without `/v1`.
        api_key: sent as a bearer token.
        timeout: seconds for an answer to begin or go on.
        connections: how many are kept open for the next request; more are opened where more ask at once.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: float = 600.0, connections: int = 64
    ) -> None:
        import httpx

        self.url = server_root(base_url)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=connections, keepalive_expiry=KEPT_SECONDS
            ),
        )

    def post(self, path: str, body: Mapping[str, object]) -> str:
        """The text of the answer.

        Raises:
            EndpointDown: none, or none that counts.
            ContextLengthError: the prompt is longer than the model sees.
            ServerError: the server refused.
        """
        return self._ask("POST", path, body)

    def post_json(self, path: str, body: Mapping[str, object]) -> object:
        """The decoded answer; raises as `post` does, and `EndpointDown` where it is not JSON."""
        return _decoded(self._ask("POST", path, body), path)

    def get_json(self, path: str) -> object:
        """The decoded answer; raises as `post_json` does."""
        return _decoded(self._ask("GET", path, None), path)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> str:
        import httpx

        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise EndpointDown(f"{type(error).__name__}: {error}") from error
        status, text = answer.status_code, answer.text
        if status == 200:
            return text
        if status == 400 and any(said in text for said in TOO_LONG):
            raise ContextLengthError(text[:SHOWN])
        if status in BUSY or (status >= 500 and status != 501):
            raise EndpointBusy(f"{status}: {text[:SHOWN]}")
        raise ServerError(f"{self.url} refused {path} ({status}): {text[:SHOWN]}")


def _decoded(text: str, path: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise EndpointBusy(f"the answer to {path} is not JSON: {text[:SHOWN]!r}") from error
