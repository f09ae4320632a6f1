"""Requests that mean no good, by name: each is sent to a running server, and may assert its answer.

Every one is followed by the same question: is the server still well, see `test_hostile`.
"""

from __future__ import annotations

import io
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ADDRESS = "/v1/video/translations"
ATTACKS: dict[str, Callable[..., None]] = {}
_BOUNDARY = "limit"
_TOLD_BY_NOBODY = ("Traceback", "site-packages", "/proc/", "/tmp", "unglossed/", 'File "')


def attack(function: Callable[..., None]) -> Callable[..., None]:
    """Register an attack under its name."""
    ATTACKS[function.__name__] = function
    return function


def raw(
    running: Any,
    *pieces: bytes,
    pause: float = 0.0,
    half_close: bool = False,
    silence: float = 0.4,
) -> bytes:
    """Send bytes as they are, and give what comes back until the server closes or is silent."""
    got = bytearray()
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as wire:
        with suppress(ConnectionError, TimeoutError):
            for piece in pieces:
                wire.sendall(piece)
                time.sleep(pause)
            if half_close:
                wire.shutdown(socket.SHUT_WR)
        wire.settimeout(silence)
        with suppress(ConnectionError, TimeoutError):
            while piece := wire.recv(65536):
                got += piece
    check_told(bytes(got))
    return bytes(got)


def check_told(answer: bytes) -> None:
    """Assert that an answer says nothing of paths, stacks and the like."""
    text = answer.decode("utf-8", "replace")
    assert not [word for word in _TOLD_BY_NOBODY if word in text], text


def head(running: Any, *lines: str, path: str = ADDRESS, method: str = "POST") -> bytes:
    """The headers of a request."""
    first = f"{method} {path} HTTP/1.1"
    return "\r\n".join([first, f"Host: 127.0.0.1:{running.port}", *lines, "", ""]).encode()


def form(*parts: tuple[str, bytes], close: bool = True) -> bytes:
    """A form of parts, each its headers' Content-Disposition and its content."""
    body = b"".join(
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {told}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for told, content in parts
    )
    return body + (f"--{_BOUNDARY}--\r\n".encode() if close else b"")


FORM_TYPE = f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"
FILE = 'name="file"; filename="a.mp4"'


def post(running: Any, content: bytes, name: str = "a.mp4", **fields: str) -> httpx.Response:
    """Upload a file as a well-behaved client does."""
    answer = running.client.post(ADDRESS, files={"file": (name, content)}, data=fields)
    check_told(answer.content)
    return answer


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def status_of(answer: bytes) -> int:
    """Status of an answer as it came; 0: none came."""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def video_of(
    width: int,
    height: int,
    num_frames: int,
    rate: int = 25,
    form: str = "mp4",
    codec: str = "mpeg4",
) -> bytes:
    """A small file with frames of one colour."""
    target = io.BytesIO()
    with av.open(target, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), "rgb24")
        for _ in range(num_frames):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target.getvalue()


# Lengths and bodies.


@attack
def content_length_larger_than_the_body(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    raw(running, head(running, FORM_TYPE, f"Content-Length: {len(body) + 999}"), body)


@attack
def content_length_smaller_than_the_body(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    answer = raw(running, head(running, FORM_TYPE, "Content-Length: 200"), body)
    assert status_of(answer) == 400


@attack
def content_length_below_zero(running: Any, video: bytes) -> None:
    assert status_of(raw(running, head(running, FORM_TYPE, "Content-Length: -1"))) == 400


@attack
def content_length_that_is_no_number(running: Any, video: bytes) -> None:
    assert status_of(raw(running, head(running, FORM_TYPE, "Content-Length: ten"))) == 400


@attack
def content_length_without_end(running: Any, video: bytes) -> None:
    answer = raw(running, head(running, FORM_TYPE, f"Content-Length: {10**17}"), b"x")
    assert status_of(answer) == 413


@attack
def content_length_of_a_thousand_digits(running: Any, video: bytes) -> None:
    answer = raw(running, head(running, FORM_TYPE, f"Content-Length: {'9' * 1000}"))
    assert status_of(answer) == 400


@attack
def two_content_lengths(running: Any, video: bytes) -> None:
    lines = (FORM_TYPE, "Content-Length: 10", "Content-Length: 20")
    assert status_of(raw(running, head(running, *lines))) == 400


@attack
def content_length_and_chunks(running: Any, video: bytes) -> None:
    lines = (FORM_TYPE, "Content-Length: 4", "Transfer-Encoding: chunked")
    smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"unglossed_requests" not in raw(running, head(running, *lines), smuggled)


@attack
def chunks_without_end(running: Any, video: bytes) -> None:
    def body() -> Iterator[bytes]:
        yield form((FILE, b""), close=False)
        for _ in range(4000):
            yield b"\0" * 65536

    kind = FORM_TYPE.partition(": ")[2]
    headers = {"content-type": kind}
    try:
        answer = running.client.post(ADDRESS, content=body(), headers=headers)
    except httpx.TransportError:
        return  # cut off while it still sent
    assert code_of(answer) == (413, "too_large")


@attack
def chunks_without_end_for_an_address_without_a_body(running: Any, video: bytes) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    lines = ("Transfer-Encoding: chunked",)
    asked = head(running, *lines, path="/health", method="GET")
    began = time.monotonic()
    raw(running, asked, *[chunk] * 100, pause=0.05)
    assert time.monotonic() - began < 20


@attack
def chunk_of_no_size(running: Any, video: bytes) -> None:
    lines = (FORM_TYPE, "Transfer-Encoding: chunked")
    answer = raw(running, head(running, *lines), b"no size\r\n")
    assert status_of(answer) in (0, 400)


@attack
def body_said_to_be_compressed(running: Any, video: bytes) -> None:
    bomb = b"\x1f\x8b\x08" + b"\0" * 5000
    lines = (FORM_TYPE, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    assert status_of(raw(running, head(running, *lines), bomb)) == 400


# Time and sockets.


@attack
def headers_byte_by_byte(running: Any, video: bytes) -> None:
    began = time.monotonic()
    asked = head(running, path="/health", method="GET")
    answer = raw(running, *(asked[n : n + 1] for n in range(len(asked) - 2)), pause=0.1)
    assert not answer
    assert time.monotonic() - began < 2 * running.head_seconds + 5


@attack
def body_that_stops(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    asked = head(running, FORM_TYPE, f"Content-Length: {len(body)}")
    assert status_of(raw(running, asked, body[:1000], silence=5.0)) == 408


@attack
def half_closed_within_the_body(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    asked = head(running, FORM_TYPE, f"Content-Length: {len(body)}")
    raw(running, asked, body[: len(body) // 2], half_close=True)


@attack
def half_closed_behind_the_request(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    asked = head(running, FORM_TYPE, f"Content-Length: {len(body)}")
    raw(running, asked, body, half_close=True)


@attack
def gone_while_it_is_translated(running: Any, video: bytes) -> None:
    body = form((FILE, video))
    asked = head(running, FORM_TYPE, f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", running.port)) as wire:
        wire.sendall(asked + body)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset


@attack
def connections_that_say_nothing(running: Any, video: bytes) -> None:
    wires = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(60)]
    time.sleep(running.head_seconds + 0.5)  # they are closed by then
    for wire in wires:
        wire.close()


@attack
def connections_that_go_at_once(running: Any, video: bytes) -> None:
    for _ in range(100):
        socket.create_connection(("127.0.0.1", running.port)).close()


@attack
def answer_that_is_not_read(running: Any, video: bytes) -> None:
    asked = head(running, path="/page/words.js", method="GET")
    with socket.create_connection(("127.0.0.1", running.port)) as wire:
        wire.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError):
            for _ in range(500):
                wire.sendall(asked)
        assert _goes(wire, 15)


def _goes(wire: socket.socket, seconds: float) -> bool:
    """Whether a connection that is not read is ended by the server."""
    end = time.monotonic() + seconds
    gone = select.poll()
    gone.register(wire, 0)
    while time.monotonic() < end:
        if gone.poll(200):
            return True
        with suppress(BlockingIOError, ConnectionError):
            wire.send(b"\r", socket.MSG_DONTWAIT)
    return False


# What is no HTTP, and what is too much of it.


@attack
def bytes_of_another_protocol(running: Any, video: bytes) -> None:
    assert status_of(raw(running, bytes.fromhex("16030100c8010000c40303") + bytes(200))) == 400


@attack
def http_2_and_0_9(running: Any, video: bytes) -> None:
    raw(running, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    raw(running, b"GET /\r\n")


@attack
def header_of_a_megabyte(running: Any, video: bytes) -> None:
    assert status_of(raw(running, head(running, "X-Long: " + "a" * 1_000_000))) in (0, 400, 431)


@attack
def thousands_of_headers(running: Any, video: bytes) -> None:
    lines = [f"X-{n}: 1" for n in range(20_000)]
    assert status_of(raw(running, head(running, *lines))) in (0, 400, 431)


@attack
def wrong_methods(running: Any, video: bytes) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        answer = running.client.request(method, ADDRESS)
        assert answer.status_code == 405, method
        assert not [name for name in answer.headers if name.startswith("access-control")]
    for method in ("TRACE", "CONNECT", "BREW"):
        assert status_of(raw(running, head(running, method=method))) in (400, 405), method


@attack
def paths_out_of_the_folder(running: Any, video: bytes) -> None:
    outside = ("page/../../../../etc/passwd", "page/%2e%2e/%2e%2e/app.py", "page/..%2f..%2fapp.py")
    more = (
        "page//etc/passwd",
        "page/%00",
        "page/..%5c..%5capp.py",
        "page/.%2e/app.py",
        "//etc/passwd",
    )
    for path in outside + more:
        answer = raw(running, head(running, "Connection: close", path=f"/{path}", method="GET"))
        assert status_of(answer) in (400, 404, 405), path
        assert b"root:" not in answer
        assert b"import" not in answer


@attack
def another_hosts_name(running: Any, video: bytes) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::1]x"):
        answer = httpx.get(f"{running.url}v1/models", headers={"host": name})
        assert answer.status_code == 421, name


@attack
def pages_of_other_origins(running: Any, video: bytes) -> None:
    for told in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{running.port}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        answer = running.client.post(ADDRESS, files={"file": video}, headers=told)
        assert code_of(answer) == (403, "other_origin"), told


# Forms.


@attack
def names_that_are_paths(running: Any, video: bytes) -> None:
    for name in ("../../../etc/cron.d/x", "C:\\Windows\\x.mp4", "a\0b", "."):
        assert post(running, video, name, response_format="eaf").status_code == 200
    assert post(running, video, "x" * 5000 + ".mp4").status_code in (200, 400)


@attack
def html_and_line_ends_in_names(running: Any, video: bytes) -> None:
    name = 'a"\r\nSet-Cookie: x=1\r\n\r\n<script>alert(1)</script>.mp4'
    answer = post(running, video, name, response_format="srt")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "<script>" not in str(answer.headers) + answer.text


@attack
def html_in_fields(running: Any, video: bytes) -> None:
    marked = "<script>alert(1)</script>"
    for fields in ({"model": marked}, {"language": marked}, {"response_format": marked}):
        answer = post(running, video, **fields)
        assert answer.status_code in (400, 404)
        assert marked not in answer.text
    assert code_of(post(running, video, **{marked: "1"})) == (400, "unknown_field")


@attack
def forms_that_are_none(running: Any, video: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", ""):
        answer = running.client.post(ADDRESS, content=b"{}", headers={"content-type": kind})
        assert code_of(answer) == (415, "no_form"), kind
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; a"):
        answer = running.client.post(ADDRESS, content=b"--", headers={"content-type": kind})
        assert answer.status_code == 400, kind
        check_told(answer.content)


def _posted(running: Any, body: bytes | Iterable[bytes]) -> httpx.Response:
    kind = FORM_TYPE.partition(": ")[2]
    answer = running.client.post(ADDRESS, content=body, headers={"content-type": kind})
    check_told(answer.content)
    return answer


@attack
def forms_of_odd_parts(running: Any, video: bytes) -> None:
    two = form((FILE, video), (FILE, video))
    nobody = form(('name="model"', b"tiny"))
    elsewhere = form(('name="other"; filename="a.mp4"', video))
    many = form(*[(f'name="f{n}"', b"1") for n in range(5000)])
    large = form(('name="model"', b"m" * 1_000_000))
    nameless = form(("filename=x", video))
    for body in (two, nobody, elsewhere, many, large, nameless, b"", b"--" * 10000):
        assert _posted(running, body).status_code == 400, body[:60]


@attack
def a_part_whose_headers_do_not_end(running: Any, video: bytes) -> None:
    assert _posted(running, f"--{_BOUNDARY}\r\nX: ".encode() + b"a" * 2_000_000).status_code == 400


@attack
def a_form_that_is_not_closed(running: Any, video: bytes) -> None:
    assert _posted(running, form((FILE, video), close=False)).status_code in (200, 400, 422)


# Content.


@attack
def content_that_is_no_media(running: Any, video: bytes) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    list_of_files = b"ffconcat version 1.0\nfile /etc/passwd\n"
    others = (b"\x89PNG\r\n\x1a\n" + bytes(99), b"<svg/>", b"PK\x03\x04" + bytes(99), b"GIF89a")
    for content in (playlist, list_of_files, *others, b"%PDF-1.7", b"MZ" + bytes(99), b""):
        assert code_of(post(running, content)) == (415, "not_media"), content[:20]


@attack
def content_that_is_damaged(running: Any, video: bytes) -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    empty_box = b"\0\0\0\x20ftypisom" + bytes(20)
    flipped = bytearray(video)
    flipped[len(video) // 3 : len(video) // 3 + 2000] = noise[:2000]
    for content in (video[:2000], empty_box, b"\0\0\0\x20ftyp" + noise, bytes(flipped)):
        answer = post(running, content)
        assert answer.status_code in (200, 422), content[:20]
    for start in (
        b"\x1a\x45\xdf\xa3",
        b"FLV\x01",
        b"OggS",
        b"RIFF\0\0\0\0AVI ",
        b"ID3",
        b"\0\0\1\xba",
    ):
        assert post(running, start + noise).status_code == 422, start


@attack
def content_that_names_other_files(running: Any, video: bytes) -> None:
    hidden = b"\0\0\0\x20ftypisom" + bytes(20) + b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    assert post(running, hidden).status_code == 422


@attack
def frames_that_are_huge(running: Any, video: bytes) -> None:
    assert code_of(post(running, video_of(4096, 2160, 1))) == (413, "too_many_pixels")


@attack
def a_header_that_claims_huge_frames(running: Any, video: bytes) -> None:
    plain = bytearray(video_of(16, 16, 3, form="avi", codec="rawvideo"))
    at = plain.index(b"strf") + 12  # behind the name, the length and the header's own size
    for side, code in ((8_000, (413, "too_many_pixels")), (60_000, (422, "unreadable"))):
        plain[at : at + 8] = struct.pack("<ii", side, side)
        assert code_of(post(running, bytes(plain))) == code, side


@attack
def media_that_is_too_long(running: Any, video: bytes) -> None:
    assert code_of(post(running, video_of(32, 32, 100, rate=1))) == (413, "too_long")


@attack
def audio_for_a_model_of_video(running: Any, video: bytes) -> None:
    wav = (
        b"RIFF"
        + struct.pack("<I", 36 + 3200)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    answer = post(running, wav + b"data" + struct.pack("<I", 3200) + bytes(3200))
    assert answer.status_code == 422
    asked = running.client.post("/v1/audio/transcriptions", files={"file": video})
    assert code_of(asked) == (400, "other_input")


# Jobs and webcams.


@attack
def jobs_of_others(running: Any, video: bytes) -> None:
    for name in ("x", "..%2f..%2fx", "%00", "a" * 3000, "*"):
        for path in (f"/v1/jobs/{name}", f"/v1/jobs/{name}/result", f"/v1/jobs/{name}/events"):
            assert running.client.get(path).status_code == 404
        assert running.client.delete(f"/v1/jobs/{name}").status_code == 404
    assert set(running.client.get("/v1/jobs").json()) == {"waiting", "most"}


@attack
def values_out_of_their_range(running: Any, video: bytes) -> None:
    job = running.client.post("/v1/jobs", files={"file": video}).json()["id"]
    answer = running.client.get(f"/v1/jobs/{job}/result?response_format=../x")
    assert answer.status_code == 422
    check_told(answer.content)
    assert running.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert code_of(post(running, video, stream="perhaps")) == (400, "no_switch")


def _live(running: Any, *messages: Any, **options: Any) -> str:
    """What a WebSocket is told last before it is closed."""
    told = ""
    address = f"ws://127.0.0.1:{running.port}/v1/live"
    gone = suppress(ConnectionClosed, ConnectionError)
    with connect(address, **options) as wire, gone:
        for message in messages:
            wire.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
        while True:
            told = str(wire.recv(timeout=5))
            if json.loads(told)["type"] == "error":
                break
    check_told(told.encode())
    return told


@attack
def sockets_of_other_origins(running: Any, video: bytes) -> None:
    for origin in ("https://evil.example", "null", f"http://localhost.evil:{running.port}"):
        with pytest.raises(InvalidStatus) as refused:
            _live(running, {"type": "start"}, origin=origin)
        assert refused.value.response.status_code == 403, origin


@attack
def messages_that_are_none(running: Any, video: bytes) -> None:
    frame = struct.pack("<d", 0.0) + bytes(36 * 36 * 3)
    start = {"type": "start"}
    later = struct.pack("<d", 1.0) + frame[8:]
    odd = [
        struct.pack("<d", time) + frame[8:] for time in (float("nan"), float("inf"), -1.0, 1e300)
    ]
    rows: list[tuple[Any, ...]] = [("nonsense",), ([1],), ("[" * 4000,), ("null",), (b"\0",)]
    rows += [(start, b"short"), (start, frame + b"\0"), (start, later, frame), (start, start)]
    for row in [*rows, *[(start, one) for one in odd]]:
        assert json.loads(_live(running, *row))["error"]["code"] == "malformed", row


@attack
def message_of_a_gigabyte(running: Any, video: bytes) -> None:
    with connect(f"ws://127.0.0.1:{running.port}/v1/live") as wire:
        wire.send(json.dumps({"type": "start"}))
        with suppress(ConnectionClosed, OSError):
            wire.recv(timeout=5)
            wire.socket.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"\0" * 4)
            for _ in range(64):
                wire.socket.sendall(bytes(1 << 20))
            wire.recv(timeout=5)


@attack
def pings_whose_answers_are_not_read(running: Any, video: bytes) -> None:
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    ping = b"\x89\xfd" + b"\0" * 4 + b"a" * 125
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", running.port))
        wire.sendall(head(running, *lines, key, path="/v1/live", method="GET"))
        wire.settimeout(1.0)
        with pytest.raises((TimeoutError, ConnectionError)):  # they are not taken any more
            for _ in range(300):
                wire.sendall(ping * 1000)


@attack
def webcam_that_says_nothing(running: Any, video: bytes) -> None:
    assert "idle" in _live(running, {"type": "start"})


@attack
def more_webcams_than_allowed(running: Any, video: bytes) -> None:
    address = f"ws://127.0.0.1:{running.port}/v1/live"
    with connect(address) as first, connect(address) as second:
        for wire in (first, second):
            wire.send(json.dumps({"type": "start"}))
            assert json.loads(wire.recv(timeout=5))["type"] == "ready"
        assert "busy" in _live(running, {"type": "start"})


def paths(folder: Path) -> list[Path]:
    """All that lies in a folder."""
    return sorted(folder.rglob("*"))
