"""The page that needs no server, in Chromium, beside `translate`: its texts and its speed.

    pip install playwright==1.65.2, apt-get install chromium
    python benchmarks/web.py MODEL CLIP... [--runtime DIR] [--page DIR]

The page is loaded, the network is switched off, and each clip is chosen as a user chooses it. The
real-time factor is the time from there to the text, by the length of the clip. A long recording is
cut into sentences, in both, by motion.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
_QUIET = "--disable-quic --no-first-run --disable-background-networking --disable-component-update"
ARGUMENTS = ["--no-sandbox", "--disable-sync", *_QUIET.split()]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WEBGPU = [
    *("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
]
"""In software."""
SECONDS = 600
"""That anything may take."""


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Hand out a folder's files on loopback; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browse(arguments: Sequence[str] = (), **settings: Any) -> Iterator[Any]:
    """A context of headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments]
        )
        try:
            context = browser.new_context(**settings)
            context.set_default_timeout(1000 * SECONDS)
            yield context
        finally:
            browser.close()


def wait_idle(page: Any) -> None:
    """Until the page has loaded the model, or has translated."""
    page.wait_for_selector("body[data-state=idle]")


class Told(NamedTuple):
    """What the page showed for a clip, and after how many seconds."""

    text: str
    score: str
    sentences: list[tuple[float, float, str]]
    seconds: float


CUES = "[...(document.getElementById('video').textTracks[0]?.cues ?? [])]"


def translate(page: Any, clip: Path) -> Told:
    """Choose a clip as a user does, and wait for its text."""
    begin = time.perf_counter()
    page.set_input_files("#file", str(clip))
    wait_idle(page)
    seconds = time.perf_counter() - begin
    assert page.inner_text("#status") in ("Done.", "Fertig."), page.inner_text("#status")
    rows = page.evaluate(f"{CUES}.map(one => [one.startTime, one.endTime, one.text])")
    text, score = (page.inner_text(f"#{name}") for name in ("text", "score"))
    return Told(text, score, [(*times, told) for *times, told in rows], seconds)


def same_sentences(model: str, clip: Path, found: list[tuple[float, float, str]]) -> None:
    """Tell how many sentences of a recording are those of Python, in 8 bits."""
    from unglossed.inference.sentences import SentenceTranslator

    translator = SentenceTranslator.from_pretrained(model, precision="int8")
    begin = time.perf_counter()
    expected = list(translator.translate(clip, cut="motion"))
    print(f"{clip.name}: translate --precision int8 took {time.perf_counter() - begin:.1f} s")
    rows = {(round(start, 2), round(end, 2)): text for start, end, text in found}
    spans = {(round(one.start_seconds, 2), round(one.end_seconds, 2)): one for one in expected}
    both = rows.keys() & spans.keys()
    same = sum(rows[span] == spans[span].text for span in both)
    print(
        f"  sentences: {len(expected)} in Python, {len(rows)} in the page; {len(both)} with the"
        f" same times, of which {same} have the same text"
    )


def main() -> None:
    """Compare texts and tell the speed."""
    from unglossed.inference.translator import SignTranslator
    from unglossed.inference.web.export import export_web
    from unglossed.media.signal import VideoSignal, WholeFile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder or model folder")
    parser.add_argument("clips", nargs="+", type=Path, help="video files that a browser reads")
    parser.add_argument("--runtime", type=Path, help="folder that holds onnxruntime-web")
    parser.add_argument("--page", type=Path, help="exported before; else it is exported now")
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        target = chosen.page or Path(folder) / "page"
        if chosen.page is None:
            made = export_web(chosen.model, target, runtime=chosen.runtime)
            told = f"{made.model_bytes / 1e6:.2f} MB, the runtime {made.runtime_bytes / 1e6:.2f} MB"
            print(f"page: {told}, differs from torch by {made.difference:.1e} at most")
        with serve(target) as address, browse(locale="en") as context:
            page = context.new_page()
            begin = time.perf_counter()
            page.goto(address)
            wait_idle(page)
            print(f"loaded and compared: {time.perf_counter() - begin:.1f} s")
            context.set_offline(True)
            found = {clip: translate(page, clip) for clip in chosen.clips}
    lengths = {clip: VideoSignal().seconds_of(WholeFile(clip)) for clip in found}
    factors = [one.seconds / lengths[clip] for clip, one in found.items()]
    spread = f"{min(factors):.2f} to {max(factors):.2f}"
    print(f"real-time factor: median {statistics.median(factors):.2f} ({spread})")
    clips = [clip for clip, one in found.items() if not one.sentences]
    for precision in ("int8", "float32"):
        translator = SignTranslator.from_pretrained(chosen.model, precision=precision)
        begin = time.perf_counter()
        texts = dict(zip(clips, (one.text for one in translator.translate(clips)), strict=True))
        spent = time.perf_counter() - begin
        same = sum(found[clip].text == text for clip, text in texts.items())
        print(f"same texts as {precision}: {same} of {len(clips)} ({spent:.1f} s for all)")
        for clip, text in texts.items():
            if found[clip].text != text:
                print(f"  {clip.name}: {found[clip].text!r} in the page, else {text!r}")
    for clip, one in found.items():
        if one.sentences:
            same_sentences(chosen.model, clip, one.sentences)


if __name__ == "__main__":
    main()
