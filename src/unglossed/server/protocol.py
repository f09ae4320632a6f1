"""HTTP as uvicorn speaks it, with an end to its patience.

uvicorn waits without end for a request's headers, reads to its end a body that nobody wants, and
answers the pings of a WebSocket that reads no answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_SECONDS = 2.0
"""For what is left of a body whose request has been answered: a client that is cut off while it
sends may never read the answer."""


def patient(head_seconds: float) -> type[H11Protocol]:
    """The protocol that waits so long for a request's headers, from its first byte on."""
    return type("Patient", (PatientProtocol,), {"head_seconds": head_seconds})


class PatientProtocol(H11Protocol):
    """Closes a connection that does not come to a request, or goes on after its answer."""

    head_seconds = 10.0
    _patience: asyncio.TimerHandle | None = None
    _is_upgraded = False

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        super().connection_made(transport)
        self._wait(self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        super().data_received(data)
        if self._is_upgraded:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait(None)
        elif self.transport.is_closing():
            pass
        elif self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._wait(self.timeout_keep_alive)  # an answered request's body has come to its end
        elif self._patience is None:
            self._wait(self.head_seconds)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection is no longer this protocol's."""
        self._is_upgraded = True
        self._wait(None)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """An answer has been sent."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._wait(LINGER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._wait(None)
        super().connection_lost(exc)

    def _wait(self, seconds: float | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None
        if seconds is not None:
            self._patience = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


class PatientSocket(WebSocketsSansIOProtocol):
    """Reads nothing of a client that does not read: else the answers to its pings would pile up."""

    def pause_writing(self) -> None:
        """What was sent waits for the client."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if not self.read_paused:  # else the app has not taken what came before
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """The next message for the app; what comes behind it is read when the client reads."""
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message
