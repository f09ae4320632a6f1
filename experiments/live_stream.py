"""Live captions over a long time: somebody at rest, an hour's stream, and two cameras at once.

    python -m experiments.live_stream MODEL data/broadcast --segmenter SEGMENTER [--minutes 60]

Frames are given one after another without waiting for their time, so that an hour takes minutes;
the time that each takes is measured. The corpus is one of the layout broadcast.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from experiments.long_videos import CAMERA_RATE
from unglossed.inference.live import LiveTranslator
from unglossed.inference.sentences import SentenceTranslator
from unglossed.media.augment import generator_for
from unglossed.media.frames import open_frames
from unglossed_synth.drawing import draw_frames
from unglossed_synth.planning import UNSEEN_SIGNERS
from unglossed_synth.programme import sit
from unglossed_synth.recording import draw_corpus_signer

Frame = NDArray[np.uint8]
SIZE = 84, 104
REST_SECONDS = 120
PART_SECONDS = 600
"""After which time and memory are told."""
TOGETHER_SECONDS = 120
"""Of two cameras at once, at most."""


def resting(signer: str, seconds: float) -> Iterator[Frame]:
    """Pictures of somebody who does nothing."""
    who = draw_corpus_signer(0, signer)
    programme = sit(who, seconds, generator_for(0, 0, f"at rest {signer}"))
    return draw_frames(programme.poses(Fraction(25, 2)), who, *SIZE)


def signing(media: Path) -> list[Frame]:
    """The frames that a camera would give of a recording."""
    frames = open_frames(media)
    due = np.arange(0, frames.times[-1], 1 / CAMERA_RATE)
    kept = np.searchsorted(frames.times, due).clip(0, frames.num_frames - 1)
    return list(frames.each(kept, lambda one: one, deinterlace=False))


def megabytes() -> float:
    """Memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def count_texts(live: LiveTranslator, frames: Iterator[Frame]) -> int:
    """Sentences that are made of frames."""
    updates = [u for n, one in enumerate(frames) for u in live.push(one, n / CAMERA_RATE)]
    return sum(bool(one.closed and one.committed) for one in updates + live.finish())


def stream(live: LiveTranslator, frames: Sequence[Frame], minutes: float) -> None:
    """Give frames for so long, over and over, and tell time and memory every ten minutes."""
    part = round(PART_SECONDS * CAMERA_RATE)
    taken: list[float] = []
    texts = 0
    for number, frame in enumerate(islice(cycle(frames), round(60 * minutes * CAMERA_RATE))):
        begin = time.perf_counter()
        updates = live.push(frame, number / CAMERA_RATE)
        taken.append(time.perf_counter() - begin)
        texts += sum(bool(one.closed and one.committed) for one in updates)
        if (number + 1) % part == 0:
            of_part = np.array(taken[-part:])
            print(
                f"minute {(number + 1) / 60 / CAMERA_RATE:g}: {megabytes():.0f} MB,"
                f" {1000 * of_part.mean():.1f} ms a frame, at most {of_part.max():.2f} s,"
                f" {texts} sentences"
            )


def main() -> None:
    """Print what is found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--segmenter")
    parser.add_argument("--minutes", type=float, default=60)
    chosen = parser.parse_args()
    sentences = SentenceTranslator.from_pretrained(chosen.model, chosen.segmenter)
    for cut in ("motion", *(["segmenter"] if chosen.segmenter else [])):
        counts = [
            count_texts(LiveTranslator(sentences, cut=cut), resting(signer, REST_SECONDS))
            for signer in UNSEEN_SIGNERS
        ]
        told = f"{REST_SECONDS} seconds at rest, by {cut}"
        print(f"{told}: {counts} sentences of {len(counts)} signers")
    media = sorted((chosen.corpus / "test").glob("*.mp4"))
    frames = signing(media[0])
    stream(LiveTranslator(sentences), frames, chosen.minutes)
    minutes = min(TOGETHER_SECONDS / 60, chosen.minutes)
    threads = [
        Thread(target=stream, args=(LiveTranslator(sentences), frames, minutes)) for _ in range(2)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    print(f"two cameras at once: {60 * minutes:.0f} seconds of both in {seconds:.1f} s")


if __name__ == "__main__":
    main()
