"""What a client is told when a request is refused: a status, a code and one sentence.

The shape is that of the speech APIs people know. No path, no stack and nothing of the model is in
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


class Problem(Exception):
    """A request that is refused.

    Args:
        status: Of HTTP.
        code: A word for programs.
        text: A sentence for people.
        retry_seconds: When to try again, where that helps.
    """

    def __init__(
        self, status: int, code: str, text: str, *, retry_seconds: int | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text
        self.retry_seconds = retry_seconds

    def to_dict(self) -> dict[str, Any]:
        """`error` with `message`, `type`, `param` and `code`."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        told = {"message": self.text, "type": kind, "param": None, "code": self.code}
        return {"error": told}

    def response(self) -> JSONResponse:
        """The answer to the request."""
        headers: dict[str, str] = {}
        if self.retry_seconds is not None:
            headers["retry-after"] = str(self.retry_seconds)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.to_dict(), self.status, headers)


def of_status(status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer for a status that the web framework chose, such as 404 or 405."""
    texts = {404: "there is nothing here", 405: "this method is not for this address"}
    answer = Problem(status, f"http_{status}", texts.get(status, "the request is wrong")).response()
    answer.headers.update(headers or {})
    return answer


def of_fault() -> Problem:
    """What a client is told of a fault of the program: nothing but that there is one."""
    return Problem(500, "fault", "the server has a fault; its log says more")
