"""Live captions over a WebSocket: small frames come in, text goes out.

The first message bears the token. Each further one is a frame: its time in seconds (float64, little
endian), then side x side pixels of RGB, a byte a channel. Plain pixels, so that nothing that a
client sends is ever decoded here.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from unglossed.inference.live import LiveUpdate
from unglossed.server.guard import is_right_token
from unglossed.server.jobs import told_of
from unglossed.server.services import Services, services_of

_TIME = struct.Struct("<d")
_FIRST_SECONDS = 10.0
_MOST_QUEUED = 1000
_MOST_SECONDS = 30 * 24 * 3600.0
_POLICY_VIOLATED, _COME_LATER, _DONE = 1008, 1013, 1000

router = APIRouter()


class _Wrong(Exception):
    """What a client sent is refused: code, sentence, code of the WebSocket."""


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """Captions of one webcam, until the client stops."""
    await socket.accept()
    server = services_of(socket)
    try:
        await _check_first(socket, server)
        if not server.webcams.acquire(blocking=False):
            raise _Wrong("busy", "as many webcams as allowed are being captioned", _COME_LATER)
        server.metrics.webcams.inc()
        try:
            await _caption(socket, server)
        finally:
            server.metrics.webcams.dec()
            server.webcams.release()
    except _Wrong as error:
        code, text, closing = error.args
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_json({"type": "error", "error": {"code": code, "message": text}})
            await socket.close(closing)
    except WebSocketDisconnect:
        pass


async def _check_first(socket: WebSocket, server: Services) -> None:
    try:
        async with asyncio.timeout(_FIRST_SECONDS):
            message = await socket.receive()
    except TimeoutError:
        raise _Wrong("too_slow", "expected a first message at once", _POLICY_VIOLATED) from None
    first = _as_json(message)
    if not is_right_token(str(first.get("token", "")), server.settings):
        raise _Wrong("no_token", "expected the server's token", _POLICY_VIOLATED)
    if first.get("type") != "start":
        raise _Wrong("malformed", 'expected {"type": "start"} first', _POLICY_VIOLATED)
    if not server.engine.reads_video:
        raise _Wrong("other_input", "this server's model reads audio", _POLICY_VIOLATED)


async def _caption(socket: WebSocket, server: Services) -> None:
    engine = server.engine
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def tell(content: dict[str, Any] | None) -> None:
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(queue.put_nowait, content)

    def on_update(update: LiveUpdate) -> None:
        tell(_caption_row(update))

    def on_frame(seconds: float) -> None:
        tell({"type": "frame", "seconds": seconds, "dropped": session.dropped})

    def on_error(error: Exception) -> None:
        tell({"type": "error", "error": told_of(error).to_dict()["error"]})
        tell(None)

    session = await asyncio.to_thread(engine.live, on_update, on_frame, on_error)
    sending = asyncio.create_task(_send_all(socket, queue))
    try:
        await socket.send_json({"type": "ready", "side": engine.side, "language": engine.language})
        last = -math.inf
        while not sending.done():
            try:
                async with asyncio.timeout(server.settings.idle_seconds):
                    message = await socket.receive()
            except TimeoutError:
                raise _Wrong("idle", "no frame has come for a while", _COME_LATER) from None
            if message.get("bytes") is None:
                if _as_json(message).get("type") != "stop":
                    raise _Wrong("malformed", "expected frames, or a stop", _POLICY_VIOLATED)
                break
            if queue.qsize() > _MOST_QUEUED:
                raise _Wrong("too_slow", "captions are not read", _COME_LATER)
            frame, seconds = _read_frame(message["bytes"], engine.side, last)
            session.offer(frame, seconds)
            last = seconds
        await asyncio.to_thread(session.close)
        tell({"type": "end", "dropped": session.dropped})
        tell(None)
        await sending
        await socket.close(_DONE)
    finally:
        sending.cancel()
        await asyncio.to_thread(session.close)
        server.metrics.dropped.inc(session.dropped)


async def _send_all(socket: WebSocket, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
    while (content := await queue.get()) is not None:
        await socket.send_json(content)


def _as_json(message: Any) -> dict[str, Any]:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _DONE))
    try:
        content = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise _Wrong("malformed", "expected a JSON object", _POLICY_VIOLATED)
    return content


def _read_frame(content: bytes, side: int, last: float) -> tuple[np.ndarray[Any, Any], float]:
    expected = _TIME.size + side * side * 3
    if len(content) != expected:
        text = f"expected frames of {expected} bytes: a time and {side} x {side} pixels of RGB"
        raise _Wrong("malformed", text, _POLICY_VIOLATED)
    (seconds,) = _TIME.unpack_from(content)
    if not (math.isfinite(seconds) and 0 <= seconds <= _MOST_SECONDS and seconds > last):
        raise _Wrong("malformed", "expected times that rise from 0", _POLICY_VIOLATED)
    pixels = np.frombuffer(content, np.uint8, offset=_TIME.size)
    return pixels.reshape(side, side, 3), seconds


def _caption_row(update: LiveUpdate) -> dict[str, Any]:
    return {
        "type": "caption",
        "sentence": update.sentence,
        "start": update.start_seconds,
        "end": update.end_seconds,
        "committed": update.committed,
        "uncommitted": update.uncommitted,
        "closed": update.closed,
        "score": update.score,
        "seen": update.seen_seconds,
    }
