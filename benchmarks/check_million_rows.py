"""How long `unglossed corpus check` takes for a table of a million rows, and how much memory.

The rows are segments of 2,000 videos, with generated German sentences; the table is made in a
temporary folder and checked in a fresh process, not deep. The aim: under 20 s and under 1.5 GB.

Run: python benchmarks/check_million_rows.py [--rows 1000000] [--videos 2000]
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

VIDEO_SECONDS = 60
SUBJECTS = ("der Nachbar", "die Ärztin", "mein Bruder", "unsere Lehrerin", "das Mädchen")
VERBS = ("öffnet", "verkauft", "sucht", "zeigt", "bemalt", "trägt", "schließt", "repariert")
OBJECTS = ("die Tür", "einen Schlüssel", "das Fahrrad", "ein Buch", "zwei Gläser", "den Brief")
TIMES = ("am Morgen", "heute", "übermorgen", "jeden Donnerstag", "später", "im Frühling")
PLACES = ("in München", "hinter dem Haus", "am See", "im großen Garten", "vor der Schule")


def main() -> None:
    """Make the table, check it in a process of its own, print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--videos", type=int, default=2_000)
    parser.add_argument("--measure", metavar="SPEC", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder), arguments.rows, arguments.videos)
        print(f"{arguments.rows:,} rows, {arguments.videos:,} videos", flush=True)
        spec = f"table:{table}?language=de"
        subprocess.run([sys.executable, __file__, "--measure", spec], check=True)


def measure(spec: str) -> None:
    """Check a corpus and print what it took."""
    begin = time.perf_counter()
    from unglossed.corpora.check import check_corpus
    from unglossed.corpora.faults import Faults
    from unglossed.corpora.registry import read_corpus

    imported = time.perf_counter()
    report = check_corpus(spec)
    checked = time.perf_counter()
    own, workers = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    processor = sum(used.ru_utime + used.ru_stime for used in (own, workers))
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, elsewhere kilobytes
    print(report)
    print(f"imports {imported - begin:.1f} s, check {checked - imported:.1f} s", end="")
    print(f" (processor time with imports, all processes: {processor:.1f} s)")
    print(f"memory at its most, without workers: {own.ru_maxrss * unit / 1e9:.2f} GB")
    del report
    begin = time.perf_counter()
    read_corpus(spec, Faults())
    print(f"of the check, reading alone: {time.perf_counter() - begin:.1f} s")


def write_table(folder: Path, num_rows: int, num_videos: int) -> Path:
    """Write `corpus.csv` and the videos it names: one small file, hard-linked."""
    videos = folder / "videos"
    videos.mkdir()
    first = videos / "v0000.mp4"
    write_video(first)
    for number in range(1, num_videos):
        os.link(first, videos / f"v{number:04d}.mp4")
    drawn = random.Random(0)
    table = folder / "corpus.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "media", "text", "split", "start", "end", "signer"])
        for number in range(num_rows):
            video, place = number % num_videos, number // num_videos
            start = place * (VIDEO_SECONDS - 10) * num_videos / num_rows
            end = start + drawn.uniform(1, 9)
            text = f"{sentence(drawn)}, und {sentence(drawn)} zum {drawn.randrange(2, 999)}. Mal."
            split = ("train", "train", "train", "dev", "test")[video % 5]
            writer.writerow(
                [
                    *(f"clip{number:07d}", f"videos/v{video:04d}.mp4", text, split),
                    *(f"{start:.3f}", f"{end:.3f}", f"{split}{video % 50:02d}"),
                ]
            )
    return table


def sentence(drawn: random.Random) -> str:
    """A sentence of everyday words."""
    return " ".join(drawn.choice(words) for words in (SUBJECTS, VERBS, TIMES, OBJECTS, PLACES))


def write_video(path: Path) -> None:
    """Write a minute of small grey frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(VIDEO_SECONDS * 25):
            picture = np.full((32, 32, 3), number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
