"""Many uploads from several clients to `unglossed serve`: all answered, and what it costs.

    python benchmarks/serve.py runs/demo/run talk.mp4

Each client sends one upload after another and waits for its text; where the queue is full it comes
again when the server says. Told are the uploads that were answered, how often the queue was full,
seconds from an upload's begin to its text, the server's memory, and what is left in its folder of
temporary files.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

ADDRESS = "v1/video/translations"
_MEGABYTE = 1e6


@contextmanager
def served(model: str, queue: int, folder: Path) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and the number of its process."""
    command = [sys.executable, "-m", "unglossed", "serve", model, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--queue", str(queue)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    try:
        told = re.search(r"http://\S+", process.stdout.readline())
        if told is None:
            raise SystemExit("the server did not start")
        yield told[0], process.pid
    finally:
        process.terminate()
        process.wait()


def upload(url: str, content: bytes) -> tuple[float, int, str]:
    """Seconds until the text of one upload came, how often the queue was full, and the text."""
    full, began = 0, time.monotonic()
    with httpx.Client(base_url=url, timeout=600) as client:
        while True:
            answer = client.post(ADDRESS, files={"file": ("clip.mp4", content)})
            if answer.status_code != 429:
                answer.raise_for_status()
                return time.monotonic() - began, full, answer.json()["text"]
            full += 1
            time.sleep(float(answer.headers["retry-after"]))


def megabytes(process: int, field: str) -> float:
    """Memory of a process, by the name of a field in its status; Linux alone tells."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / _MEGABYTE if found else float("nan")


def main() -> None:
    """Serve, upload, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="run folder, model folder or hub name")
    parser.add_argument("video", type=Path, help="what every client sends")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--queue", type=int, default=4, help="less than clients, so that it fills")
    options = parser.parse_args()
    content = options.video.read_bytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(options.model, options.queue, folder) as (url, process):
            upload(url, content)
            before, began = megabytes(process, "VmRSS"), time.monotonic()
            with ThreadPoolExecutor(options.clients) as pool:
                rows = list(pool.map(lambda _: upload(url, content), range(options.uploads)))
            seconds = time.monotonic() - began
            after, most = megabytes(process, "VmRSS"), megabytes(process, "VmHWM")
            left = len(list(folder.iterdir()))
    times, full, texts = zip(*rows, strict=True)
    print(f"{len(rows)} of {options.uploads} uploads answered, {len(set(texts))} different texts")
    print(f"{seconds:.1f} s in all, {len(rows) / seconds:.2f} uploads a second")
    print(f"an upload: {statistics.median(times):.2f} s in the middle, {max(times):.2f} s at most")
    print(f"the queue was full {sum(full)} times")
    print(f"memory: {before:.0f} MB before, {after:.0f} MB behind, {most:.0f} MB at most")
    print(f"{left} files left")


if __name__ == "__main__":
    main()
