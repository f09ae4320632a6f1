"""Starts a server: loads the model, takes the port, says where it is, and serves until it ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from unglossed.errors import InputError
from unglossed.inference.sentences import SentenceTranslator
from unglossed.models.about import read_about
from unglossed.server.app import create_app
from unglossed.server.engine import Engine
from unglossed.server.protocol import PatientSocket, patient
from unglossed.server.settings import ServerSettings

_HEADER_BYTES = 16_384
_ENDING_SECONDS = 5
_BESIDE_PIXELS = 1024  # bytes of the first message, and of a frame's time


def serve(
    model: str,
    settings: ServerSettings,
    *,
    segmenter: str | None = None,
    precision: str = "float32",
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve a model until the process is asked to end.

    Args:
        model: Run folder, model folder or hub name.
        settings: Where to listen, and bounds.
        segmenter: The same of a segmenter; None: sentences are found by motion.
        precision: Of the model.
        on_ready: Told the address when it can be asked.

    Raises:
        InputError: The model cannot be loaded, the address cannot be taken, or the settings are not
            safe.
    """
    settings.check()
    with take_port(settings) as taken:
        sentences = SentenceTranslator.from_pretrained(model, segmenter, precision=precision)
        names = [part for part in Path(model).absolute().parts if part not in ("run", "model")]
        name = names[-1]  # `runs/demo/run` is the demo
        engine = Engine(sentences, name, settings, read_about(model))
        server = make_server(create_app(engine, settings), settings, engine.side)
        on_ready(address_of(taken))
        server.run(sockets=[taken])


def take_port(settings: ServerSettings) -> socket.socket:
    """Listen on the address of the settings.

    Raises:
        InputError: There is no such address here, or it is taken.
    """
    host = settings.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0][0]
        taken = socket.create_server((host, settings.port), family=family)
    except OSError as error:
        raise InputError(
            f"--host, --port: {settings.host}, port {settings.port}, cannot be listened on:"
            f" {error.strerror}"
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # else a closed connection waits for who does not read
        milliseconds = round(1000 * settings.send_seconds)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return taken


def address_of(taken: socket.socket) -> str:
    """The address of a server as a browser takes it."""
    host, port = taken.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def make_server(app: ASGIApp, settings: ServerSettings, side: int) -> uvicorn.Server:
    """The server of an app: its bounds on connections, headers and messages.

    Args:
        app: What it serves.
        settings: Its bounds.
        side: Of a webcam's frames, in pixels.
    """
    config = uvicorn.Config(
        app,
        http=patient(settings.head_seconds),
        ws=PatientSocket,
        ws_max_size=side * side * 3 + _BESIDE_PIXELS,
        ws_per_message_deflate=False,  # a small message could become a large one
        lifespan="on",
        log_level="error",
        access_log=False,  # who asked what is nobody's business
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=settings.connections,
        timeout_graceful_shutdown=_ENDING_SECONDS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    return uvicorn.Server(config)
