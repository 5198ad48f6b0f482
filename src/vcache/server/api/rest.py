"""The API as a dialect: single values on the raw exchange, JSON resources through Starlette."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.server.api.openapi import BASE, OPERATIONS, Additions, describe
from vcache.server.api.problems import problem
from vcache.server.api.resources import Office, Resources
from vcache.server.api.values import METHODS, PATH, Values
from vcache.server.callers import Role
from vcache.server.dialect import Answer
from vcache.server.exchange import Desk, Exchange
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Rest"]

_DESCRIPTION: Final = f"{BASE}/openapi.json"
_JSON_BYTES: Final = 64 << 10


class Rest:
    """What people and programs of their own ask for.

    Args:
        desk: what all requests share.
        office: what the resources are about.
        version: of the server.
        more: what the description says of other parts of the server.
    """

    name = "api"

    def __init__(self, desk: Desk, office: Office, *, version: str, more: Sequence[Additions] = ()) -> None:
        self._values = Values(desk)
        self._app = _starlette(Resources(office), describe(version, more=more))

    def claims(self, path: str) -> bool:
        """Whether a path is the API's."""
        return path.startswith(f"{BASE}/")

    def needs_token(self, method: str, path: str) -> bool:
        """For all but its description."""
        return path != _DESCRIPTION

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request.

        Raises:
            Refused: it is not done.
        """
        if exchange.path != _DESCRIPTION and exchange.caller.role < Role.READER:
            raise Refused(Refusal.UNAUTHENTICATED, "a token is needed: Authorization: Bearer TOKEN")
        if exchange.path.startswith(PATH):
            await self._values.answer(exchange)
        else:
            await exchange.delegate(self._app)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As a problem in JSON."""
        status, headers, body = problem(refused)
        if refused.kind is Refusal.METHOD:
            headers = [*headers, ("allow", METHODS)]
        return status, headers, body


def _starlette(resources: Resources, description: dict[str, object]) -> Starlette:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.responses import Response as PlainResponse
    from starlette.routing import Route

    async def described(_: Request) -> Response:
        return JSONResponse(description)

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        status, headers, body = problem(error)
        return PlainResponse(body, status_code=status, headers=dict(headers))

    def misconfigured(request: Request, error: Exception) -> Response:
        return refused(request, Refused(Refusal.BROKEN, str(error)))

    def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = Refusal.METHOD if error.status_code == Refusal.METHOD.value else Refusal.ABSENT
        answer = refused(request, Refused(kind, f"{request.method} {request.url.path}: {error.detail}"))
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer

    routes = [
        Route(
            BASE + operation.path.replace("{name}", "{name:path}"),
            _endpoint(getattr(resources, operation.handler), has_body=bool(operation.body)),
            methods=[operation.method.upper()],
        )
        for operation in OPERATIONS
        if hasattr(resources, operation.handler)
    ]
    return Starlette(
        routes=[*routes, Route(_DESCRIPTION, described)],
        exception_handlers={Refused: refused, ConfigError: misconfigured, HTTPException: unrouted},
    )


def _endpoint(
    handler: Callable[..., Response], *, has_body: bool
) -> Callable[[Request], Awaitable[Response]]:
    """A handler on a thread, with the JSON that was sent."""

    async def endpoint(request: Request) -> Response:
        if not has_body:
            return await asyncio.get_running_loop().run_in_executor(None, handler, request)
        parts: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _JSON_BYTES:
                raise Refused(Refusal.TOO_LARGE, f"a body of more than {_JSON_BYTES} bytes")
            parts.append(chunk)
        try:
            body = json.loads(b"".join(parts))
        except (ValueError, RecursionError) as error:
            raise Refused(Refusal.MALFORMED, f"the body is no JSON: {error}") from error
        return await asyncio.get_running_loop().run_in_executor(None, handler, request, body)

    return endpoint
