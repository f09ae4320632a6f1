"""Memory of `unglossed train`, and time to its first step, on a corpus of a million rows.

The corpus is a table: segments of 2,000 videos (one small file, hard-linked) with texts of 12 words
on average out of 50,000, frequent ones often. For each number of rows a tiny recipe is trained with
`--no-check` until its first steps are done, then ended; `norms_every: 1` has them written down.
Memory is what the processes, the loader's among them, hold between them, at its most over looks
every tenth of a second: proportional set size, in which a page that several hold counts once. The
aims: at most 1.2 GB more for a million rows than for a thousand, and a first step within 90 s.

Run: python benchmarks/rows.py [--rows 1000 1000000] [--recipe clips texts] [--steps 1]
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from check_million_rows import VIDEO_SECONDS, write_video

WORDS, MEAN_WORDS, MOST_WORDS = 50_000, 12, 60
SYLLABLES = [f"{start}{middle}{end}" for start in "bdfgklmnprstvwz" for middle in "aeiouäöü"
             for end in ("", "n", "r", "s", "l", "st")]  # fmt: skip
VIDEOS = 2_000
LOOK_SECONDS = 0.1
LIMIT_SECONDS = 1_800
RECIPES = {
    # Stage 1: clips are read by processes of their own.
    "clips": """
tokenizer: {vocab_size: 8000}
video: {resize: 36, crop: 32}
num_workers: 2
stages:
  - name: first
    encoder:
      config:
        backbone:
          {model_type: resnet, layer_type: basic, embedding_size: 8, hidden_sizes: [8, 16],
           depths: [1, 1]}
        temporal_dim: 24
    adapter: {config: {hidden_dim: 32}}
    language_model: {config: {light_t: {layers: 1, heads: 2, width: 32, ffn_dim: 64}}}
    learning_rates: {encoder: 1.0e-3, adapter: 1.0e-3, language_model: 1.0e-3}
    batch_size: 4
    epochs: 1
    norms_every: 1
""",
    # A language model learns the texts, all of which are tokenised before.
    "texts": """
tokenizer: {vocab_size: 8000}
video: {resize: 36, crop: 32}
stages:
  - name: first
    objective: denoising
    language_model:
      config:
        {model_type: mbart, d_model: 32, encoder_layers: 1, decoder_layers: 1,
         encoder_attention_heads: 2, decoder_attention_heads: 2,
         encoder_ffn_dim: 64, decoder_ffn_dim: 64}
    learning_rates: {language_model: 1.0e-3}
    batch_size: 16
    epochs: 1
    norms_every: 1
""",
}


@dataclass(frozen=True)
class Taken:
    """What a training took until its first steps were done.

    Attributes:
        first_seconds: From its start to the end of the first step.
        processor_seconds: Of the first process, until its last step.
        memory: Bytes that all its processes held, at their most.
        main_memory: Bytes that the first of them held at its most; none is missed.
    """

    first_seconds: float
    processor_seconds: float
    memory: int
    main_memory: int


def main() -> None:
    """Make the corpora, begin to train on each, print time and memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=1, help="steps to train; memory is of all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_videos(folder / "videos")
        for num_rows in arguments.rows:
            write_table(folder / f"{num_rows}.csv", num_rows)
        for recipe in arguments.recipe:
            first = None
            for num_rows in arguments.rows:
                taken = measure(folder, recipe, num_rows, arguments.steps)
                first = first or taken
                print(
                    f"{recipe}, {num_rows:,} rows: first step after {taken.first_seconds:.1f} s"
                    f" (processor time {taken.processor_seconds:.1f} s);"
                    f" memory {taken.memory / 1e9:.2f} GB, {show(taken.memory, first.memory)};"
                    f" of the main process {taken.main_memory / 1e9:.2f} GB,"
                    f" {show(taken.main_memory, first.main_memory)}",
                    flush=True,
                )


def show(bytes_taken: int, before: int) -> str:
    """How much more it is than before."""
    return f"{(bytes_taken - before) / 1e9:+.2f}"


def write_videos(folder: Path) -> None:
    """Write the videos: one small file, hard-linked."""
    folder.mkdir()
    first = folder / "v0000.mp4"
    write_video(first)
    for number in range(1, VIDEOS):
        os.link(first, folder / f"v{number:04d}.mp4")


def write_table(path: Path, num_rows: int) -> None:
    """Write a table of segments, one in a hundred of dev."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "media", "text", "split", "start", "end", "signer", "language"])
        lengths = np.random.default_rng(1).uniform(1, 9, num_rows)
        for number, text in enumerate(draw_texts(num_rows)):
            video, place = number % VIDEOS, number // VIDEOS
            start = place * (VIDEO_SECONDS - 10) / (1 + (num_rows - 1) // VIDEOS)
            split = "dev" if number % 100 == 99 else "train"
            writer.writerow(
                [
                    *(f"{video:04d}-{number:07d}", f"videos/v{video:04d}.mp4", text, split),
                    *(f"{start:.3f}", f"{start + lengths[number]:.3f}", f"s{video % 50}", "de"),
                ]
            )


def draw_texts(number: int) -> list[str]:
    """Texts whose words are as uneven as in life: the nth is drawn in proportion to 1 / n."""
    rng = np.random.default_rng(0)
    words: dict[str, None] = {}
    while len(words) < WORDS:
        words["".join(rng.choice(SYLLABLES, rng.integers(1, 5)))] = None
    known = sorted(words, key=len)  # what is said often is short
    lengths = np.minimum(1 + rng.poisson(rng.gamma(3, (MEAN_WORDS - 1) / 3, number)), MOST_WORDS)
    chance = 1 / np.arange(1, WORDS + 1)
    chosen = rng.choice(WORDS, int(lengths.sum()), p=chance / chance.sum())
    ends = np.cumsum(lengths)
    return [
        " ".join(known[word] for word in chosen[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]


def measure(folder: Path, recipe: str, num_rows: int, num_steps: int) -> Taken:
    """Train until so many steps are done, then end it."""
    settings = folder / f"{recipe}.yaml"
    settings.write_text(RECIPES[recipe], encoding="utf-8")
    output = folder / f"{recipe}-{num_rows}"
    command = [
        *(sys.executable, "-m", "unglossed", "train", str(settings)),
        *("--corpus", f"table:{folder / f'{num_rows}.csv'}", "--output", str(output)),
        "--no-check",
    ]
    log = folder / "log"
    steps = output / "1-first" / "norms.jsonl"
    begun = time.perf_counter()
    first, memory = 0.0, 0
    with log.open("w", encoding="utf-8") as file:
        # A session of its own: its loader's processes are ended with it.
        run = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            while True:
                memory = max(memory, sum(map(held_by, family(run.pid))))
                done = steps.read_text(encoding="utf-8").count("\n") if steps.exists() else 0
                seconds = time.perf_counter() - begun
                first = first or (seconds if done else 0.0)
                if done >= num_steps:
                    return Taken(first, time_of(run.pid), memory, most_of(run.pid))
                if run.poll() is not None or seconds > LIMIT_SECONDS:
                    raise SystemExit(log.read_text(encoding="utf-8") or "no step in time")
                time.sleep(LOOK_SECONDS)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()


def family(process: int) -> Sequence[int]:
    """A process and all that it started, directly or not."""
    found = [process]
    for one in found:
        try:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:  # it has ended
            continue
    return found


def held_by(process: int) -> int:
    """Bytes that a process holds, its share of those that it shares; 0 if it has ended."""
    return _kilobytes(process, "smaps_rollup", "Pss:")


def most_of(process: int) -> int:
    """Bytes that a process held at its most, those that it shares in full."""
    return _kilobytes(process, "status", "VmHWM:")


def time_of(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _kilobytes(process: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)


if __name__ == "__main__":
    main()
