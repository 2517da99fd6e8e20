"""`load_policy`: from a folder or a server's address to a chat model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from pydantic import SecretStr

from ..policies.local import MissingExtraError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class ServerUnavailable(RuntimeError):
    """The address does not answer as an OpenAI-compatible server; the message says what came back."""


def load_policy(
    source: str | os.PathLike[str], *, model: str | None = None, api_key: str | None = None, **settings: Any
) -> BaseChatModel:
    """A policy as a LangChain chat model.

    Args:
        source: a folder that training wrote (or any model or adapter folder, `smollm2`, or `trained`, the adapter
            that comes with medgym), which is loaded into this process; or the address of a server, with or without
            `/v1`.
        model: which of a server's models; default: its adapter, or its only model.
        api_key: of the server.
        settings: of the chat model: `temperature`, `max_tokens`, `top_p`, `seed`, `stop` ...; for a folder also
            what `ChatLocalPolicy.load` takes (`dtype`, `device`, `base`, `threads` ...).

    Raises:
        MissingExtraError: a package is missing; the message names the extra.
        FileNotFoundError: no such folder, or no base for its adapter.
        ServerUnavailable: nothing answers there, or not as a server of models.
        ValueError: the server has no such model, or several and none was named; a file of the folder is damaged.
    """
    text = os.fspath(source)
    if not text.startswith(("http://", "https://")):
        if model is not None or api_key is not None:
            raise ValueError("model and api_key are for a server's address; a folder is one policy")
        try:
            from .local import ChatLocalPolicy
        except ImportError as error:
            raise _missing(error, "a policy as a chat model", "langchain,http,local") from error
        return ChatLocalPolicy.load(text, **settings)
    try:
        from .served import NO_KEY, ChatServedPolicy
    except ImportError as error:
        raise _missing(error, "a served policy", "langchain") from error
    address = text.rstrip("/")
    address = address if address.endswith("/v1") else f"{address}/v1"
    name = _model(address, model, api_key)
    return ChatServedPolicy(base_url=address, model=name, api_key=SecretStr(api_key or NO_KEY), **settings)


def _missing(error: ImportError, purpose: str, extras: str) -> ImportError:
    """What to install; an import of our own that fails is a bug, and stays what it is."""
    if (error.name or "").startswith("medgym"):
        return error
    return MissingExtraError(purpose, f'pip install "medgym[{extras}]"')


def _model(address: str, wanted: str | None, api_key: str | None) -> str:
    """The model's name; the server is asked, so that a wrong address or key is told here and not later."""
    request = Request(f"{address}/models", headers={"Authorization": f"Bearer {api_key}"} if api_key else {})
    try:
        with urlopen(request, timeout=30) as answer:
            told = cast("Mapping[str, object]", json.loads(answer.read()))
        listed = cast("Sequence[Mapping[str, object]]", told["data"])
        names = [str(one["id"]) for one in listed]
    except HTTPError as error:
        error.close()
        hint = ": give its api_key" if error.code in (401, 403) else ""
        raise ServerUnavailable(f"{address} refuses ({error.code} {error.reason}){hint}") from error
    except OSError as error:
        raise ServerUnavailable(f"nothing answers at {address}: {error}") from error
    except (HTTPException, ValueError, KeyError, TypeError) as error:
        raise ServerUnavailable(f"{address} is no OpenAI-compatible server: it lists no models ({error!r})") from error
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"{address} has no model {wanted!r}: one of {', '.join(names)}")
        return wanted
    adapters = [name for name, one in zip(names, listed, strict=True) if one.get("parent")]
    choice = adapters or names
    if len(choice) != 1:
        raise ValueError(f"{address} has {len(choice)} models, say which (model=): {', '.join(choice)}")
    return choice[0]
