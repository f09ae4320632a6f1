"""A real server in a thread of this process, asked over loopback."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tiny import make_sure, tiny_model, tiny_processor
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.translator import SignTranslator
from unglossed.server.app import create_app
from unglossed.server.engine import Engine
from unglossed.server.run import address_of, make_server, take_port
from unglossed.server.settings import ServerSettings


@dataclass(frozen=True)
class Running:
    """A server that can be asked.

    Attributes:
        url: Its address, with a slash at the end.
        client: Bears its token.
        folder: Where its temporary files would lie.
        head_seconds: How long it waits for headers.
    """

    url: str
    client: httpx.Client
    folder: Path
    head_seconds: float

    @property
    def port(self) -> int:
        """On which it listens."""
        return httpx.URL(self.url).port or 80

    def is_well(self) -> bool:
        """Whether it answers, on a connection of its own."""
        try:
            return httpx.get(f"{self.url}health", timeout=10).json() == {"status": "ok"}
        except (httpx.TransportError, ValueError):
            return False


def sure_sentences() -> SentenceTranslator:
    """The tiny translator, sure of what it says."""
    processor = tiny_processor()
    return SentenceTranslator(SignTranslator(make_sure(tiny_model(processor)), processor))


@contextmanager
def serving(
    translator: SentenceTranslator,
    folder: Path,
    *,
    name: str = "tiny",
    about: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Running]:
    """Serve a translator until the block ends, with temporary files in a folder."""
    folder.mkdir(exist_ok=True)
    chosen = ServerSettings(port=0, **settings)
    engine = Engine(translator, name, chosen, about)
    server = make_server(create_app(engine, chosen), chosen, engine.side)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    with take_port(chosen) as taken:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        headers = {"authorization": f"Bearer {chosen.token}"} if chosen.token else {}
        url = address_of(taken)
        try:
            with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
                yield Running(url, client, folder, chosen.head_seconds)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            tempfile.tempdir = before
