"""Errors as OpenAI clients know them: a status and `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from ...policies.local import ContextLengthError
from ...policies.local.request import AbandonedError
from ...policies.local.rolling import BusyError, ClosedError
from .answers import ErrorAnswer, ErrorDetail

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

logger = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 503: "service_unavailable"}


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        param: the field at fault.
        code: a word for programs.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def answer(self) -> ErrorAnswer:
        """The body."""
        fallback = "invalid_request_error" if self.status < 500 else "server_error"
        kind = _TYPES.get(self.status, fallback)
        return ErrorAnswer(error=ErrorDetail(message=str(self), type=kind, param=self.param, code=self.code))

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return {"retry-after": "1"}
        return {"www-authenticate": "Bearer"} if self.status == HTTPStatus.UNAUTHORIZED else {}


def as_api_error(error: BaseException) -> ApiError:
    """What a failure while reading a request or sampling means to the client; what is not its fault is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextLengthError):
        said = f"the maximum context length is exceeded: {error}"
        return ApiError(400, said, param="messages", code="context_length_exceeded")
    if isinstance(error, BusyError):
        return ApiError(503, str(error), code="busy")
    if isinstance(error, AbandonedError | CancelledError | ClosedError):
        return ApiError(503, "the server stops: the answer was not finished", code="stopping")
    if isinstance(error, ValueError):
        return ApiError(400, str(error))
    logger.error("an answer failed", exc_info=error)
    return ApiError(500, f"the answer failed on the server: {type(error).__name__}")


def handle_errors(app: FastAPI) -> None:
    """Have every error of the app answered in OpenAI's form."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    def api_error(_: Request, error: Exception) -> Response:
        return error_response(cast("ApiError", error))

    def unforeseen(_: Request, error: Exception) -> Response:
        return error_response(ApiError(500, f"the server failed: {type(error).__name__}"))  # starlette logs it

    def invalid(_: Request, error: Exception) -> Response:
        found = cast("RequestValidationError", error).errors()
        return error_response(_of_validation(cast("Sequence[Mapping[str, object]]", found)))

    def http(_: Request, error: Exception) -> Response:
        known = cast("HTTPException", error)
        return error_response(ApiError(known.status_code, str(known.detail)), known.headers)

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The error as a response."""
    from fastapi import Response

    return Response(
        error.answer().line(),
        error.status,
        {**error.headers, **(headers or {})},
        media_type="application/json",
    )


def _of_validation(found: Sequence[Mapping[str, object]]) -> ApiError:
    """The first fault; a body that fits none of several forms has one for each."""
    first = found[0]
    where = [str(step) for step in cast("Sequence[object]", first.get("loc", ())) if step != "body"]
    param = ".".join(where) or None
    message = str(first.get("msg"))
    return ApiError(400, f"{param}: {message}" if param else message, param=param, code="invalid_value")
