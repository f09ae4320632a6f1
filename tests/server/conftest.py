"""Servers with a tiny real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from moving import write_moving
from serving import Running, serving, sure_sentences
from unglossed.inference.sentences import SentenceTranslator

MOVING = [(0.6, 2.6), (4.4, 6.4)]
Start = Callable[..., Running]


@pytest.fixture(scope="session")
def sentences() -> SentenceTranslator:
    return sure_sentences()


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds with two sentences."""
    return write_moving(tmp_path_factory.mktemp("videos") / "clip.mp4", MOVING, 7.0)


@pytest.fixture(scope="module")
def start(
    sentences: SentenceTranslator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts servers with settings; all end with the module."""
    folder = tmp_path_factory.mktemp("temporary")
    with ExitStack() as stack:
        yield lambda translator=sentences, **settings: stack.enter_context(
            serving(translator, folder, **settings)
        )


@pytest.fixture(scope="module")
def running(start: Start) -> Running:
    """A server with small bounds."""
    return start(
        max_bytes=3_000_000,
        max_seconds=60,
        max_pixels=640 * 480,
        head_seconds=1.0,
        idle_seconds=0.6,
        send_seconds=1.0,
        connections=50,
    )
