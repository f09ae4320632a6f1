"""A real server with a tiny real model, in this process, asked over loopback."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from moving import write_moving
from tiny import tiny_model, tiny_processor

from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.translator import SignTranslator
from unglossed.server.app import create_app
from unglossed.server.engine import Engine
from unglossed.server.run import address_of, make_server, take_port
from unglossed.server.settings import ServerSettings


SENTENCES = [(0.6, 2.6), (4.4, 6.4)]


@dataclass(frozen=True)
class Running:
    """A server that can be asked."""

    url: str
    client: httpx.Client
    server: uvicorn.Server
    folder: Path  # its temporary files
    head_seconds: float

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 80

    def is_well(self) -> bool:
        """Whether it answers, with a connection of its own."""
        return httpx.get(f"{self.url}health", timeout=10).json() == {"status": "ok"}


@pytest.fixture(scope="session")
def sentences() -> SentenceTranslator:
    processor = tiny_processor()
    return SentenceTranslator(SignTranslator(tiny_model(processor), processor))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds with two sentences."""
    return write_moving(tmp_path_factory.mktemp("videos") / "clip.mp4", SENTENCES, 7.0)


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start(
    sentences: SentenceTranslator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts servers with settings; all end with the module."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []
    folder = tmp_path_factory.mktemp("temporary")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)

    def begin(translator: SentenceTranslator = sentences, **settings: object) -> Running:
        chosen = ServerSettings(port=0, **settings)
        engine = Engine(translator, "tiny", chosen)
        server = make_server(create_app(engine, chosen), chosen, engine.side)
        taken = take_port(chosen)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = address_of(taken)
        headers = {"authorization": f"Bearer {chosen.token}"} if chosen.token else {}
        client = httpx.Client(base_url=url, timeout=60, headers=headers)
        running.append((server, thread, client))
        return Running(url, client, server, folder, chosen.head_seconds)

    yield begin
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(timeout=30)
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def running(start: Start) -> Running:
    """A server with small bounds."""
    return start(
        max_bytes=3_000_000,
        max_seconds=60,
        max_pixels=640 * 480,
        head_seconds=2.0,
        idle_seconds=1.0,
        connections=50,
    )
