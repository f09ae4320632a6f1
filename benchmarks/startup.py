"""From the start of `unglossed translate` to its text: how long that takes.

    python benchmarks/startup.py MODEL VIDEO

Every run is a new process with one thread. The baseline is a process that only imports torch and
transformers, without the part of transformers with which a model is loaded. Wall time counts what
a user waits for; processor time can be trusted on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

IMPORTS = ("-c", "import torch, transformers")


def time_process(*words: str) -> tuple[float, float]:
    """Seconds of wall time and of processor time that `python WORDS` takes."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begin, os.times()
    processor = after.children_user - before.children_user
    return seconds, processor + after.children_system - before.children_system


def main() -> None:
    """Time both in turns; a first pair that fills the disk's cache is left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder or model folder")
    parser.add_argument("video", help="video or folder of frames")
    parser.add_argument("--runs", type=int, default=5, help="runs that count")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    translate = ("-m", "unglossed", "translate", chosen.model, chosen.video)
    pairs = [(time_process(*IMPORTS), time_process(*translate)) for _ in range(chosen.runs + 1)]
    for place, name in enumerate(("wall time", "processor time")):
        imports, ours = zip(*[(one[place], other[place]) for one, other in pairs[1:]], strict=True)
        for what, seconds in (("import torch, transformers", imports), ("translate", ours)):
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"{name}, {what}: {statistics.median(seconds):.2f} s ({spread})")
        ratios = [other / one for one, other in zip(imports, ours, strict=True)]
        print(f"{name}: {statistics.median(ratios):.2f} times the imports")


if __name__ == "__main__":
    main()
