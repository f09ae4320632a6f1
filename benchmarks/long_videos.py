"""A long video to sentences, against its sentences one by one, each read as a clip of its own.

    python benchmarks/long_videos.py MODEL VIDEO [--segmenter DIR] [--pairs 5]

The video has its true subtitles beside it, as those of the layout broadcast do; they say where the
baseline's clips are. Ours has to find the sentences first. Both search with the model's own beams.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch
from pairs import time_pairs

from unglossed.corpora.sample import Sample
from unglossed.corpora.segments import read_segments
from unglossed.inference.sentences import SentenceTranslator


def main() -> None:
    """Time finding and translating against translating alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("video", type=Path)
    parser.add_argument("--segmenter")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs that count")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    sentences = SentenceTranslator.from_pretrained(chosen.model, chosen.segmenter)
    clips = [
        Sample(f"{n}", chosen.video, "", "", "", None, None, one.start_seconds, one.end_seconds)
        for n, one in enumerate(read_segments(chosen.video.with_suffix(".srt")))
    ]

    def one_by_one() -> int:
        return sum(len(sentences.translator.translate(clip)) for clip in clips)

    def found() -> int:
        return len(list(sentences.translate(chosen.video)))

    way = "the segmenter" if chosen.segmenter else "motion"
    print(f"{platform.processor() or platform.machine()}, {chosen.threads} threads")
    print(f"{len(clips)} clips one by one, {found()} sentences found by {way}")
    print(time_pairs(one_by_one, found, chosen.pairs))


if __name__ == "__main__":
    main()
