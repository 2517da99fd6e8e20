"""The FastAPI app: routes of OpenAI's and vLLM's API over one loaded policy.

Owns which route does what, and the API's description (OpenAPI). Reading requests is `bodies`' and `service`'s,
sampling the batcher's, the event loop is never held up: rendering, grammars and sampling run in threads.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.security import HTTPBearer

from .... import __version__
from ....env.briefing import PromptForm
from ...policies.local import LoadedModel
from .answers import (
    Answer,
    ChatChoice,
    ChatCompletion,
    Detokenized,
    ErrorAnswer,
    Health,
    ModelList,
    TextChoice,
    TextCompletion,
    Tokens,
    Version,
)
from .bodies import ChatBody, CompletionBody, DetokenizeBody, LoadAdapter, TokenizeChat, TokenizeText, UnloadAdapter
from .errors import ApiError, as_api_error, handle_errors
from .guard import OPEN_PATH, Guard
from .models import ServedModels
from .service import Asked, Limits, Service
from .streaming import ChatChunks, Chunks, EventStream, Heading, TextChunks
from .waiting import Answering, while_there

MAX_BODY = 8 << 20
CLIENT_GONE = 499
_EVENTS = "Events, where `stream` is asked for; the last one is [DONE]."
Result = TypeVar("Result")


def create_app(
    loaded: LoadedModel,
    *,
    name: str,
    root: str | None = None,
    parent: str | None = None,
    api_key: str | None = None,
    max_model_len: int | None = None,
    form: PromptForm | None = None,
    runtime_lora: bool = False,
    max_batch: int = 16,
    max_tokens: int | None = None,
    max_string: int = 512,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """The app over one policy. Its lifespan ends with what is sampled finished, or dropped where nobody waits.

    Args:
        loaded: the policy.
        name: what requests call it.
        root: its folder, as told to clients; None takes `loaded.name`.
        parent: what it is an adapter of, as told to clients.
        api_key: what `Authorization: Bearer` must say everywhere but at /health.
        max_model_len: most tokens of prompt and answer; None takes the model's.
        form: how the policy was prompted in training.
        runtime_lora: let clients load adapters from the server's folders.
        max_batch: most answers of one name that are sampled together.
        max_tokens: most tokens of an answer, whatever is asked for.
        max_string: most characters of a free string in a forced tool call.
        max_body: most bytes of a request.
    """
    models = ServedModels(loaded, name, root=root, parent=parent, max_model_len=max_model_len, max_batch=max_batch)
    service = Service(models.texts, models.max_model_len, Limits(max_tokens, max_string, form))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(models.close)

    app = FastAPI(title="medgym", version=__version__, lifespan=lifespan, description="A policy behind the OpenAI API.")
    handle_errors(app)
    errors: dict[int | str, dict[str, Any]] = {
        "4XX": {"model": ErrorAnswer, "description": "The request is at fault."},
        "503": {"model": ErrorAnswer, "description": "The server stops or has too much to do."},
    }
    needed = [Security(HTTPBearer(auto_error=False))] if api_key is not None else []
    for router in (_about(models), _completing(models, service), _tokenizing(models, service)):
        app.include_router(router, responses=errors, dependencies=needed)
    if runtime_lora:
        app.include_router(_adapting(models), responses=errors, dependencies=needed)

    @app.get(OPEN_PATH, responses=errors)
    async def health() -> Health:
        """Whether requests are taken."""
        return Health(status="ok")

    app.add_middleware(Guard, api_key=api_key, max_body=max_body)
    return app


def _about(models: ServedModels) -> APIRouter:
    router = APIRouter()

    @router.get("/version")
    async def version() -> Version:
        """Versions of what answers."""
        found = {one: importlib.metadata.version(one) for one in ("transformers", "torch")}
        return Version(medgym=__version__, engine="transformers", **found)

    @router.get("/v1/models")
    async def served() -> ModelList:
        """The served names."""
        return ModelList(object="list", data=models.cards())

    return router


def _completing(models: ServedModels, service: Service) -> APIRouter:
    router = APIRouter()
    event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    events: dict[str, object] = {"text/event-stream": {"schema": event}}

    @router.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses={200: {"content": events, "description": _EVENTS}},
    )
    async def chat(body: ChatBody, request: Request) -> Response:
        """Answer a conversation."""
        asked = await _reading(service.chat, body, models.find(body.model))
        heading = _heading("chatcmpl", asked)
        if body.stream:
            return await _streamed(ChatChunks, asked, service, heading)

        async def answer() -> ChatCompletion:
            return await _chat_answer(asked, service, heading)

        return await _whole(request, answer)

    @router.post(
        "/v1/completions", response_model=TextCompletion, responses={200: {"content": events, "description": _EVENTS}}
    )
    async def complete(body: CompletionBody, request: Request) -> Response:
        """Go on after texts or token ids."""
        asked = await _reading(service.completion, body, models.find(body.model))
        heading = _heading("cmpl", asked)
        if body.stream:
            return await _streamed(TextChunks, asked, service, heading)

        async def answer() -> TextCompletion:
            return await _text_answer(asked, service, heading)

        return await _whole(request, answer)

    return router


def _tokenizing(models: ServedModels, service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/tokenize", response_model=Tokens)
    async def tokenize(body: TokenizeText | TokenizeChat) -> Response:
        """Ids of a text, or of a conversation."""
        served = models.find(body.model)
        if isinstance(body, TokenizeChat):
            ids = await _reading(service.chat_ids, body.messages, body.tools or [], served)
        else:
            ids = await _reading(service.texts.encode, body.prompt, add_special_tokens=body.add_special_tokens)
        answer = Tokens(count=len(ids), max_model_len=models.max_model_len, tokens=ids)
        if body.return_token_strs:
            answer.token_strs = [service.texts.token_text(one) for one in ids]
        return _json(answer)

    @router.post("/detokenize", response_model=Detokenized)
    async def detokenize(body: DetokenizeBody) -> Response:
        """The text of ids."""
        models.find(body.model)
        return _json(Detokenized(prompt=await _reading(service.texts.decode, body.tokens)))

    return router


def _adapting(models: ServedModels) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/load_lora_adapter", response_model=str)
    async def load(body: LoadAdapter) -> Response:
        """Serve a LoRA adapter of the policy's weights under its own name."""
        await _reading(models.load, body.lora_name, Path(body.lora_path))
        return Response(f'"Success: the adapter {body.lora_name} is loaded."', media_type="application/json")

    @router.post("/v1/unload_lora_adapter", response_model=str)
    async def unload(body: UnloadAdapter) -> Response:
        """Forget an adapter, once what it samples has ended."""
        await _reading(models.unload, body.lora_name)
        return Response(f'"Success: the adapter {body.lora_name} is gone."', media_type="application/json")

    return router


async def _reading(read: Callable[..., Result], *args: object, **kwargs: object) -> Result:
    """What a request means, worked out in a thread. Raises ApiError."""
    try:
        return await asyncio.to_thread(read, *args, **kwargs)
    except (ApiError, ValueError) as error:
        raise as_api_error(error) from error


async def _started(asked: Asked, *, streamed: bool) -> Answering:
    answering = Answering(asked, streamed=streamed)
    try:
        await answering.start()
    except (ValueError, RuntimeError) as error:
        raise as_api_error(error) from error
    return answering


async def _streamed(chunks: type[Chunks], asked: Asked, service: Service, heading: Heading) -> EventStream:
    answering = await _started(asked, streamed=True)
    return EventStream(chunks(asked, answering, service, heading).lines(), answering)


async def _whole(request: Request, answer: Callable[[], Any]) -> Response:
    try:
        found: Answer | None = await while_there(request.receive, answer())
    except Exception as error:  # boundary: what sampling failed with is told to the client, and logged
        raise as_api_error(error) from error
    return Response(status_code=CLIENT_GONE) if found is None else _json(found)


async def _chat_answer(asked: Asked, service: Service, heading: Heading) -> ChatCompletion:
    outputs = await (await _started(asked, streamed=False)).outputs()
    choices: list[ChatChoice] = []
    for at, output in enumerate(outputs):
        message, finish = service.message(asked, output)
        choice = ChatChoice(index=at, message=message, logprobs=None, finish_reason=finish)
        if getattr(asked.body, "logprobs", None):
            choice.logprobs = service.chat_logprobs(output)
        if asked.body.return_token_ids:
            choice.token_ids = list(output.ids)
        choices.append(choice)
    answer = ChatCompletion(
        id=heading.id,
        object="chat.completion",
        created=heading.created,
        model=heading.model,
        choices=choices,
        usage=asked.usage(sum(len(output.ids) for output in outputs)),
    )
    if asked.body.return_token_ids:
        answer.prompt_token_ids = asked.prompts[0]
    return answer


async def _text_answer(asked: Asked, service: Service, heading: Heading) -> TextCompletion:
    outputs = await (await _started(asked, streamed=False)).outputs()
    choices: list[TextChoice] = []
    for at, output in enumerate(outputs):
        choice = TextChoice(
            index=at, text=service.text(asked, output), logprobs=None, finish_reason=output.finish_reason
        )
        if getattr(asked.body, "logprobs", None) is not None:
            choice.logprobs = service.text_logprobs(output)
        if asked.body.return_token_ids:
            choice.token_ids = list(output.ids)
            choice.prompt_token_ids = asked.prompts[at // asked.per_prompt]
        choices.append(choice)
    return TextCompletion(
        id=heading.id,
        object="text_completion",
        created=heading.created,
        model=heading.model,
        choices=choices,
        usage=asked.usage(sum(len(output.ids) for output in outputs)),
    )


def _heading(kind: str, asked: Asked) -> Heading:
    return Heading(f"{kind}-{secrets.token_hex(12)}", int(time.time()), asked.served.card.id)


def _json(answer: Answer) -> Response:
    return Response(answer.line(), media_type="application/json")
