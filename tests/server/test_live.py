"""Live captions over a WebSocket: those of the library, for two webcams at once."""

from __future__ import annotations

import json
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.sync.client import connect

from moving import draw_moving

RATE = 12.5
FRAMES = draw_moving([(1.0, 4.0)], 6.0, RATE)


def messages(side: int) -> list[bytes]:
    frames = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in FRAMES]
    return [struct.pack("<d", n / RATE) + one.tobytes() for n, one in enumerate(frames)]


def captions_of(url: str, token: str = "", *, waits: bool = True) -> list[dict[str, Any]]:
    """All that a webcam's client is told; it may wait for each frame to be taken in."""
    told: list[dict[str, Any]] = []
    with connect(url.replace("http", "ws") + "v1/live") as wire:

        def hear_until(*kinds: str) -> None:
            told.append(json.loads(wire.recv(timeout=30)))
            while told[-1]["type"] not in (*kinds, "error"):
                told.append(json.loads(wire.recv(timeout=30)))

        wire.send(json.dumps({"type": "start", "token": token}))
        hear_until("ready")
        if told[0]["type"] == "error":
            return told
        for message in messages(told[0]["side"]):
            wire.send(message)
            if waits:
                hear_until("frame")
        wire.send(json.dumps({"type": "stop"}))
        hear_until("end")
    return told


def check(told: list[dict[str, Any]]) -> None:
    captions = [one for one in told if one["type"] == "caption"]
    assert captions[-1]["closed"]
    assert captions[-1]["committed"]
    assert captions[-1]["uncommitted"] == ""
    assert any(one["uncommitted"] for one in captions)
    for before, after in pairwise(captions):
        if before["sentence"] == after["sentence"]:
            assert after["committed"].startswith(before["committed"])
    seen = [one["seconds"] for one in told if one["type"] == "frame"]
    assert seen == sorted(seen)
    assert (len(seen), told[-1]["dropped"]) == (len(FRAMES), 0)


def test_captions_grow_and_settle(start) -> None:
    check(captions_of(start(head_seconds=0.3).url))  # a webcam lasts longer than headers may


def test_two_webcams_at_once_and_a_video_beside_them(start, video) -> None:
    server = start()
    with ThreadPoolExecutor(3) as pool:
        webcams = [pool.submit(captions_of, server.url) for _ in range(2)]
        files = {"file": video.read_bytes()}
        upload = pool.submit(server.client.post, "v1/video/translations", files=files)
        for webcam in webcams:
            check(webcam.result(timeout=60))
        assert upload.result(timeout=60).status_code == 200
    assert "unglossed_webcams 0.0" in server.client.get("metrics").text


def test_a_webcam_is_let_go_when_its_client_goes(start) -> None:
    server = start(webcams=1)
    for _ in range(3):
        with connect(server.url.replace("http", "ws") + "v1/live") as wire:
            wire.send(json.dumps({"type": "start"}))
            assert json.loads(wire.recv(timeout=10))["type"] == "ready"
            wire.send(messages(36)[0])
        end = time.monotonic() + 5
        while "webcams 1.0" in server.client.get("metrics").text and time.monotonic() < end:
            time.sleep(0.02)
    assert "unglossed_webcams 0.0" in server.client.get("metrics").text


@pytest.mark.parametrize(("token", "first"), [("", "error"), ("a-token-of-24-characters", "ready")])
def test_a_webcam_bears_the_token(start, token: str, first: str) -> None:
    server = start(token="a-token-of-24-characters")

    assert captions_of(server.url, token, waits=False)[0]["type"] == first


def test_frames_that_come_too_fast_are_dropped_and_counted(start) -> None:
    told = captions_of(start().url, waits=False)

    assert told[-1]["type"] == "end"
    taken = [one for one in told if one["type"] == "frame"]
    assert len(taken) + told[-1]["dropped"] == len(FRAMES)
    assert np.all(np.diff([one["seconds"] for one in taken]) > 0)
