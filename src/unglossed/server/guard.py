"""The door of the server: who may ask, and what every answer bears.

It stands before everything else. A browser's page of another origin is refused even where no token
is needed, and so is one whose name was given this machine's address (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unglossed.server.jobs import report_fault
from unglossed.server.problems import Problem, of_fault
from unglossed.server.settings import ServerSettings

_OPEN_TO_ALL = ("/", "/health", "/favicon.ico")
_PAGE = "/page/"
_SAFE = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class _NotRead(Exception):
    """A client does not read its answer."""


class Guard:
    """Lets requests through to an app, or refuses them.

    Args:
        app: What is behind the door.
        settings: Who may ask.
        count: Told the route and the status of each answer.
    """

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, count: Callable[[str, int], None]
    ) -> None:
        self._app, self._settings, self._count = app, settings, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(_HEADERS)
                self._count(_route_of(scope), message["status"])
            try:
                async with asyncio.timeout(self._settings.send_seconds):
                    await send(message)
            except TimeoutError:
                raise _NotRead from None

        try:
            refused = self._refusal(scope)
            if refused is None:
                await self._app(scope, receive, guarded_send)
            elif scope["type"] == "http":
                await refused.response()(scope, receive, guarded_send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        except _NotRead:
            pass  # an answer that is not complete has its connection closed
        except Exception as error:
            report_fault(error)
            if scope["type"] == "http" and not started:
                await of_fault().response()(scope, receive, guarded_send)

    def _refusal(self, scope: Scope) -> Problem | None:
        """Why a request is refused; None: it is not."""
        headers = Headers(scope=scope)
        host, names = headers.get("host", ""), self._settings.host_names
        if not host or (names is not None and host_name(host) not in names):
            return Problem(421, "wrong_host", "the server is not asked by this name")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and not _is_same_origin(headers, host):
            return Problem(403, "other_origin", "pages of other origins may not ask")
        if scope["type"] == "websocket" or self._is_open(scope["path"]):
            return None  # a WebSocket's first message bears the token
        token = headers.get("authorization", "").partition("Bearer ")[2]
        if not is_right_token(token, self._settings):
            return Problem(401, "no_token", "expected the header Authorization: Bearer TOKEN")
        return None

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in _OPEN_TO_ALL or path.startswith(_PAGE)


def is_right_token(token: str, settings: ServerSettings) -> bool:
    """Whether a token is the server's, compared in constant time; any, if it has none."""
    if settings.token is None:
        return True
    return hmac.compare_digest(token.encode(errors="replace"), settings.token.encode())


def host_name(host: str) -> str:
    """The name in a Host header, without the port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else host).lower()


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Whether a request comes from the server's own page, or from no page."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2].lower() == host.lower()


def _route_of(scope: Scope) -> str:
    """The pattern of the address that was asked for; an address itself may hold a job's name."""
    return str(getattr(scope.get("route"), "path", "other"))
