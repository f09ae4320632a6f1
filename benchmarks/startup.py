"""From the start of `unglossed translate` to its text: how long that takes.

    python benchmarks/startup.py MODEL VIDEO
    python benchmarks/startup.py MODEL VIDEO --base ../before --base-model OLD_MODEL

Every run is a new process with one thread. The baseline is a process that only imports torch and
transformers, or `translate` of another checkout. Wall time counts what a user waits for; CPU time
can be trusted on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent.parent


def time_process(checkout: Path, *words: str) -> tuple[float, float]:
    """Seconds of wall time and of CPU time that `python WORDS` takes with a checkout's package."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout / "src")}
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds, after = time.perf_counter() - begin, os.times()
    used = after.children_user - before.children_user
    return seconds, used + after.children_system - before.children_system


def main() -> None:
    """Time both in turns; a first pair that fills the disk's cache is left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder or model folder")
    parser.add_argument("video", help="video or folder of frames")
    parser.add_argument("--base", type=Path, help="another checkout of unglossed")
    parser.add_argument("--base-model", help="the model for it, where the format differs")
    parser.add_argument("--runs", type=int, default=5, help="runs that count")
    chosen = parser.parse_args()
    translate = ("-m", "unglossed", "translate")
    ours = (HERE, *translate, chosen.model, chosen.video)
    name, base = "import torch, transformers", (HERE, "-c", "import torch, transformers")
    if chosen.base is not None:
        name = f"translate of {chosen.base}"
        base = (chosen.base, *translate, chosen.base_model or chosen.model, chosen.video)
    pairs = [(time_process(*base), time_process(*ours)) for _ in range(chosen.runs + 1)]
    for place, kind in enumerate(("wall time", "CPU time")):
        first, second = zip(*[(one[place], two[place]) for one, two in pairs[1:]], strict=True)
        for what, seconds in ((name, first), ("translate", second)):
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"{kind}, {what}: {statistics.median(seconds):.2f} s ({spread})")
        ratios = [two / one for one, two in zip(first, second, strict=True)]
        print(f"{kind}: {statistics.median(ratios):.2f} times the baseline")


if __name__ == "__main__":
    main()
